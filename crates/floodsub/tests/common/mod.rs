//! Hosts in one process.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod raw;

use std::{sync::Arc, time::Duration};

use peerkit_core::{Keypair, Multiaddr, Runtime, with_deadline};
use peerkit_floodsub::{Floodsub, FloodsubConfig};
use peerkit_memory::{Memory, MemoryNetwork};
use peerkit_noise::Noise;
use peerkit_pubsub::{Received, SignaturePolicy, Subscription};
use peerkit_swarm::Host;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

/// Far more than a test needs; one that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Net {
    pub(crate) runtime: Arc<dyn Runtime>,
    network: MemoryNetwork,
}

/// A host with floodsub.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) flood: Floodsub,
    pub(crate) addr: Multiaddr,
}

impl Net {
    /// A host that knows no protocol yet, and where it listens.
    pub(crate) async fn host(&self) -> (Host, Multiaddr) {
        let keypair = Keypair::generate_ed25519();
        let noise = Noise::new(&keypair).unwrap();
        let upgrader = StandardUpgrader::new(
            self.runtime.clone(),
            vec![Arc::new(noise)],
            vec![Arc::new(Yamux::new(peerkit_yamux::Config::default()))],
            UpgradeConfig::default(),
        );
        let memory = Memory::new(
            self.network.clone(),
            self.runtime.clone(),
            Arc::new(upgrader),
        );
        let host = Host::builder(keypair, self.runtime.clone())
            .transport(memory)
            .build();
        host.listen("/memory/0".parse().unwrap()).await.unwrap();
        let addr = host.addrs().remove(0);
        (host, addr)
    }

    pub(crate) async fn node(&self) -> Node {
        let mut strict = FloodsubConfig::default();
        strict.pubsub.signature_policy = SignaturePolicy::StrictSign;
        self.node_with(strict).await
    }

    pub(crate) async fn node_with(&self, config: FloodsubConfig) -> Node {
        let (host, addr) = self.host().await;
        let flood = Floodsub::spawn(&host, config).unwrap();
        Node { host, flood, addr }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        peerkit_core::sleep_until(self.runtime.as_ref(), self.runtime.now() + duration).await;
    }

    /// Waits for something that happens in the background.
    pub(crate) async fn until(&self, mut happened: impl FnMut() -> bool) {
        while !happened() {
            self.sleep(Duration::from_millis(5)).await;
        }
    }

    /// What comes within a while; `None` when nothing does.
    pub(crate) async fn soon<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        with_deadline(self.runtime.as_ref(), Duration::from_millis(300), future).await
    }
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

/// Runs a test to its end.
pub(crate) fn run<Test: Future<Output = ()>>(test: impl FnOnce(Net) -> Test) {
    let runtime = peerkit_runtime::default();
    let net = Net {
        runtime: runtime.clone(),
        network: MemoryNetwork::new(),
    };
    let outcome = peerkit_runtime::block_on(with_deadline(runtime.as_ref(), PATIENCE, test(net)));
    outcome.expect("the test hangs");
}
