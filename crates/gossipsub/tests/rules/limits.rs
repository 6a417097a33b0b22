use std::time::Duration;

use peerkit_gossipsub::{Config, TopicFilter};
use peerkit_pubsub::{RouterEvent, Rpc, SubscriptionChange, Topic};

use crate::node::{Node, joining, message, peer, topic};

fn topics(range: std::ops::Range<usize>) -> Vec<SubscriptionChange> {
    range
        .map(|number| joining(&Topic::from(format!("t{number}"))))
        .collect()
}

fn floods(node: &mut Node, number: u8, subscriptions: Vec<SubscriptionChange>) {
    node.rpc(
        number,
        Rpc {
            subscriptions,
            ..Rpc::default()
        },
    );
}

/// Attacks G01, R39.
#[test]
fn a_flood_of_subscriptions_is_cut_and_gone_with_the_peer() {
    let mut node = Node::new(Config::default());
    node.connect(1);
    for round in 0..10 {
        floods(&mut node, 1, topics(round * 87_381..(round + 1) * 87_381));
    }
    assert_eq!(
        (node.sizes().topics, node.sizes().subscriptions),
        (100, 100)
    );
    assert_eq!(node.counts().subscriptions_refused, 873_810 - 100);
    node.disconnect(1);
    assert_eq!((node.sizes().topics, node.sizes().subscriptions), (0, 0));
}

#[test]
fn topics_that_this_node_has_joined_do_not_count() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    node.connect(1);
    floods(&mut node, 1, topics(0..500));
    node.join(1, &topic());
    assert!(node.in_mesh(1));
    assert_eq!(node.sizes().subscriptions, 101);
}

/// Attacks G01, R13.
#[test]
fn joining_and_leaving_over_and_over_leaves_nothing() {
    let mut node = Node::new(Config::default());
    node.connect(1);
    let churn = (0..400).flat_map(|number| {
        let join = joining(&Topic::from(format!("t{number}")));
        let leave = SubscriptionChange {
            subscribe: false,
            ..join.clone()
        };
        [join, leave]
    });
    floods(&mut node, 1, churn.collect());
    assert_eq!(node.sizes().topics, 0);
    assert_eq!(node.counts().subscriptions_refused, 0);
}

#[test]
fn a_repeated_subscription_is_one() {
    let mut node = Node::new(Config::default());
    node.connect(1);
    floods(&mut node, 1, vec![joining(&topic()); 1000]);
    assert_eq!(node.sizes().subscriptions, 1);
    let events = node
        .events
        .iter()
        .filter(|event| matches!(event, RouterEvent::Subscribed { .. }));
    assert_eq!(events.count(), 1);
}

#[test]
fn a_filter_says_which_topics_are_remembered() {
    let config = Config {
        topic_filter: TopicFilter::new(|topic| topic.as_str().starts_with("good")),
        ..Config::default()
    };
    let mut node = Node::new(config);
    node.connect(1);
    node.join(1, &Topic::from("good news"));
    node.join(1, &Topic::from("bad news"));
    assert_eq!(node.sizes().topics, 1);
    assert_eq!(
        node.router.topic_peers(&Topic::from("good news")),
        [peer(1)]
    );
}

#[test]
fn messages_in_one_rpc_are_bounded() {
    let config = Config {
        rpc_messages_max: 10,
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
}

#[test]
fn strangers_are_not_heard() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    floods(&mut node, 9, vec![joining(&topic())]);
    node.disconnect(9);
    assert_eq!(node.sizes().subscriptions, 0);
    assert_eq!(node.events.len(), 0);
}

#[test]
fn a_second_greeting_of_a_peer_starts_anew() {
    let mut node = Node::joined(Config::default(), 1);
    assert!(node.in_mesh(1));
    node.member(1);
    assert!(node.in_mesh(1));
    assert_eq!((node.sizes().peers, node.sizes().subscriptions), (1, 1));
}

#[test]
fn peers_that_have_gone_are_remembered_up_to_a_number() {
    let config = Config {
        retained_peers_max: 3,
        ..Config::default()
    };
    let mut node = Node::joined(config, 10);
    for number in 1..=10 {
        node.router.set_application_score(&peer(number), -1.0);
        node.pass(Duration::from_millis(1));
        node.disconnect(number);
    }
    assert_eq!(node.sizes().retained_peers, 3);
    assert!(node.router.score(&peer(10)).is_some());
    assert!(node.router.score(&peer(1)).is_none());
    node.pass(Duration::from_secs(3602));
    assert_eq!(node.sizes().retained_peers, 0);
}

/// Attack R39.
#[test]
fn everything_is_forgotten_when_everybody_is_gone() {
    let mut node = Node::joined(Config::default(), 20);
    for number in 0..50 {
        node.accepts(1 + number as u8 % 20, &message(50, number, b"hello"));
    }
    node.heartbeats(3);
    for number in 1..=20 {
        node.disconnect(number);
    }
    node.unsubscribe();
    node.pass(Duration::from_secs(200));
    assert_eq!(node.sizes(), peerkit_gossipsub::Sizes::default());
}
