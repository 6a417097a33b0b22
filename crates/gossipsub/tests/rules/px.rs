use bytes::Bytes;
use peerkit_core::{Envelope, PeerRecord};
use peerkit_gossipsub::{Config, PeerExchange};
use peerkit_pubsub::{Control, PeerInfo, Prune, RouterEvent};

use crate::node::{Node, keypair, peer, topic};

fn following() -> Config {
    Config {
        peer_exchange: PeerExchange::Follow,
        ..Config::default()
    }
}

fn record(number: u8) -> Bytes {
    let addresses = vec!["/ip4/192.0.2.1/tcp/4001".parse().unwrap()];
    PeerRecord::sign(&keypair(number), 1, addresses)
        .unwrap()
        .envelope()
        .encoded()
        .clone()
}

fn info(number: u8) -> PeerInfo {
    PeerInfo {
        peer: Some(peer(number).to_bytes().into()),
        signed_record: Some(record(number)),
    }
}

fn recommends(node: &mut Node, number: u8, peers: Vec<PeerInfo>) {
    node.control(
        number,
        Control {
            prune: vec![Prune {
                topic: topic(),
                peers,
                backoff: Some(60),
            }],
            ..Control::default()
        },
    );
}

/// A node with one member that it trusts.
fn trusting(config: Config) -> Node {
    let mut node = Node::joined(config, 1);
    node.router.set_application_score(&peer(1), 2.0);
    node
}

#[test]
fn recommendations_of_trusted_peers_with_a_true_record_are_followed() {
    let mut node = trusting(following());
    recommends(&mut node, 1, vec![info(30)]);
    assert_eq!(node.calls(), [peer(30)]);
    let addresses = node.events.iter().find_map(|event| match event {
        RouterEvent::Connect { record, .. } => Some(record.as_ref()?.addresses().len()),
        _ => None,
    });
    assert_eq!(addresses, Some(1));
}

#[test]
fn recommendations_are_not_followed_by_default_or_from_anybody() {
    let mut node = trusting(Config::default());
    recommends(&mut node, 1, vec![info(30)]);
    assert_eq!(node.calls(), []);
    let mut node = Node::joined(following(), 1);
    node.router.set_application_score(&peer(1), 0.9);
    recommends(&mut node, 1, vec![info(30)]);
    assert_eq!(node.calls(), []);
    assert_eq!(node.counts().px_refused, 1);
}

/// Attack G09.
#[test]
fn poisoned_recommendations_are_not_followed() {
    let mut node = trusting(following());
    node.connect(2);
    let mut broken = record(31).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let other_domain =
        Envelope::sign(&keypair(32), "other", PeerRecord::PAYLOAD_TYPE, b"x").unwrap();
    let poison = vec![
        // Another peer's record.
        PeerInfo {
            peer: Some(peer(30).to_bytes().into()),
            signed_record: Some(record(31)),
        },
        // A signature that doesn't verify.
        PeerInfo {
            peer: Some(peer(31).to_bytes().into()),
            signed_record: Some(broken.into()),
        },
        PeerInfo {
            peer: Some(peer(32).to_bytes().into()),
            signed_record: Some(other_domain.encoded().clone()),
        },
        // No record, no peer, rubbish, giant.
        PeerInfo {
            peer: Some(peer(33).to_bytes().into()),
            signed_record: None,
        },
        PeerInfo {
            peer: None,
            signed_record: Some(record(34)),
        },
        PeerInfo {
            peer: Some(Bytes::from_static(b"rubbish")),
            signed_record: Some(Bytes::from_static(b"rubbish")),
        },
        PeerInfo {
            peer: Some(peer(35).to_bytes().into()),
            signed_record: Some(vec![0; 100_000].into()),
        },
        // This node, and one that is connected.
        info(0),
        info(2),
    ];
    let count = poison.len() as u64;
    recommends(&mut node, 1, poison);
    assert_eq!(node.calls(), []);
    assert_eq!(node.counts().px_refused, count);
}

/// Attack G09.
#[test]
fn no_more_than_sixteen_connections_are_asked_for_in_a_heartbeat() {
    let mut node = trusting(following());
    let many: Vec<_> = (30..200).map(info).collect();
    recommends(&mut node, 1, many.clone());
    assert_eq!(node.calls().len(), 16);
    recommends(&mut node, 1, many.clone());
    assert_eq!(node.calls().len(), 16);
    node.heartbeats(1);
    recommends(&mut node, 1, many);
    assert_eq!(node.calls().len(), 32);
}

#[test]
fn bootstrap_nodes_recommend_others_that_are_well_scored() {
    let config = Config {
        peer_exchange: PeerExchange::FollowAndRecommend,
        ..Config::default()
    };
    let mut node = Node::joined(config, 40);
    for number in 1..=40 {
        node.grafts(number);
        node.router.set_record(&peer(number), record(number));
    }
    node.router.set_application_score(&peer(40), -0.5);
    node.forget_output();
    node.heartbeats(1);
    let prunes: Vec<_> = (1..=39).flat_map(|number| node.prunes_to(number)).collect();
    assert_eq!(prunes.len(), 33);
    for prune in prunes {
        assert_eq!(prune.peers.len(), 16);
        assert!(
            prune
                .peers
                .iter()
                .all(|info| info.peer != info_of(40) && info.signed_record.is_some())
        );
    }
    // Who is pruned for its score hears of nobody.
    assert_eq!(node.prunes_to(40)[0].peers, []);
}

fn info_of(number: u8) -> Option<Bytes> {
    Some(peer(number).to_bytes().into())
}

#[test]
fn giant_records_are_not_passed_on() {
    let config = Config {
        peer_exchange: PeerExchange::FollowAndRecommend,
        ..Config::default()
    };
    let mut node = Node::joined(config, 20);
    for number in 1..=20 {
        node.grafts(number);
        node.router.set_record(&peer(number), vec![0; 9000].into());
    }
    node.heartbeats(1);
    let infos = (1..=20)
        .flat_map(|number| node.prunes_to(number))
        .flat_map(|prune| prune.peers);
    assert!(infos.into_iter().all(|info| info.signed_record.is_none()));
}
