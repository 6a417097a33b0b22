//! Peers that break rules.
//!
//! [`storm`] plays the muxer by hand, on a secured connection. [`Puppet`] has an honest muxer, and
//! plays the protocols in its streams by hand.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt,
    future::{self, BoxFuture, Either},
};
use peerkit::{
    Keypair, Multiaddr, Runtime, Stream,
    core::{Machine, Network, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket},
    noise::{Noise, NoiseStream},
    swarm::{Host, HostConfig},
    tcp::Tcp,
    upgrade::{StandardUpgrader, UpgradeConfig},
    yamux::Yamux,
};

use crate::{
    dial,
    frames::yamux::{self, Frame},
    measure,
    node::Node,
};

/// Whether a peer reads what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As it should.
    All,
    /// Nothing at all.
    Nothing,
}

/// How a connection on which a peer broke rules has ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The reason that the victim's goodbye named.
    pub goodbye: Option<u32>,
    /// Whether the victim has closed the connection.
    pub closed: bool,
    /// Chunks that were sent before that.
    pub sent: u64,
    /// Bytes that came back.
    pub received: usize,
    /// The first frames that came back.
    pub frames: Vec<Frame>,
    /// How long it took.
    pub took: Duration,
}

/// Frames that are kept to look at.
const FRAMES_KEPT: usize = 4096;

/// Sends what `next` gives, given the number of the chunk, until it gives nothing or the victim closes the
/// connection; then waits for that, until `patience` ends.
pub async fn storm(
    stream: NoiseStream,
    patience: Duration,
    reading: Reading,
    next: impl FnMut(u64) -> Option<Vec<u8>>,
) -> Ending {
    let from = Instant::now();
    let mut ending = Ending::default();
    let mut sent = 0;
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        let outcome = write_all(&mut writer, &mut sent, next).await;
        if outcome.is_ok() {
            future::pending::<()>().await;
        }
    };
    let closed = {
        let reading = async {
            match reading {
                Reading::All => read_all(&mut reader, &mut ending).await,
                Reading::Nothing => future::pending().await,
            }
        };
        let (writing, mut reading) = (std::pin::pin!(writing), std::pin::pin!(reading));
        let either = async {
            match future::select(writing, &mut reading).await {
                // Its goodbye may still be there to read.
                Either::Left(_) => {
                    let _ = measure::within(Duration::from_millis(300), reading).await;
                }
                Either::Right(_) => {}
            }
        };
        measure::within(patience, either).await.is_some()
    };
    ending.closed = closed;
    ending.sent = sent;
    ending.took = from.elapsed();
    ending
}

async fn write_all(
    writer: &mut (impl futures::AsyncWrite + Unpin),
    sent: &mut u64,
    mut next: impl FnMut(u64) -> Option<Vec<u8>>,
) -> io::Result<()> {
    while let Some(chunk) = next(*sent) {
        writer.write_all(&chunk).await?;
        *sent += 1;
    }
    writer.flush().await
}

async fn read_all(reader: &mut (impl futures::AsyncRead + Unpin), ending: &mut Ending) {
    let mut buffer = vec![0; 64 * 1024];
    let mut unparsed = Vec::new();
    loop {
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        ending.received += count;
        unparsed.extend_from_slice(&buffer[..count]);
        while let Some(frame) = yamux::take(&mut unparsed) {
            if frame.kind == yamux::GO_AWAY {
                ending.goodbye = Some(frame.length);
            }
            if ending.frames.len() < FRAMES_KEPT {
                ending.frames.push(frame);
            }
        }
    }
}

impl Ending {
    /// Whether the victim has hung up or said goodbye.
    pub fn is_over(&self) -> bool {
        self.closed || self.goodbye.is_some()
    }

    /// How many frames of a kind came back.
    pub fn count(&self, kind: u8) -> usize {
        self.frames.iter().filter(|it| it.kind == kind).count()
    }
}

/// A peer whose transport, security and muxer are honest; whatever is said in its streams is up to the scenario.
#[derive(Clone, Debug)]
pub struct Puppet {
    /// Its host, which knows no protocol.
    pub host: Host,
    /// Whom it talks to.
    pub victim: Multiaddr,
}

impl Puppet {
    /// A peer with a fresh identity.
    pub fn new(victim: SocketAddr) -> Result<Self> {
        Self::with(
            victim,
            Keypair::generate_ed25519(),
            peerkit::runtime::default(),
        )
    }

    /// The same, on a machine of its own.
    pub fn on_machine(machine: u32, victim: SocketAddr) -> Result<Self> {
        let runtime = Arc::new(Elsewhere {
            inner: peerkit::runtime::default(),
            ip: IpAddr::V4(dial::machine_addr(machine)),
        });
        Self::with(victim, Keypair::generate_ed25519(), runtime)
    }

    /// The same with an identity.
    pub fn with(victim: SocketAddr, keypair: Keypair, runtime: Arc<dyn Runtime>) -> Result<Self> {
        let noise = Arc::new(Noise::new(&keypair)?);
        let yamux = Arc::new(Yamux::new(peerkit::yamux::Config::default()));
        let upgrader = StandardUpgrader::new(
            runtime.clone(),
            vec![noise],
            vec![yamux],
            UpgradeConfig::default(),
        );
        let tcp = Tcp::new(
            runtime.clone(),
            Arc::new(upgrader),
            peerkit::tcp::Config::default(),
        );
        let mut config = HostConfig::default();
        config.dial.backoff_min = Duration::from_millis(1);
        config.dial.backoff_max = Duration::from_millis(1);
        let host = Host::builder(keypair, runtime)
            .config(config)
            .transport(tcp)
            .build();
        let victim = format!("/ip4/{}/tcp/{}", victim.ip(), victim.port()).parse()?;
        Ok(Self { host, victim })
    }

    /// Connects, if it is not connected.
    pub async fn connect(&self) -> Result<()> {
        self.host.connect(self.victim.clone()).await?;
        Ok(())
    }

    /// Connects, and waits until a victim of this process knows.
    pub async fn meets(&self, node: &Node) -> Result<()> {
        self.connect().await?;
        let me = self.host.local_peer();
        let known = || node.host.is_connected(&me);
        measure::until(Duration::from_secs(5), known).await;
        Ok(())
    }

    /// Takes streams of a protocol and reads all that comes, as pubsub expects it before it listens.
    pub fn hears(&self, protocol: &'static str) {
        self.host
            .set_stream_handler(protocol, |mut stream: Stream| async move {
                dial::drain(&mut stream).await;
            });
    }

    /// A stream for which the victim has agreed to the protocol, or is about to.
    pub async fn stream(&self, protocol: &str) -> Result<Stream> {
        let target = match self.host.peers().first() {
            Some(peer) => (*peer).into(),
            None => peerkit::DialTarget::from(self.victim.clone()),
        };
        Ok(self.host.open_stream(target, protocol).await?)
    }

    /// A stream in which something was sent.
    pub async fn sends(&self, protocol: &str, bytes: &[u8]) -> Result<Stream> {
        let mut stream = self.stream(protocol).await?;
        stream.write_all(bytes).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// Whether the connection with the victim lives.
    pub fn is_connected(&self) -> bool {
        !self.host.peers().is_empty()
    }
}

/// Whether the victim ends a stream within a while.
pub async fn ends(stream: &mut Stream, patience: Duration) -> bool {
    measure::within(patience, dial::drain(stream))
        .await
        .is_some()
}

/// A runtime whose connections come from another address.
#[derive(Debug)]
struct Elsewhere {
    inner: Arc<dyn Runtime>,
    ip: IpAddr,
}

impl Runtime for Elsewhere {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn unix_time(&self) -> Duration {
        self.inner.unix_time()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        self.inner.timer(deadline)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.inner.spawn(future);
    }

    fn network(&self) -> &dyn Network {
        self
    }

    fn seed(&self) -> [u8; 32] {
        self.inner.seed()
    }

    fn machine(&self) -> Machine {
        self.inner.machine()
    }
}

impl Network for Elsewhere {
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        mut options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>> {
        options.bind = Some(SocketAddr::new(self.ip, 0));
        self.inner.network().connect_tcp(remote, options).boxed()
    }

    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>> {
        self.inner.network().listen_tcp(local, options)
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>> {
        self.inner.network().bind_udp(local)
    }

    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        self.inner.network().resolve(host)
    }

    fn interfaces(&self) -> io::Result<Vec<IpAddr>> {
        self.inner.network().interfaces()
    }
}
