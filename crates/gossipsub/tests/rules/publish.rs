use std::time::Duration;

use peerkit_core::Direction;
use peerkit_gossipsub::{Config, Version};
use peerkit_pubsub::{PublishRefused, RouterEvent};

use crate::node::{Node, id, message, peer, topic};

fn mesh_only() -> Config {
    Config {
        flood_publish: false,
        ..Config::default()
    }
}

#[test]
fn own_messages_go_to_all_peers_of_the_topic_that_are_well_scored() {
    let mut node = Node::joined(Config::default(), 20);
    node.connect(21);
    node.router.set_application_score(&peer(3), -6.0);
    let message = message(0, 1, b"hello");
    let published = node.publish(&message).unwrap();
    assert_eq!((published.id, published.peers), (id(&message), 19));
    assert_eq!(node.copies_to(3, &message), 0);
    assert_eq!(node.copies_to(21, &message), 0);
    assert!((4..=20).all(|number| node.copies_to(number, &message) == 1));
}

#[test]
fn without_flood_publishing_they_go_to_the_mesh() {
    let mut node = Node::joined(mesh_only(), 20);
    let message = message(0, 1, b"hello");
    assert_eq!(node.publish(&message).unwrap().peers, 5);
    assert!((1..=20).all(|n| node.copies_to(n, &message) == usize::from(node.in_mesh(n))));
}

#[test]
fn a_mesh_that_is_not_there_yet_is_stood_in_for() {
    let mut node = Node::joined(mesh_only(), 4);
    for number in 1..=4 {
        node.prunes(number, None);
    }
    assert_eq!(node.mesh_len(), 0);
    assert_eq!(node.publish(&message(0, 1, b"hello")).unwrap().peers, 4);
}

#[test]
fn who_has_not_joined_publishes_to_the_same_few_until_they_are_forgotten() {
    let mut node = Node::new(mesh_only());
    for number in 1..=20 {
        node.member(number);
    }
    assert_eq!(node.publish(&message(0, 1, b"one")).unwrap().peers, 6);
    let fanout = node.router.fanout(&topic());
    let second = message(0, 2, b"two");
    assert_eq!(node.publish(&second).unwrap().peers, 6);
    assert_eq!(node.router.fanout(&topic()), fanout);
    let gone = (1..=20)
        .find(|number| fanout.contains(&peer(*number)))
        .unwrap();
    node.disconnect(gone);
    node.heartbeats(1);
    assert_eq!(node.router.fanout(&topic()).len(), 6);
    node.pass(Duration::from_secs(61));
    assert_eq!(node.router.fanout(&topic()), []);
    assert_eq!(node.sizes().fanout, 0);
}

#[test]
fn who_joins_after_publishing_grafts_those_who_got_it() {
    let mut node = Node::new(mesh_only());
    for number in 1..=20 {
        node.member(number);
    }
    node.publish(&message(0, 1, b"one")).unwrap();
    let mut fanout = node.router.fanout(&topic());
    node.subscribe();
    let mut mesh = node.router.mesh(&topic());
    fanout.sort();
    mesh.sort();
    assert_eq!(mesh, fanout);
}

#[test]
fn a_message_is_published_once() {
    let mut node = Node::joined(Config::default(), 2);
    let message = message(0, 1, b"hello");
    node.publish(&message).unwrap();
    assert_eq!(node.publish(&message), Err(PublishRefused::Duplicate));
    // It comes back.
    node.delivers(1, &message);
    assert_eq!(node.validations(), 0);
    assert_eq!(node.counts().duplicates, 1);
}

#[test]
fn a_message_that_nobody_takes_can_be_published_again() {
    let mut node = Node::new(Config::default());
    let message = message(0, 1, b"hello");
    assert_eq!(node.publish(&message), Err(PublishRefused::NoPeers));
    node.subscribe();
    node.connect(1);
    assert_eq!(node.publish(&message), Err(PublishRefused::NoPeers));
    node.join(1, &topic());
    assert_eq!(node.publish(&message).unwrap().peers, 1);
}

#[test]
fn floodsub_peers_get_everything() {
    for config in [Config::default(), mesh_only()] {
        let mut node = Node::joined(config, 10);
        node.member_as(11, Version::Floodsub, Direction::Inbound);
        let own = message(0, 1, b"own");
        node.publish(&own).unwrap();
        let other = message(50, 1, b"other");
        node.accepts(1, &other);
        assert_eq!(
            (node.copies_to(11, &own), node.copies_to(11, &other)),
            (1, 1)
        );
        node.heartbeats(1);
        assert_eq!(node.ihaves_to(11), []);
    }
}

#[test]
fn floodsub_peers_with_a_bad_score_get_nothing() {
    let mut node = Node::joined(Config::default(), 10);
    node.member_as(11, Version::Floodsub, Direction::Inbound);
    node.router.set_application_score(&peer(11), -6.0);
    let other = message(50, 1, b"other");
    node.accepts(1, &other);
    assert_eq!(node.copies_to(11, &other), 0);
}

#[test]
fn direct_peers_get_everything_whatever_their_score() {
    let config = Config {
        direct_peers: vec![peer(1)],
        ..mesh_only()
    };
    let mut node = Node::joined(config, 3);
    node.router.set_application_score(&peer(1), -100.0);
    let (own, other) = (message(0, 1, b"own"), message(50, 1, b"other"));
    node.publish(&own).unwrap();
    node.accepts(2, &other);
    assert_eq!((node.copies_to(1, &own), node.copies_to(1, &other)), (1, 1));
    // And it is heard.
    let third = message(1, 1, b"third");
    node.accepts(1, &third);
    assert_eq!(node.deliveries(), 2);
}

#[test]
fn what_others_write_is_forwarded_to_the_mesh_but_not_back() {
    let mut node = Node::joined(Config::default(), 5);
    let message = message(4, 1, b"hello");
    node.accepts(1, &message);
    let copies = (1..=5)
        .map(|number| node.copies_to(number, &message))
        .collect::<Vec<_>>();
    // Not to 1, who has brought it, nor to 4, who has written it.
    assert_eq!(copies, [0, 1, 1, 0, 1]);
    let delivered = node.events.iter().find_map(|event| match event {
        RouterEvent::Deliver { source, .. } => Some(*source),
        _ => None,
    });
    assert_eq!(delivered, Some(peer(1)));
}
