//! Two sessions, or one and a remote made of bytes, under virtual time.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::{
    collections::VecDeque,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{
    Batch, ConnectionError, RecordLayout, Role, Session as _, SessionEvent, StreamError, StreamId,
};
use peerkit_mplex::{Config, Session};

/// A session and what it has reported.
pub(crate) struct Side {
    pub(crate) session: Session,
    events: Vec<SessionEvent>,
    /// Bytes on their way to it.
    inbox: VecDeque<Bytes>,
}

/// Two sessions with a wire between them that holds everything that is not wanted yet.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) dialer: Side,
    pub(crate) listener: Side,
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

impl Side {
    pub(crate) fn new(config: Config, role: Role, now: Instant) -> Self {
        Self {
            session: Session::new(config, role, RecordLayout::PLAIN, now),
            events: Vec::new(),
            inbox: VecDeque::new(),
        }
    }

    pub(crate) fn read(&mut self, id: StreamId, max: usize, now: Instant) -> Read {
        let mut buffer = vec![0; max];
        match self.session.read(id, &mut buffer, now) {
            Poll::Ready(Ok(0)) => Read::End,
            Poll::Ready(Ok(read)) => Read::Bytes(buffer[..read].to_vec()),
            Poll::Ready(Err(error)) => Read::Failed(error),
            Poll::Pending => Read::Nothing,
        }
    }

    /// Takes out what is to be sent.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let mut batch = Batch::default();
        self.session.poll_transmit(&mut batch);
        batch.unsent().to_vec()
    }

    /// All events since the last call.
    pub(crate) fn drain_events(&mut self) -> Vec<SessionEvent> {
        self.collect_events();
        std::mem::take(&mut self.events)
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }
}

/// What a read has brought.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    End,
    Nothing,
    Failed(StreamError),
}

impl Read {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Read::Bytes(bytes) = self else {
            panic!("expected bytes, not {self:?}");
        };
        bytes
    }
}

impl Pair {
    pub(crate) fn new(config: Config) -> Self {
        let now = start();
        Self {
            now,
            dialer: Side::new(config.clone(), Role::Dialer, now),
            listener: Side::new(config, Role::Listener, now),
        }
    }

    /// Whether all that was sent has arrived and more would arrive as well.
    pub(crate) fn is_settled(&self) -> bool {
        [&self.dialer, &self.listener].iter().all(|side| {
            side.inbox.is_empty() && side.session.transmit_len() == 0 && side.session.wants_read()
        })
    }

    /// Moves bytes in both directions until nothing moves any more.
    pub(crate) fn settle(&mut self) {
        while self.step(usize::MAX) {}
    }

    /// Moves at most one batch and `chunks` chunks in each direction; false when nothing moved.
    pub(crate) fn step(&mut self, chunks: usize) -> bool {
        let now = self.now;
        let there = transfer(&mut self.dialer, &mut self.listener, chunks, now);
        let back = transfer(&mut self.listener, &mut self.dialer, chunks, now);
        there | back
    }

    /// Lets time pass; both machines see each of their deadlines.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            for side in [&mut self.dialer, &mut self.listener] {
                let outcome = side.session.handle_timeout(self.now);
                outcome.expect("time alone does not end a connection");
            }
        }
        self.now = end;
    }

    fn next_timeout(&self) -> Option<Instant> {
        let dialer = self.dialer.session.poll_timeout();
        dialer
            .into_iter()
            .chain(self.listener.session.poll_timeout())
            .min()
    }

    /// A stream that the dialer has opened and the listener has accepted.
    pub(crate) fn stream(&mut self) -> (StreamId, StreamId) {
        let near = opened(self.dialer.session.open(self.now));
        self.settle();
        let far = self.listener.session.accept(self.now);
        (near, far.expect("the stream has arrived"))
    }

    /// Writes as much as is taken now.
    pub(crate) fn write(&mut self, id: StreamId, bytes: &[u8]) -> usize {
        match self.dialer.session.write(id, bytes, self.now) {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => panic!("the write failed: {error}"),
            Poll::Pending => 0,
        }
    }
}

pub(crate) fn opened(outcome: Poll<Result<StreamId, ConnectionError>>) -> StreamId {
    let Poll::Ready(Ok(id)) = outcome else {
        panic!("no stream was opened: {outcome:?}");
    };
    id
}

fn transfer(from: &mut Side, to: &mut Side, chunks: usize, now: Instant) -> bool {
    let sent = from.sent();
    to.inbox
        .extend(sent.chunks(CHUNK).map(Bytes::copy_from_slice));
    let mut moved = !sent.is_empty();
    for _ in 0..chunks {
        if !to.session.wants_read() {
            break;
        }
        let Some(chunk) = to.inbox.pop_front() else {
            break;
        };
        to.session
            .handle_read(chunk, now)
            .expect("both sides follow the rules");
        moved = true;
    }
    from.collect_events();
    to.collect_events();
    moved
}

/// What a socket gives at once.
const CHUNK: usize = 64 * 1024;
