use peerkit_core::Direction;
use peerkit_core::PeerId;
use peerkit_gossipsub::{Config, Version};
use peerkit_pubsub::{MessageId, RouterEvent, Verdict};

use crate::node::{Node, id, message, peer};

const LARGE: &[u8] = &[1; 1024];

#[test]
fn large_messages_are_refused_by_new_members_at_once() {
    let mut node = Node::new(Config::default());
    node.subscribe();
    node.member_as(1, Version::V1_2, Direction::Inbound);
    node.member_as(2, Version::V1_2, Direction::Inbound);
    node.member_as(3, Version::V1_3, Direction::Inbound);
    node.member_as(4, Version::V1_1, Direction::Inbound);
    let large = message(50, 1, LARGE);
    node.delivers(1, &large);
    // Before the verdict.
    let told: Vec<_> = (1..=4).map(|number| node.idontwants_to(number)).collect();
    assert_eq!(told, [vec![], vec![id(&large)], vec![id(&large)], vec![]]);
    node.delivers(2, &large);
    node.verdict(&large, Verdict::Accept);
    assert_eq!(node.counts().idontwant_sent, 2);
}

#[test]
fn small_messages_are_not() {
    let mut node = Node::joined(Config::default(), 3);
    node.accepts(1, &message(50, 1, &LARGE[1..]));
    assert_eq!(node.counts().idontwant_sent, 0);
}

#[test]
fn who_was_asked_for_a_message_is_told_when_it_came_another_way() {
    let mut node = Node::joined(Config::default(), 7);
    let asked = (1..=7).find(|number| !node.in_mesh(*number)).unwrap();
    let bringer = (1..=7).find(|number| node.in_mesh(*number)).unwrap();
    let large = message(50, 1, LARGE);
    node.offers(asked, vec![id(&large)]);
    node.delivers(bringer, &large);
    assert_eq!(node.idontwants_to(asked), [id(&large)]);
}

#[test]
fn own_messages_are_announced_on_demand() {
    for (idontwant_on_publish, told) in [(false, 0), (true, 3)] {
        let config = Config {
            idontwant_on_publish,
            ..Config::default()
        };
        let mut node = Node::joined(config, 3);
        node.publish(&message(0, 1, LARGE)).unwrap();
        assert_eq!(node.counts().idontwant_sent, told);
    }
}

#[test]
fn what_a_peer_refuses_it_does_not_get() {
    let mut node = Node::joined(Config::default(), 4);
    let message = message(50, 1, LARGE);
    node.refuses(2, vec![id(&message)]);
    node.accepts(1, &message);
    node.asks(2, vec![id(&message)]);
    assert_eq!(node.copies_to(2, &message), 0);
    assert_eq!(
        (node.copies_to(3, &message), node.copies_to(4, &message)),
        (1, 1)
    );
    assert_eq!(node.counts().unwanted, 2);
}

#[test]
fn refusals_hold_for_publishing_too_and_are_forgotten_after_three_heartbeats() {
    let mut node = Node::joined(Config::default(), 2);
    let (first, second) = (message(0, 1, LARGE), message(0, 2, LARGE));
    node.refuses(1, vec![id(&first), id(&second)]);
    assert_eq!(node.publish(&first).unwrap().peers, 1);
    assert_eq!(node.sizes().refusals, 2);
    node.heartbeats(3);
    assert_eq!(node.sizes().refusals, 0);
    assert_eq!(node.publish(&second).unwrap().peers, 2);
}

/// Attack G12.
#[test]
fn a_flood_of_refusals_is_bounded_and_costs_only_its_author() {
    let mut node = Node::joined(Config::default(), 4);
    let wanted = message(50, 7, LARGE);
    for round in 0..100_u32 {
        let ids = (0..10_000_u32)
            .map(|number| MessageId::from([round.to_be_bytes(), number.to_be_bytes()].concat()));
        node.refuses(1, ids.collect());
    }
    node.refuses(1, vec![id(&wanted)]);
    assert_eq!(node.sizes().refusals, 10_000);
    assert_eq!(node.counts().idontwant_refused, 990_001);
    node.accepts(2, &wanted);
    assert_eq!(
        (node.copies_to(3, &wanted), node.copies_to(4, &wanted)),
        (1, 1)
    );
    node.heartbeats(3);
    assert_eq!(node.sizes().refusals, 0);
}

/// Attack G12.
#[test]
fn no_more_than_a_thousand_rpcs_with_refusals_are_read_in_a_heartbeat() {
    let mut node = Node::joined(Config::default(), 1);
    for number in 0..1500_u32 {
        node.refuses(1, vec![MessageId::copy_from_slice(&number.to_be_bytes())]);
    }
    assert_eq!(node.sizes().refusals, 1000);
    node.disconnect(1);
    assert_eq!(node.sizes().refusals, 0);
}

/// What is not to be sent any more, if it still waits.
fn withdrawn(node: &Node) -> Vec<(PeerId, MessageId)> {
    let events = node.events.iter().filter_map(|event| match event {
        RouterEvent::Withdraw { peer, id } => Some((*peer, id.clone())),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_refusal_takes_back_what_waits_for_the_peer_once() {
    let mut node = Node::joined(Config::default(), 3);
    let (first, unknown) = (message(50, 1, LARGE), message(50, 2, LARGE));
    node.accepts(1, &first);
    for _ in 0..10 {
        node.refuses(2, vec![id(&first), id(&unknown)]);
    }
    assert_eq!(withdrawn(&node), [(peer(2), id(&first))]);
}

#[test]
fn a_copy_from_a_peer_takes_back_the_one_that_waits_for_it() {
    let mut node = Node::joined(Config::default(), 3);
    let small = message(50, 1, b"small");
    node.accepts(1, &small);
    node.delivers(3, &small);
    assert_eq!(withdrawn(&node), [(peer(3), id(&small))]);
    // What is so old that nothing of it waits is not looked for.
    node.heartbeats(10);
    node.delivers(2, &small);
    assert_eq!(withdrawn(&node).len(), 1);
}
