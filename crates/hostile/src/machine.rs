//! A muxer's machine alone, fed with bytes under virtual time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use peerkit::core::{Batch, ConnectionError, RecordLayout, Role, Session, StreamId};

use crate::{
    frames::yamux::{self as frames, Frame},
    report::Findings,
};

/// The listener's side of a muxer.
#[derive(Debug)]
pub struct Machine<S> {
    /// The machine.
    pub session: S,
    /// Virtual time.
    pub now: Instant,
    /// Why it has ended.
    pub end: Option<ConnectionError>,
    batch: Batch,
}

/// yamux with a configuration.
pub fn yamux(config: peerkit::yamux::Config) -> Machine<peerkit::yamux::Session> {
    let now = Instant::now();
    let session = peerkit::yamux::Session::new(config, Role::Listener, RecordLayout::PLAIN, now);
    Machine::new(session, now)
}

/// yamux that has already taken so many bytes of an honest remote.
pub fn seasoned_yamux(bytes: usize) -> Machine<peerkit::yamux::Session> {
    let mut machine = yamux(peerkit::yamux::Config::default());
    let id = 1_000_001;
    machine.feed(frames::open(id));
    machine.session.accept(machine.now);
    let chunk = Bytes::from(frames::data(0, id, &vec![7; 64 * 1024]));
    for _ in 0..bytes / (64 * 1024) {
        machine.feed(chunk.clone());
        machine.read(StreamId(id.into()));
        machine.output();
    }
    machine.feed(frames::data(frames::FIN, id, b""));
    // It is open, so that it can be finished.
    let _ = machine.session.finish(StreamId(id.into()), machine.now);
    machine.session.forget(StreamId(id.into()));
    machine.output();
    machine
}

/// mplex with a configuration.
pub fn mplex(config: peerkit::mplex::Config) -> Machine<peerkit::mplex::Session> {
    let now = Instant::now();
    let session = peerkit::mplex::Session::new(config, Role::Listener, RecordLayout::PLAIN, now);
    Machine::new(session, now)
}

impl<S: Session> Machine<S> {
    fn new(session: S, now: Instant) -> Self {
        Self {
            session,
            now,
            end: None,
            batch: Batch::default(),
        }
    }

    /// Bytes of the remote.
    pub fn feed(&mut self, bytes: impl Into<Bytes>) {
        if self.end.is_none() {
            self.end = self.session.handle_read(bytes.into(), self.now).err();
        }
        while self.session.poll_event().is_some() {}
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) && self.end.is_none() {
            self.end = self.session.handle_timeout(self.now).err();
        }
    }

    /// Whether it goes on.
    pub fn is_alive(&self) -> bool {
        self.end.is_none()
    }

    /// All that it has to send.
    pub fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.session.poll_transmit(&mut self.batch) {
            output.extend_from_slice(self.batch.unsent());
            self.batch.advance(self.batch.unsent().len());
            while self.session.poll_event().is_some() {}
        }
        output
    }

    /// Reads what there is of a stream: how much, and whether it has ended.
    pub fn read(&mut self, id: StreamId) -> (usize, bool) {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        loop {
            match self.session.read(id, &mut buffer, self.now) {
                std::task::Poll::Ready(Ok(0)) => return (total, true),
                std::task::Poll::Ready(Ok(count)) => total += count,
                std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => {
                    return (total, false);
                }
            }
        }
    }

    /// Writes as much as goes now.
    pub fn write(&mut self, id: StreamId, mut bytes: &[u8]) -> usize {
        let mut total = 0;
        while let std::task::Poll::Ready(Ok(count)) = self.session.write(id, bytes, self.now) {
            total += count;
            bytes = &bytes[count..];
            if count == 0 || bytes.is_empty() {
                break;
            }
        }
        total
    }
}

impl Machine<peerkit::yamux::Session> {
    /// The frames that it has to send.
    pub fn frames(&mut self) -> Vec<Frame> {
        frames::all(self.output())
    }

    /// It has ended, and its goodbye says that the remote broke the protocol.
    pub fn said_goodbye(&mut self) -> Findings {
        let goodbye = self
            .frames()
            .into_iter()
            .find(|it| it.kind == frames::GO_AWAY);
        Findings::new().holds("ended", !self.is_alive()).equal(
            "goodbye",
            goodbye.map_or(99, |it| it.length),
            1,
        )
    }

    /// It lives and keeps nothing.
    pub fn kept_nothing(&mut self) -> Findings {
        let sizes = self.session.sizes();
        Findings::new().holds("alive", self.is_alive()).equal(
            "bytes kept",
            sizes.received_capacity,
            0,
        )
    }
}
