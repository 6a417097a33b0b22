//! Two ends of a muxer's machine.

use std::{task::Poll, time::Instant};

use bytes::Bytes;
use peerkit_core::{Batch, Role, Session, StreamId};

/// Two sessions, back to back, without cipher, socket and tasks.
#[derive(Debug)]
pub struct SessionPair<S> {
    dialer: S,
    listener: S,
    batch: Batch,
    now: Instant,
}

impl<S: Session> SessionPair<S> {
    /// Two sessions that `session` makes.
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    pub fn new(session: impl Fn(Role, Instant) -> S) -> Self {
        let now = Instant::now();
        let session = |role| session(role, now);
        Self {
            dialer: session(Role::Dialer),
            listener: session(Role::Listener),
            batch: Batch::default(),
            now,
        }
    }

    /// Hands over what each side has to send.
    fn carry(&mut self) {
        carry(
            &mut self.dialer,
            &mut self.listener,
            &mut self.batch,
            self.now,
        );
        carry(
            &mut self.listener,
            &mut self.dialer,
            &mut self.batch,
            self.now,
        );
    }

    /// A stream that both sides have; the dialer has opened it.
    pub fn stream(&mut self) -> (StreamId, StreamId) {
        let Poll::Ready(near) = self.dialer.open(self.now) else {
            panic!("open waits");
        };
        let near = near.unwrap();
        write_all(&mut self.dialer, near, b"!", self.now);
        self.carry();
        let far = self.listener.accept(self.now).unwrap();
        read_all(&mut self.listener, far, &mut [0], self.now);
        self.carry();
        (near, far)
    }

    /// One write of the dialer, carried over and read into a buffer of the same length, with what the read causes.
    pub fn transfer(&mut self, (near, far): (StreamId, StreamId), data: &[u8], buffer: &mut [u8]) {
        write_all(&mut self.dialer, near, data, self.now);
        self.carry();
        read_all(&mut self.listener, far, buffer, self.now);
        carry(
            &mut self.listener,
            &mut self.dialer,
            &mut self.batch,
            self.now,
        );
    }

    /// A stream with a request and its answer, closed by both sides.
    pub fn request(&mut self) {
        let mut buffer = [0; 32];
        let (near, far) = self.stream();
        self.transfer((near, far), &[1; 32], &mut buffer);
        write_all(&mut self.listener, far, &buffer, self.now);
        self.listener.finish(far, self.now).unwrap();
        self.listener.forget(far);
        self.carry();
        read_all(&mut self.dialer, near, &mut buffer, self.now);
        self.dialer.finish(near, self.now).unwrap();
        self.dialer.forget(near);
        self.carry();
    }
}

fn carry<S: Session>(from: &mut S, to: &mut S, batch: &mut Batch, now: Instant) {
    while from.poll_transmit(batch) {
        let bytes = Bytes::copy_from_slice(batch.unsent());
        batch.advance(bytes.len());
        to.handle_read(bytes, now).unwrap();
    }
    while from.poll_event().is_some() {}
    while to.poll_event().is_some() {}
}

fn write_all(session: &mut impl Session, id: StreamId, data: &[u8], now: Instant) {
    let written = session.write(id, data, now);
    assert!(matches!(written, Poll::Ready(Ok(count)) if count == data.len()));
}

fn read_all(session: &mut impl Session, id: StreamId, buffer: &mut [u8], now: Instant) {
    let mut filled = 0;
    while filled < buffer.len() {
        let Poll::Ready(read) = session.read(id, &mut buffer[filled..], now) else {
            panic!("read waits");
        };
        filled += read.unwrap();
    }
}
