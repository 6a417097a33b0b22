//! Two sessions under virtual time, and one session against raw bytes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use std::{
    collections::VecDeque,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{
    Batch, ConnectionError, RecordLayout, Role, Session as _, SessionEvent, StreamError, StreamId,
};
use peerkit_yamux::{Config, Session, Sizes};

pub const KIB: usize = 1024;
pub const WINDOW: usize = 256 * KIB;

/// The beginning of virtual time.
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
pub fn start() -> Instant {
    Instant::now()
}

/// A dialer and a listener, joined by a link with a delay and without a limit of bandwidth.
pub struct Pair {
    pub now: Instant,
    pub dialer: Side,
    pub listener: Side,
    latency: Duration,
}

pub struct Side {
    pub session: Session,
    /// Why the session has ended.
    pub end: Option<ConnectionError>,
    pub events: Vec<SessionEvent>,
    /// Everything this side has sent.
    pub sent: Vec<u8>,
    inbox: VecDeque<(Instant, Bytes)>,
    /// The largest chunk in which bytes arrive.
    chop: usize,
    batch: Batch,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    pub fn with(dialer: Config, listener: Config) -> Self {
        let now = start();
        Self {
            now,
            dialer: Side::new(dialer, Role::Dialer, now),
            listener: Side::new(listener, Role::Listener, now),
            latency: Duration::from_millis(10),
        }
    }

    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Lets bytes arrive in chunks that are no larger than this.
    pub fn chop(&mut self, max: usize) {
        self.dialer.chop = max;
        self.listener.chop = max;
    }

    /// Sends what waits; it arrives after the delay.
    pub fn transmit(&mut self) {
        let at = self.now + self.latency;
        if let Some(bytes) = self.dialer.take_output() {
            self.listener.inbox.push_back((at, bytes));
        }
        if let Some(bytes) = self.listener.take_output() {
            self.dialer.inbox.push_back((at, bytes));
        }
    }

    /// Moves time to the next arrival; false when nothing is on its way.
    pub fn step(&mut self) -> bool {
        self.transmit();
        let Some(next) = self.next_arrival() else {
            return false;
        };
        self.now = next;
        self.deliver();
        true
    }

    /// Lets everything arrive that is on its way, and the answers to it.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass, timers included.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.transmit();
            let timers = [&self.dialer, &self.listener];
            let next = timers
                .iter()
                .filter_map(|side| side.session.poll_timeout())
                .chain(self.next_arrival())
                .min()
                .filter(|&at| at <= end);
            let Some(next) = next else {
                break;
            };
            self.now = self.now.max(next);
            self.deliver();
            self.dialer.handle_timeout(self.now);
            self.listener.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// From now on nothing arrives at the listener, and nothing from it.
    pub fn cut(&mut self) {
        self.latency = Duration::from_secs(1_000_000);
    }

    /// A stream that both sides have.
    pub fn stream(&mut self) -> (StreamId, StreamId) {
        let local = self.dialer.open(self.now);
        let hello = self.dialer.write(local, b"!", self.now).unwrap();
        assert_eq!(hello, 1);
        self.settle();
        let remote = self.listener.session.accept(self.now).unwrap();
        let mut hello = [0];
        let read = self.listener.session.read(remote, &mut hello, self.now);
        assert!(matches!(read, Poll::Ready(Ok(1))));
        self.settle();
        (local, remote)
    }

    fn next_arrival(&self) -> Option<Instant> {
        let inboxes = [&self.dialer.inbox, &self.listener.inbox];
        inboxes
            .iter()
            .filter_map(|inbox| inbox.front())
            .map(|of| of.0)
            .min()
    }

    fn deliver(&mut self) {
        self.dialer.deliver(self.now);
        self.listener.deliver(self.now);
    }
}

impl Side {
    pub fn new(config: Config, role: Role, now: Instant) -> Self {
        Self {
            session: Session::new(config, role, RecordLayout::PLAIN, now),
            end: None,
            events: Vec::new(),
            sent: Vec::new(),
            inbox: VecDeque::new(),
            chop: usize::MAX,
            batch: Batch::default(),
        }
    }

    /// What the session has to send, all of it.
    pub fn take_output(&mut self) -> Option<Bytes> {
        let mut output = Vec::new();
        while self.session.poll_transmit(&mut self.batch) {
            output.extend_from_slice(self.batch.unsent());
            self.batch.advance(self.batch.unsent().len());
            self.drain_events();
        }
        self.sent.extend_from_slice(&output);
        (!output.is_empty()).then(|| output.into())
    }

    pub fn receive(&mut self, bytes: impl Into<Bytes>, now: Instant) {
        let outcome = self.session.handle_read(bytes.into(), now);
        self.note(outcome);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            let outcome = self.session.handle_timeout(now);
            self.note(outcome);
        }
    }

    pub fn open(&mut self, now: Instant) -> StreamId {
        match self.session.open(now) {
            Poll::Ready(Ok(id)) => id,
            Poll::Ready(Err(error)) => panic!("open failed: {error}"),
            Poll::Pending => panic!("open has to wait"),
        }
    }

    /// Writes as much as goes now.
    pub fn write(
        &mut self,
        id: StreamId,
        mut bytes: &[u8],
        now: Instant,
    ) -> Result<usize, StreamError> {
        let mut total = 0;
        while !bytes.is_empty() {
            match self.session.write(id, bytes, now) {
                Poll::Ready(count) => {
                    let count = count?;
                    bytes = &bytes[count..];
                    total += count;
                }
                Poll::Pending => break,
            }
        }
        Ok(total)
    }

    /// Reads what there is; the flag tells whether the remote has finished.
    pub fn read(&mut self, id: StreamId, now: Instant) -> Result<(Vec<u8>, bool), StreamError> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 16 * KIB];
        loop {
            match self.session.read(id, &mut buffer, now) {
                Poll::Ready(Ok(0)) => return Ok((all, true)),
                Poll::Ready(Ok(count)) => all.extend_from_slice(&buffer[..count]),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok((all, false)),
            }
        }
    }

    pub fn sizes(&self) -> Sizes {
        self.session.sizes()
    }

    /// Takes the events that have come up.
    pub fn take_events(&mut self) -> Vec<SessionEvent> {
        self.drain_events();
        std::mem::take(&mut self.events)
    }

    /// The frames that were sent and not yet looked at.
    pub fn take_frames(&mut self) -> Vec<Frame> {
        self.take_output();
        frames(&std::mem::take(&mut self.sent))
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    fn note(&mut self, outcome: Result<(), ConnectionError>) {
        self.drain_events();
        if let Err(error) = outcome {
            self.end.get_or_insert(error);
        }
    }

    fn deliver(&mut self, now: Instant) {
        while let Some((at, _)) = self.inbox.front()
            && *at <= now
        {
            let (_, mut bytes) = self.inbox.pop_front().unwrap();
            while !bytes.is_empty() {
                let length = bytes.len().min(self.chop);
                self.receive(bytes.split_to(length), now);
            }
        }
    }
}

/// A listener against which a test plays the remote, byte by byte.
pub struct Victim {
    pub now: Instant,
    pub side: Side,
}

impl Victim {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let now = start();
        Self {
            now,
            side: Side::new(config, Role::Listener, now),
        }
    }

    pub fn receive(&mut self, bytes: impl Into<Bytes>) -> &mut Self {
        self.side.receive(bytes, self.now);
        self
    }

    pub fn is_alive(&self) -> bool {
        self.side.end.is_none()
    }

    /// Whether the session has ended with the goodbye for broken rules.
    #[track_caller]
    pub fn assert_goodbye(&mut self) {
        assert!(
            matches!(
                self.side.end,
                Some(ConnectionError::Malformed(_) | ConnectionError::Limit(_))
            ),
            "ended: {:?}",
            self.side.end
        );
        let last = self.side.take_frames().pop();
        assert_eq!(last, Some(frame(3, 0, 0, 1)));
    }
}

/// A frame as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u16,
    pub stream: u32,
    pub length: u32,
    pub body: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const UPDATE: u8 = 1;
pub const PING: u8 = 2;
pub const SYN: u16 = 1;
pub const ACK: u16 = 2;
pub const FIN: u16 = 4;
pub const RST: u16 = 8;

/// A frame without a body.
pub fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> Frame {
    Frame {
        kind,
        flags,
        stream,
        length,
        body: Vec::new(),
    }
}

pub fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// A data frame on the wire.
pub fn data(flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(DATA, flags, stream, body.len() as u32);
    bytes.extend_from_slice(body);
    bytes
}

/// Whole frames, read by rules that are independent of the crate's.
pub fn frames(mut wire: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let word = |at: usize| u32::from_be_bytes(wire[at..at + 4].try_into().unwrap());
        assert_eq!(wire[0], 0, "version");
        let mut frame = frame(wire[1], word(0) as u16, word(4), word(8));
        let body = if frame.kind == DATA {
            frame.length as usize
        } else {
            0
        };
        frame.body = wire[12..12 + body].to_vec();
        wire = &wire[12 + body..];
        frames.push(frame);
    }
    frames
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
