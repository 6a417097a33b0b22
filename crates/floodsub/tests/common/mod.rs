//! Hosts with floodsub.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod raw;

use std::time::Duration;

use peerkit_core::Multiaddr;
use peerkit_floodsub::{Floodsub, FloodsubConfig};
use peerkit_pubsub::{Received, SignaturePolicy, Subscription};
use peerkit_swarm::Host;
use peerkit_testkit::Net;

/// A host with floodsub.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) flood: Floodsub,
    pub(crate) addr: Multiaddr,
}

/// A host with floodsub that takes and sends signed messages only.
pub(crate) async fn node(net: &Net) -> Node {
    let mut strict = FloodsubConfig::default();
    strict.pubsub.signature_policy = SignaturePolicy::StrictSign;
    node_with(net, strict).await
}

pub(crate) async fn node_with(net: &Net, config: FloodsubConfig) -> Node {
    let (host, addr) = net.listener().await;
    let flood = Floodsub::spawn(&host, config).unwrap();
    Node { host, flood, addr }
}

impl Node {
    pub(crate) async fn connect(&self, other: &Node) {
        self.host.connect(&other.addr).await.unwrap();
    }

    /// Joins, and waits until others know.
    pub(crate) async fn join(&self, topic: &str, others: &[&Node]) -> Subscription {
        let subscription = self.flood.subscribe(topic).await.unwrap();
        for other in others {
            let me = self.host.local_peer();
            while !other.flood.peers(topic).contains(&me) {
                peerkit_core::sleep_until(
                    other.host.runtime().as_ref(),
                    other.host.runtime().now() + Duration::from_millis(2),
                )
                .await;
            }
        }
        subscription
    }
}

pub(crate) async fn next(subscription: &mut Subscription) -> Received {
    subscription.next().await.unwrap().unwrap()
}
