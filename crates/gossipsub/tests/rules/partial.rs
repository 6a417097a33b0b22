use bytes::Bytes;
use peerkit_core::{Direction, PeerId};
use peerkit_gossipsub::{
    Config, PartialConfig, PartialMessage, PartialMode, PartialRefused, Parts, Version,
};
use peerkit_pubsub::{
    Extensions, Outgoing, Partial, PublishRefused, RouterEvent, Rpc, SubscriptionChange, Verdict,
};

use crate::node::{Node, id, joining, message, peer, topic};

const PARTIAL: Extensions = Extensions {
    partial_messages: true,
    test: false,
};

/// Parts are bits, and their own metadata.
struct Bits(u8);

impl PartialMessage for Bits {
    fn metadata(&self) -> Bytes {
        Bytes::copy_from_slice(&[self.0])
    }

    fn parts_for(&self, known: Option<&[u8]>) -> Option<Parts> {
        let known = known?.first()?;
        let lacking = self.0 & !known;
        (lacking > 0).then(|| Parts {
            encoded: Bytes::copy_from_slice(&[lacking]),
            known: Bytes::copy_from_slice(&[known | lacking]),
        })
    }
}

/// Sends the first part unasked.
struct Eager;

impl PartialMessage for Eager {
    fn metadata(&self) -> Bytes {
        Bytes::from_static(&[1])
    }

    fn parts_for(&self, known: Option<&[u8]>) -> Option<Parts> {
        known.is_none().then(|| Parts {
            encoded: Bytes::from_static(&[1]),
            known: Bytes::from_static(&[1]),
        })
    }
}

fn config(mode: PartialMode) -> Config {
    Config {
        partial: PartialConfig {
            topics: [(topic(), mode)].into(),
            ..PartialConfig::default()
        },
        ..Config::default()
    }
}

fn node(mode: PartialMode) -> Node {
    let mut node = Node::new(config(mode));
    node.subscribe();
    node
}

fn change(mode: PartialMode) -> SubscriptionChange {
    SubscriptionChange {
        requests_partial: mode == PartialMode::Requests,
        supports_sending_partial: true,
        ..joining(&topic())
    }
}

/// A peer of the mesh that takes part in this way.
fn member(node: &mut Node, number: u8, mode: PartialMode) {
    node.connect_as(number, Version::V1_3, Direction::Outbound);
    node.extends(number, PARTIAL);
    let subscriptions = vec![change(mode)];
    let rpc = Rpc {
        subscriptions,
        ..Rpc::default()
    };
    node.rpc(number, rpc);
    assert!(node.in_mesh(number));
    node.forget_output();
}

fn partial(group: &'static str, message: Option<u8>, metadata: Option<u8>) -> Partial {
    let bytes = |byte: u8| Bytes::copy_from_slice(&[byte]);
    Partial {
        topic: topic(),
        group: Bytes::from_static(group.as_bytes()),
        message: message.map(bytes),
        metadata: metadata.map(bytes),
    }
}

fn says(node: &mut Node, number: u8, partial: Partial) {
    let rpc = Rpc {
        partial: Some(partial),
        ..Rpc::default()
    };
    node.rpc(number, rpc);
}

fn publishes(node: &mut Node, message: &dyn PartialMessage) -> Result<usize, PartialRefused> {
    let (topic, group) = (topic(), Bytes::from_static(b"one"));
    let now = node.now;
    let sent = node.router.publish_partial(&topic, group, message, now);
    node.drain();
    sent
}

fn sent(node: &mut Node) -> Vec<(PeerId, Partial)> {
    let sent = node.sent.drain(..).filter_map(|(to, what)| match what {
        Outgoing::Partial(partial) => Some((to, partial)),
        _ => None,
    });
    sent.collect()
}

fn received(node: &Node) -> usize {
    let events = node.events.iter();
    events
        .filter(|event| matches!(event, RouterEvent::Partial { .. }))
        .count()
}

#[test]
fn the_hello_announces_the_extension_and_each_topics_part_in_it() {
    for mode in [PartialMode::Supports, PartialMode::Requests] {
        let mut node = node(mode);
        node.connect_as(1, Version::V1_3, Direction::Inbound);
        let hello = Outgoing::Hello(vec![change(mode)], Some(PARTIAL));
        assert_eq!(node.sent, [(peer(1), hello)]);
    }
}

#[test]
fn each_peer_gets_the_parts_that_it_lacks_once() {
    let mut node = node(PartialMode::Requests);
    for number in [1, 2] {
        member(&mut node, number, PartialMode::Requests);
    }
    says(&mut node, 1, partial("one", None, Some(0b100)));
    assert_eq!(received(&node), 1);
    assert_eq!(publishes(&mut node, &Bits(0b110)), Ok(2));
    let metadata = Some(0b110);
    let expected = [
        (peer(1), partial("one", Some(0b010), metadata)),
        (peer(2), partial("one", None, metadata)),
    ];
    assert_eq!(sent(&mut node), expected);
    // Nothing has changed.
    assert_eq!(publishes(&mut node, &Bits(0b110)), Ok(0));
    assert_eq!(sent(&mut node), []);
    // One peer asks; the other gets what is new.
    says(&mut node, 2, partial("one", None, Some(0)));
    assert_eq!(publishes(&mut node, &Bits(0b111)), Ok(2));
    let metadata = Some(0b111);
    let expected = [
        (peer(1), partial("one", Some(0b001), metadata)),
        (peer(2), partial("one", Some(0b111), metadata)),
    ];
    assert_eq!(sent(&mut node), expected);
}

#[test]
fn parts_may_be_pushed_before_anybody_asks() {
    let mut node = node(PartialMode::Supports);
    member(&mut node, 1, PartialMode::Requests);
    assert_eq!(publishes(&mut node, &Eager), Ok(1));
    let expected = [(peer(1), partial("one", Some(1), Some(1)))];
    assert_eq!(sent(&mut node), expected);
}

#[test]
fn who_only_supports_it_gets_metadata_and_whole_messages() {
    let mut node = node(PartialMode::Requests);
    member(&mut node, 1, PartialMode::Supports);
    member(&mut node, 2, PartialMode::Requests);
    assert_eq!(publishes(&mut node, &Eager), Ok(2));
    let expected = [
        (peer(1), partial("one", None, Some(1))),
        (peer(2), partial("one", Some(1), Some(1))),
    ];
    assert_eq!(sent(&mut node), expected);
    let whole = message(0, 1, b"whole");
    node.publish(&whole).unwrap();
    let others = message(50, 1, &[1; 2000]);
    node.member(3);
    node.forget_output();
    node.accepts(3, &others);
    assert_eq!(node.copies_to(1, &others), 1);
    assert_eq!(node.copies_to(2, &others), 0);
    // Who sends parts has no copy to keep back.
    assert_eq!(node.counts().idontwant_sent, 0);
}

#[test]
fn nothing_goes_to_those_who_take_no_part() {
    let mut plain = node(PartialMode::Requests);
    plain.member(1);
    assert_eq!(publishes(&mut plain, &Eager), Err(PartialRefused::NoPeers));
    // Neither side wants parts.
    let mut both = node(PartialMode::Supports);
    member(&mut both, 1, PartialMode::Supports);
    assert_eq!(publishes(&mut both, &Eager), Err(PartialRefused::NoPeers));
    // The flags of a peer without the extension mean nothing.
    let mut silent = node(PartialMode::Requests);
    silent.connect_as(1, Version::V1_3, Direction::Outbound);
    let subscriptions = vec![change(PartialMode::Requests)];
    let rpc = Rpc {
        subscriptions,
        ..Rpc::default()
    };
    silent.rpc(1, rpc);
    assert_eq!(publishes(&mut silent, &Eager), Err(PartialRefused::NoPeers));
    says(&mut silent, 1, partial("one", None, Some(1)));
    assert_eq!(
        (received(&silent), silent.counts().partials_refused),
        (0, 1)
    );
    let mut off = Node::joined(Config::default(), 1);
    let refused = publishes(&mut off, &Eager);
    assert_eq!(refused, Err(PartialRefused::NotPartial));
}

#[test]
fn what_peers_send_is_bounded() {
    let mut node = node(PartialMode::Requests);
    for number in 1..=40 {
        node.connect_as(number, Version::V1_3, Direction::Outbound);
        node.extends(number, PARTIAL);
        let subscriptions = vec![change(PartialMode::Requests)];
        let rpc = Rpc {
            subscriptions,
            ..Rpc::default()
        };
        node.rpc(number, rpc);
        for group in 0..20_u8 {
            let group = Bytes::from(vec![number, group]);
            says(
                &mut node,
                number,
                Partial {
                    group,
                    ..partial("", None, Some(1))
                },
            );
        }
    }
    // Eight of each, 255 of all.
    assert_eq!(node.router.partial_groups(), 255);
    assert_eq!(received(&node), 255);
    let long = |len| Some(Bytes::from(vec![0; len]));
    for bad in [
        Partial {
            metadata: long(1025),
            ..partial("one", None, None)
        },
        Partial {
            group: long(257).unwrap(),
            ..partial("", None, None)
        },
    ] {
        says(&mut node, 1, bad);
    }
    assert_eq!(received(&node), 255);
    // All are forgotten in time.
    node.heartbeats(5);
    assert_eq!(node.router.partial_groups(), 0);
}

#[test]
fn who_has_not_joined_hears_of_its_own_groups_only() {
    let mut node = Node::new(config(PartialMode::Requests));
    node.connect_as(1, Version::V1_3, Direction::Outbound);
    node.extends(1, PARTIAL);
    let subscriptions = vec![change(PartialMode::Requests)];
    let rpc = Rpc {
        subscriptions,
        ..Rpc::default()
    };
    node.rpc(1, rpc);
    says(&mut node, 1, partial("other", None, Some(1)));
    assert_eq!((received(&node), node.router.partial_groups()), (0, 0));
    assert_eq!(publishes(&mut node, &Eager), Ok(1));
    says(&mut node, 1, partial("one", None, Some(1)));
    assert_eq!(received(&node), 1);
}

#[test]
fn parts_that_nobody_asked_for_are_refused() {
    let mut node = node(PartialMode::Supports);
    member(&mut node, 1, PartialMode::Requests);
    says(&mut node, 1, partial("one", Some(1), Some(1)));
    assert_eq!((received(&node), node.counts().partials_refused), (0, 1));
    says(&mut node, 1, partial("one", None, Some(1)));
    assert_eq!(received(&node), 1);
}

#[test]
fn own_groups_live_while_something_is_published_and_a_peer_leaves_nothing_behind() {
    let mut node = node(PartialMode::Requests);
    member(&mut node, 1, PartialMode::Requests);
    for parts in 1..10 {
        publishes(&mut node, &Bits(parts)).unwrap();
        node.heartbeats(4);
        assert_eq!(node.router.partial_groups(), 1);
    }
    node.disconnect(1);
    member(&mut node, 1, PartialMode::Requests);
    // It is told anew.
    assert_eq!(publishes(&mut node, &Bits(9)), Ok(1));
    node.heartbeats(5);
    assert_eq!(node.router.partial_groups(), 0);
}

#[test]
fn peers_outside_the_mesh_are_told_of_parts_instead_of_ids() {
    let mut node = node(PartialMode::Requests);
    for number in 1..=20 {
        node.connect_as(number, Version::V1_3, Direction::Outbound);
        node.extends(number, PARTIAL);
        let subscriptions = vec![change(PartialMode::Requests)];
        let rpc = Rpc {
            subscriptions,
            ..Rpc::default()
        };
        node.rpc(number, rpc);
    }
    publishes(&mut node, &Bits(1)).unwrap();
    node.accepts(1, &message(50, 1, b"whole"));
    node.forget_output();
    node.heartbeats(1);
    let offers = |(_, what): &&(PeerId, Outgoing)| matches!(what, Outgoing::Gossip(_));
    assert_eq!(node.sent.iter().filter(offers).count(), 0);
    let told = sent(&mut node);
    assert!(told.len() >= 6, "{}", told.len());
    for (to, partial) in told {
        let number = (1..=20).find(|number| peer(*number) == to).unwrap();
        assert!(!node.in_mesh(number));
        assert_eq!(partial.message, None);
        assert_eq!(partial.metadata, Some(Bytes::from_static(&[1])));
    }
}

#[test]
fn a_message_that_everybody_gets_in_parts_is_published_all_the_same() {
    let mut node = node(PartialMode::Supports);
    member(&mut node, 1, PartialMode::Requests);
    let whole = message(0, 1, b"whole");
    assert_eq!(node.publish(&whole).unwrap().peers, 0);
    assert_eq!(node.publish(&whole), Err(PublishRefused::Duplicate));
    node.delivers(1, &message(50, 1, b"whole"));
    node.verdict(&message(50, 1, b"whole"), Verdict::Accept);
    assert_eq!(node.deliveries(), 1);
    assert_ne!(id(&whole), id(&message(50, 1, b"whole")));
}

#[test]
fn names_and_metadata_of_this_nodes_own_are_checked() {
    let mut node = node(PartialMode::Requests);
    member(&mut node, 1, PartialMode::Requests);
    let group = Bytes::from(vec![0; 257]);
    let refused = node
        .router
        .publish_partial(&topic(), group, &Bits(1), node.now);
    let expected = PartialRefused::TooLong { len: 257, max: 256 };
    assert_eq!(refused, Err(expected));
    for number in 0..=255_u8 {
        let group = Bytes::from(vec![number]);
        let published = node
            .router
            .publish_partial(&topic(), group, &Bits(1), node.now);
        let expected = match number {
            255 => Err(PartialRefused::TooManyGroups { max: 255 }),
            _ => Ok(1),
        };
        assert_eq!(published, expected);
    }
}
