//! Limits of streams, keep-alive, and the end of a session.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod common;

use std::{task::Poll, time::Duration};

use common::*;
use peerkit_core::{
    CloseReason, ConnectionError, ResetCode, Session as _, SessionEvent, StreamError,
};
use peerkit_yamux::Config;

/// Opens streams with one byte each.
fn open_streams(pair: &mut Pair, count: usize) {
    for _ in 0..count {
        let id = pair.dialer.open(pair.now);
        pair.dialer.write(id, b"x", pair.now).unwrap();
    }
}

#[test]
fn opening_waits_while_too_many_streams_are_not_acknowledged() {
    let mut pair = Pair::new();
    open_streams(&mut pair, 256);
    assert!(pair.dialer.session.open(pair.now).is_pending());
    pair.settle();
    assert!(pair.dialer.take_events().is_empty());
    pair.listener.session.accept(pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.dialer.take_events(), [SessionEvent::Openable]);
    pair.dialer.open(pair.now);
    assert!(pair.dialer.session.open(pair.now).is_pending());
}

#[test]
fn a_stream_that_is_reset_no_longer_waits_for_its_acknowledgement() {
    let mut pair = Pair::new();
    open_streams(&mut pair, 255);
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"x", pair.now).unwrap();
    assert!(pair.dialer.session.open(pair.now).is_pending());
    pair.dialer.session.reset(id, ResetCode::NONE);
    assert_eq!(pair.dialer.take_events(), [SessionEvent::Openable]);
    pair.dialer.open(pair.now);
}

#[test]
fn opening_waits_while_too_many_streams_are_open() {
    let config = Config {
        streams_max: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(config, Config::default());
    let (first, _) = pair.stream();
    pair.stream();
    assert!(pair.dialer.session.open(pair.now).is_pending());
    pair.dialer.session.forget(first);
    assert_eq!(pair.dialer.take_events(), [SessionEvent::Openable]);
    pair.dialer.open(pair.now);
}

#[test]
fn everybody_who_waits_to_open_gets_a_turn() {
    let config = Config {
        streams_max: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(config, Config::default());
    let (first, _) = pair.stream();
    let (second, _) = pair.stream();
    assert!(pair.dialer.session.open(pair.now).is_pending());
    assert!(pair.dialer.session.open(pair.now).is_pending());
    pair.dialer.session.forget(first);
    pair.dialer.session.forget(second);
    let mut opened = 0;
    // Each event wakes one of them.
    while pair.dialer.take_events().contains(&SessionEvent::Openable) && opened < 2 {
        pair.dialer.open(pair.now);
        opened += 1;
    }
    assert_eq!(opened, 2);
}

#[test]
fn streams_beyond_the_limit_are_reset_and_the_connection_lives() {
    let dialer = Config {
        unacknowledged_streams_max: 1000,
        streams_max: 1000,
        ..Config::default()
    };
    let mut pair = Pair::with(dialer, Config::default());
    open_streams(&mut pair, 300);
    pair.settle();
    assert_eq!(pair.listener.sizes().inbound_streams, 256);
    assert_eq!(pair.listener.sizes().incoming, 256);
    let refused = peerkit_core::StreamId(2 * 256 + 1);
    assert!(matches!(
        pair.dialer.read(refused, pair.now),
        Err(StreamError::ResetByRemote(ResetCode::LIMIT_EXCEEDED))
    ));
    assert!(pair.dialer.end.is_none() && pair.listener.end.is_none());
    let accepted = pair.listener.session.accept(pair.now).unwrap();
    pair.listener.session.forget(accepted);
    pair.settle();
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"x", pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.listener.sizes().incoming, 256);
}

#[test]
fn an_idle_connection_is_kept_alive_by_pings() {
    let mut pair = Pair::new();
    pair.advance(Duration::from_secs(95));
    assert!(pair.dialer.end.is_none() && pair.listener.end.is_none());
    let pings = |side: &mut Side| {
        let frames = side.take_frames();
        frames.iter().filter(|frame| frame.flags == SYN).count()
    };
    assert_eq!(pings(&mut pair.dialer), 3);
    assert_eq!(pings(&mut pair.listener), 3);
    assert_eq!(
        pair.dialer.session.round_trip(),
        Some(Duration::from_millis(20))
    );
}

#[test]
fn a_silent_remote_is_noticed_within_forty_seconds() {
    let mut pair = Pair::new();
    let (local, _) = pair.stream();
    assert!(pair.dialer.read(local, pair.now).unwrap().0.is_empty());
    pair.dialer.take_events();
    pair.cut();
    pair.advance(Duration::from_secs(39));
    assert!(pair.dialer.end.is_none());
    pair.advance(Duration::from_secs(2));
    assert!(matches!(
        pair.dialer.end,
        Some(ConnectionError::Timeout(limit)) if limit == Duration::from_secs(10)
    ));
    assert!(
        pair.dialer
            .take_events()
            .contains(&SessionEvent::Readable(local))
    );
    assert!(matches!(
        pair.dialer.read(local, pair.now),
        Err(StreamError::Connection(ConnectionError::Timeout(_)))
    ));
    assert_eq!(pair.dialer.session.poll_timeout(), None);
}

#[test]
fn closing_says_goodbye_after_what_was_written() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.take_frames();
    pair.dialer.write(local, b"last words", pair.now).unwrap();
    pair.dialer.session.close(CloseReason::Normal);
    pair.dialer.session.close(CloseReason::InternalError);
    assert!(matches!(
        pair.dialer.write(local, b"x", pair.now),
        Err(StreamError::Connection(ConnectionError::Closed))
    ));
    assert!(matches!(
        pair.dialer.session.open(pair.now),
        Poll::Ready(Err(ConnectionError::Closed))
    ));
    pair.settle();
    let frames = pair.dialer.take_frames();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1], frame(3, 0, 0, 0));
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap().0,
        b"last words"
    );
    pair.dialer.receive(data(0, 1, b"too late"), pair.now);
    assert!(pair.dialer.end.is_none());
}

#[test]
fn the_reason_of_closing_is_told() {
    for (reason, code) in [
        (CloseReason::Normal, 0),
        (CloseReason::ProtocolError, 1),
        (CloseReason::InternalError, 2),
        (CloseReason::LimitExceeded, 0x1001),
        (CloseReason::Trimmed, 0x1005),
        (CloseReason::Denied, 0x1007),
    ] {
        let mut pair = Pair::new();
        pair.dialer.session.close(reason);
        pair.settle();
        assert_eq!(pair.dialer.take_frames(), [frame(3, 0, 0, code)]);
        assert!(matches!(
            pair.listener.end,
            Some(ConnectionError::ClosedByRemote(told)) if told == code
        ));
    }
}

#[test]
fn after_an_ordinary_goodbye_streams_end_in_peace_and_none_begin() {
    let mut pair = Pair::new();
    let (local, _remote) = pair.stream();
    let unannounced = pair.listener.open(pair.now);
    // A remote that says goodbye but goes on with its streams.
    pair.listener.receive(header(3, 0, 0, 0), pair.now);
    assert!(pair.listener.end.is_none());
    assert!(matches!(
        pair.listener.session.open(pair.now),
        Poll::Ready(Err(ConnectionError::ClosedByRemote(0)))
    ));
    assert!(matches!(
        pair.listener.write(unannounced, b"x", pair.now),
        Err(StreamError::Connection(ConnectionError::ClosedByRemote(0)))
    ));
    pair.listener.session.forget(unannounced);
    pair.dialer.write(local, b"still here", pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    let late = pair.dialer.open(pair.now);
    pair.dialer.write(late, b"x", pair.now).unwrap();
    pair.settle();
    assert!(matches!(
        pair.dialer.read(late, pair.now),
        Err(StreamError::ResetByRemote(_))
    ));
    let remote = peerkit_core::StreamId(local.0);
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap(),
        (b"still here".to_vec(), true)
    );
    pair.listener.session.finish(remote, pair.now).unwrap();
    assert!(matches!(
        pair.listener.session.end_of_input(),
        ConnectionError::ClosedByRemote(0)
    ));
    pair.listener.session.forget(remote);
    pair.listener.handle_timeout(pair.now);
    assert!(matches!(
        pair.listener.end,
        Some(ConnectionError::ClosedByRemote(0))
    ));
}

#[test]
fn a_goodbye_tells_everybody_who_waits_to_open() {
    let config = Config {
        streams_max: 1,
        ..Config::default()
    };
    let mut pair = Pair::with(Config::default(), config);
    pair.stream();
    pair.listener.take_events();
    assert!(pair.listener.session.open(pair.now).is_pending());
    assert!(pair.listener.session.open(pair.now).is_pending());
    pair.listener.receive(header(3, 0, 0, 0), pair.now);
    for _ in 0..2 {
        assert_eq!(pair.listener.take_events(), [SessionEvent::Openable]);
        let refused = pair.listener.session.open(pair.now);
        assert!(matches!(refused, Poll::Ready(Err(_))));
    }
}

#[test]
fn a_goodbye_with_an_error_ends_everything() {
    let mut pair = Pair::new();
    let (_, remote) = pair.stream();
    assert!(pair.listener.read(remote, pair.now).unwrap().0.is_empty());
    assert!(
        pair.listener
            .session
            .write(remote, &pattern(2 * WINDOW), pair.now)
            .is_ready()
    );
    pair.listener.take_events();
    pair.listener.receive(header(3, 0, 0, 2), pair.now);
    let events = pair.listener.take_events();
    assert!(events.contains(&SessionEvent::Readable(remote)));
    assert!(events.contains(&SessionEvent::Openable));
    assert!(events.contains(&SessionEvent::Incoming));
    assert!(matches!(
        pair.listener.read(remote, pair.now),
        Err(StreamError::Connection(ConnectionError::ClosedByRemote(2)))
    ));
    assert!(matches!(
        pair.listener
            .session
            .handle_read(data(0, 1, b"x").into(), pair.now),
        Err(ConnectionError::ClosedByRemote(2))
    ));
}

#[test]
fn without_a_goodbye_the_end_of_the_input_is_a_cut() {
    let pair = Pair::new();
    assert!(matches!(
        pair.dialer.session.end_of_input(),
        ConnectionError::Truncated
    ));
}

#[test]
fn ten_thousand_streams_leave_nothing_behind() {
    let mut pair = Pair::new();
    for round in 0..10_000_u32 {
        let id = pair.dialer.open(pair.now);
        pair.dialer.write(id, b"question", pair.now).unwrap();
        if round % 3 != 0 {
            pair.dialer.session.finish(id, pair.now).unwrap();
        }
        pair.settle();
        let remote = pair.listener.session.accept(pair.now).unwrap();
        assert_eq!(pair.listener.read(remote, pair.now).unwrap().0, b"question");
        pair.listener.write(remote, b"answer", pair.now).unwrap();
        if round % 5 != 0 {
            pair.listener.session.finish(remote, pair.now).unwrap();
        }
        pair.listener.session.forget(remote);
        pair.settle();
        pair.dialer.session.forget(id);
        pair.settle();
        pair.dialer.take_events();
        pair.listener.take_events();
    }
    assert_eq!(pair.dialer.sizes(), Default::default());
    assert_eq!(pair.listener.sizes(), Default::default());
    assert!(pair.dialer.end.is_none() && pair.listener.end.is_none());
}
