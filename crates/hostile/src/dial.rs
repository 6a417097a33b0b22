//! Getting to a victim, one layer after the other.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_io::Async;
use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use peerkit::{
    Keypair, ProtocolId,
    core::Records,
    noise::{
        Noise, NoiseRecords, NoiseStream,
        xx::{Initiator, InitiatorReady, KeyPair},
    },
};
use socket2::{Domain, Socket, Type};

use crate::{frames::noise, measure};

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

/// Sends bytes and reads; what the victim answered, and how long it took until it hung up, if it did.
pub async fn hangs_up(
    victim: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> Result<(Vec<u8>, Option<Duration>)> {
    let tcp = tcp(victim).await?;
    let from = Instant::now();
    let (mut reader, mut writer) = tcp.split();
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 4096];
        while let Ok(count) = reader.read(&mut buffer).await
            && count > 0
        {
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    let writing = async {
        // The victim may hang up in the middle.
        let _ = writer.write_all(bytes).await;
    };
    let both = measure::within(patience, futures::future::join(writing, reading)).await;
    Ok((answer, both.map(|_| from.elapsed())))
}

/// A handshake of Noise by hand, as the one who begins.
pub struct Handshake {
    /// The connection, on which `/noise` was agreed.
    pub tcp: Tcp,
    /// The static key.
    pub static_key: KeyPair,
    ready: InitiatorReady,
}

impl Handshake {
    /// Goes as far as the victim's message 2.
    pub async fn begin(victim: SocketAddr) -> Result<Self> {
        let mut tcp = tcp(victim).await?;
        select(&mut tcp, "/noise").await?;
        let static_key = noise::key_pair();
        let initiator = Initiator::new(&[], static_key.clone(), noise::key_pair());
        let mut message = BytesMut::new();
        let sent = initiator.write(&[], &mut message)?;
        tcp.write_all(&noise::framed(&message)).await?;
        let answer = read_noise_frame(&mut tcp).await?;
        let (ready, _) = sent.read(BytesMut::from(&answer[..]))?;
        Ok(Self {
            tcp,
            static_key,
            ready,
        })
    }

    /// Ends it with any payload.
    pub async fn end(self, payload: &[u8]) -> Result<(Tcp, NoiseRecords)> {
        let (mut tcp, mut message) = (self.tcp, BytesMut::new());
        let finished = self.ready.write(payload, &mut message)?;
        tcp.write_all(&noise::framed(&message)).await?;
        Ok((tcp, finished.into_records()))
    }
}

/// One record of a Noise connection.
pub fn record(records: &mut NoiseRecords, payload: &[u8]) -> Result<Vec<u8>> {
    let layout = records.layout();
    let mut record = vec![0; layout.header];
    record.extend_from_slice(payload);
    record.resize(record.len() + layout.trailer, 0);
    records.seal(&mut record)?;
    Ok(record)
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
