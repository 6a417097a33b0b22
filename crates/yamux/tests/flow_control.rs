//! Windows, the transmit buffer, and who may send when.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod common;

use std::{task::Poll, time::Duration};

use common::*;
use peerkit_core::{Session as _, SessionEvent, StreamId};
use peerkit_yamux::Config;

/// Moves `total` bytes from the dialer to a listener that reads everything at once; the time that it took.
fn transfer(pair: &mut Pair, total: usize) -> Duration {
    let (local, remote) = pair.stream();
    let begin = pair.now;
    let chunk = pattern(64 * KIB);
    let (mut written, mut read) = (0, 0);
    while read < total {
        loop {
            let left = chunk.len().min(total - written);
            let count = pair.dialer.write(local, &chunk[..left], pair.now).unwrap();
            written += count;
            pair.transmit();
            if count == 0 {
                break;
            }
        }
        assert!(pair.step(), "stuck after {read} of {total} bytes");
        read += pair.listener.read(remote, pair.now).unwrap().0.len();
    }
    pair.now - begin
}

#[test]
fn a_writer_waits_for_a_reader_and_is_told_when_it_has_read() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    let sent = pattern(WINDOW);
    let mut written = 0;
    while written < WINDOW - 1 {
        written += pair
            .dialer
            .write(local, &sent[written..], pair.now)
            .unwrap();
        pair.settle();
    }
    assert_eq!(written, WINDOW - 1, "one byte was sent to open the stream");
    pair.dialer.take_events();
    assert!(
        pair.dialer
            .session
            .write(local, b"x", pair.now)
            .is_pending()
    );
    pair.settle();
    assert!(pair.dialer.take_events().is_empty());
    let mut half = vec![0; WINDOW / 2];
    let read = pair.listener.session.read(remote, &mut half, pair.now);
    assert!(matches!(read, Poll::Ready(Ok(count)) if count == WINDOW / 2));
    pair.settle();
    assert_eq!(pair.dialer.take_events(), [SessionEvent::Writable(local)]);
    assert_eq!(pair.dialer.write(local, b"x", pair.now).unwrap(), 1);
}

#[test]
fn window_updates_are_sent_for_at_least_half_a_window() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.listener.take_frames();
    for _ in 0..64 {
        pair.dialer
            .write(local, &pattern(8 * KIB), pair.now)
            .unwrap();
        pair.settle();
        pair.listener.read(remote, pair.now).unwrap();
    }
    pair.transmit();
    let updates: Vec<_> = pair
        .listener
        .take_frames()
        .into_iter()
        .filter(|frame| frame.kind == UPDATE)
        .collect();
    assert_eq!(updates.len(), 4);
    assert!(
        updates
            .iter()
            .all(|update| update.length as usize >= WINDOW / 2)
    );
}

#[test]
fn the_window_stays_open_after_the_local_end() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.listener.session.finish(remote, pair.now).unwrap();
    let sent = pattern(64 * KIB);
    for _ in 0..16 {
        assert_eq!(
            pair.dialer.write(local, &sent, pair.now).unwrap(),
            sent.len()
        );
        pair.settle();
        assert_eq!(pair.listener.read(remote, pair.now).unwrap().0, sent);
        pair.settle();
    }
}

#[test]
fn on_a_long_link_the_window_grows_until_it_no_longer_holds_back() {
    let latency = Duration::from_millis(50);
    let fixed = Config {
        stream_window_max: 0,
        ..Config::default()
    };
    let total = 64 * 1024 * KIB;
    let slow = transfer(
        &mut Pair::with(Config::default(), fixed).latency(latency),
        total,
    );
    let mut pair = Pair::new().latency(latency);
    let fast = transfer(&mut pair, total);
    assert!(fast * 8 < slow, "{fast:?} instead of {slow:?}");
    assert!(pair.listener.sizes().window_growth <= 128 * 1024 * KIB);
}

#[test]
fn windows_do_not_grow_while_the_application_reads_slowly() {
    let mut pair = Pair::new().latency(Duration::from_millis(5));
    let (local, remote) = pair.stream();
    for _ in 0..40 {
        pair.dialer
            .write(local, &pattern(64 * KIB), pair.now)
            .unwrap();
        pair.settle();
        pair.advance(Duration::from_millis(100));
        pair.listener.read(remote, pair.now).unwrap();
    }
    assert_eq!(pair.listener.sizes().window_growth, 0);
    assert_eq!(
        pair.listener.session.round_trip(),
        Some(Duration::from_millis(10))
    );
}

#[test]
fn all_windows_together_grow_by_no_more_than_the_session_may() {
    let listener = Config {
        window_growth_max: WINDOW,
        ..Config::default()
    };
    let mut pair = Pair::with(Config::default(), listener).latency(Duration::from_millis(50));
    transfer(&mut pair, 4 * 1024 * KIB);
    transfer(&mut pair, 4 * 1024 * KIB);
    assert_eq!(pair.listener.sizes().window_growth, WINDOW);
}

#[test]
fn growth_is_given_back_when_a_stream_ends() {
    let mut pair = Pair::new().latency(Duration::from_millis(50));
    transfer(&mut pair, 4 * 1024 * KIB);
    assert!(pair.listener.sizes().window_growth > 0);
    pair.dialer.session.reset(StreamId(1), Default::default());
    pair.settle();
    pair.listener.session.forget(StreamId(1));
    assert_eq!(pair.listener.sizes().window_growth, 0);
    assert_eq!(pair.listener.sizes().slices, 0);
}

#[test]
fn a_full_transmit_buffer_makes_writers_wait() {
    let mut pair = Pair::new();
    let (local, _) = pair.stream();
    let (other, _) = pair.stream();
    let written = pair
        .dialer
        .write(local, &pattern(WINDOW), pair.now)
        .unwrap();
    assert_eq!(written, WINDOW - 1, "the credit");
    let little = pair.dialer.write(other, &pattern(KIB), pair.now).unwrap();
    assert_eq!(little, 1, "the last byte of room");
    assert!(
        pair.dialer
            .session
            .write(other, b"x", pair.now)
            .is_pending()
    );
    assert_eq!(pair.dialer.sizes().waiting_writers, 1);
    assert!(pair.dialer.sizes().transmit <= WINDOW + 8 * 12);
    pair.transmit();
    assert_eq!(pair.dialer.take_events(), [SessionEvent::Writable(other)]);
}

#[test]
fn frames_are_no_larger_than_configured() {
    let mut pair = Pair::new();
    let (local, _) = pair.stream();
    pair.dialer.take_frames();
    pair.dialer
        .write(local, &pattern(200 * KIB), pair.now)
        .unwrap();
    let bodies: Vec<_> = pair
        .dialer
        .take_frames()
        .iter()
        .map(|frame| frame.body.len())
        .collect();
    assert_eq!(bodies, [64 * KIB, 64 * KIB, 64 * KIB, 8 * KIB]);
}

#[test]
fn bulk_senders_share_the_connection_equally() {
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..8).map(|_| pair.stream()).collect();
    let mut read = [0; 8];
    let bytes = pattern(64 * KIB);
    for _ in 0..200 {
        for (local, _) in &streams {
            pair.dialer.write(*local, &bytes, pair.now).unwrap();
        }
        pair.step();
        for (at, (_, remote)) in streams.iter().enumerate() {
            read[at] += pair.listener.read(*remote, pair.now).unwrap().0.len();
        }
    }
    let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
    assert!(*least > 1024 * KIB, "{read:?}");
    assert!(most - least <= 2 * 256 * KIB, "{read:?}");
}

#[test]
fn a_small_message_passes_a_bulk_sender() {
    let mut pair = Pair::new();
    let (bulk, _) = pair.stream();
    let (small, remote) = pair.stream();
    pair.dialer.write(bulk, &pattern(WINDOW), pair.now).unwrap();
    pair.dialer.write(small, b"xx", pair.now).unwrap();
    assert!(
        pair.dialer
            .session
            .write(small, b"x", pair.now)
            .is_pending()
    );
    pair.transmit();
    pair.dialer.write(bulk, &pattern(WINDOW), pair.now).unwrap();
    assert_eq!(pair.dialer.write(small, b"x", pair.now).unwrap(), 1);
    pair.settle();
    assert_eq!(pair.listener.read(remote, pair.now).unwrap().0, b"xx");
}
