//! Remotes and readers that behave badly.

use std::time::Duration;

use bytes::Bytes;
use hex_literal::hex;
use peerkit_core::{ConnectionError, Role, Session as _, StreamError, StreamId};
use peerkit_mplex::Config;

use crate::support::{Pair, Read, Side, start};

mod support;

#[test]
fn garbage_ends_the_connection_with_a_reason() {
    for bad in [
        &[0xff; 20][..],
        &hex!("07 00"),
        &hex!("02 81 80 40"),
        &hex!("02 80 00"),
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let now = start();
        let mut side = Side::new(Config::default(), Role::Listener, now);
        let outcome = side.session.handle_read(Bytes::copy_from_slice(bad), now);
        assert!(
            matches!(outcome, Err(ConnectionError::Malformed(_))),
            "{bad:02x?}"
        );
        let opened = side.session.open(now);
        assert!(matches!(
            opened,
            std::task::Poll::Ready(Err(ConnectionError::Malformed(_)))
        ));
    }
}

#[test]
fn streams_over_the_limit_are_reset_and_the_others_live() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    for number in 0..129 {
        side.session
            .handle_read(frame(number, 0, b""), now)
            .unwrap();
    }
    assert_eq!(side.session.stream_count(), 128);
    let refusal = frame(128, 5, b"");
    assert_eq!(side.sent(), refusal);
    let first = side.session.accept(now).unwrap();
    side.session
        .handle_read(frame(0, 2, b"alive"), now)
        .unwrap();
    assert_eq!(side.read(first, 9, now).bytes(), b"alive");
}

#[test]
fn a_million_opens_end_at_the_budget() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    let outcome = (0..1 << 20).try_for_each(|n| side.session.handle_read(frame(n, 0, b""), now));
    assert!(matches!(outcome, Err(ConnectionError::Limit(_))));
    assert_eq!(side.session.stream_count(), 128);
    assert!(side.session.transmit_len() < 512 * 4);
}

#[test]
fn a_million_opens_with_resets_end_at_the_budget() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    let mut streams = 0;
    let outcome = (0..1_000_000).try_for_each(|n| {
        streams = n;
        side.session.handle_read(frame(n, 0, b""), now)?;
        side.session.handle_read(frame(n, 6, b""), now)
    });
    assert!(matches!(outcome, Err(ConnectionError::Limit(_))));
    assert_eq!(streams, u64::from(Config::default().rapid_reset_burst));
}

#[test]
fn resets_at_a_human_pace_go_on_for_ever() {
    let mut now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    for n in 0..10_000 {
        side.session.handle_read(frame(n, 0, b""), now).unwrap();
        side.session.handle_read(frame(n, 6, b""), now).unwrap();
        now += Duration::from_millis(11);
    }
    assert_eq!(side.session.stream_count(), 0);
}

#[test]
fn a_slow_reader_slows_the_sender_and_loses_nothing() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    let (mut written, mut read) = (0_usize, 0_usize);
    let total = 16 << 20;
    while read < total {
        let bytes: Vec<u8> = (written..total.min(written + 65_536))
            .map(pattern)
            .collect();
        if !bytes.is_empty() {
            written += pair.write(near, &bytes);
        }
        pair.step(2);
        assert!(pair.listener.session.unread_len() < 512 * 1024);
        if let Read::Bytes(bytes) = pair.listener.read(far, 10_000, pair.now) {
            assert!(
                bytes
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == pattern(read + at))
            );
            read += bytes.len();
        }
        pair.now += Duration::from_millis(100);
        pair.advance(Duration::ZERO);
    }
}

#[test]
fn a_stream_that_is_never_read_is_sacrificed_for_the_others() {
    let mut pair = Pair::new(Config::default());
    let (ignored, ignored_far) = pair.stream();
    let (alive, alive_far) = pair.stream();
    fill(&mut pair, ignored);
    assert!(!pair.listener.session.wants_read());
    while pair.write(alive, b"patience") == 0 {
        pair.step(1);
    }
    pair.settle();
    assert!(matches!(
        pair.listener.read(alive_far, 9, pair.now),
        Read::Nothing
    ));

    pair.advance(Duration::from_millis(4999));
    assert!(!pair.listener.session.wants_read());
    pair.advance(Duration::from_millis(1));
    assert!(pair.listener.session.wants_read());
    pair.settle();
    assert_eq!(
        pair.listener.read(alive_far, 9, pair.now).bytes(),
        b"patience"
    );
    assert!(matches!(
        pair.listener.read(ignored_far, 9, pair.now),
        Read::Failed(StreamError::Limit(_))
    ));
    assert!(matches!(
        pair.dialer.read(ignored, 9, pair.now),
        Read::Failed(StreamError::ResetByRemote(_))
    ));
}

#[test]
fn any_reading_puts_the_sacrifice_off() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    fill(&mut pair, near);
    for _ in 0..10 {
        pair.advance(Duration::from_secs(4));
        assert_eq!(pair.listener.read(far, 1, pair.now).bytes().len(), 1);
    }
    pair.advance(Duration::from_secs(5));
    assert!(matches!(
        pair.listener.read(far, 1, pair.now),
        Read::Failed(_)
    ));
}

#[test]
fn a_stream_that_rests_for_an_hour_is_not_guilty_at_once() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"not urgent");
    pair.settle();
    pair.advance(Duration::from_secs(3600));
    fill(&mut pair, near);
    pair.advance(Duration::from_millis(4999));
    assert_eq!(pair.listener.read(far, 10, pair.now).bytes(), b"not urgent");
}

#[test]
fn many_streams_that_are_each_nearly_full_pause_as_well() {
    let mut pair = Pair::new(Config::default());
    let streams: Vec<_> = (0..12).map(|_| pair.stream()).collect();
    for (near, _) in &streams {
        let mut left = 250 * 1024;
        while left > 0 && pair.listener.session.wants_read() {
            left -= pair.write(*near, &vec![0; left]);
            pair.settle();
        }
    }
    assert!(!pair.listener.session.wants_read());
    assert!(pair.listener.session.unread_len() <= Config::default().unread_max);
    pair.advance(Duration::from_secs(5));
    assert!(pair.listener.session.wants_read());
    let now = pair.now;
    let lives = |far: StreamId| !matches!(pair.listener.read(far, 1, now), Read::Failed(_));
    let survivors = streams.iter().map(|(_, far)| *far).map(lives);
    assert!(
        survivors.filter(|lives| *lives).count() >= 3,
        "only as many as needed are reset"
    );
}

#[test]
fn a_driver_that_reads_on_meets_the_hard_limit() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    side.session.handle_read(frame(0, 0, b""), now).unwrap();
    let id = side.session.accept(now).unwrap();
    let chunk = frame(0, 2, &[0; 100_000]);
    let mut most = 0;
    for _ in 0..100 {
        side.session.handle_read(chunk.clone(), now).unwrap();
        most = most.max(side.session.unread_len());
    }
    assert!(most > 4_000_000 && most <= Config::default().unread_max);
    assert!(matches!(
        side.read(id, 9, now),
        Read::Failed(StreamError::Limit(_))
    ));
    assert_eq!(side.sent(), frame(0, 5, b""));
    assert_eq!(side.session.unread_len(), 0);
}

#[test]
fn a_remote_that_never_ends_its_streams_can_be_answered_for_ever() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    for number in 0..10_000 {
        side.session
            .handle_read(frame(number, 0, b""), now)
            .unwrap();
        let id = side.session.accept(now).unwrap();
        side.session.finish(id, now).unwrap();
        side.session.forget(id);
        let _ = side.sent();
    }
    assert_eq!(side.session.stream_count(), 0);
    side.session
        .handle_read(frame(1, 2, b"of long ago"), now)
        .unwrap();
    assert!(side.sent().is_empty());
    side.session
        .handle_read(frame(9_999, 2, b"fresh"), now)
        .unwrap();
    assert_eq!(side.sent(), frame(9_999, 5, b""));
}

#[test]
fn empty_messages_cost_nothing() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    side.session.handle_read(frame(0, 0, b""), now).unwrap();
    let id = side.session.accept(now).unwrap();
    assert!(matches!(side.read(id, 1, now), Read::Nothing));
    let _ = side.drain_events();
    for _ in 0..100_000 {
        side.session.handle_read(frame(0, 2, b""), now).unwrap();
    }
    assert!(side.drain_events().is_empty());
    assert!(matches!(side.read(id, 1, now), Read::Nothing));
}

/// Writes until the listener wants no more and the transmit buffer is full.
fn fill(pair: &mut Pair, id: StreamId) {
    while pair.listener.session.wants_read() {
        pair.write(id, &[7; 10_000]);
        pair.settle();
    }
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

fn frame(number: u64, flag: u64, body: &[u8]) -> Bytes {
    let (mut first, mut second) = (
        unsigned_varint::encode::u64_buffer(),
        unsigned_varint::encode::usize_buffer(),
    );
    let header = unsigned_varint::encode::u64(number << 3 | flag, &mut first);
    let length = unsigned_varint::encode::usize(body.len(), &mut second);
    [header, length, body].concat().into()
}
