//! What the machine costs: two sessions, back to back, without cipher, socket and tasks.

use divan::{Bencher, black_box, counter::BytesCount};
use peerkit_core::RecordLayout;
use peerkit_testkit::SessionPair;
use peerkit_yamux::{Config, Session};

fn main() {
    divan::main();
}

/// One write, carried over and read, with the window updates that it causes.
#[divan::bench(args = [64, 4096, 65_536])]
fn transfer(bencher: Bencher, size: usize) {
    let mut pair = pair();
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
    let mut pair = pair();
    for _ in 0..others {
        pair.request();
    }
    bencher.bench_local(|| pair.request());
}

/// The same beside streams that are open and idle.
#[divan::bench(args = [0, 100])]
fn stream_beside(bencher: Bencher, others: usize) {
    let mut pair = pair();
    for _ in 0..others {
        pair.stream();
    }
    bencher.bench_local(|| pair.request());
}

fn pair() -> SessionPair<Session> {
    SessionPair::new(|role, now| Session::new(Config::default(), role, RecordLayout::PLAIN, now))
}
