use std::time::Duration;

use peerkit_gossipsub::Config;
use peerkit_pubsub::{Control, IHave, MessageId, Outgoing, Router, Topic};

use crate::node::{Node, id, message, message_in, peer, topic};

fn ids(count: u64) -> Vec<MessageId> {
    (0..count)
        .map(|number| id(&message(50, number, b"")))
        .collect()
}

#[test]
fn peers_outside_the_mesh_are_told_for_three_heartbeats_what_there_is() {
    let mut node = Node::joined(Config::default(), 11);
    let message = message(50, 1, b"hello");
    let bringer = (1..=11).find(|number| node.in_mesh(*number)).unwrap();
    node.accepts(bringer, &message);
    let outside: Vec<_> = (1..=11).filter(|number| !node.in_mesh(*number)).collect();
    assert_eq!(outside.len(), 6);
    for _ in 0..3 {
        node.forget_output();
        node.heartbeats(1);
        for number in &outside {
            assert_eq!(node.ihaves_to(*number), [id(&message)]);
        }
        assert!(
            (1..=11)
                .filter(|n| !outside.contains(n))
                .all(|n| node.ihaves_to(n).is_empty())
        );
    }
    node.forget_output();
    node.heartbeats(1);
    assert!(
        outside
            .iter()
            .all(|number| node.ihaves_to(*number).is_empty())
    );
}

#[test]
fn a_quarter_of_many_peers_is_gossiped_to() {
    let mut node = Node::joined(Config::default(), 85);
    node.accepts(1, &message(90, 1, b"hello"));
    node.heartbeats(1);
    let told = (1..=85)
        .filter(|number| !node.ihaves_to(*number).is_empty())
        .count();
    assert_eq!(told, 20);
}

#[test]
fn badly_scored_peers_and_direct_ones_get_no_gossip() {
    let config = Config {
        direct_peers: vec![peer(11)],
        ..Config::default()
    };
    let mut node = Node::joined(config, 11);
    let outside: Vec<_> = (1..=10).filter(|number| !node.in_mesh(*number)).collect();
    node.router.set_application_score(&peer(outside[0]), -1.5);
    let bringer = (1..=10).find(|number| node.in_mesh(*number)).unwrap();
    node.accepts(bringer, &message(50, 1, b"hello"));
    node.heartbeats(1);
    assert_eq!(node.ihaves_to(outside[0]), []);
    assert_eq!(node.ihaves_to(11), []);
    assert!(
        outside[1..]
            .iter()
            .all(|number| !node.ihaves_to(*number).is_empty())
    );
}

#[test]
fn what_is_offered_and_not_seen_is_asked_for() {
    let mut node = Node::joined(Config::default(), 3);
    node.accepts(1, &message(50, 0, b"seen"));
    node.delivers(1, &message(50, 1, b"validating"));
    let mut offered = ids(4);
    offered.push(offered[2].clone());
    node.offers(2, offered);
    let mut asked = node.iwants_to(2);
    asked.sort();
    let mut expected = ids(4).split_off(2);
    expected.sort();
    assert_eq!(asked, expected);
    assert!(
        node.sent_to(2)
            .any(|sent| matches!(sent, Outgoing::Gossip(_)))
    );
}

#[test]
fn offers_of_topics_that_were_not_joined_or_of_bad_peers_are_ignored() {
    let mut node = Node::joined(Config::default(), 3);
    node.control(
        1,
        Control {
            ihave: vec![IHave {
                topic: Topic::from("other"),
                ids: ids(3),
            }],
            ..Control::default()
        },
    );
    node.router.set_application_score(&peer(2), -1.5);
    node.offers(2, ids(3));
    assert_eq!((node.iwants_to(1), node.iwants_to(2)), (vec![], vec![]));
}

/// Attacks G02, R40.
#[test]
fn no_more_than_five_thousand_ids_are_asked_for_in_a_heartbeat() {
    let mut node = Node::joined(Config::default(), 3);
    let all = ids(12_000);
    for part in all.chunks(3000) {
        node.offers(1, part.to_vec());
    }
    assert_eq!(node.iwants_to(1).len(), 5000);
    node.heartbeats(1);
    node.offers(1, all);
    assert_eq!(node.iwants_to(1).len(), 10_000);
}

/// Attack G02.
#[test]
fn no_more_than_ten_offers_are_taken_in_a_heartbeat() {
    let mut node = Node::joined(Config::default(), 3);
    for id in ids(20) {
        node.offers(1, vec![id]);
    }
    assert_eq!(node.iwants_to(1).len(), 10);
    assert_eq!(node.counts().ihave_refused, 10);
}

/// Attacks G02, R19.
#[test]
fn half_a_million_empty_ids_are_one_id() {
    let mut node = Node::joined(Config::default(), 3);
    node.offers(1, vec![MessageId::copy_from_slice(b""); 524_288]);
    assert_eq!(node.iwants_to(1).len(), 1);
    assert_eq!(node.sizes().promises, 1);
}

#[test]
fn giant_ids_are_not_asked_for() {
    let mut node = Node::joined(Config::default(), 3);
    node.offers(
        1,
        vec![
            MessageId::from(vec![1; 1025]),
            MessageId::from(vec![1; 1024]),
        ],
    );
    assert_eq!(node.iwants_to(1).len(), 1);
}

/// Attack G03.
#[test]
fn who_offers_and_does_not_deliver_is_punished_after_three_seconds() {
    let mut node = Node::joined(Config::default(), 3);
    node.offers(1, ids(5));
    node.offers(1, ids(5));
    node.pass(Duration::from_millis(2900));
    assert_eq!(node.counts().promises_broken, 0);
    node.pass(Duration::from_millis(1200));
    // Each request picks one id as its promise: the same one or two.
    let broken = node.counts().promises_broken;
    assert!((1..=2).contains(&broken));
    assert_eq!(node.sizes().promises, 0);
}

/// Attack G03.
#[test]
fn a_peer_that_breaks_one_promise_a_heartbeat_loses_gossip_within_ten() {
    let mut node = Node::joined(Config::default(), 3);
    let lost = (0..10).find(|round| {
        node.offers(1, vec![id(&message(60, *round, b""))]);
        node.heartbeats(1);
        node.score(1).total < -10.0
    });
    assert!(lost.is_some());
}

#[test]
fn a_promise_is_kept_by_whoever_brings_the_message() {
    let mut node = Node::joined(Config::default(), 3);
    node.offers(1, vec![id(&message(50, 1, b"late"))]);
    node.delivers(2, &message(50, 1, b"late"));
    node.pass(Duration::from_secs(5));
    assert_eq!(node.counts().promises_broken, 0);
}

#[test]
fn what_was_not_asked_since_the_peer_is_slow_was_not_promised() {
    let mut node = Node::joined(Config::default(), 3);
    node.offers(1, ids(1));
    let (to, dropped) = node.sent.last().unwrap().clone();
    node.router.handle_dropped(&to, &dropped, node.now);
    node.pass(Duration::from_secs(5));
    assert_eq!(node.counts().promises_broken, 0);
    assert_eq!(node.counts().dropped, 1);
}

/// Attack G04.
#[test]
fn what_is_asked_for_is_sent_three_times_at_most() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.accepts(1, &message);
    node.forget_output();
    node.asks(2, vec![id(&message); 10_000]);
    assert_eq!(node.copies_to(2, &message), 3);
    node.heartbeats(1);
    node.asks(2, vec![id(&message)]);
    node.asks(3, vec![id(&message)]);
    assert_eq!(
        (node.copies_to(2, &message), node.copies_to(3, &message)),
        (3, 1)
    );
}

/// Attacks G04, R40.
#[test]
fn no_more_than_ten_requests_are_answered_in_a_heartbeat() {
    let mut node = Node::joined(Config::default(), 3);
    let messages: Vec<_> = (0..20)
        .map(|number| message(50, number, b"hello"))
        .collect();
    messages.iter().for_each(|message| node.accepts(1, message));
    node.forget_output();
    messages
        .iter()
        .for_each(|message| node.asks(2, vec![id(message)]));
    let sent: usize = messages
        .iter()
        .map(|message| node.copies_to(2, message))
        .sum();
    assert_eq!(sent, 10);
}

#[test]
fn requests_for_nothing_or_of_bad_peers_get_nothing() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.accepts(1, &message);
    node.router.set_application_score(&peer(2), -1.5);
    node.forget_output();
    let before = node.sizes();
    node.asks(2, vec![id(&message)]);
    node.asks(3, ids(1000).split_off(2));
    assert_eq!(node.sent, []);
    assert_eq!(node.sizes(), before);
}

#[test]
fn messages_can_be_asked_for_during_five_heartbeats() {
    let mut node = Node::joined(Config::default(), 3);
    let message = message(50, 1, b"hello");
    node.accepts(1, &message);
    node.heartbeats(4);
    node.asks(2, vec![id(&message)]);
    node.heartbeats(1);
    node.asks(3, vec![id(&message)]);
    let forwarded = 1;
    assert_eq!(node.copies_to(2, &message), forwarded + 1);
    assert_eq!(node.copies_to(3, &message), forwarded);
    assert_eq!((node.sizes().history, node.sizes().history_bytes), (0, 0));
}

#[test]
fn the_history_is_bounded_in_messages_and_bytes() {
    let config = Config {
        history_messages_max: 5,
        history_bytes_max: 4096,
        ..Config::default()
    };
    let mut node = Node::joined(config, 2);
    for number in 0..10 {
        node.accepts(1, &message(50, number, b"small"));
        assert!(node.sizes().history <= 5);
    }
    node.accepts(1, &message(50, 10, &[0; 3500]));
    assert!(node.sizes().history_bytes <= 4096);
    assert_eq!(node.sizes().history, 1);
    node.accepts(1, &message(50, 11, &[0; 5000]));
    assert_eq!((node.sizes().history, node.sizes().history_bytes), (0, 0));
    assert_eq!(node.deliveries(), 12);
}

#[test]
fn gossip_of_many_messages_is_cut_and_differs_from_peer_to_peer() {
    let config = Config {
        ihave_ids_max: 10,
        ..Config::default()
    };
    let mut node = Node::joined(config, 11);
    for number in 0..100 {
        node.publish(&message(0, number, b"x")).unwrap();
    }
    node.heartbeats(1);
    let told: Vec<_> = (1..=11)
        .map(|number| node.ihaves_to(number))
        .filter(|ids| !ids.is_empty())
        .collect();
    assert_eq!(told.len(), 6);
    assert!(told.iter().all(|ids| ids.len() == 10));
    assert!(told.iter().any(|ids| *ids != told[0]));
}

#[test]
fn a_fanout_is_gossiped_about_too() {
    let config = Config {
        flood_publish: false,
        ..Config::default()
    };
    let mut node = Node::new(config);
    for number in 1..=12 {
        node.member(number);
    }
    let message = message_in(&topic(), 0, 1, b"hello");
    node.publish(&message).unwrap();
    node.heartbeats(1);
    let told = (1..=12)
        .filter(|number| node.ihaves_to(*number) == [id(&message)])
        .count();
    assert_eq!(told, 6);
}
