//! The way to one peer: this node's own stream, and what is written to it.
//!
//! ```text
//!            opened                     broke
//! opening ------------> writing --------------------> waiting (back-off) --> opening
//!    ^  |                  | reset by the remote
//!    |  | not spoken       | after it has read once
//!    |  v                  v
//!  until the peer       one stream for each frame (old floodsub peers read no more)
//!  opens one itself
//! ```

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::poll_fn};
use peerkit_core::{
    Multiaddr, ProtocolId, ResetCode, Timer, multiaddr::Protocol, sleep_until, with_deadline,
};
use peerkit_swarm::{OpenStreamError, Stream};

use crate::{
    Outgoing, PeerLink, PubsubEvent, Router,
    codec::{FrameEncoder, WriteBuffer},
    peer::Peer,
    queue::{Filling, Portion, Sent},
    shared::Shared,
};

/// The protocol whose peers may read only one frame of each stream.
pub(crate) static FLOODSUB: ProtocolId = ProtocolId::from_static("/floodsub/1.0.0");

/// Runs until the peer is gone.
pub(crate) async fn run<R: Router>(shared: Arc<Shared<R>>, peer: Arc<Peer>) {
    let departure = Departure {
        shared: shared.clone(),
        peer: peer.clone(),
    };
    Link::new(shared, peer).run().await;
    drop(departure);
}

/// Takes the peer off the list, also when the task is cancelled.
struct Departure<R: Router> {
    shared: Arc<Shared<R>>,
    peer: Arc<Peer>,
}

impl<R: Router> Drop for Departure<R> {
    fn drop(&mut self) {
        self.shared.leave(&self.peer);
        self.peer.set_written();
    }
}

struct Link<R> {
    shared: Arc<Shared<R>>,
    peer: Arc<Peer>,
    encoder: FrameEncoder,
    out: WriteBuffer,
    lost: Vec<Outgoing>,
    /// It was written to before.
    greeted: bool,
    /// Turns that others still get before anything is written behind what is to leave ahead of it.
    ahead: u8,
}

/// Why writing to a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer is gone.
    Gone,
    /// The stream broke.
    Broken,
    /// A newer connection is there.
    Renewed,
    /// The peer reads one frame of each stream.
    OneFrameRead,
}

impl<R: Router> Link<R> {
    fn new(shared: Arc<Shared<R>>, peer: Arc<Peer>) -> Self {
        let limits = &shared.config.queue;
        Self {
            encoder: FrameEncoder::new(limits.frame_len, limits.frame_subscriptions_max),
            out: WriteBuffer::default(),
            lost: Vec::new(),
            greeted: false,
            ahead: 0,
            shared,
            peer,
        }
    }

    async fn run(&mut self) {
        let mut backoff = Duration::ZERO;
        while !self.peer.queue.is_closed() {
            let opened_at = self.shared.now();
            let end = match self.open().await {
                Ok(stream) => self.write(stream).await,
                Err(error) => match self.not_opened(&error).await {
                    Some(end) => end,
                    None => continue,
                },
            };
            self.out.clear();
            match end {
                End::Gone => return,
                End::Renewed => continue,
                End::OneFrameRead => self.write_one_by_one().await,
                End::Broken => {}
            }
            if self.shared.now() - opened_at > self.shared.config.reopen_backoff_max {
                backoff = Duration::ZERO;
            }
            backoff = self.next_backoff(backoff);
            self.wait(backoff).await;
        }
    }

    async fn open(&self) -> Result<Stream, OpenStreamError> {
        let host = self.shared.host.upgrade();
        let host = host.filter(|host| host.is_connected(&self.peer.id));
        let Some(host) = host else {
            return Err(peerkit_swarm::DialError::Closed.into());
        };
        let protocols = self.shared.protocols.clone();
        let stream = host.open_stream(self.peer.id, protocols).await?;
        drop(host);
        match stream.confirmed().await {
            Ok(()) => Ok(stream),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// With one protocol the answer comes as an error of the stream.
    fn refused(&self, error: &io::Error) -> OpenStreamError {
        tracing::debug!(target: "peerkit::pubsub", peer = %self.peer.id, %error, "no stream");
        OpenStreamError::Unsupported {
            peer: self.peer.id,
            protocols: self.shared.protocols.clone(),
        }
    }

    /// A peer that does not speak the protocol is left alone until it shows that it does.
    async fn not_opened(&self, error: &OpenStreamError) -> Option<End> {
        tracing::debug!(target: "peerkit::pubsub", peer = %self.peer.id, %error, "no stream to a peer");
        let host = self.shared.host.upgrade()?;
        if !host.is_connected(&self.peer.id) {
            return Some(End::Gone);
        }
        drop(host);
        if matches!(error, OpenStreamError::Unsupported { .. }) {
            self.peer.seen().await;
        }
        Some(End::Broken)
    }

    fn next_backoff(&self, backoff: Duration) -> Duration {
        let config = &self.shared.config;
        (backoff * 2).clamp(config.reopen_backoff_min, config.reopen_backoff_max)
    }

    async fn wait(&self, backoff: Duration) {
        let until = self.shared.now() + backoff;
        let sleep = sleep_until(self.shared.runtime.as_ref(), until);
        let gone = self.peer.gone();
        futures::future::select(std::pin::pin!(sleep), std::pin::pin!(gone)).await;
    }

    /// Tells the router of a new peer, or the peer of this node's topics once more.
    fn greet(&mut self, stream: &Stream) {
        if std::mem::replace(&mut self.greeted, true) {
            self.peer.queue.restart();
            return;
        }
        let info = stream.connection_info();
        let link = PeerLink {
            protocol: stream.protocol().clone(),
            direction: info.direction,
            ip: ip_of(&info.remote_addr),
        };
        let (peer, protocol) = (&self.peer, link.protocol.clone());
        self.shared.with_core(|core, now, effects| {
            if core.connect(peer, link, now) {
                let peer = peer.id;
                effects
                    .events
                    .push(PubsubEvent::PeerConnected { peer, protocol });
            }
        });
        self.peer.set_ready();
    }

    async fn write(&mut self, stream: Stream) -> End {
        self.greet(&stream);
        let proof = (*stream.protocol() == FLOODSUB).then(Proof::default);
        let mut writing = Writing {
            link: self,
            stream,
            remote_open: true,
            proof,
            blocked: None,
            timer: None,
        };
        let end = poll_fn(|cx| writing.poll(cx)).await;
        if end == End::OneFrameRead
            && let Some(proof) = writing.proof.take()
        {
            writing.link.peer.queue.put_back(proof.sent);
        }
        let stream = writing.stream;
        match end {
            // What was written still arrives. Fails when the stream is gone anyway.
            End::Renewed => drop({ stream }.close().await),
            End::Gone => self.say_goodbye(stream).await,
            End::Broken | End::OneFrameRead => {}
        }
        end
    }

    /// Ends a stream and waits until the remote has read to its end, which it shows by closing its side.
    async fn say_goodbye(&self, mut stream: Stream) {
        let goodbye = async {
            stream.close().await?;
            let mut ignored = [0; 64];
            while stream.read(&mut ignored).await? > 0 {}
            io::Result::Ok(())
        };
        // An error or silence: the stream is dropped either way.
        let _ = with_deadline(self.shared.runtime.as_ref(), GOODBYE_TIME, goodbye).await;
    }

    /// One stream for each frame, until the peer is gone or takes none any more.
    async fn write_one_by_one(&mut self) {
        let mut failures = 0;
        while failures < ONE_BY_ONE_FAILURES_MAX {
            let mut sent = Vec::new();
            if !self.next_frame(&mut sent).await {
                return;
            }
            let limit = self.shared.config.write_timeout;
            let runtime = self.shared.runtime.clone();
            let outcome = with_deadline(runtime.as_ref(), limit, self.write_frame()).await;
            if matches!(outcome, Some(Ok(()))) {
                failures = 0;
                continue;
            }
            failures += 1;
            self.out.clear();
            self.peer.queue.put_back(sent);
            self.wait(self.shared.config.reopen_backoff_min).await;
        }
    }

    /// Waits for something to send; false when the peer is gone.
    async fn next_frame(&mut self, sent: &mut Vec<Sent>) -> bool {
        poll_fn(|cx| {
            let portion = Portion::OneFrame {
                len_max: ONE_FRAME_LEN,
            };
            if self.fill(cx, portion, Some(sent)) {
                return Poll::Ready(true);
            }
            if self.peer.queue.is_closed() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    async fn write_frame(&mut self) -> Result<(), ()> {
        let mut stream = self.open().await.map_err(drop)?;
        while !self.out.is_empty() {
            let written = stream.write(self.out.chunk()).await.map_err(drop)?;
            if written == 0 {
                return Err(());
            }
            self.out.advance(written);
        }
        stream.close().await.map_err(drop)
    }

    /// Takes the next portion out of the queue; false when there is nothing.
    fn fill(&mut self, cx: &Context<'_>, portion: Portion, log: Option<&mut Vec<Sent>>) -> bool {
        self.encoder.set_frame_len_max(match portion {
            Portion::Frames { .. } => self.shared.config.queue.frame_len,
            Portion::OneFrame { .. } => usize::MAX,
        });
        let mut filling = Filling {
            portion,
            encoder: &mut self.encoder,
            out: &mut self.out,
            lost: &mut self.lost,
            log,
            ahead: false,
        };
        let filled = self
            .peer
            .queue
            .fill(&mut filling, self.shared.now(), cx.waker());
        self.ahead = if filling.ahead { TURNS_AHEAD } else { 0 };
        if !self.lost.is_empty() {
            let (lost, peer) = (&mut self.lost, self.peer.id);
            self.shared.with_core(|core, now, effects| {
                for outgoing in lost.drain(..) {
                    core.dropped(peer, &outgoing, now, effects);
                }
            });
        }
        filled
    }
}

/// Bytes that are taken out of the queue at a time.
const PORTION: usize = 64 * 1024;
/// The longest frame that all peers read who read one frame of each stream.
const ONE_FRAME_LEN: usize = 2000;
/// Streams in a row that fail until the peer is tried anew.
const ONE_BY_ONE_FAILURES_MAX: usize = 3;
/// How long a remote may take to read to the end of a stream.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
/// The turns that a connection needs to send what was written alone: in its first it gathers what others write, to
/// put it into the same record.
const TURNS_AHEAD: u8 = 2;
/// Portions that are written in one go.
const BUDGET: usize = 16;

/// Whether a floodsub peer reads more than one frame is not known at first. What is sent behind the first frame
/// is remembered for a while, to be sent again.
#[derive(Default)]
struct Proof {
    /// When the first frame was written.
    begun: Option<Instant>,
    sent: Vec<Sent>,
    sent_bytes: usize,
}

/// A peer that has not reset the stream by then reads on.
const PROOF_TIME: Duration = Duration::from_secs(2);
const PROOF_BYTES_MAX: usize = 1024 * 1024;
const PROOF_ENTRIES_MAX: usize = 1024;

impl Proof {
    fn add(&mut self, sent: Vec<Sent>, now: Instant) {
        if self.begun.is_none() {
            self.begun = Some(now);
            return;
        }
        for item in sent {
            // What does not fit would be lost if the peer turned out to read one frame only.
            if self.sent.len() < PROOF_ENTRIES_MAX && self.sent_bytes < PROOF_BYTES_MAX {
                self.sent_bytes += item.len();
                self.sent.push(item);
            }
        }
    }

    fn is_complete(&self, now: Instant) -> bool {
        self.begun
            .is_some_and(|begun| now.saturating_duration_since(begun) >= PROOF_TIME)
    }
}

struct Writing<'a, R> {
    link: &'a mut Link<R>,
    stream: Stream,
    /// The remote has not closed its side, on which nothing comes but the news of a reset.
    remote_open: bool,
    proof: Option<Proof>,
    /// Since when the stream takes nothing.
    blocked: Option<Instant>,
    timer: Option<Pin<Box<dyn Timer>>>,
}

impl<R: Router> Writing<'_, R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.is_reset(cx) {
            return Poll::Ready(self.broken());
        }
        for _ in 0..BUDGET {
            if self.link.out.is_empty() {
                if self.link.ahead > 0 {
                    self.link.ahead -= 1;
                    break;
                }
                if self.link.peer.take_renew() {
                    return Poll::Ready(End::Renewed);
                }
                if !self.fill(cx) {
                    return match self.link.peer.queue.is_closed() {
                        true => Poll::Ready(End::Gone),
                        false => Poll::Pending,
                    };
                }
            }
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write(cx, self.link.out.chunk()) {
                Poll::Ready(Ok(count)) if count > 0 => self.wrote(count),
                Poll::Ready(_) => return Poll::Ready(self.broken()),
                Poll::Pending => return self.poll_blocked(cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn fill(&mut self, cx: &Context<'_>) -> bool {
        let now = self.link.shared.now();
        let proven = |proof: &Proof| proof.is_complete(now);
        if self.link.peer.is_persistent() || self.proof.as_ref().is_some_and(proven) {
            self.proof = None;
        }
        let Some(proof) = &mut self.proof else {
            return self.link.fill(cx, Portion::Frames { bytes: PORTION }, None);
        };
        let portion = Portion::OneFrame {
            len_max: ONE_FRAME_LEN,
        };
        let mut sent = Vec::new();
        let filled = self.link.fill(cx, portion, Some(&mut sent));
        if filled {
            proof.add(sent, now);
        }
        filled
    }

    fn wrote(&mut self, count: usize) {
        self.link.out.advance(count);
        if self.blocked.take().is_some() {
            self.link.peer.queue.set_blocked(None);
        }
    }

    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let shared = &self.link.shared;
        if self.blocked.is_none() {
            let now = shared.now();
            self.blocked = Some(now);
            self.link.peer.queue.set_blocked(Some(now));
            let deadline = now + shared.config.write_timeout;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(shared.runtime.timer(deadline)),
            }
        }
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.stream.reset(ResetCode::LIMIT_EXCEEDED);
            return Poll::Ready(End::Broken);
        }
        Poll::Pending
    }

    /// Nothing is to be read on this stream; an error means that the remote has reset it.
    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ignored = [0; 64];
        for _ in 0..BUDGET {
            if !self.remote_open {
                return false;
            }
            match Pin::new(&mut self.stream).poll_read(cx, &mut ignored) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(0)) => self.remote_open = false,
                Poll::Ready(Ok(_)) => {}
            }
        }
        // Somebody who has so much to say here is not listened to.
        self.remote_open = false;
        false
    }

    fn broken(&self) -> End {
        let first_read = |proof: &Proof| proof.begun.is_some();
        if self.proof.as_ref().is_some_and(first_read) {
            End::OneFrameRead
        } else {
            End::Broken
        }
    }
}

fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    let first = addr.iter().next()?;
    if let Protocol::Ip4(ip) = first {
        return Some(ip.into());
    }
    if let Protocol::Ip6(ip) = first {
        return Some(IpAddr::V6(ip).to_canonical());
    }
    None
}
