//! Hosts that identify each other.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

pub(crate) mod far;

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Multiaddr, PeerId};
use peerkit_identify::{
    Config, Decoder, Identify, IdentifyEvent, IdentifyEvents, Info, Message, PROTOCOL,
    PUSH_PROTOCOL,
};
use peerkit_swarm::{Host, Stream};
use peerkit_testkit::Net;

/// Long enough for what is going to happen to have happened.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);

/// A host that listens and identifies.
pub(crate) async fn node(net: &Net) -> (Host, Identify, Multiaddr) {
    let (host, addr) = net.listener().await;
    let identify = Identify::spawn(&host, quick());
    (host, identify, addr)
}

/// What a node learns of a peer at last.
pub(crate) async fn info(net: &Net, identify: &Identify, peer: PeerId) -> Arc<Info> {
    net.until(|| identify.info(&peer).is_some()).await;
    identify.info(&peer).unwrap()
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
