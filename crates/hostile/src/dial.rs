//! Getting to a victim, one layer after the other.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
};

use anyhow::{Context, Result, bail};
use async_io::Async;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use peerkit::{
    Keypair, ProtocolId,
    noise::{Noise, NoiseStream},
};
use socket2::{Domain, Socket, Type};

/// A TCP connection.
pub type Tcp = Async<TcpStream>;

/// Connects.
pub async fn tcp(victim: SocketAddr) -> io::Result<Tcp> {
    Tcp::connect(victim).await
}

/// Connects from another address of loopback, so that the victim takes it for another machine.
pub async fn tcp_from(machine: u32, victim: SocketAddr) -> io::Result<Tcp> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(machine_addr(machine)), 0).into())?;
    // Loopback takes the connection at once, or never.
    socket.connect(&victim.into())?;
    Async::new(socket.into())
}

/// The address of a made-up machine; 0 is not the one from which the honest connect.
pub fn machine_addr(machine: u32) -> Ipv4Addr {
    let [_, b, c, d] = (machine + 2).to_be_bytes();
    Ipv4Addr::new(127, b, c, d)
}

/// Lets the connection end with a RST when it is dropped.
pub fn abort_on_drop(tcp: &Tcp) -> io::Result<()> {
    socket2::SockRef::from(tcp.get_ref()).set_linger(Some(std::time::Duration::ZERO))
}

/// Agrees on a protocol.
pub async fn select(io: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> Result<()> {
    let protocol = ProtocolId::try_from(protocol)?;
    peerkit_multistream::dial(io, vec![protocol]).await?;
    Ok(())
}

/// A connection with Noise, under an identity of this peer's own.
pub async fn secured(victim: SocketAddr, identity: &Keypair) -> Result<NoiseStream> {
    secured_on(tcp(victim).await?, identity).await
}

/// Noise on a connection that there is.
pub async fn secured_on(mut tcp: Tcp, identity: &Keypair) -> Result<NoiseStream> {
    select(&mut tcp, "/noise").await?;
    let (stream, _) = Noise::new(identity)?.dial(tcp, None).await?;
    Ok(stream)
}

/// A connection with a muxer, in which not a frame was sent yet.
pub async fn muxed(victim: SocketAddr, muxer: &str) -> Result<NoiseStream> {
    let mut stream = secured(victim, &Keypair::generate_ed25519()).await?;
    select(&mut stream, muxer).await?;
    Ok(stream)
}

/// yamux.
pub const YAMUX: &str = "/yamux/1.0.0";
/// mplex.
pub const MPLEX: &str = "/mplex/6.7.0";

/// Reads until the end; how many bytes there were. An error is an end.
pub async fn drain(io: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut buffer = vec![0; 16 * 1024];
    let mut total = 0;
    loop {
        match io.read(&mut buffer).await {
            Ok(0) | Err(_) => return total,
            Ok(count) => total += count,
        }
    }
}

/// Sends bytes and says how many came back before the victim hung up, and what they were.
pub async fn says(victim: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut tcp = tcp(victim).await?;
    // The victim may have hung up in the middle.
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    Ok(answer)
}

/// Reads a frame of Noise.
pub async fn read_noise_frame(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut len = [0; 2];
    io.read_exact(&mut len).await?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(len))];
    io.read_exact(&mut frame)
        .await
        .context("a frame is cut off")?;
    if frame.is_empty() {
        bail!("an empty frame");
    }
    Ok(frame)
}
