//! How streams begin, carry bytes and end.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod common;

use std::task::Poll;

use common::*;
use peerkit_core::{ConnectionError, ResetCode, Session as _, SessionEvent, StreamError};

#[test]
fn a_stream_is_announced_with_its_first_data_and_acknowledged_with_the_first_answer() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"hi", pair.now).unwrap();
    assert_eq!(pair.dialer.take_output().unwrap(), &data(SYN, 1, b"hi")[..]);
    pair.listener.receive(data(SYN, 1, b"hi"), pair.now);
    let remote = pair.listener.session.accept(pair.now).unwrap();
    pair.listener.write(remote, b"ho", pair.now).unwrap();
    assert_eq!(
        pair.listener.take_output().unwrap(),
        &data(ACK, 1, b"ho")[..]
    );
}

#[test]
fn an_accepted_stream_is_acknowledged_without_an_answer() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"hi", pair.now).unwrap();
    pair.settle();
    assert!(pair.listener.take_frames().is_empty());
    assert_eq!(pair.dialer.sizes().unacknowledged_streams, 1);
    pair.listener.session.accept(pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.listener.take_frames(), [frame(UPDATE, ACK, 1, 0)]);
    assert_eq!(pair.dialer.sizes().unacknowledged_streams, 0);
}

#[test]
fn who_reads_first_announces_the_stream() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    assert_eq!(pair.dialer.read(id, pair.now).unwrap().0, b"");
    assert_eq!(pair.dialer.take_frames(), [frame(UPDATE, SYN, 1, 0)]);
}

#[test]
fn a_stream_that_is_finished_without_data_is_announced_with_its_end() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    pair.dialer.session.finish(id, pair.now).unwrap();
    pair.dialer.session.forget(id);
    pair.settle();
    assert_eq!(pair.dialer.take_frames(), [frame(DATA, SYN | FIN, 1, 0)]);
    let remote = pair.listener.session.accept(pair.now).unwrap();
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap(),
        (vec![], true)
    );
    pair.listener.session.finish(remote, pair.now).unwrap();
    pair.listener.session.forget(remote);
    pair.settle();
    assert_eq!(pair.dialer.sizes().streams, 0);
    assert_eq!(pair.dialer.sizes().unacknowledged_streams, 0);
    assert_eq!(pair.listener.sizes().streams, 0);
}

#[test]
fn a_stream_that_is_dropped_before_it_was_used_is_never_announced() {
    let mut pair = Pair::new();
    let dropped = pair.dialer.open(pair.now);
    pair.dialer.session.forget(dropped);
    let reset = pair.dialer.open(pair.now);
    pair.dialer.read(reset, pair.now).unwrap();
    pair.dialer.session.reset(reset, ResetCode(7));
    pair.dialer.session.forget(reset);
    assert!(pair.dialer.take_frames().is_empty());
    assert_eq!(pair.dialer.sizes().streams, 0);
}

#[test]
fn acknowledgement_and_end_are_two_frames() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"hi", pair.now).unwrap();
    pair.settle();
    let remote = pair.listener.session.accept(pair.now).unwrap();
    pair.listener.session.finish(remote, pair.now).unwrap();
    assert_eq!(
        pair.listener.take_frames(),
        [frame(UPDATE, ACK, 1, 0), frame(DATA, FIN, 1, 0)]
    );
}

#[test]
fn both_sides_may_open_streams_at_once() {
    let mut pair = Pair::new();
    let one = pair.dialer.open(pair.now);
    let two = pair.listener.open(pair.now);
    pair.dialer.write(one, b"one", pair.now).unwrap();
    pair.listener.write(two, b"two", pair.now).unwrap();
    pair.settle();
    let at_listener = pair.listener.session.accept(pair.now).unwrap();
    let at_dialer = pair.dialer.session.accept(pair.now).unwrap();
    assert_eq!(pair.listener.read(at_listener, pair.now).unwrap().0, b"one");
    assert_eq!(pair.dialer.read(at_dialer, pair.now).unwrap().0, b"two");
}

#[test]
fn each_direction_ends_on_its_own() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.write(local, b"question", pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.settle();
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap(),
        (b"question".to_vec(), true)
    );
    pair.listener.write(remote, b"answer", pair.now).unwrap();
    pair.listener.session.finish(remote, pair.now).unwrap();
    pair.settle();
    assert_eq!(
        pair.dialer.read(local, pair.now).unwrap(),
        (b"answer".to_vec(), true)
    );
    assert_eq!(pair.dialer.sizes().streams, 1);
    pair.dialer.session.forget(local);
    pair.listener.session.forget(remote);
    pair.settle();
    assert_eq!(pair.dialer.sizes().streams, 0);
    assert_eq!(pair.listener.sizes().streams, 0);
}

#[test]
fn finishing_twice_is_fine_and_writing_afterwards_is_an_error() {
    let mut pair = Pair::new();
    let (local, _) = pair.stream();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    assert!(matches!(
        pair.dialer.write(local, b"late", pair.now),
        Err(StreamError::WriteClosed)
    ));
}

#[test]
fn what_was_received_is_read_before_the_end() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    let sent = pattern(100 * KIB);
    pair.dialer.write(local, &sent, pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.settle();
    let mut buffer = vec![0; KIB];
    let first = pair.listener.session.read(remote, &mut buffer, pair.now);
    assert!(matches!(first, Poll::Ready(Ok(KIB))));
    let (rest, ended) = pair.listener.read(remote, pair.now).unwrap();
    assert_eq!([buffer, rest].concat(), sent);
    assert!(ended);
}

#[test]
fn a_reset_tells_its_code_and_discards_what_was_not_read() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.write(local, b"never read", pair.now).unwrap();
    pair.dialer.session.reset(local, ResetCode::LIMIT_EXCEEDED);
    pair.settle();
    assert!(matches!(
        pair.listener.read(remote, pair.now),
        Err(StreamError::ResetByRemote(ResetCode::LIMIT_EXCEEDED))
    ));
    assert!(matches!(
        pair.listener.write(remote, b"x", pair.now),
        Err(StreamError::ResetByRemote(ResetCode::LIMIT_EXCEEDED))
    ));
    assert_eq!(pair.listener.sizes().received, 0);
    assert!(matches!(
        pair.dialer.read(local, pair.now),
        Err(StreamError::Reset)
    ));
    assert!(matches!(
        pair.dialer.session.finish(local, pair.now),
        Err(StreamError::Reset)
    ));
}

#[test]
fn a_local_reset_discards_what_was_not_read_even_after_the_end() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.write(local, b"never read", pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.settle();
    pair.listener.session.reset(remote, ResetCode::NONE);
    assert_eq!(pair.listener.sizes().received, 0);
    assert!(matches!(
        pair.listener.read(remote, pair.now),
        Err(StreamError::Reset)
    ));
}

#[test]
fn an_answer_that_was_finished_survives_a_later_reset() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.listener.write(remote, b"answer", pair.now).unwrap();
    pair.listener.session.finish(remote, pair.now).unwrap();
    pair.listener.session.reset(remote, ResetCode::NONE);
    pair.settle();
    assert!(matches!(
        pair.dialer.write(local, b"more", pair.now),
        Err(StreamError::ResetByRemote(ResetCode::NONE))
    ));
    assert_eq!(
        pair.dialer.read(local, pair.now).unwrap(),
        (b"answer".to_vec(), true)
    );
}

#[test]
fn a_message_that_came_completely_can_be_accepted_after_a_reset() {
    let mut pair = Pair::new();
    let id = pair.dialer.open(pair.now);
    pair.dialer.write(id, b"message", pair.now).unwrap();
    pair.dialer.session.finish(id, pair.now).unwrap();
    pair.dialer.session.reset(id, ResetCode::NONE);
    pair.settle();
    let remote = pair.listener.session.accept(pair.now).unwrap();
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap(),
        (b"message".to_vec(), true)
    );
    pair.listener.session.forget(remote);
    assert!(pair.listener.take_frames().is_empty());
}

#[test]
fn letting_go_of_an_unfinished_stream_resets_it() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.session.forget(local);
    pair.settle();
    assert_eq!(pair.dialer.sizes().streams, 0);
    assert!(matches!(
        pair.listener.read(remote, pair.now),
        Err(StreamError::ResetByRemote(ResetCode::NONE))
    ));
}

#[test]
fn a_one_way_message_is_not_cut_short_when_its_sender_lets_go() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    let message = pattern(200 * KIB);
    pair.dialer.write(local, &message, pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.dialer.session.forget(local);
    pair.settle();
    assert_eq!(pair.dialer.sizes().lingering_streams, 1);
    assert_eq!(
        pair.listener.read(remote, pair.now).unwrap(),
        (message, true)
    );
    pair.listener.session.finish(remote, pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.dialer.sizes().streams, 0);
}

#[test]
fn what_nobody_will_read_is_dropped() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.listener
        .write(remote, &pattern(100 * KIB), pair.now)
        .unwrap();
    pair.settle();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.dialer.session.forget(local);
    let sizes = pair.dialer.sizes();
    assert_eq!((sizes.lingering_streams, sizes.received), (1, 0));
    assert_eq!((sizes.received_capacity, sizes.slices), (0, 0));
}

#[test]
fn data_for_a_stream_that_was_let_go_of_is_answered_by_a_reset() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.dialer.session.forget(local);
    pair.settle();
    pair.listener.write(remote, b"for whom?", pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.dialer.sizes().streams, 0);
    assert!(matches!(
        pair.listener.read(remote, pair.now),
        // The dialer had finished before, so there is nothing that the reset could take away.
        Ok((_, true))
    ));
    assert!(matches!(
        pair.listener.write(remote, b"x", pair.now),
        Err(StreamError::ResetByRemote(ResetCode::NONE))
    ));
}

#[test]
fn a_stream_whose_remote_never_ends_is_given_up() {
    let mut pair = Pair::new();
    let (local, _remote) = pair.stream();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.dialer.session.forget(local);
    pair.advance(std::time::Duration::from_secs(299));
    assert_eq!(pair.dialer.sizes().lingering_streams, 1);
    pair.advance(std::time::Duration::from_secs(2));
    assert_eq!(pair.dialer.sizes().streams, 0);
}

#[test]
fn readers_and_writers_are_told_when_to_try_again() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    pair.listener.take_events();
    assert_eq!(pair.listener.read(remote, pair.now).unwrap().0, b"");
    pair.dialer.write(local, b"data", pair.now).unwrap();
    pair.settle();
    assert_eq!(
        pair.listener.take_events(),
        [SessionEvent::Readable(remote)]
    );
    pair.dialer.write(local, b"nobody waits", pair.now).unwrap();
    pair.settle();
    assert!(pair.listener.take_events().is_empty());
    pair.listener.read(remote, pair.now).unwrap();
    pair.dialer.session.finish(local, pair.now).unwrap();
    pair.settle();
    assert_eq!(
        pair.listener.take_events(),
        [SessionEvent::Readable(remote)]
    );
}

#[test]
fn a_finished_answer_is_readable_after_the_connection_has_gone() {
    let mut pair = Pair::new();
    let (local, remote) = pair.stream();
    let (open, unfinished) = pair.stream();
    pair.listener.write(remote, b"answer", pair.now).unwrap();
    pair.listener.session.finish(remote, pair.now).unwrap();
    pair.listener.write(unfinished, b"part", pair.now).unwrap();
    pair.settle();
    pair.dialer.session.close(peerkit_core::CloseReason::Normal);
    assert_eq!(
        pair.dialer.read(local, pair.now).unwrap(),
        (b"answer".to_vec(), true)
    );
    let mut buffer = [0; 16];
    let part = pair.dialer.session.read(open, &mut buffer, pair.now);
    assert!(matches!(part, Poll::Ready(Ok(4))));
    assert!(matches!(
        pair.dialer.read(open, pair.now),
        Err(StreamError::Connection(ConnectionError::Closed))
    ));
}
