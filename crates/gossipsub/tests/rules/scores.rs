use std::time::Duration;

use peerkit_core::Direction;
use peerkit_gossipsub::{Config, IpRange, ScoreParams, Version};
use peerkit_pubsub::{Outgoing, Router, Verdict};

use crate::node::{Node, id, link, message, peer, topic};

fn scored(change: impl FnOnce(&mut ScoreParams)) -> Config {
    let mut score = ScoreParams::default();
    change(&mut score);
    Config {
        score: Some(score),
        ..Config::default()
    }
}

fn at(node: &mut Node, number: u8, ip: &str) {
    node.connect_at(
        number,
        link(Version::V1_1, Direction::Inbound, Some(ip.parse().unwrap())),
    );
    node.join(number, &topic());
}

#[test]
fn quiet_topics_cost_nobody_anything() {
    let mut node = Node::joined(Config::default(), 6);
    node.pass(Duration::from_secs(600));
    for number in 1..=6 {
        assert!(node.score(number).total >= 0.0);
    }
    assert_eq!(node.mesh_len(), 5);
}

#[test]
fn each_first_delivery_counts_and_wears_off() {
    let mut node = Node::joined(Config::default(), 3);
    for number in 0..10 {
        let message = message(50, number, b"x");
        node.accepts(1, &message);
        node.delivers(2, &message);
    }
    let terms = |node: &Node, number| node.score(number).by_topic[&topic()];
    assert_eq!(terms(&node, 1).first_deliveries, 10.0);
    assert_eq!(terms(&node, 2).first_deliveries, 0.0);
    node.pass(Duration::from_millis(1000));
    assert!((terms(&node, 1).first_deliveries - 9.5).abs() < 1e-9);
    node.pass(Duration::from_secs(200));
    assert_eq!(terms(&node, 1).first_deliveries, 0.0);
}

#[test]
fn the_topic_score_is_capped_above_but_not_below() {
    let mut node = Node::joined(Config::default(), 2);
    for number in 0..500 {
        node.accepts(1, &message(50, number, b"x"));
    }
    assert_eq!(node.score(1).topics, 100.0);
    for number in 500..600 {
        node.delivers(1, &message(50, number, b"x"));
        node.verdict(&message(50, number, b"x"), Verdict::Reject);
    }
    assert!(node.score(1).topics < -80.0);
}

#[test]
fn deliveries_of_members_within_the_window_count_against_the_deficit() {
    let config = scored(|score| {
        score.topic_default.mesh_weight = -1.0;
        score.topic_default.mesh_threshold = 4.0;
        score.topic_default.mesh_decay = 0.999_999;
    });
    let mut node = Node::joined(config, 4);
    for number in 0..4 {
        let message = message(50, number, b"x");
        node.delivers(1, &message);
        // Before the verdict, shortly after it, and too late.
        node.delivers(2, &message);
        node.verdict(&message, Verdict::Accept);
        node.pass(Duration::from_millis(10));
        node.delivers(3, &message);
        node.pass(Duration::from_millis(1));
        node.delivers(4, &message);
    }
    node.pass(Duration::from_secs(4));
    assert!(
        (1..=4).all(|number| node.score(number).total >= 0.0),
        "not active yet"
    );
    node.pass(Duration::from_millis(2500));
    let deficit = |number| node.score(number).by_topic[&topic()].mesh_deliveries;
    for number in 1..=3 {
        assert!(deficit(number) > -0.001, "{number}: {}", deficit(number));
    }
    // Half of 4², for as long as it was in the mesh; it has been pruned since.
    assert!(!node.in_mesh(4));
    assert!((1..=3).all(|number| node.in_mesh(number)));
}

#[test]
fn a_deficit_sticks_when_its_peer_is_pruned() {
    let config = scored(|score| {
        score.topic_default.mesh_weight = -1.0;
        score.topic_default.failure_weight = -2.0;
        score.topic_default.failure_decay = 0.9;
        score.topic_default.mesh_threshold = 4.0;
    });
    let mut node = Node::joined(config, 1);
    node.pass(Duration::from_millis(7500));
    assert!(!node.in_mesh(1));
    let terms = node.score(1).by_topic[&topic()];
    assert_eq!(terms.mesh_deliveries, 0.0);
    // -2 · 0.5 · 4², decayed once or twice.
    assert!(
        (-16.0..-10.0).contains(&terms.mesh_failures),
        "{}",
        terms.mesh_failures
    );
    let before = node.score(1).total;
    node.disconnect(1);
    node.pass(Duration::from_secs(30));
    node.member(1);
    assert_eq!(
        node.score(1).by_topic[&topic()].mesh_failures,
        terms.mesh_failures
    );
    assert!(node.score(1).total <= before + 1.0);
}

/// Attack G15.
#[test]
fn peers_at_one_address_beyond_the_threshold_weigh_on_each_other() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    for number in 1..=10 {
        at(&mut node, number, "203.0.113.1");
    }
    assert_eq!(node.score(1).colocation, 0.0);
    at(&mut node, 11, "203.0.113.1");
    at(&mut node, 12, "203.0.113.1");
    at(&mut node, 13, "203.0.113.2");
    assert_eq!(node.score(1).colocation, -20.0);
    assert_eq!(node.score(13).colocation, 0.0);
    node.heartbeats(1);
    assert_eq!(node.router.mesh(&topic()), [peer(13)]);
    node.disconnect(12);
    assert_eq!(node.score(1).colocation, -5.0);
}

#[test]
fn one_ipv6_network_is_one_place_and_mapped_addresses_are_ipv4() {
    let mut node = Node::new(Config::default());
    for number in 1..=11 {
        at(&mut node, number, &format!("2001:db8::{number:x}"));
    }
    assert_eq!(node.score(1).colocation, -5.0);
    for number in 12..=17 {
        at(&mut node, number, "203.0.113.1");
    }
    for number in 18..=22 {
        at(&mut node, number, "::ffff:203.0.113.1");
    }
    assert_eq!(node.score(22).colocation, -5.0);
}

#[test]
fn whitelisted_addresses_may_have_any_number_of_peers() {
    let config = scored(|score| {
        score.colocation_whitelist.push(IpRange {
            address: "203.0.113.0".parse().unwrap(),
            prefix: 24,
        });
    });
    let mut node = Node::new(config);
    for number in 1..=100 {
        at(
            &mut node,
            number,
            if number % 2 == 0 {
                "127.0.0.1"
            } else {
                "203.0.113.77"
            },
        );
    }
    assert!((1..=100).all(|number| node.score(number).colocation == 0.0));
}

#[test]
fn the_application_has_its_say() {
    let mut node = Node::joined(Config::default(), 2);
    assert!(node.router.set_application_score(&peer(1), -3.0));
    assert_eq!(node.score(1).application, -30.0);
    assert!(!node.router.set_application_score(&peer(1), f64::NAN));
    assert!(!node.router.set_application_score(&peer(9), 1.0));
    assert_eq!(node.score(1).total, -30.0);
    node.heartbeats(1);
    assert!(!node.in_mesh(1));
}

#[test]
fn thresholds_take_rights_away_one_after_another() {
    let mut node = Node::joined(Config::default(), 4);
    for (number, score) in [(1, -0.5), (2, -2.0), (3, -6.0), (4, -9.0)] {
        node.router.set_application_score(&peer(number), score);
    }
    node.heartbeats(1);
    assert_eq!(node.mesh_len(), 0);
    let own = message(0, 1, b"own");
    node.forget_output();
    node.publish(&own).unwrap();
    let published: Vec<_> = (1..=4).map(|number| node.copies_to(number, &own)).collect();
    assert_eq!(published, [1, 1, 0, 0]);
    node.heartbeats(1);
    let gossiped: Vec<_> = (1..=4).map(|number| node.ihaves_to(number).len()).collect();
    assert_eq!(gossiped, [1, 0, 0, 0]);
    for number in 1..=4 {
        node.delivers(number, &message(number, 1, b"theirs"));
    }
    assert_eq!(node.validations(), 3);
}

#[test]
fn badly_scored_peers_are_pruned_without_peers_and_their_grafts_refused() {
    let mut node = Node::joined(Config::default(), 2);
    node.router.set_application_score(&peer(1), -0.1);
    node.heartbeats(1);
    assert_eq!(node.prunes_to(1).len(), 1);
    node.pass(Duration::from_secs(70));
    node.forget_output();
    node.grafts(1);
    assert!(!node.in_mesh(1));
    assert_eq!(node.prunes_to(1).len(), 1);
    assert_eq!(node.score(1).behaviour, 0.0);
}

#[test]
fn a_bad_score_is_kept_for_an_hour_and_does_not_mend() {
    let mut node = Node::joined(Config::default(), 2);
    for number in 0..10 {
        node.rejects(1, &message(50, number, b"x"));
    }
    node.heartbeats(1);
    node.disconnect(1);
    let score = node.score(1).total;
    assert!(score < 0.0);
    node.pass(Duration::from_secs(3000));
    node.member(1);
    assert_eq!(node.score(1).total, score);
    node.disconnect(1);
    node.pass(Duration::from_secs(3603));
    assert!(node.router.score(&peer(1)).is_none());
}

#[test]
fn a_good_score_is_forgotten_with_the_peer() {
    let mut node = Node::joined(Config::default(), 2);
    node.accepts(1, &message(50, 1, b"x"));
    assert!(node.score(1).total > 0.0);
    node.disconnect(1);
    assert!(node.router.score(&peer(1)).is_none());
    node.member(1);
    assert_eq!(node.score(1).total, 0.0);
}

/// Attack G14.
#[test]
fn a_peer_that_takes_its_messages_too_slowly_loses_its_place_but_not_its_voice() {
    let mut node = Node::joined(Config::default(), 3);
    let dropped = message(50, 1, b"x");
    let dropped = Outgoing::Forward(id(&dropped), dropped);
    for _ in 0..10_000 {
        node.router.handle_dropped(&peer(1), &dropped, node.now);
    }
    assert_eq!(node.score(1).slow, -40.0);
    node.heartbeats(1);
    assert!(!node.in_mesh(1));
    node.accepts(1, &message(50, 2, b"still heard"));
    assert_eq!(node.deliveries(), 1);
    node.pass(Duration::from_secs(10));
    assert_eq!(node.score(1).slow, 0.0);
}

#[test]
fn without_scoring_nobody_is_judged() {
    let config = Config {
        score: None,
        ..Config::default()
    };
    let mut node = Node::joined(config, 3);
    for number in 0..200 {
        node.rejects(1, &message(50, number, b"x"));
    }
    node.prunes(1, Some(1));
    for _ in 0..50 {
        node.grafts(1);
    }
    assert!(node.router.score(&peer(1)).is_none());
    node.accepts(1, &message(50, 500, b"real"));
    assert_eq!(node.deliveries(), 1);
    assert_eq!(node.sizes().scored_topics, 0);
}

#[test]
fn topics_can_have_parameters_of_their_own() {
    let config = scored(|score| {
        let mut own = score.topic_default.clone();
        own.weight = 4.0;
        score.topics.insert(topic(), own);
    });
    let mut node = Node::joined(config, 1);
    node.accepts(1, &message(50, 1, b"x"));
    assert_eq!(node.score(1).by_topic[&topic()].first_deliveries, 8.0);
}
