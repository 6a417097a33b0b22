//! A pipe in memory, honest and hostile peers.
#![allow(
    dead_code,
    reason = "each test file uses its part, and the compiler sees them one by one"
)]

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, executor::block_on, future::join,
};
use peerkit_core::{
    Channel, ChannelParts, Handshake, Io, Keypair, PeerId, ProtocolId, Role, Secured,
    SecurityError, SecurityUpgrade, Wire, lock,
};
use peerkit_noise::{
    Noise,
    xx::{Finished, Initiator, KeyPair, Responder},
};

pub(crate) const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");
pub(crate) const MPLEX: ProtocolId = ProtocolId::from_static("/mplex/6.7.0");

/// One end of a pipe in memory. Dropping it ends the other's input.
pub(crate) struct End {
    inbound: Arc<Mutex<Lane>>,
    outbound: Arc<Mutex<Lane>>,
}

#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    /// Everything that ever went through, one entry for each write.
    log: Vec<Vec<u8>>,
    capacity: usize,
    closed: bool,
    /// Done to the next write by somebody on the way, who cuts the pipe when he shortens it.
    change: Option<fn(&mut Vec<u8>)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A pipe that holds `capacity` bytes in each direction.
pub(crate) fn pipe(capacity: usize) -> (End, End) {
    let lane = || {
        Arc::new(Mutex::new(Lane {
            capacity,
            ..Lane::default()
        }))
    };
    let (there, back) = (lane(), lane());
    let local = End {
        inbound: back.clone(),
        outbound: there.clone(),
    };
    let remote = End {
        inbound: there,
        outbound: back,
    };
    (local, remote)
}

/// What was written at one end, also after that end is gone.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Lane>>);

impl Log {
    pub(crate) fn writes(&self) -> Vec<Vec<u8>> {
        lock(&self.0).log.clone()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.writes().concat()
    }

    pub(crate) fn change_next(&self, change: fn(&mut Vec<u8>)) {
        lock(&self.0).change = Some(change);
    }
}

impl End {
    pub(crate) fn log(&self) -> Log {
        Log(self.outbound.clone())
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.inbound);
        if lane.bytes.is_empty() && !lane.closed {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.len().min(lane.bytes.len());
        for (target, byte) in buffer.iter_mut().zip(lane.bytes.drain(..count)) {
            *target = byte;
        }
        wake(lane.writer.take());
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.outbound);
        if lane.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = lane.capacity - lane.bytes.len();
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.len().min(room);
        let mut bytes = buffer[..count].to_vec();
        if let Some(change) = lane.change.take() {
            change(&mut bytes);
            lane.closed = bytes.len() < count;
        }
        lane.bytes.extend(&bytes);
        lane.log.push(bytes);
        wake(lane.reader.take());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        close(&self.outbound);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        close(&self.inbound);
        close(&self.outbound);
    }
}

fn close(lane: &Mutex<Lane>) {
    let mut lane = lock(lane);
    lane.closed = true;
    wake(lane.reader.take());
    wake(lane.writer.take());
}

fn wake(waker: Option<Waker>) {
    waker.into_iter().for_each(Waker::wake);
}

/// A remote that sends fixed bytes whatever it is told, and then ends.
pub(crate) fn script(bytes: &[u8]) -> impl Io {
    let (local, mut remote) = pipe(1 << 20);
    block_on(remote.write_all(bytes)).unwrap();
    block_on(remote.close()).unwrap();
    // The remote stays and takes what is written.
    Scripted {
        local,
        _remote: remote,
    }
}

struct Scripted {
    local: End,
    _remote: End,
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.local).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.local).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.local).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.local).poll_close(cx)
    }
}

pub(crate) fn identity(byte: u8) -> Keypair {
    Keypair::ed25519_from_bytes([byte; 32]).unwrap()
}

/// An honest peer; the same byte gives the same keys and handshakes.
pub(crate) fn noise(byte: u8) -> Noise {
    Noise::with_seed(&identity(byte), [byte; 32]).unwrap()
}

pub(crate) fn peer(byte: u8) -> PeerId {
    identity(byte).public().to_peer_id()
}

pub(crate) fn handshake(
    io: impl Io,
    role: Role,
    expected_peer: Option<PeerId>,
    muxers: &[ProtocolId],
) -> Handshake {
    Handshake {
        wire: Wire::new(Box::new(io)),
        role,
        expected_peer,
        muxers: muxers.to_vec(),
    }
}

/// Runs one side and sends what it left for the next layer.
pub(crate) async fn secure(noise: &Noise, handshake: Handshake) -> Result<Secured, SecurityError> {
    let secured = noise.secure(handshake).await?;
    let ChannelParts {
        mut wire, records, ..
    } = secured.channel.into_parts();
    wire.flush().await?;
    Ok(Secured {
        channel: Channel::new(wire, records),
        ..secured
    })
}

pub(crate) type Outcome = Result<Secured, SecurityError>;

/// Two honest peers with these muxers.
pub(crate) fn shake(
    (dialer, expected, offer): (&Noise, Option<PeerId>, &[ProtocolId]),
    (listener, answer): (&Noise, &[ProtocolId]),
) -> (Outcome, Outcome) {
    let (near, far) = pipe(1 << 16);
    block_on(join(
        secure(dialer, handshake(near, Role::Dialer, expected, offer)),
        secure(listener, handshake(far, Role::Listener, None, answer)),
    ))
}

/// A listener that follows Noise but sends this payload, made from its static key.
pub(crate) async fn hostile_listener(
    mut io: End,
    payload: impl FnOnce([u8; 32]) -> Vec<u8>,
) -> End {
    let key = x25519(0xaa);
    let payload = payload(key.public());
    let state = Responder::new(&[], key, x25519(0xbb));
    let message = read_frame(&mut io).await.unwrap();
    let (state, _) = state.read(message).unwrap();
    let mut message = BytesMut::new();
    let _ = state.write(&payload, &mut message).unwrap();
    write_frame(&mut io, &message).await.unwrap();
    io
}

/// A dialer that follows Noise but sends this payload, made from its static key.
pub(crate) async fn hostile_dialer(
    mut io: End,
    payload: impl FnOnce([u8; 32]) -> Vec<u8>,
) -> (End, Finished) {
    let key = x25519(0xcc);
    let payload = payload(key.public());
    let mut message = BytesMut::new();
    let state = Initiator::new(&[], key, x25519(0xdd));
    let state = state.write(&[], &mut message).unwrap();
    write_frame(&mut io, &message).await.unwrap();
    let answer = read_frame(&mut io).await.unwrap();
    let (state, _) = state.read(answer).unwrap();
    let mut message = BytesMut::new();
    let finished = state.write(&payload, &mut message).unwrap();
    write_frame(&mut io, &message).await.unwrap();
    (io, finished)
}

pub(crate) fn x25519(byte: u8) -> KeyPair {
    KeyPair::from_secret([byte; 32].into())
}

pub(crate) async fn read_frame(io: &mut End) -> io::Result<BytesMut> {
    let mut len = [0; 2];
    io.read_exact(&mut len).await?;
    let mut message = BytesMut::zeroed(u16::from_be_bytes(len).into());
    io.read_exact(&mut message).await?;
    Ok(message)
}

pub(crate) async fn write_frame(io: &mut End, message: &[u8]) -> io::Result<()> {
    io.write_all(&(message.len() as u16).to_be_bytes()).await?;
    io.write_all(message).await
}

/// A handshake payload, written without the code under test.
pub(crate) fn payload(key: &[u8], signature: &[u8]) -> Vec<u8> {
    [field(1, key), field(2, signature)].concat()
}

pub(crate) fn signature(identity: &Keypair, static_key: [u8; 32]) -> Vec<u8> {
    let signed = [&b"noise-libp2p-static-key:"[..], &static_key].concat();
    identity.sign(&signed).unwrap()
}

pub(crate) fn honest_payload(identity: &Keypair, static_key: [u8; 32]) -> Vec<u8> {
    let key = identity.public().encode_protobuf();
    payload(&key, &signature(identity, static_key))
}

/// Extensions with muxers.
pub(crate) fn muxers<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let names = names.into_iter().map(|name| field(2, name.as_bytes()));
    field(4, &names.collect::<Vec<_>>().concat())
}

pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = value.len();
    while len > 0x7f {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(value);
    bytes
}
