//! The whole stack over pipes that take and give one byte at a time, ragged pieces, or all there is: what is
//! echoed has to come back whole, whatever the cut.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::{
    AsyncRead, AsyncWrite,
    future::{join_all, poll_fn, try_join},
};
use peerkit_core::{
    Connection, Direction, DriverConfig, Io, Keypair, Multiaddr, MuxedStream, MuxerUpgrade,
    NewConnection, Optimism, Role, SecurityUpgrade, UpgradeRequest, Upgrader,
};
use peerkit_memory::{Pipe, duplex};
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;
use peerkit_plaintext::Plaintext;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[test]
fn noise_and_yamux_bear_one_byte_at_a_time() {
    tiny(Security::Noise, yamux());
}

#[test]
fn noise_and_mplex_bear_one_byte_at_a_time() {
    tiny(Security::Noise, mplex());
}

#[test]
fn plaintext_and_yamux_bear_one_byte_at_a_time() {
    tiny(Security::Plaintext, yamux());
}

#[test]
fn noise_and_yamux_bear_ragged_pieces_and_false_starts() {
    ragged(Security::Noise, yamux());
}

#[test]
fn noise_and_mplex_bear_ragged_pieces_and_false_starts() {
    ragged(Security::Noise, mplex());
}

#[test]
fn plaintext_and_yamux_bear_ragged_pieces_and_false_starts() {
    ragged(Security::Plaintext, yamux());
}

#[test]
fn noise_and_yamux_bear_a_mebibyte_at_once() {
    huge(Security::Noise, yamux());
}

#[test]
fn noise_and_mplex_bear_a_mebibyte_at_once() {
    huge(Security::Noise, mplex());
}

#[test]
fn plaintext_and_yamux_bear_a_mebibyte_at_once() {
    huge(Security::Plaintext, yamux());
}

/// The application's pieces are tiny too.
fn tiny(security: Security, muxer: Arc<dyn MuxerUpgrade>) {
    let load = Load {
        streams: 16,
        bytes: 8 * KIB,
        write: 16,
        read: 5,
    };
    let seen = echo_all(security, muxer, Cut::One, load);
    assert_eq!(seen.largest(), (1, 1));
}

fn ragged(security: Security, muxer: Arc<dyn MuxerUpgrade>) {
    let load = Load {
        streams: 32,
        bytes: 96 * KIB,
        write: 10_007,
        read: 7001,
    };
    let seen = echo_all(security, muxer, Cut::Ragged(3000), load);
    let (read, write) = seen.largest();
    assert!((1000..=3000).contains(&read), "reads up to {read}");
    assert!((1000..=3000).contains(&write), "writes up to {write}");
}

fn huge(security: Security, muxer: Arc<dyn MuxerUpgrade>) {
    let load = Load {
        streams: 8,
        bytes: 4 * MIB,
        write: MIB,
        read: MIB,
    };
    let seen = echo_all(security, muxer, Cut::None, load);
    let (read, write) = seen.largest();
    assert!(
        read > 64 * KIB && write > 64 * KIB,
        "reads up to {read}, writes up to {write}"
    );
}

/// Sends the load on all streams at once; what comes back has to be the same.
fn echo_all(security: Security, muxer: Arc<dyn MuxerUpgrade>, cut: Cut, load: Load) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    peerkit_runtime::block_on(async {
        let (near, far) = duplex(2 * MIB);
        let end = |pipe, seed| Chopped::new(pipe, cut, seed, seen.clone());
        let (dialer, listener) = try_join(
            connect(Role::Dialer, security, muxer.clone(), end(near, 1)),
            connect(Role::Listener, security, muxer, end(far, 2)),
        )
        .await
        .unwrap();
        peerkit_runtime::default().spawn(Box::pin(answer_all(listener.connection, load)));
        join_all((0..load.streams).map(|number| round_trip(&dialer.connection, number, load)))
            .await;
    });
    seen
}

async fn connect(
    role: Role,
    security: Security,
    muxer: Arc<dyn MuxerUpgrade>,
    io: impl Io,
) -> Result<NewConnection, peerkit_core::UpgradeError> {
    let identity = Keypair::generate_ed25519();
    let security: Arc<dyn SecurityUpgrade> = match security {
        Security::Noise => Arc::new(Noise::new(&identity).unwrap()),
        Security::Plaintext => Arc::new(Plaintext::new(&identity)),
    };
    let upgrader = StandardUpgrader::new(
        peerkit_runtime::default(),
        vec![security],
        vec![muxer],
        UpgradeConfig::default(),
    );
    let request = UpgradeRequest {
        local_addr: Multiaddr::empty(),
        remote_addr: "/memory/7".parse().unwrap(),
        direction: Direction::Outbound,
        role,
        expected_peer: None,
        optimism: Optimism::Eager,
    };
    let mut new = upgrader.upgrade(Box::new(io), request).await?;
    let driver = std::mem::replace(&mut new.driver, Box::pin(async {}));
    peerkit_runtime::default().spawn(driver);
    Ok(new)
}

async fn answer_all(connection: Arc<dyn Connection>, load: Load) {
    while let Ok(stream) = connection.accept().await {
        peerkit_runtime::default().spawn(Box::pin(async move {
            echo(stream.as_ref(), load).await.unwrap();
        }));
    }
}

async fn echo(stream: &dyn MuxedStream, load: Load) -> io::Result<()> {
    let mut buffer = vec![0; load.read];
    loop {
        let count = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await?;
        if count == 0 {
            return poll_fn(|cx| stream.poll_close(cx)).await;
        }
        write_all(stream, &buffer[..count]).await?;
    }
}

async fn round_trip(connection: &Arc<dyn Connection>, number: usize, load: Load) {
    let stream = connection.open().await.unwrap();
    let stream = stream.as_ref();
    let sent = content(number, load.bytes);
    let send = async {
        for piece in sent.chunks(load.write) {
            write_all(stream, piece).await?;
        }
        poll_fn(|cx| stream.poll_close(cx)).await
    };
    let (_, received) = try_join(send, read_all(stream, load.read)).await.unwrap();
    assert!(received == sent, "stream {number} came back changed");
}

async fn write_all(stream: &dyn MuxedStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

async fn read_all(stream: &dyn MuxedStream, piece: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Bytes without a period, different for each stream.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut dice = Dice(number as u64 + 1);
    (0..len).map(|_| dice.roll() as u8).collect()
}

fn yamux() -> Arc<dyn MuxerUpgrade> {
    let config = peerkit_yamux::Config {
        transmit_buffer_max: 2 * MIB,
        ..peerkit_yamux::Config::default()
    };
    Arc::new(Yamux::new(config).with_driver(driver()))
}

fn mplex() -> Arc<dyn MuxerUpgrade> {
    let mut config = peerkit_mplex::Config::default();
    config.transmit_buffer = 2 * MIB;
    Arc::new(Mplex::new(config).with_driver_config(driver()))
}

fn driver() -> DriverConfig {
    let mut config = DriverConfig::default();
    config.read_buffer_max = MIB;
    // More than the muxers' transmit buffers: else two sides that both echo would wait for each other to read.
    config.unread_answers_max = 8 * MIB;
    config
}

#[derive(Clone, Copy)]
enum Security {
    Noise,
    Plaintext,
}

#[derive(Clone, Copy)]
struct Load {
    streams: usize,
    /// Of each stream.
    bytes: usize,
    /// The most that the application writes at once.
    write: usize,
    /// The most that it reads at once.
    read: usize,
}

/// How much a pipe takes and gives at once.
#[derive(Clone, Copy)]
enum Cut {
    One,
    /// Any number up to this; every fourth time nothing at first.
    Ragged(usize),
    /// As much as there is.
    None,
}

/// The most that was read and written at once.
#[derive(Default)]
struct Seen {
    read: AtomicUsize,
    write: AtomicUsize,
}

impl Seen {
    fn largest(&self) -> (usize, usize) {
        let of = |most: &AtomicUsize| most.load(Ordering::Relaxed);
        (of(&self.read), of(&self.write))
    }
}

struct Chopped {
    pipe: Pipe,
    cut: Cut,
    dice: Dice,
    seen: Arc<Seen>,
}

impl Chopped {
    fn new(pipe: Pipe, cut: Cut, seed: u64, seen: Arc<Seen>) -> Self {
        Self {
            pipe,
            cut,
            dice: Dice(seed),
            seen,
        }
    }

    /// How much of so many bytes; `Pending` after it has asked to be polled again.
    fn poll_share(&mut self, len: usize, cx: &Context<'_>) -> Poll<usize> {
        let share = match self.cut {
            Cut::One => 1,
            Cut::Ragged(_) if self.dice.roll().is_multiple_of(4) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Cut::Ragged(most) => 1 + self.dice.roll() as usize % most,
            Cut::None => len,
        };
        Poll::Ready(share.min(len))
    }
}

impl AsyncRead for Chopped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let share = ready!(self.poll_share(buffer.len(), cx));
        let count = ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buffer[..share]))?;
        self.seen.read.fetch_max(count, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let share = ready!(self.poll_share(bytes.len(), cx));
        let count = ready!(Pin::new(&mut self.pipe).poll_write(cx, &bytes[..share]))?;
        self.seen.write.fetch_max(count, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_close(cx)
    }
}

/// The same numbers for the same seed, which is not zero.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of the state itself are poor.
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}
