//! Hosts for scenarios, connected through memory.
#![allow(dead_code, reason = "each scenario file uses a part")]

use std::{sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Keypair, Multiaddr, MuxerUpgrade, PeerId, Runtime, with_deadline};
use peerkit_memory::{Memory, MemoryNetwork};
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;
use peerkit_swarm::{Host, HostConfig, Stream};
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

pub const ECHO: &str = "/echo/1.0.0";

pub struct Net {
    pub network: MemoryNetwork,
    pub runtime: Arc<dyn Runtime>,
}

pub struct Setup {
    pub keypair: Keypair,
    pub muxers: Vec<Arc<dyn MuxerUpgrade>>,
    pub config: HostConfig,
    pub upgrade: UpgradeConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            keypair: Keypair::generate_ed25519(),
            muxers: vec![yamux(), mplex()],
            config: HostConfig::default(),
            upgrade: UpgradeConfig::default(),
        }
    }
}

pub fn yamux() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Yamux::new(peerkit_yamux::Config::default()))
}

pub fn mplex() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Mplex::new(peerkit_mplex::Config::default()))
}

impl Net {
    pub fn new() -> Self {
        Self {
            network: MemoryNetwork::new(),
            runtime: peerkit_runtime::default(),
        }
    }

    pub fn host(&self) -> Host {
        self.host_with(Setup::default())
    }

    pub fn host_with(&self, setup: Setup) -> Host {
        let noise = Noise::new(&setup.keypair).unwrap();
        let upgrader = Arc::new(StandardUpgrader::new(
            self.runtime.clone(),
            vec![Arc::new(noise)],
            setup.muxers,
            setup.upgrade,
        ));
        let memory = Memory::new(self.network.clone(), self.runtime.clone(), upgrader);
        Host::builder(setup.keypair, self.runtime.clone())
            .config(setup.config)
            .transport(memory)
            .build()
    }

    /// A host that listens and echoes; its address names it.
    pub async fn echo_host(&self) -> (Host, Multiaddr) {
        self.echo_host_with(Setup::default()).await
    }

    pub async fn echo_host_with(&self, setup: Setup) -> (Host, Multiaddr) {
        let host = self.host_with(setup);
        host.set_stream_handler(ECHO, echo);
        let addr = listen(&host).await;
        (host, addr)
    }
}

pub async fn listen(host: &Host) -> Multiaddr {
    host.listen("/memory/0".parse().unwrap()).await.unwrap();
    host.addrs().remove(0)
}

pub async fn echo(stream: Stream) -> std::io::Result<()> {
    futures::io::copy(&stream, &mut &stream).await?;
    (&stream).close().await
}

/// Sends a message on a fresh stream, closes, and returns all that comes back.
pub async fn ask(host: &Host, target: impl Into<peerkit_swarm::DialTarget>, message: &[u8]) -> Vec<u8> {
    let mut stream = host.open_stream(target, ECHO).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.close().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Runs a scenario, for a minute at most.
pub fn run<T>(scenario: impl Future<Output = T>) -> T {
    futures::executor::block_on(async {
        let runtime = peerkit_runtime::default();
        with_deadline(runtime.as_ref(), Duration::from_secs(60), scenario)
            .await
            .expect("the scenario ends in time")
    })
}

pub async fn pause(millis: u64) {
    let runtime = peerkit_runtime::default();
    let at = runtime.now() + Duration::from_millis(millis);
    peerkit_core::sleep_until(runtime.as_ref(), at).await;
}

pub fn peer_of(addr: &Multiaddr) -> PeerId {
    peerkit_swarm::DialTarget::from(addr).peer().unwrap()
}
