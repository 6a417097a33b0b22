//! What the machine costs: two sessions, back to back, without cipher, socket and tasks.
#![allow(clippy::unwrap_used, reason = "a benchmark panics when it fails")]

use std::{task::Poll, time::Instant};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use peerkit_core::{Batch, RecordLayout, Role, Session as _, StreamId};
use peerkit_mplex::{Config, Session};

fn main() {
    divan::main();
}

/// One write, carried over and read.
#[divan::bench(args = [64, 4096, 65_536])]
fn transfer(bencher: Bencher, size: usize) {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    let (data, mut buffer) = (vec![7; size], vec![0; size]);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| pair.transfer((near, far), black_box(&data), &mut buffer));
}

/// A stream with a request and its answer, closed by both sides: the one after so many others
/// costs what the first does.
#[divan::bench(args = [0, 100_000])]
fn stream_after(bencher: Bencher, others: usize) {
    let mut pair = Pair::new();
    for _ in 0..others {
        pair.request();
    }
    bencher.bench_local(|| pair.request());
}

/// The same beside streams that are open and idle.
#[divan::bench(args = [0, 100])]
fn stream_beside(bencher: Bencher, others: usize) {
    let mut pair = Pair::new();
    for _ in 0..others {
        pair.stream();
    }
    bencher.bench_local(|| pair.request());
}

struct Pair {
    dialer: Session,
    listener: Session,
    batch: Batch,
    now: Instant,
}

impl Pair {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn new() -> Self {
        let now = Instant::now();
        let session = |role| Session::new(Config::default(), role, RecordLayout::PLAIN, now);
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

    /// A stream that both sides have.
    fn stream(&mut self) -> (StreamId, StreamId) {
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

    fn transfer(&mut self, (near, far): (StreamId, StreamId), data: &[u8], buffer: &mut [u8]) {
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

    fn request(&mut self) {
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

fn carry(from: &mut Session, to: &mut Session, batch: &mut Batch, now: Instant) {
    while from.poll_transmit(batch) {
        let bytes = Bytes::copy_from_slice(batch.unsent());
        batch.advance(bytes.len());
        to.handle_read(bytes, now).unwrap();
    }
    while from.poll_event().is_some() {}
    while to.poll_event().is_some() {}
}

fn write_all(session: &mut Session, id: StreamId, data: &[u8], now: Instant) {
    let written = session.write(id, data, now);
    assert!(matches!(written, Poll::Ready(Ok(count)) if count == data.len()));
}

fn read_all(session: &mut Session, id: StreamId, buffer: &mut [u8], now: Instant) {
    let mut filled = 0;
    while filled < buffer.len() {
        let Poll::Ready(read) = session.read(id, &mut buffer[filled..], now) else {
            panic!("read waits");
        };
        filled += read.unwrap();
    }
}
