//! Hosts in one process.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

pub(crate) mod far;

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Keypair, Multiaddr, PeerId, ResetCode, Runtime, StreamError, with_deadline};
use peerkit_identify::{
    Config, Decoder, Identify, IdentifyEvent, IdentifyEvents, Info, Message, PROTOCOL,
    PUSH_PROTOCOL,
};
use peerkit_memory::{Memory, MemoryNetwork};
use peerkit_noise::Noise;
use peerkit_swarm::{Host, HostConfig, Stream};
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

/// Far more than a test needs; one that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for what is going to happen to have happened.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);

pub(crate) struct Net {
    pub(crate) runtime: Arc<dyn Runtime>,
    network: MemoryNetwork,
}

impl Net {
    pub(crate) fn memory(&self, keypair: &Keypair) -> Memory {
        let noise = Noise::new(keypair).unwrap();
        let upgrader = StandardUpgrader::new(
            self.runtime.clone(),
            vec![Arc::new(noise)],
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
    pub(crate) fn host(&self) -> Host {
        self.host_with(HostConfig::default())
    }

    pub(crate) fn host_with(&self, config: HostConfig) -> Host {
        let keypair = Keypair::generate_ed25519();
        let memory = self.memory(&keypair);
        Host::builder(keypair, self.runtime.clone())
            .transport(memory)
            .config(config)
            .build()
    }

    /// The same, and where it listens.
    pub(crate) async fn listener(&self) -> (Host, Multiaddr) {
        let host = self.host();
        let addr = listen(&host).await;
        (host, addr)
    }

    /// A host that listens and identifies.
    pub(crate) async fn node(&self) -> (Host, Identify, Multiaddr) {
        let (host, addr) = self.listener().await;
        let identify = Identify::spawn(&host, quick());
        (host, identify, addr)
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

    pub(crate) async fn info(&self, identify: &Identify, peer: PeerId) -> Arc<Info> {
        self.until(|| identify.info(&peer).is_some()).await;
        identify.info(&peer).unwrap()
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

/// A configuration with short waits.
pub(crate) fn quick() -> Config {
    let mut config = Config::default();
    config.push_debounce = Duration::from_millis(50);
    config
}

/// The same, for remotes that are to be given up.
pub(crate) fn impatient() -> Config {
    let mut config = quick();
    config.timeout = Duration::from_millis(500);
    config
}

pub(crate) async fn listen(host: &Host) -> Multiaddr {
    host.listen("/memory/0".parse().unwrap()).await.unwrap();
    host.addrs().remove(0)
}

/// Answers a question with these bytes and closes.
pub(crate) fn says(
    bytes: impl Into<Vec<u8>>,
) -> impl Fn(Stream) -> futures::future::BoxFuture<'static, io::Result<()>> + Send + Sync + 'static
{
    let bytes = Arc::new(bytes.into());
    move |mut stream| {
        let bytes = bytes.clone();
        Box::pin(async move {
            stream.write_all(&bytes).await?;
            stream.close().await?;
            stream.read(&mut [0; 1]).await.map(drop)
        })
    }
}

/// Asks as a stranger would and reads the answer to its end.
pub(crate) async fn ask(host: &Host, peer: PeerId) -> Message {
    let mut stream = host.open_stream(peer, &PROTOCOL).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    stream.close().await.unwrap();
    let mut decoder = Decoder::default();
    decoder.handle_read(&answer).unwrap();
    decoder.finish().unwrap()
}

/// Pushes as a stranger would. An error tells how the stream ended instead.
pub(crate) async fn push(host: &Host, peer: PeerId, bytes: &[u8]) -> io::Result<()> {
    let stream = host.open_stream(peer, &PUSH_PROTOCOL).await;
    let mut stream = stream.map_err(io::Error::other)?;
    stream.write_all(bytes).await?;
    stream.close().await?;
    stream.read(&mut [0; 1]).await.map(drop)
}

/// The next event about a peer.
pub(crate) async fn next_about(events: &mut IdentifyEvents, about: PeerId) -> IdentifyEvent {
    loop {
        let event = events.next().await.expect("the node runs");
        if let IdentifyEvent::Identified { peer, .. }
        | IdentifyEvent::Pushed { peer, .. }
        | IdentifyEvent::Failed { peer, .. } = &event
            && *peer == about
        {
            return event;
        }
    }
}

/// With which code the remote has reset a stream, if it has.
pub(crate) fn reset_code<T>(outcome: &io::Result<T>) -> Option<ResetCode> {
    let inner = outcome.as_ref().err()?.get_ref()?;
    if let StreamError::ResetByRemote(code) = inner.downcast_ref()? {
        return Some(*code);
    }
    None
}
