//! Hosts in one process.

use std::{io, sync::Arc, time::Duration};

use peerkit_core::{
    Keypair, Multiaddr, ResetCode, Runtime, StreamError, sleep_until, with_deadline,
};
use peerkit_memory::{Memory, MemoryNetwork};
use peerkit_noise::Noise;
use peerkit_swarm::{Host, HostConfig};
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

/// Far more than a test needs; one that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network of its own for one test.
#[derive(Debug)]
pub struct Net {
    /// What its hosts run on.
    pub runtime: Arc<dyn Runtime>,
    network: MemoryNetwork,
}

impl Net {
    /// A transport with Noise and yamux.
    pub fn memory(&self, keypair: &Keypair) -> Memory {
        let upgrader = StandardUpgrader::new(
            self.runtime.clone(),
            vec![Arc::new(Noise::new(keypair).unwrap())],
            vec![Arc::new(Yamux::new(peerkit_yamux::Config::default()))],
            UpgradeConfig::default(),
        );
        Memory::new(
            self.network.clone(),
            self.runtime.clone(),
            Arc::new(upgrader),
        )
    }

    /// A host that knows no protocol yet.
    pub fn host(&self) -> Host {
        self.host_with(HostConfig::default())
    }

    /// The same, configured.
    pub fn host_with(&self, config: HostConfig) -> Host {
        let keypair = Keypair::generate_ed25519();
        let memory = self.memory(&keypair);
        Host::builder(keypair, self.runtime.clone())
            .transport(memory)
            .config(config)
            .build()
    }

    /// A host that knows no protocol yet, and where it listens.
    pub async fn listener(&self) -> (Host, Multiaddr) {
        let host = self.host();
        let addr = listen(&host).await;
        (host, addr)
    }

    /// Lets time pass.
    pub async fn sleep(&self, duration: Duration) {
        sleep_until(self.runtime.as_ref(), self.runtime.now() + duration).await;
    }

    /// Waits for something that happens in the background.
    pub async fn until(&self, mut happened: impl FnMut() -> bool) {
        while !happened() {
            self.sleep(Duration::from_millis(5)).await;
        }
    }

    /// What comes within 300 ms; `None` when nothing does.
    pub async fn soon<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        with_deadline(self.runtime.as_ref(), Duration::from_millis(300), future).await
    }
}

/// Runs a test to its end, for a minute at most.
pub fn run<Test: Future<Output = ()>>(test: impl FnOnce(Net) -> Test) {
    let runtime = peerkit_runtime::default();
    let net = Net {
        runtime: runtime.clone(),
        network: MemoryNetwork::new(),
    };
    let outcome = peerkit_runtime::block_on(with_deadline(runtime.as_ref(), PATIENCE, test(net)));
    outcome.expect("the test hangs");
}

/// Lets a host listen somewhere in memory; its address names it.
pub async fn listen(host: &Host) -> Multiaddr {
    host.listen("/memory/0".parse().unwrap()).await.unwrap();
    host.addrs().remove(0)
}

/// With which code the remote has reset a stream, if it has.
pub fn reset_code<T>(outcome: &io::Result<T>) -> Option<ResetCode> {
    let inner = outcome.as_ref().err()?.get_ref()?;
    if let StreamError::ResetByRemote(code) = inner.downcast_ref()? {
        return Some(*code);
    }
    None
}
