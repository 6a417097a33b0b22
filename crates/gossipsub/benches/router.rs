//! What the router costs, without the service around it.
#![allow(clippy::unwrap_used, reason = "a benchmark panics when it fails")]

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::Bencher;
use peerkit_core::{Direction, Keypair, PeerId};
use peerkit_gossipsub::{Config, GossipsubRouter};
use peerkit_pubsub::{
    Message, MessageIdFn, PeerLink, Router, RouterEvent, Rpc, SubscriptionChange, Topic, Verdict,
};

fn main() {
    divan::main();
}

/// A message that was not seen before: asked about, accepted, delivered and forwarded to the mesh.
#[divan::bench(args = [256, 65_536])]
fn fresh_message(bencher: Bencher, size: usize) {
    let mut node = Node::new(MESH);
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            publishing(message(number, size))
        })
        .bench_local_values(|rpc| node.hear(0, rpc));
    assert!(node.delivered > 0);
    assert!(node.sent >= node.delivered * (MESH - 1));
}

/// Another copy of a message, from somebody else in the mesh.
#[divan::bench]
fn duplicate(bencher: Bencher) {
    let mut node = Node::new(MESH);
    let message = message(1, 256);
    node.hear(0, publishing(message.clone()));
    bencher
        .with_inputs(|| publishing(message.clone()))
        .bench_local_values(|rpc| node.hear(1, rpc));
    assert_eq!(node.delivered, 1);
}

/// One second of a node that has so many peers, all of them in its topic.
#[divan::bench(args = [10, 100, 1000])]
fn heartbeat(bencher: Bencher, peers: usize) {
    let mut node = Node::new(peers);
    bencher.bench_local(|| node.beat());
}

struct Node {
    router: GossipsubRouter,
    peers: Vec<PeerId>,
    now: Instant,
    delivered: usize,
    sent: usize,
}

impl Node {
    /// A node whose mesh has formed.
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn new(peers: usize) -> Self {
        let now = Instant::now();
        let config = Config {
            mesh_target: MESH,
            mesh_low: MESH,
            ..Config::default()
        };
        let ids = MessageIdFn::default();
        let router = GossipsubRouter::new(peer(0), config, ids, [3; 32], now).unwrap();
        let mut node = Self {
            router,
            peers: (1..=peers).map(peer).collect(),
            now,
            delivered: 0,
            sent: 0,
        };
        node.router.subscribe(&topic(), now);
        for number in 0..peers {
            node.connect(number);
        }
        node.beat();
        node.beat();
        assert_eq!(node.router.mesh(&topic()).len(), MESH);
        node.sent = 0;
        node
    }

    fn connect(&mut self, number: usize) {
        let link = PeerLink {
            protocol: self.router.protocols()[0].clone(),
            direction: Direction::Outbound,
            ip: None,
        };
        self.router
            .handle_connected(self.peers[number], link, self.now);
        let joined = SubscriptionChange {
            subscribe: true,
            topic: topic(),
            requests_partial: false,
            supports_sending_partial: false,
        };
        let hello = Rpc {
            subscriptions: vec![joined],
            ..Rpc::default()
        };
        self.hear(number, hello);
    }

    fn hear(&mut self, from: usize, rpc: Rpc) {
        self.router.handle_rpc(&self.peers[from], rpc, self.now);
        self.drain();
    }

    fn beat(&mut self) {
        self.now += Duration::from_secs(1);
        self.router.handle_timeout(self.now);
        self.drain();
    }

    /// What the service does, but for the bytes.
    fn drain(&mut self) {
        while let Some(event) = self.router.poll_event() {
            if let RouterEvent::Validate { id, .. } = &event {
                self.router.handle_verdict(id, Verdict::Accept, self.now);
            }
            self.delivered += usize::from(matches!(event, RouterEvent::Deliver { .. }));
        }
        while self.router.poll_transmit().is_some() {
            self.sent += 1;
        }
    }
}

const MESH: usize = 8;

fn publishing(message: Arc<Message>) -> Rpc {
    Rpc {
        messages: vec![message],
        ..Rpc::default()
    }
}

/// A message of somebody who is not a peer.
fn message(number: u64, size: usize) -> Arc<Message> {
    static AUTHOR: LazyLock<Bytes> = LazyLock::new(|| peer(usize::MAX).to_bytes().into());
    let data = Bytes::from(vec![7; size]);
    Arc::new(Message {
        from: Some(AUTHOR.clone()),
        data: data.clone(),
        seqno: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
        topic: topic(),
        signature: None,
        key: None,
        encoded: data,
    })
}

fn peer(number: usize) -> PeerId {
    let mut secret = [1; 32];
    secret[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let key = Keypair::ed25519_from_bytes(secret).unwrap();
    key.public().to_peer_id()
}

fn topic() -> Topic {
    Topic::from("benchmark")
}
