//! Hosts in one process.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{io, sync::Arc, time::Duration};

use peerkit_core::{Keypair, Multiaddr, ResetCode, Runtime, StreamError, with_deadline};
use peerkit_memory::{Memory, MemoryNetwork};
use peerkit_noise::Noise;
use peerkit_swarm::Host;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

/// Far more than a test needs; one that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Net {
    pub(crate) runtime: Arc<dyn Runtime>,
    network: MemoryNetwork,
}

impl Net {
    /// A host that knows no protocol yet.
    pub(crate) fn host(&self) -> Host {
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
        Host::builder(keypair, self.runtime.clone())
            .transport(memory)
            .build()
    }

    /// The same, and where it listens.
    pub(crate) async fn listener(&self) -> (Host, Multiaddr) {
        let host = self.host();
        host.listen("/memory/0".parse().unwrap()).await.unwrap();
        let addr = host.addrs().remove(0);
        (host, addr)
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

/// With which code the remote has reset a stream.
pub(crate) fn reset_code<T: std::fmt::Debug>(outcome: io::Result<T>) -> ResetCode {
    let error = outcome.expect_err("the stream is open");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(StreamError::ResetByRemote(code)) => *code,
        _ => panic!("no reset: {error:?}"),
    }
}
