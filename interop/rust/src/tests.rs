//! Ping, identify and echo, from the dialer's side, and the echo server.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt, future, io};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, identify as id, ping as ipfs_ping,
    swarm::SwarmEvent,
};
use libp2p_stream::Control;
use rand::{RngCore, SeedableRng, rngs::SmallRng};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    emit,
    node::{Behaviour, BehaviourEvent},
};

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
const CHUNK: usize = 64 * 1024;

pub async fn ping(mut swarm: Swarm<Behaviour>, address: Multiaddr, count: usize) -> Result<()> {
    swarm.dial(address)?;
    let mut left = count;
    while left > 0 {
        if let BehaviourEvent::Ping(ipfs_ping::Event { result, .. }) = next(&mut swarm).await? {
            emit(json!({"event": "ping", "ok": true, "ms": result?.as_secs_f64() * 1000.0}));
            left -= 1;
        }
    }
    Ok(())
}

pub async fn identify(mut swarm: Swarm<Behaviour>, address: Multiaddr) -> Result<()> {
    swarm.dial(address)?;
    loop {
        match next(&mut swarm).await? {
            BehaviourEvent::Identify(id::Event::Received { peer_id, info, .. }) => {
                emit(json!({
                    "event": "identify",
                    "ok": true,
                    "peer": peer_id.to_string(),
                    "agent": info.agent_version,
                    "protocols": info.protocols.iter().map(|p| p.as_ref()).collect::<Vec<_>>(),
                    "listen_addrs": info.listen_addrs,
                    "observed_addr": info.observed_addr,
                }));
                return Ok(());
            }
            BehaviourEvent::Identify(id::Event::Error { error, .. }) => bail!(error),
            _ => {}
        }
    }
}

pub async fn echo(mut swarm: Swarm<Behaviour>, address: Multiaddr, bytes: usize) -> Result<()> {
    let control = swarm.behaviour().streams.new_control();
    let dialed = Instant::now();
    swarm.dial(address)?;
    let peer = connected(&mut swarm).await?;
    let drive = async {
        loop {
            if let Err(error) = next(&mut swarm).await {
                return Err(error);
            }
        }
    };
    let test = std::pin::pin!(echo_once(control, peer, bytes, dialed));
    match future::select(test, std::pin::pin!(drive)).await {
        future::Either::Left((result, _)) | future::Either::Right((result, _)) => result,
    }
}

async fn echo_once(
    mut control: Control,
    peer: PeerId,
    bytes: usize,
    dialed: Instant,
) -> Result<()> {
    let start = Instant::now();
    let (reader, writer) = control.open_stream(peer, ECHO).await?.split();
    let (sent, (received, first_byte)) =
        future::try_join(send(writer, bytes), receive(reader)).await?;
    ensure!(
        sent == received,
        "sent {bytes} bytes {sent}, got {received} back"
    );
    emit(json!({
        "event": "echo",
        "ok": true,
        "bytes": bytes,
        "sha256": received,
        "seconds": start.elapsed().as_secs_f64(),
        "first_byte_ms": first_byte.map(|at| (at - dialed).as_secs_f64() * 1000.0),
    }));
    Ok(())
}

/// Writes pseudo-random bytes, half-closes, and returns their hash.
async fn send(mut to: impl AsyncWrite + Unpin, bytes: usize) -> io::Result<String> {
    let mut random = SmallRng::seed_from_u64(0);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        random.fill_bytes(part);
        hash.update(&*part);
        to.write_all(part).await?;
        left -= part.len();
    }
    to.close().await?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Reads to the end, and returns the hash of what came, and when it began.
async fn receive(mut from: impl AsyncRead + Unpin) -> io::Result<(String, Option<Instant>)> {
    let mut hash = Sha256::new();
    let mut first_byte = None;
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok((format!("{:x}", hash.finalize()), first_byte)),
            n => hash.update(&chunk[..n]),
        }
        first_byte = first_byte.or_else(|| Some(Instant::now()));
    }
}

/// Answers each echo stream with what it reads until the remote half-closes.
pub async fn serve_echo(mut control: Control) {
    let mut streams = control.accept(ECHO).expect("echo is registered once");
    while let Some((peer, stream)) = streams.next().await {
        tokio::spawn(async move {
            if let Err(error) = echo_back(stream).await {
                eprintln!("echo with {peer}: {error}");
            }
        });
    }
}

/// Flushes each part, which `futures::io::copy` does only at the end: the
/// remote may wait for this part before it sends more.
async fn echo_back(mut stream: Stream) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return stream.close().await;
        }
        stream.write_all(&chunk[..read]).await?;
        stream.flush().await?;
    }
}

async fn connected(swarm: &mut Swarm<Behaviour>) -> Result<PeerId> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!(error),
            _ => {}
        }
    }
}

/// The next event of a protocol; the end of the only connection is an error.
async fn next(swarm: &mut Swarm<Behaviour>) -> Result<BehaviourEvent> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(event) => return Ok(event),
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!(error),
            SwarmEvent::ConnectionClosed { cause, .. } => {
                bail!("the connection closed: {cause:?}");
            }
            other => eprintln!("{other:?}"),
        }
    }
}
