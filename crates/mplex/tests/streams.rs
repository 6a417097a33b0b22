//! How streams live and die.

use std::task::Poll;

use bytes::Bytes;
use hex_literal::hex;
use peerkit_core::{
    CloseReason, ConnectionError, ResetCode, Role, Session as _, SessionEvent, StreamError,
    StreamId,
};
use peerkit_mplex::Config;

use crate::support::{Pair, Read, Side, opened, start};

mod support;

#[test]
fn the_frames_of_an_opener_are_those_of_the_specification() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    let id = opened(side.session.open(now));
    assert!(matches!(
        side.session.write(id, b"hi", now),
        Poll::Ready(Ok(2))
    ));
    side.session.finish(id, now).unwrap();
    side.session.reset(id, ResetCode::NONE);
    assert_eq!(side.sent(), hex!("00 00  02 02 68 69  04 00  06 00"));
}

#[test]
fn the_frames_of_the_other_side_have_the_receiver_flags() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    feed(&mut side, &hex!("28 04 6e 61 6d 65  2a 02 68 69"));
    let id = side.session.accept(now).unwrap();
    assert_eq!(side.read(id, 9, now).bytes(), b"hi");
    assert!(matches!(
        side.session.write(id, b"ho", now),
        Poll::Ready(Ok(2))
    ));
    side.session.finish(id, now).unwrap();
    side.session.reset(id, ResetCode::NONE);
    assert_eq!(side.sent(), hex!("29 02 68 6f  2b 00  2d 00"));
}

#[test]
fn a_message_is_answered_and_each_side_closes_its_half() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"ping");
    pair.dialer.session.finish(near, pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.listener.read(far, 100, pair.now).bytes(), b"ping");
    assert!(matches!(pair.listener.read(far, 100, pair.now), Read::End));
    let answered = pair.listener.session.write(far, b"pong", pair.now);
    assert!(matches!(answered, Poll::Ready(Ok(4))));
    pair.listener.session.finish(far, pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.dialer.read(near, 100, pair.now).bytes(), b"pong");
    assert!(matches!(pair.dialer.read(near, 100, pair.now), Read::End));
}

#[test]
fn a_finished_stream_takes_no_more_and_may_be_finished_again() {
    let mut pair = Pair::new(Config::default());
    let (near, _) = pair.stream();
    pair.dialer.session.finish(near, pair.now).unwrap();
    pair.dialer.session.finish(near, pair.now).unwrap();
    let written = pair.dialer.session.write(near, b"late", pair.now);
    assert!(matches!(
        written,
        Poll::Ready(Err(StreamError::WriteClosed))
    ));
    assert_eq!(pair.dialer.sent(), hex!("04 00"));
}

#[test]
fn a_reset_ends_both_directions_and_drops_what_was_unread() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"never seen");
    pair.settle();
    pair.dialer.session.reset(near, ResetCode(7));
    pair.settle();
    assert!(matches!(
        pair.listener.read(far, 100, pair.now),
        Read::Failed(StreamError::ResetByRemote(ResetCode::NONE))
    ));
    let written = pair.listener.session.write(far, b"x", pair.now);
    assert!(matches!(
        written,
        Poll::Ready(Err(StreamError::ResetByRemote(_)))
    ));
    assert!(matches!(
        pair.dialer.read(near, 100, pair.now),
        Read::Failed(StreamError::Reset)
    ));
    assert_eq!(pair.listener.session.unread_len(), 0);
}

#[test]
fn a_reset_takes_nothing_away_that_the_remote_had_finished() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    feed(&mut side, &hex!("28 00  2a 02 68 69  2c 00  2e 00"));
    let id = side.session.accept(now).unwrap();
    let written = side.session.write(id, b"x", now);
    assert!(matches!(
        written,
        Poll::Ready(Err(StreamError::ResetByRemote(_)))
    ));
    assert_eq!(side.read(id, 9, now).bytes(), b"hi");
    assert!(matches!(side.read(id, 9, now), Read::End));
}

#[test]
fn those_who_wait_are_told_of_a_reset() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    assert!(matches!(pair.dialer.read(near, 1, pair.now), Read::Nothing));
    pair.listener.session.reset(far, ResetCode::NONE);
    pair.settle();
    assert!(
        pair.dialer
            .drain_events()
            .contains(&SessionEvent::Readable(near))
    );
}

#[test]
fn both_sides_may_use_the_same_number() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    let mine = opened(side.session.open(now));
    feed(&mut side, &hex!("00 00  01 01 61  02 01 62"));
    let theirs = side.session.accept(now).unwrap();
    assert_eq!(side.read(mine, 9, now).bytes(), b"a");
    assert_eq!(side.read(theirs, 9, now).bytes(), b"b");
    feed(&mut side, &hex!("06 00"));
    assert!(matches!(side.read(theirs, 9, now), Read::Failed(_)));
    assert!(matches!(side.read(mine, 9, now), Read::Nothing));
}

#[test]
fn frames_for_unknown_streams_are_ignored() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    feed(
        &mut side,
        &hex!("2a 02 68 69  2c 00  2e 00  29 02 68 69  2b 00  2d 00"),
    );
    assert_eq!(side.session.stream_count(), 0);
    assert!(side.sent().is_empty());
}

#[test]
fn bytes_behind_a_close_are_ignored() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    feed(
        &mut side,
        &hex!("28 00  2a 02 68 69  2c 00  2a 03 6e 6f 21  2c 00"),
    );
    let id = side.session.accept(now).unwrap();
    assert_eq!(side.read(id, 9, now).bytes(), b"hi");
    assert!(matches!(side.read(id, 9, now), Read::End));
}

#[test]
fn opening_a_number_that_is_in_use_ends_the_connection() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    let outcome = side
        .session
        .handle_read(Bytes::from_static(&hex!("28 00 28 00")), now);
    assert!(matches!(outcome, Err(ConnectionError::Malformed(_))));
}

#[test]
fn a_number_may_be_used_again_after_its_stream_has_ended() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    feed(&mut side, &hex!("28 00"));
    let first = side.session.accept(now).unwrap();
    feed(&mut side, &hex!("2e 00  28 00  2a 01 78"));
    let second = side.session.accept(now).unwrap();
    assert!(matches!(side.read(first, 9, now), Read::Failed(_)));
    assert_eq!(side.read(second, 9, now).bytes(), b"x");
    side.session.reset(first, ResetCode::NONE);
    side.session.forget(first);
    assert!(
        side.sent().is_empty(),
        "the number is now the second stream's"
    );
    feed(&mut side, &hex!("2a 01 79"));
    assert_eq!(side.read(second, 9, now).bytes(), b"y");
}

#[test]
fn a_number_may_be_used_again_after_both_sides_have_closed() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    feed(&mut side, &hex!("28 00  2c 00"));
    let first = side.session.accept(now).unwrap();
    side.session.finish(first, now).unwrap();
    feed(&mut side, &hex!("28 00  2c 00"));
    let second = side.session.accept(now).unwrap();
    side.session.finish(second, now).unwrap();
    feed(&mut side, &hex!("28 00"));
    side.session.forget(first);
    side.session.forget(second);
    assert_eq!(side.sent(), hex!("2b 00  2b 00"));
    assert_eq!(side.session.stream_count(), 1);
}

#[test]
fn letting_go_of_an_unfinished_stream_resets_it() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"half a sentence");
    pair.dialer.session.forget(near);
    pair.settle();
    assert!(matches!(
        pair.listener.read(far, 9, pair.now),
        Read::Failed(_)
    ));
    assert_eq!(pair.dialer.session.stream_count(), 0);
}

#[test]
fn letting_go_of_a_finished_stream_cuts_nothing_short() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"one way");
    pair.dialer.session.finish(near, pair.now).unwrap();
    pair.dialer.session.forget(near);
    pair.settle();
    assert_eq!(pair.listener.read(far, 9, pair.now).bytes(), b"one way");
    assert!(matches!(pair.listener.read(far, 9, pair.now), Read::End));
    pair.listener.session.finish(far, pair.now).unwrap();
    pair.settle();
    assert!(pair.dialer.sent().is_empty());
}

#[test]
fn an_answer_that_nobody_waits_for_is_refused_when_it_comes() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.dialer.session.finish(near, pair.now).unwrap();
    pair.dialer.session.forget(near);
    pair.settle();
    for _ in 0..2 {
        let answered = pair.listener.session.write(far, b"unwanted", pair.now);
        assert!(matches!(answered, Poll::Ready(Ok(_))));
    }
    pair.settle();
    let refused = pair.listener.session.write(far, b"unwanted", pair.now);
    assert!(matches!(
        refused,
        Poll::Ready(Err(StreamError::ResetByRemote(_)))
    ));
    assert!(matches!(pair.listener.read(far, 9, pair.now), Read::End));
}

#[test]
fn a_stream_that_is_reset_before_it_was_accepted_is_never_seen() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    feed(&mut side, &hex!("28 00  2a 02 68 69  2e 00  30 00"));
    assert_eq!(side.session.stream_count(), 1);
    assert_eq!(side.session.unread_len(), 0);
    assert!(side.session.accept(now).is_some());
    assert!(side.session.accept(now).is_none());
}

#[test]
fn opening_waits_for_a_free_place() {
    let config = limited(|config| config.outbound_streams_max = 2);
    let now = start();
    let mut side = Side::new(config, Role::Dialer, now);
    let first = opened(side.session.open(now));
    let _second = opened(side.session.open(now));
    assert!(side.session.open(now).is_pending());
    assert!(side.session.open(now).is_pending());
    assert!(side.drain_events().is_empty());
    side.session.forget(first);
    assert_eq!(side.drain_events(), [SessionEvent::Openable]);
    opened(side.session.open(now));
}

#[test]
fn opening_waits_while_the_transmit_buffer_is_full() {
    let now = start();
    let config = limited(|config| config.transmit_buffer = 100);
    let mut side = Side::new(config, Role::Dialer, now);
    let id = opened(side.session.open(now));
    while side.session.write(id, &[0; 100], now).is_ready() {}
    while side.session.open(now).is_ready() {}
    assert!(side.session.transmit_len() < 120);
    let _ = side.sent();
    let events = side.drain_events();
    assert_eq!(events, [SessionEvent::Writable(id), SessionEvent::Openable]);
    opened(side.session.open(now));
}

#[test]
fn a_writer_waits_for_room_and_is_told_of_it() {
    let mut pair = Pair::new(limited(|config| config.transmit_buffer = 10_000));
    let (near, _) = pair.stream();
    assert_eq!(pair.write(near, &[0; 20_000]), 10_000);
    assert_eq!(pair.write(near, &[0; 10_000]), 0);
    assert!(pair.dialer.session.transmit_len() < 10_016);
    assert!(pair.dialer.drain_events().is_empty());
    let _ = pair.dialer.sent();
    assert_eq!(pair.dialer.drain_events(), [SessionEvent::Writable(near)]);
    assert_eq!(pair.write(near, &[0; 10_000]), 10_000);
}

#[test]
fn a_greedy_stream_leaves_room_for_a_modest_one() {
    let mut pair = Pair::new(limited(|config| config.transmit_buffer = 10_000));
    let (greedy, _) = pair.stream();
    let (modest, _) = pair.stream();
    while pair.write(greedy, &[0; 10_000]) > 0 {}
    assert_eq!(pair.write(modest, &[1; 10]), 0);
    let _ = pair.dialer.sent();
    while pair.write(greedy, &[0; 10_000]) > 0 {}
    assert_eq!(pair.write(modest, &[1; 10]), 10);
}

#[test]
fn streams_fail_after_closing_but_what_had_arrived_can_be_read() {
    let mut pair = Pair::new(Config::default());
    let (near, far) = pair.stream();
    pair.write(near, b"in time");
    pair.settle();
    pair.listener.session.close(CloseReason::Normal);
    assert_eq!(pair.listener.read(far, 100, pair.now).bytes(), b"in time");
    assert!(matches!(
        pair.listener.read(far, 100, pair.now),
        Read::Failed(StreamError::Connection(ConnectionError::Closed))
    ));
    let written = pair.listener.session.write(far, b"x", pair.now);
    assert!(matches!(
        written,
        Poll::Ready(Err(StreamError::Connection(_)))
    ));
    assert!(matches!(
        pair.listener.session.open(pair.now),
        Poll::Ready(Err(ConnectionError::Closed))
    ));
    // What this side has not finished is reset, and nothing else is said.
    assert_eq!(pair.listener.sent(), hex!("05 00"));
}

#[test]
fn everybody_who_waits_is_told_of_the_end() {
    let config = limited(|config| {
        config.outbound_streams_max = 1;
        config.transmit_buffer = 2000;
    });
    let now = start();
    let mut side = Side::new(config, Role::Dialer, now);
    let id = opened(side.session.open(now));
    assert!(side.session.open(now).is_pending());
    assert!(matches!(side.read(id, 1, now), Read::Nothing));
    while side.session.write(id, &[0; 4000], now).is_ready() {}
    side.session.close(CloseReason::Normal);
    let expected = [
        SessionEvent::Readable(id),
        SessionEvent::Writable(id),
        SessionEvent::Openable,
    ];
    assert_eq!(side.drain_events(), expected);
}

#[test]
fn the_end_of_the_input_is_a_cut_if_anything_was_left_half_said() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Listener, now);
    assert!(matches!(
        side.session.end_of_input(),
        ConnectionError::ClosedByRemote(0)
    ));
    feed(&mut side, &hex!("28 00"));
    assert!(matches!(
        side.session.end_of_input(),
        ConnectionError::Truncated
    ));
    feed(&mut side, &hex!("2c 00"));
    assert!(matches!(
        side.session.end_of_input(),
        ConnectionError::ClosedByRemote(0)
    ));
    feed(&mut side, &hex!("80"));
    assert!(matches!(
        side.session.end_of_input(),
        ConnectionError::Truncated
    ));
}

#[test]
fn nothing_is_known_of_a_stream_after_letting_go() {
    let now = start();
    let mut side = Side::new(Config::default(), Role::Dialer, now);
    let id: StreamId = opened(side.session.open(now));
    side.session.forget(id);
    assert!(matches!(
        side.read(id, 1, now),
        Read::Failed(StreamError::Reset)
    ));
    side.session.forget(id);
    side.session.reset(id, ResetCode::NONE);
    assert_eq!(side.sent(), hex!("00 00  06 00"));
}

fn limited(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

fn feed(side: &mut Side, bytes: &[u8]) {
    let chunk = Bytes::copy_from_slice(bytes);
    let outcome = side.session.handle_read(chunk, start());
    outcome.expect("the frames follow the rules");
}
