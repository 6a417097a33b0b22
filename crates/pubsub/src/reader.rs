//! What one stream of a peer brings.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{
    AsyncRead,
    future::{Abortable, poll_fn},
};
use peerkit_core::{ResetCode, Timer, with_deadline};
use peerkit_swarm::Stream;

use crate::{
    DecodeError, Decoded, FrameDecoder, PubsubEvent, Router, RpcDecoder, core::Effects, peer::Peer,
    shared::Shared,
};

/// Reads a stream to its end.
pub(crate) async fn serve<R: Router>(shared: Arc<Shared<R>>, stream: Stream) -> io::Result<()> {
    let Some(peer) = shared.peer(stream.remote_peer()) else {
        stream.reset(ResetCode::SHUTDOWN);
        return Ok(());
    };
    peer.set_seen();
    let (number, registration) = peer.admit(shared.config.inbound_streams_per_peer_max);
    let place = Place {
        peer: peer.clone(),
        number,
    };
    let reading = Reader::new(shared, peer, stream).run();
    let outcome = Abortable::new(reading, registration).await;
    drop(place);
    outcome.unwrap_or(Ok(()))
}

/// The place of a stream among those of its peer.
struct Place {
    peer: Arc<Peer>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peer.dismiss(self.number);
    }
}

struct Reader<R> {
    shared: Arc<Shared<R>>,
    peer: Arc<Peer>,
    stream: Stream,
    frames: FrameDecoder,
    rpcs: RpcDecoder,
    scratch: Vec<u8>,
    /// Ends frames that take too long.
    timer: Option<Pin<Box<dyn Timer>>>,
    timed: bool,
    received: Vec<Decoded>,
    effects: Effects,
    frame_count: u64,
    /// The router knows of the stream.
    announced: bool,
}

/// How much is read at a time at first, and once there is that much to read.
const SCRATCH: usize = 8 * 1024;
const SCRATCH_MAX: usize = 64 * 1024;
/// Frames that are handed over together.
const BATCH: usize = 32;
/// A frame that lacks more than this is received with the peer's one permit.
const LARGE: usize = 64 * 1024;

impl<R: Router> Reader<R> {
    fn new(shared: Arc<Shared<R>>, peer: Arc<Peer>, stream: Stream) -> Self {
        let limits = shared.config.limits.clone();
        Self {
            frames: FrameDecoder::new(limits.frame_len_max),
            rpcs: RpcDecoder::new(limits),
            scratch: vec![0; SCRATCH],
            timer: None,
            timed: false,
            received: Vec::new(),
            effects: Effects::default(),
            frame_count: 0,
            announced: false,
            shared,
            peer,
            stream,
        }
    }

    async fn run(mut self) -> io::Result<()> {
        if !self.peer.is_ready() {
            let limit = self.shared.config.frame_timeout;
            with_deadline(self.shared.runtime.as_ref(), limit, self.peer.ready()).await;
            if !self.peer.is_ready() {
                return Err(self.refuse(ResetCode::LIMIT_EXCEEDED, io::ErrorKind::TimedOut.into()));
            }
        }
        loop {
            if self.frames.missing() > LARGE {
                let Some(frame) = self.read_large().await? else {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                self.take(&frame)?;
                self.hand_over().await;
                continue;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let count = poll_fn(|cx| self.poll_read(cx, &mut scratch)).await?;
            if count == 0 {
                return self.end();
            }
            let outcome = self.take_all(&scratch[..count]).await;
            if count == scratch.len() && count < SCRATCH_MAX {
                scratch.resize(SCRATCH_MAX, 0);
            }
            self.scratch = scratch;
            outcome?;
        }
    }

    fn end(&self) -> io::Result<()> {
        match self.frames.is_within_frame() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if outcome.is_pending() && self.is_late(cx) {
            let error = io::ErrorKind::TimedOut.into();
            return Poll::Ready(Err(self.refuse(ResetCode::LIMIT_EXCEEDED, error)));
        }
        outcome
    }

    /// Whether the frame that has begun takes too long. A peer may be silent between two frames.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.frames.is_within_frame() {
            self.timed = false;
            return false;
        }
        if !std::mem::replace(&mut self.timed, true) {
            let deadline = self.shared.now() + self.shared.config.frame_timeout;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(self.shared.runtime.timer(deadline)),
            }
        }
        let timer = self.timer.as_mut();
        timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    /// Reads the rest of a large frame straight to where it stays.
    async fn read_large(&mut self) -> io::Result<Option<Bytes>> {
        let peer = self.peer.clone();
        let limit = self.shared.config.frame_timeout;
        let permit = peer.large_frame.acquire();
        let permit = with_deadline(self.shared.runtime.as_ref(), limit, permit).await;
        if permit.is_none() {
            return Err(self.refuse(ResetCode::LIMIT_EXCEEDED, io::ErrorKind::TimedOut.into()));
        }
        loop {
            let count = poll_fn(|cx| {
                let outcome = Pin::new(&mut self.stream).poll_read(cx, self.frames.space());
                if outcome.is_pending() && self.is_late(cx) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                outcome
            });
            let count = count.await?;
            if count == 0 {
                return Ok(None);
            }
            if let Some(frame) = self.frames.filled(count) {
                return Ok(Some(frame));
            }
        }
    }

    async fn take_all(&mut self, mut input: &[u8]) -> io::Result<()> {
        loop {
            match self.frames.decode(&mut input) {
                Ok(Some(frame)) => self.take(&frame)?,
                Ok(None) => break,
                Err(error) => return Err(self.bad_frame(error)),
            }
            if self.received.len() >= BATCH {
                self.hand_over().await;
            }
        }
        self.hand_over().await;
        Ok(())
    }

    fn take(&mut self, frame: &Bytes) -> io::Result<()> {
        self.timed = false;
        self.frame_count += 1;
        if self.frame_count == 2 {
            self.peer.set_persistent();
        }
        match self.rpcs.decode(frame) {
            Ok(decoded) => {
                self.received.push(decoded);
                Ok(())
            }
            Err(error) => Err(self.bad_frame(error)),
        }
    }

    /// Gives the router what has come and finds the verdicts that it asks for. Meanwhile nothing more is
    /// read from this stream, so that a flood waits at its sender.
    async fn hand_over(&mut self) {
        if self.received.is_empty() || self.peer.queue.is_closed() {
            self.received.clear();
            return;
        }
        let (received, peer) = (&mut self.received, self.peer.id);
        let announced = std::mem::replace(&mut self.announced, true);
        self.shared
            .with_core_into(&mut self.effects, |core, now, _| {
                if !announced {
                    core.router.handle_stream(&peer, now);
                }
                for Decoded { rpc, skipped } in received.drain(..) {
                    core.receive(&peer, rpc, skipped, now);
                }
            });
        self.shared.settle_but_candidates(&mut self.effects);
        self.shared.judge_all(&mut self.effects).await;
        // The application gets a moment to catch up, which the sender then has to wait as well.
        for inbox in std::mem::take(&mut self.effects.crowded) {
            inbox.room(self.shared.runtime.as_ref()).await;
        }
    }

    fn bad_frame(&mut self, error: DecodeError) -> io::Error {
        let peer = self.peer.id;
        self.shared.with_core(|core, _, effects| {
            core.metrics.bad_frames += 1;
            effects.events.push(PubsubEvent::BadFrame { peer, error });
        });
        self.refuse(
            ResetCode::PROTOCOL_VIOLATION,
            io::Error::new(io::ErrorKind::InvalidData, error),
        )
    }

    fn refuse(&self, code: ResetCode, error: io::Error) -> io::Error {
        self.stream.reset(code);
        error
    }
}
