use std::time::Duration;

use peerkit_core::Direction;
use peerkit_gossipsub::{Config, Version};
use peerkit_pubsub::{Control, Rpc, Topic};

use crate::node::{Node, joining, peer, pruning, topic};

#[test]
fn a_pruned_peer_is_not_grafted_before_its_backoff_and_slack_are_over() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, Some(20));
    assert!(!node.in_mesh(1));
    node.pass(Duration::from_millis(20_900));
    assert!(!node.in_mesh(1));
    node.pass(Duration::from_millis(1200));
    assert!(node.in_mesh(1));
}

#[test]
fn a_prune_without_backoff_means_the_default() {
    for backoff in [None, Some(0)] {
        let mut node = Node::joined(Config::default(), 1);
        node.prunes(1, backoff);
        let end = node.router.backoff(&topic(), &peer(1)).unwrap();
        assert_eq!(end - node.now, Duration::from_secs(60));
    }
}

/// Attacks G07, R11, R12.
#[test]
fn backoffs_of_any_size_are_cut_to_an_hour_and_never_overflow() {
    let edges = [
        3601,
        u64::from(u32::MAX),
        i64::MAX as u64 - 1,
        i64::MAX as u64,
        i64::MAX as u64 + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    for seconds in edges {
        let mut node = Node::joined(Config::default(), 1);
        node.prunes(1, Some(seconds));
        let end = node.router.backoff(&topic(), &peer(1)).unwrap();
        assert_eq!(end - node.now, Duration::from_secs(3600));
        node.grafts(1);
        node.heartbeats(120);
        assert!(!node.in_mesh(1));
    }
}

#[test]
fn a_later_prune_does_not_shorten_a_backoff() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, Some(100));
    let end = node.router.backoff(&topic(), &peer(1));
    node.prunes(1, Some(1));
    assert_eq!(node.router.backoff(&topic(), &peer(1)), end);
}

/// Attacks G08, R14.
#[test]
fn prunes_of_topics_that_were_not_joined_leave_no_trace() {
    let mut node = Node::joined(Config::default(), 1);
    let before = node.sizes();
    let prunes =
        (0..100_000).map(|number| pruning(&Topic::from(format!("unknown {number}")), Some(60)));
    node.control(
        1,
        Control {
            prune: prunes.collect(),
            ..Control::default()
        },
    );
    assert_eq!(node.sizes(), before);
}

#[test]
fn a_backoff_survives_a_new_connection_and_is_forgotten_when_it_is_over() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, Some(60));
    node.disconnect(1);
    assert_eq!(node.sizes().retained_peers, 1);
    node.member(1);
    assert_eq!(node.sizes().retained_peers, 0);
    assert!(!node.in_mesh(1));
    node.disconnect(1);
    node.pass(Duration::from_secs(80));
    assert_eq!((node.sizes().retained_peers, node.sizes().backoffs), (0, 0));
}

/// Attack G06.
#[test]
fn a_graft_during_backoff_is_answered_and_punished_doubly_when_it_comes_at_once() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, None);
    node.forget_output();
    node.pass(Duration::from_secs(9));
    node.grafts(1);
    assert_eq!(node.prunes_to(1).len(), 1);
    // (2 - 1)² with the weight of -10.
    assert_eq!(node.score(1).behaviour, -10.0);
    let end = node.router.backoff(&topic(), &peer(1)).unwrap();
    assert_eq!(end - node.now, Duration::from_secs(60));
}

#[test]
fn a_graft_late_in_the_backoff_is_punished_once() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, None);
    node.pass(Duration::from_secs(11));
    node.grafts(1);
    assert_eq!(node.score(1).behaviour, 0.0);
    assert_eq!(node.counts().grafts_in_backoff, 1);
    node.grafts(1);
    node.grafts(1);
    // 1 + 2 + 2 misdeeds, one of them free.
    assert_eq!(node.score(1).behaviour, -160.0);
}

/// Attack G06.
#[test]
fn who_grafts_on_and_on_during_backoff_is_not_heard_after_ten_tries() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, None);
    node.pass(Duration::from_secs(1));
    let tries = (1..=10).find(|_| {
        node.grafts(1);
        node.score(1).total < -80.0
    });
    assert!(tries.is_some());
    let graylisted = node.counts().graylisted;
    node.grafts(1);
    assert_eq!(node.counts().graylisted, graylisted + 1);
}

/// Attack G05.
#[test]
fn one_rpc_full_of_grafts_gets_one_prune() {
    let mut node = Node::joined(Config::default(), 1);
    node.prunes(1, None);
    node.forget_output();
    node.control(
        1,
        Control {
            graft: vec![topic(); 100_000],
            ..Control::default()
        },
    );
    assert_eq!(node.prunes_to(1).len(), 1);
    assert!(node.score(1).total < -80.0);
}

#[test]
fn a_peer_of_the_first_version_is_told_neither_backoff_nor_peers() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    node.member_as(1, Version::V1_0, Direction::Inbound);
    node.unsubscribe();
    assert_eq!(node.prunes_to(1), [pruning(&topic(), None)]);
}

#[test]
fn who_joins_and_prunes_in_one_rpc_is_not_grafted() {
    let mut node = Node::joined(Config::default(), 0);
    node.connect(1);
    node.forget_output();
    node.rpc(
        1,
        Rpc {
            subscriptions: vec![joining(&topic())],
            control: Control {
                prune: vec![pruning(&topic(), None)],
                ..Control::default()
            },
            ..Rpc::default()
        },
    );
    assert_eq!(node.sent, []);
    assert!(!node.in_mesh(1));
}
