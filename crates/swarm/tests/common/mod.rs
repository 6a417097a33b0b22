//! Hosts for scenarios, connected through memory.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
#![allow(dead_code, reason = "each scenario file uses a part")]

use std::{sync::Arc, time::Duration};

use bytes::Buf;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use peerkit_core::{
    Channel, DialRequest, Direction, Handshake, Keypair, ListenError, Listener, Multiaddr,
    MuxerUpgrade, NewConnection, Optimism, PeerId, Role, Runtime, SecurityError, SecurityUpgrade,
    TaskGroup, Transport, TransportError, UpgradeRequest, Upgrader, Wire, multiaddr::Protocol,
    with_deadline,
};
use peerkit_memory::{Memory, MemoryNetwork, Pipe, duplex};
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;
use peerkit_swarm::{Host, HostConfig, Stream};
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

pub(crate) const ECHO: &str = "/echo/1.0.0";

pub(crate) struct Net {
    pub(crate) network: MemoryNetwork,
    pub(crate) runtime: Arc<dyn Runtime>,
}

pub(crate) struct Setup {
    pub(crate) keypair: Keypair,
    pub(crate) muxers: Vec<Arc<dyn MuxerUpgrade>>,
    pub(crate) config: HostConfig,
    pub(crate) upgrade: UpgradeConfig,
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

pub(crate) fn yamux() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Yamux::new(peerkit_yamux::Config::default()))
}

pub(crate) fn mplex() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Mplex::new(peerkit_mplex::Config::default()))
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            network: MemoryNetwork::new(),
            runtime: peerkit_runtime::default(),
        }
    }

    pub(crate) fn host(&self) -> Host {
        self.host_with(Setup::default())
    }

    pub(crate) fn upgrader(&self, setup: &Setup) -> Arc<dyn Upgrader> {
        let noise = Noise::new(&setup.keypair).unwrap();
        self.secured_upgrader(setup, Arc::new(noise))
    }

    fn secured_upgrader(
        &self,
        setup: &Setup,
        security: Arc<dyn SecurityUpgrade>,
    ) -> Arc<dyn Upgrader> {
        Arc::new(StandardUpgrader::new(
            self.runtime.clone(),
            vec![security],
            setup.muxers.clone(),
            setup.upgrade.clone(),
        ))
    }

    /// A host whose every dial ends at `script`, which gets the other end of the pipe.
    pub(crate) fn host_facing(&self, setup: Setup, script: impl Script) -> Host {
        let scripted = Scripted {
            upgrader: self.upgrader(&setup),
            runtime: self.runtime.clone(),
            script: Arc::new(script),
            tasks: TaskGroup::default(),
        };
        Host::builder(setup.keypair, self.runtime.clone())
            .config(setup.config)
            .transport(scripted)
            .build()
    }

    pub(crate) fn host_with(&self, setup: Setup) -> Host {
        let upgrader = self.upgrader(&setup);
        self.host_upgraded_by(setup, upgrader)
    }

    fn host_upgraded_by(&self, setup: Setup, upgrader: Arc<dyn Upgrader>) -> Host {
        let memory = Memory::new(self.network.clone(), self.runtime.clone(), upgrader);
        Host::builder(setup.keypair, self.runtime.clone())
            .config(setup.config)
            .transport(memory)
            .build()
    }

    /// A raw pipe to the listener at an address.
    pub(crate) async fn raw(&self, addr: &Multiaddr) -> Pipe {
        let Some(Protocol::Memory(port)) = addr.iter().next() else {
            panic!("{addr} is in memory")
        };
        self.network.connect(port).await.unwrap().1
    }

    /// A host that listens and echoes; its address names it.
    pub(crate) async fn echo_host(&self) -> (Host, Multiaddr) {
        self.echo_host_with(Setup::default()).await
    }

    /// The same with another security protocol in place of Noise.
    pub(crate) async fn echo_host_secured(
        &self,
        setup: Setup,
        security: Arc<dyn SecurityUpgrade>,
    ) -> (Host, Multiaddr) {
        let upgrader = self.secured_upgrader(&setup, security);
        let host = self.host_upgraded_by(setup, upgrader);
        host.set_stream_handler(ECHO, echo);
        let addr = listen(&host).await;
        (host, addr)
    }

    pub(crate) async fn echo_host_with(&self, setup: Setup) -> (Host, Multiaddr) {
        let host = self.host_with(setup);
        host.set_stream_handler(ECHO, echo);
        let addr = listen(&host).await;
        (host, addr)
    }
}

pub(crate) async fn listen(host: &Host) -> Multiaddr {
    host.listen("/memory/0".parse().unwrap()).await.unwrap();
    host.addrs().remove(0)
}

pub(crate) async fn echo(stream: Stream) -> std::io::Result<()> {
    futures::io::copy(&stream, &mut &stream).await?;
    (&stream).close().await
}

/// Sends a message on a fresh stream, closes, and returns all that comes back.
pub(crate) async fn ask(
    host: &Host,
    target: impl Into<peerkit_swarm::DialTarget>,
    message: &[u8],
) -> Vec<u8> {
    let mut stream = host.open_stream(target, ECHO).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.close().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Runs a scenario, for a minute at most.
pub(crate) fn run<T>(scenario: impl Future<Output = T>) -> T {
    futures::executor::block_on(async {
        let runtime = peerkit_runtime::default();
        with_deadline(runtime.as_ref(), Duration::from_secs(60), scenario)
            .await
            .expect("the scenario ends in time")
    })
}

pub(crate) async fn pause(millis: u64) {
    let runtime = peerkit_runtime::default();
    let at = runtime.now() + Duration::from_millis(millis);
    peerkit_core::sleep_until(runtime.as_ref(), at).await;
}

pub(crate) fn peer_of(addr: &Multiaddr) -> PeerId {
    peerkit_swarm::DialTarget::from(addr).peer().unwrap()
}

/// What a remote does that is played by hand.
pub(crate) trait Script: Fn(Pipe) -> BoxFuture<'static, ()> + Send + Sync + 'static {}

impl<T: Fn(Pipe) -> BoxFuture<'static, ()> + Send + Sync + 'static> Script for T {}

/// A transport that leads to a script; it supports every address.
struct Scripted {
    upgrader: Arc<dyn Upgrader>,
    runtime: Arc<dyn Runtime>,
    script: Arc<dyn Script>,
    tasks: TaskGroup,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Transport for Scripted {
    fn supports(&self, _addr: &Multiaddr) -> bool {
        true
    }

    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>> {
        async move {
            let (near, far) = duplex(64 * 1024);
            self.tasks.spawn(self.runtime.as_ref(), (self.script)(far));
            let request = upgrade_request(Role::Dialer, &request);
            Ok(self.upgrader.upgrade(Box::new(near), request).await?)
        }
        .boxed()
    }

    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        async { Err(ListenError::UnsupportedAddress(addr)) }.boxed()
    }
}

fn upgrade_request(role: Role, dial: &DialRequest) -> UpgradeRequest {
    UpgradeRequest {
        local_addr: Multiaddr::empty(),
        remote_addr: dial.addr.clone(),
        direction: match role {
            Role::Dialer => Direction::Outbound,
            Role::Listener => Direction::Inbound,
        },
        role,
        expected_peer: dial.expected_peer,
        optimism: dial.optimism,
    }
}

/// The listening side of an upgrade, for scripts.
pub(crate) fn listening_side() -> UpgradeRequest {
    UpgradeRequest {
        local_addr: Multiaddr::empty(),
        remote_addr: Multiaddr::empty(),
        direction: Direction::Inbound,
        role: Role::Listener,
        expected_peer: None,
        optimism: Optimism::Careful,
    }
}

pub(crate) fn short_upgrade() -> UpgradeConfig {
    let mut config = UpgradeConfig::default();
    config.timeout = Duration::from_millis(300);
    config
}

/// Noise without a word about muxers.
pub(crate) async fn secure(noise: Noise, pipe: Pipe) -> Result<Channel, SecurityError> {
    let mut wire = Wire::new(Box::new(pipe));
    let proposal = b"\x13/multistream/1.0.0\n\x07/noise\n";
    while wire.inbound().len() < proposal.len() {
        wire.read_more().await?;
    }
    wire.inbound().advance(proposal.len());
    wire.outbound().extend_from_slice(proposal);
    let handshake = Handshake {
        wire,
        role: Role::Listener,
        expected_peer: None,
        muxers: Vec::new(),
    };
    Ok(noise.secure(handshake).await?.channel)
}
