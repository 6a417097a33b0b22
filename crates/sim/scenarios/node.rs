//! The node that scenarios run, and what it is asked.

use std::{io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, future::try_join};
use peerkit::{
    DialTarget, Host, Keypair, Multiaddr, OpenStreamError, Stream, StreamError,
    core::{Fault, Runtime, multiaddr::Protocol, sleep_until, with_deadline},
};
use peerkit_sim::{HostId, SimRuntime};

use super::trial::Muxer;

pub(crate) const ECHO: &str = "/echo/1.0.0";
pub(crate) const PORT: u16 = 4001;

/// Listens and echoes.
pub(crate) async fn start(runtime: SimRuntime, muxer: Muxer) -> Host {
    let builder = Host::builder()
        .identity(identity(runtime.host()))
        .listen_on(address(runtime.host()))
        .runtime(runtime);
    let builder = match muxer {
        Muxer::Yamux => builder.yamux(peerkit::yamux::Config::default()),
        Muxer::Mplex => builder.mplex(peerkit::mplex::Config::default()),
    };
    let host = builder.build().await.expect("the port is free");
    host.set_stream_handler(ECHO, |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await.map(drop)
    });
    host
}

/// The same after a restart, as if it was stored.
pub(crate) fn identity(host: HostId) -> Keypair {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&(host.index() as u64).to_le_bytes());
    Keypair::ed25519_from_bytes(secret).expect("any 32 bytes are an Ed25519 secret key")
}

/// Where a node listens, without its identity.
pub(crate) fn address(host: HostId) -> Multiaddr {
    Multiaddr::empty()
        .with(host.ipv4().into())
        .with(Protocol::Tcp(PORT))
}

/// Where a node listens, and who it is.
pub(crate) fn full_address(host: HostId) -> Multiaddr {
    address(host).with(Protocol::P2p(identity(host).public().to_peer_id()))
}

/// Why an exchange failed.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when a scenario fails")]
pub(crate) enum Failure {
    Open(OpenStreamError),
    Stream(io::Error),
    /// The stream ended too early, as if the remote had meant it.
    Short(usize),
    Wrong,
    /// The application gave up.
    GivenUp,
}

impl Failure {
    /// Whether it says what went wrong in a way that a program can act on, and blames nobody who is innocent.
    pub(crate) fn is_proper(&self) -> bool {
        match self {
            Self::Open(error) => is_innocent(error.fault()),
            Self::Stream(error) => stream_error(error).is_some_and(|it| is_innocent(it.fault())),
            Self::GivenUp => true,
            Self::Short(_) | Self::Wrong => false,
        }
    }
}

/// In these scenarios the network is bad, but every node follows the rules.
fn is_innocent(fault: Fault) -> bool {
    matches!(fault, Fault::Network | Fault::Limit | Fault::Closed)
}

pub(crate) fn stream_error(error: &io::Error) -> Option<&StreamError> {
    error.get_ref()?.downcast_ref()
}

/// Sends so many bytes and reads them back.
pub(crate) async fn exchange(
    host: &Host,
    target: impl Into<DialTarget>,
    len: usize,
) -> Result<(), Failure> {
    let stream = host.open_stream(target, ECHO).await;
    let (mut reader, mut writer) = stream.map_err(Failure::Open)?.into_split();
    let sent: Vec<u8> = (0..len).map(|place| place as u8).collect();
    let send = async {
        writer.write_all(&sent).await.map_err(Failure::Stream)?;
        writer.close().await.map_err(Failure::Stream)
    };
    let receive = async {
        let mut answer = Vec::new();
        let end = reader.read_to_end(&mut answer).await;
        end.map_err(Failure::Stream)?;
        Ok(answer)
    };
    let ((), answer) = try_join(send, receive).await?;
    match answer.len() {
        short if short < len => Err(Failure::Short(short)),
        _ if answer != sent => Err(Failure::Wrong),
        _ => Ok(()),
    }
}

/// An [`exchange`] that the application gives up after some time.
pub(crate) async fn exchange_within(
    limit: Duration,
    host: &Host,
    target: impl Into<DialTarget>,
    len: usize,
) -> Result<(), Failure> {
    let exchange = exchange(host, target, len);
    let outcome = with_deadline(host.runtime().as_ref(), limit, exchange).await;
    outcome.unwrap_or(Err(Failure::GivenUp))
}

/// An operation that has to end by itself, well or badly.
pub(crate) async fn ends<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    what: &str,
    operation: impl Future<Output = T>,
) -> T {
    let outcome = with_deadline(runtime, limit, operation).await;
    outcome.unwrap_or_else(|| panic!("{what} has not ended after {limit:?}"))
}

pub(crate) async fn pause(runtime: &dyn Runtime, time: Duration) {
    sleep_until(runtime, runtime.now() + time).await;
}
