use std::time::Duration;

use peerkit_core::Direction;
use peerkit_gossipsub::{Config, Version};
use peerkit_pubsub::{Control, Outgoing, Router, RouterEvent, Rpc, SubscriptionChange, Topic};

use crate::node::{Node, joining, peer, topic};

#[test]
fn joining_tells_all_peers_and_grafts_up_to_the_target() {
    let mut node = Node::new(Config::default());
    for number in 1..=20 {
        node.member(number);
    }
    node.forget_output();
    node.subscribe();
    let told = (1..=20).filter(|n| {
        node.sent_to(*n)
            .any(|s| *s == Outgoing::Subscriptions(vec![joining(&topic())]))
    });
    assert_eq!(told.count(), 20);
    let grafted: usize = (1..=20).map(|n| node.grafts_to(n)).sum();
    assert_eq!((grafted, node.mesh_len()), (6, 6));
}

#[test]
fn joining_twice_and_leaving_what_was_not_joined_do_nothing() {
    let mut node = Node::joined(Config::default(), 3);
    node.forget_output();
    node.subscribe();
    node.router.unsubscribe(&Topic::from("other"), node.now);
    assert_eq!(node.sent, []);
    assert_eq!(node.mesh_len(), 3);
}

#[test]
fn leaving_prunes_the_mesh_with_the_short_backoff() {
    let mut node = Node::joined(Config::default(), 4);
    node.forget_output();
    node.unsubscribe();
    for number in 1..=4 {
        let prunes = node.prunes_to(number);
        assert_eq!(prunes.len(), 1);
        assert_eq!(prunes[0].backoff, Some(10));
        let left = Outgoing::Subscriptions(vec![SubscriptionChange {
            subscribe: false,
            ..joining(&topic())
        }]);
        assert!(node.sent_to(number).any(|sent| *sent == left));
    }
    assert_eq!(node.mesh_len(), 0);
    assert_eq!(node.router.joined_topics(), []);
}

/// Attack R50.
#[test]
fn who_leaves_and_joins_again_does_not_graft_before_the_backoff_is_over() {
    let mut node = Node::joined(Config::default(), 4);
    node.unsubscribe();
    node.subscribe();
    node.forget_output();
    node.pass(Duration::from_millis(10_900));
    assert_eq!(node.mesh_len(), 0);
    assert!((1..=4).all(|number| node.grafts_to(number) == 0));
    node.heartbeats(2);
    assert_eq!(node.mesh_len(), 4);
}

#[test]
fn a_mesh_that_is_too_small_is_filled_at_once_and_up_to_the_target_at_heartbeats() {
    let mut node = Node::joined(Config::default(), 20);
    assert_eq!(node.mesh_len(), 5);
    let members = node.router.mesh(&topic());
    node.router.handle_disconnected(&members[0], node.now);
    assert_eq!(node.mesh_len(), 4);
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 6);
}

#[test]
fn a_mesh_that_is_too_large_is_cut_to_the_target() {
    let mut node = Node::joined(Config::default(), 20);
    for number in 1..=20 {
        node.grafts(number);
    }
    assert_eq!(node.mesh_len(), 20);
    node.forget_output();
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 6);
    let pruned: Vec<_> = (1..=20).flat_map(|number| node.prunes_to(number)).collect();
    assert_eq!(pruned.len(), 14);
    assert!(
        pruned
            .iter()
            .all(|prune| prune.backoff == Some(60) && prune.peers.is_empty())
    );
}

#[test]
fn the_best_of_a_large_mesh_stay() {
    let mut node = Node::joined(Config::default(), 20);
    for number in 1..=20 {
        node.grafts(number);
        let score = if number <= 4 { 5.0 } else { 0.0 };
        assert!(node.router.set_application_score(&peer(number), score));
    }
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 6);
    assert!((1..=4).all(|number| node.in_mesh(number)));
}

#[test]
fn a_large_mesh_keeps_enough_peers_that_this_node_has_dialed() {
    for seed in 0..20 {
        let mut node = Node::with_seed(Config::default(), seed);
        node.subscribe();
        for number in 3..=14 {
            node.member_as(number, Version::V1_1, Direction::Inbound);
            node.grafts(number);
        }
        // Two outbound ones come last, when the mesh is full.
        for number in [1, 2] {
            node.member(number);
            node.grafts(number);
        }
        assert!(node.mesh_len() > 12);
        node.heartbeats(1);
        assert!(node.in_mesh(1) && node.in_mesh(2), "seed {seed}");
        assert_eq!(node.mesh_len(), 6);
    }
}

#[test]
fn a_mesh_without_peers_that_this_node_has_dialed_gets_two() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    for number in 1..=6 {
        node.member_as(number, Version::V1_1, Direction::Inbound);
        node.grafts(number);
    }
    for number in 7..=12 {
        node.member(number);
    }
    assert!((7..=12).all(|number| !node.in_mesh(number)));
    node.heartbeats(1);
    assert_eq!((7..=12).filter(|number| node.in_mesh(*number)).count(), 2);
}

#[test]
fn a_full_mesh_takes_grafts_of_dialed_peers_only() {
    let mut node = Node::joined(Config::default(), 12);
    for number in 1..=12 {
        node.grafts(number);
    }
    assert_eq!(node.mesh_len(), 12);
    node.member_as(13, Version::V1_1, Direction::Inbound);
    node.grafts(13);
    assert!(!node.in_mesh(13));
    assert_eq!(node.prunes_to(13)[0].backoff, Some(60));
    node.member(14);
    node.grafts(14);
    assert!(node.in_mesh(14));
    assert!(node.prunes_to(14).is_empty());
}

#[test]
fn floodsub_peers_and_direct_peers_are_never_in_a_mesh() {
    let config = Config {
        direct_peers: vec![peer(2)],
        ..Config::default()
    };
    let mut node = Node::new(config);
    node.subscribe();
    node.member_as(1, Version::Floodsub, Direction::Outbound);
    node.member(2);
    node.grafts(1);
    node.grafts(2);
    node.heartbeats(3);
    assert_eq!(node.mesh_len(), 0);
    let prunes = node.prunes_to(2);
    assert_eq!(prunes.len(), 1);
    assert!(prunes[0].peers.is_empty());
}

/// Attacks G05, R13.
#[test]
fn grafts_of_topics_that_nobody_has_joined_leave_no_trace() {
    let mut node = Node::joined(Config::default(), 1);
    node.connect(2);
    let before = node.sizes();
    node.forget_output();
    let unknown = (0..10_000).map(|number| Topic::from(format!("unknown {number}")));
    node.control(
        1,
        Control {
            graft: unknown.collect(),
            ..Control::default()
        },
    );
    // This one has not joined itself.
    node.grafts(2);
    assert_eq!(node.sizes(), before);
    assert_eq!(node.sent, []);
    assert!(!node.in_mesh(2));
}

#[test]
fn a_graft_of_a_member_is_not_answered() {
    let mut node = Node::joined(Config::default(), 1);
    node.forget_output();
    node.grafts(1);
    node.grafts(1);
    assert_eq!(node.sent, []);
    assert!(node.in_mesh(1));
}

#[test]
fn members_that_leave_the_topic_or_go_are_out_of_the_mesh() {
    let mut node = Node::joined(Config::default(), 2);
    node.rpc(
        1,
        Rpc {
            subscriptions: vec![SubscriptionChange {
                subscribe: false,
                ..joining(&topic())
            }],
            ..Rpc::default()
        },
    );
    node.disconnect(2);
    assert_eq!(node.mesh_len(), 0);
    let left: Vec<_> = node
        .events
        .iter()
        .filter_map(|event| match event {
            RouterEvent::Unsubscribed { peer, topic: left } if *left == topic() => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(left, [peer(1), peer(2)]);
}

#[test]
fn better_peers_are_grafted_when_the_median_is_low() {
    let config = Config {
        opportunistic_graft_ticks: 3,
        mesh_outbound: 0,
        ..Config::default()
    };
    let mut node = Node::joined(config, 20);
    node.heartbeats(1);
    let members = node.router.mesh(&topic());
    assert_eq!(members.len(), 5);
    let outside: Vec<_> = (1..=20).filter(|number| !node.in_mesh(*number)).collect();
    for number in &outside[..3] {
        node.router.set_application_score(&peer(*number), 1.0);
    }
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 5);
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 7);
    assert_eq!(
        outside[..3]
            .iter()
            .filter(|number| node.in_mesh(**number))
            .count(),
        2
    );
}

#[test]
fn a_good_mesh_grafts_nobody_opportunistically() {
    let config = Config {
        opportunistic_graft_ticks: 1,
        ..Config::default()
    };
    let mut node = Node::joined(config, 20);
    for number in 1..=20 {
        let score = if node.in_mesh(number) { 3.0 } else { 9.0 };
        node.router.set_application_score(&peer(number), score);
    }
    node.heartbeats(3);
    assert_eq!(node.mesh_len(), 5);
}

#[test]
fn direct_peers_are_called_soon_and_then_once_in_a_while() {
    let config = Config {
        direct_peers: vec![peer(1), peer(2)],
        ..Config::default()
    };
    let mut node = Node::new(config);
    node.connect(2);
    node.heartbeats(1);
    assert_eq!(node.calls(), [peer(1)]);
    node.heartbeats(299);
    assert_eq!(node.calls(), [peer(1)]);
    node.heartbeats(1);
    assert_eq!(node.calls(), [peer(1), peer(1)]);
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let run = |seed| {
        let mut node = Node::with_seed(Config::default(), seed);
        for number in 1..=30 {
            node.member(number);
        }
        node.subscribe();
        node.heartbeats(5);
        node.router.mesh(&topic())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
