use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use peerkit_gossipsub::{Config, ScoreParams};
use peerkit_pubsub::{Message, RouterEvent, Rpc, Topic, Verdict};

use crate::node::{Node, message, message_in};

/// Another content under the id of a message.
fn forged(message: &Message, data: &'static [u8]) -> Arc<Message> {
    Arc::new(Message {
        data: Bytes::from_static(data),
        encoded: Bytes::from_static(data),
        ..message.clone()
    })
}

fn last_validated(node: &Node) -> Bytes {
    let last = node.events.iter().rev().find_map(|event| match event {
        RouterEvent::Validate { message, .. } => Some(message.data.clone()),
        _ => None,
    });
    last.unwrap()
}

#[test]
fn a_message_is_validated_once_then_delivered_and_forwarded_once() {
    let mut node = Node::joined(Config::default(), 5);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.delivers(2, &message);
    assert_eq!((node.validations(), node.deliveries()), (1, 0));
    node.verdict(&message, Verdict::Accept);
    node.delivers(3, &message);
    node.verdict(&message, Verdict::Accept);
    assert_eq!((node.validations(), node.deliveries()), (1, 1));
    // 2 had it before the verdict.
    let copies = (1..=5)
        .map(|number| node.copies_to(number, &message))
        .collect::<Vec<_>>();
    assert_eq!(copies, [0, 0, 1, 1, 1]);
}

#[test]
fn what_is_ignored_goes_nowhere_and_is_nobodys_fault() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.verdict(&message, Verdict::Ignore);
    node.delivers(2, &message);
    assert_eq!((node.validations(), node.deliveries()), (1, 0));
    assert!((1..=3).all(|number| node.copies_to(number, &message) == 0));
    assert_eq!(node.score(1).topics, 0.0);
    assert_eq!(node.counts().ignored, 1);
}

#[test]
fn what_is_invalid_is_the_fault_of_all_who_have_sent_it() {
    let mut node = Node::joined(Config::default(), 4);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.delivers(2, &message);
    node.verdict(&message, Verdict::Reject);
    node.delivers(3, &message);
    assert_eq!(node.validations(), 1);
    assert_eq!(node.deliveries(), 0);
    for number in 1..=3 {
        assert_eq!(node.score(number).topics, -0.5);
    }
    assert_eq!(node.score(4).topics, 0.0);
    node.heartbeats(1);
    assert!((1..=3).all(|number| !node.in_mesh(number)));
}

#[test]
fn a_forgery_does_not_keep_the_real_message_out() {
    let mut node = Node::joined(Config::default(), 4);
    let real = message(50, 1, b"real");
    node.rejects(1, &forged(&real, b"forged"));
    node.accepts(2, &real);
    assert_eq!(node.deliveries(), 1);
    assert_eq!(node.score(1).topics, -0.5);
    assert_eq!(node.score(2).topics, 1.0);
}

#[test]
fn the_real_message_waits_while_a_forgery_is_validated() {
    let mut node = Node::joined(Config::default(), 4);
    let real = message(50, 1, b"real");
    let forgery = forged(&real, b"forged");
    node.delivers(1, &forgery);
    node.delivers(2, &real);
    node.delivers(3, &real);
    assert_eq!(node.validations(), 1);
    node.verdict(&real, Verdict::Reject);
    assert_eq!(node.validations(), 2);
    assert_eq!(last_validated(&node), Bytes::from_static(b"real"));
    node.verdict(&real, Verdict::Accept);
    assert_eq!(node.deliveries(), 1);
    assert_eq!((node.score(1).topics, node.score(2).topics), (-0.5, 1.0));
    // 3 has it already.
    assert_eq!(node.copies_to(3, &real), 0);
    assert_eq!(node.copies_to(4, &real), 1);
    assert_eq!(
        (node.sizes().validating, node.sizes().validating_bytes),
        (0, 0)
    );
}

#[test]
fn forgeries_are_held_up_to_a_number_and_one_for_each_peer() {
    let mut node = Node::joined(Config::default(), 10);
    let real = message(50, 1, b"real");
    node.delivers(1, &real);
    for (number, data) in [
        (2, &b"a"[..]),
        (2, b"b"),
        (3, b"c"),
        (4, b"d"),
        (5, b"e"),
        (6, b"f"),
    ] {
        let data: &'static [u8] = data;
        node.delivers(number, &forged(&real, data));
    }
    assert_eq!(node.counts().validation_full, 2);
    node.verdict(&real, Verdict::Accept);
    assert_eq!(node.deliveries(), 1);
    assert_eq!((node.validations(), node.sizes().validating_bytes), (1, 0));
}

/// Attack G10.
#[test]
fn invalid_messages_end_the_hearing_of_a_peer() {
    let mut node = Node::joined(Config::default(), 2);
    let rejected = (0..1000).take_while(|number| {
        node.rejects(1, &message(50, *number, b"rubbish"));
        node.score(1).total >= -80.0
    });
    assert!(rejected.count() < 100);
    let validations = node.validations();
    node.delivers(1, &message(50, 2000, b"more"));
    assert_eq!(node.validations(), validations);
    assert!(node.counts().graylisted > 0);
    node.accepts(2, &message(50, 3000, b"real"));
    assert_eq!(node.deliveries(), 1);
}

/// Attack R49.
#[test]
fn a_topic_without_weight_still_counts_what_is_rejected() {
    let mut score = ScoreParams::default();
    score.topic_default.weight = 0.0;
    let config = Config {
        score: Some(score),
        ..Config::default()
    };
    let mut node = Node::joined(config, 2);
    for number in 0..50 {
        node.rejects(1, &message(50, number, b"rubbish"));
    }
    assert_eq!(node.counts().rejected, 50);
    assert_eq!(node.deliveries(), 0);
}

#[test]
fn verdicts_about_nothing_are_ignored() {
    let mut node = Node::joined(Config::default(), 2);
    let message = message(50, 1, b"hello");
    for verdict in [Verdict::Accept, Verdict::Reject, Verdict::Ignore] {
        node.verdict(&message, verdict);
    }
    assert_eq!(node.deliveries(), 0);
    assert_eq!(node.sizes().seen, 0);
}

#[test]
fn messages_of_topics_that_were_not_joined_are_dropped() {
    let mut node = Node::joined(Config::default(), 2);
    node.delivers(1, &message_in(&Topic::from("other"), 50, 1, b"hello"));
    assert_eq!((node.validations(), node.sizes().seen), (0, 0));
    assert_eq!(node.counts().off_topic, 1);
}

#[test]
fn messages_that_this_node_is_said_to_have_written_are_dropped() {
    let mut node = Node::joined(Config::default(), 2);
    node.delivers(1, &message(0, 1, b"hello"));
    assert_eq!(node.validations(), 0);
    assert_eq!(node.counts().own_returned, 1);
}

#[test]
fn a_topic_that_is_left_during_validation_gets_nothing() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.unsubscribe();
    node.forget_output();
    node.verdict(&message, Verdict::Accept);
    assert_eq!(node.deliveries(), 0);
    assert_eq!(node.sent, []);
}

#[test]
fn a_message_whose_bringer_has_gone_is_delivered_all_the_same() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.disconnect(1);
    node.verdict(&message, Verdict::Accept);
    assert_eq!(node.deliveries(), 1);
    assert_eq!(node.copies_to(2, &message), 1);
}

#[test]
fn a_message_is_remembered_for_two_minutes() {
    let mut node = Node::joined(Config::default(), 2);
    let message = message(50, 1, b"hello");
    node.accepts(1, &message);
    node.pass(Duration::from_secs(119));
    node.delivers(2, &message);
    assert_eq!(node.validations(), 1);
    node.pass(Duration::from_secs(3));
    node.delivers(2, &message);
    assert_eq!(node.validations(), 2);
}

#[test]
fn validation_is_bounded_in_messages_and_bytes() {
    let config = Config {
        validating_max: 10,
        validating_bytes_max: 4096,
        ..Config::default()
    };
    let mut node = Node::joined(config, 1);
    let messages = (0..100).map(|number| message(50, number, b"x")).collect();
    node.rpc(
        1,
        Rpc {
            messages,
            ..Rpc::default()
        },
    );
    assert_eq!(node.validations(), 10);
    assert_eq!(node.counts().validation_full, 90);
    for number in 0..10 {
        node.verdict(&message(50, number, b"x"), Verdict::Ignore);
    }
    node.delivers(1, &message(50, 200, &[0; 8192]));
    node.delivers(1, &message(50, 201, &[0; 2048]));
    assert_eq!(node.validations(), 11);
    assert!(node.sizes().validating_bytes <= 4096);
}

/// Attack F06.
#[test]
fn a_flood_of_messages_neither_grows_the_memory_nor_loses_what_is_being_validated() {
    let config = Config {
        seen_max: 1000,
        validating_max: 10,
        ..Config::default()
    };
    let mut node = Node::joined(config, 2);
    let first = message(50, 0, b"first");
    node.delivers(1, &first);
    for number in 1..5000 {
        let flood = message(51, number, b"x");
        node.delivers(2, &flood);
        node.verdict(&flood, Verdict::Ignore);
    }
    assert!(node.sizes().seen <= 1000);
    node.verdict(&first, Verdict::Accept);
    assert_eq!(node.deliveries(), 1);
}

#[test]
fn a_verdict_that_never_comes_is_given_up() {
    let mut node = Node::joined(Config::default(), 2);
    let message = message(50, 1, b"hello");
    node.delivers(1, &message);
    node.pass(Duration::from_secs(122));
    assert_eq!(
        (node.sizes().validating, node.sizes().validating_bytes),
        (0, 0)
    );
    node.verdict(&message, Verdict::Accept);
    assert_eq!(node.deliveries(), 0);
}

#[test]
fn an_early_forgery_does_not_shorten_the_memory_of_the_real_message() {
    let mut node = Node::joined(Config::default(), 4);
    let real = message(50, 1, b"real");
    node.rejects(1, &forged(&real, b"forged"));
    node.pass(Duration::from_secs(119));
    node.accepts(2, &real);
    node.pass(Duration::from_secs(60));
    node.delivers(3, &real);
    assert_eq!((node.validations(), node.deliveries()), (2, 1));
    node.pass(Duration::from_secs(62));
    assert_eq!(node.sizes().seen, 0);
}
