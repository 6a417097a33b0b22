//! The muxer on real sockets, with the task of the core crate.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use std::{io, sync::Arc};

use futures::{
    future::{join_all, poll_fn, try_join},
    join,
};
use peerkit_core::{
    Channel, CloseReason, Connection, ConnectionError, MuxedStream, MuxerContext, MuxerUpgrade,
    ResetCode, Role, Runtime, StreamError, TaskGroup, TcpOptions,
};
use peerkit_runtime::{AsyncIo, block_on};
use peerkit_yamux::{Config, Yamux};

#[test]
fn a_transfer_much_larger_than_all_windows_is_echoed() {
    block_on(async {
        let peers = Peers::connect().await;
        let (near, far) = peers.stream().await;
        let total = 64 << 20;
        let (sent, received, echoed) = join!(
            send(near.as_ref(), total),
            receive(near.as_ref()),
            echo(far.as_ref()),
        );
        sent.unwrap();
        assert_eq!((received.unwrap(), echoed.unwrap()), (total, total));
    });
}

#[test]
fn two_tasks_may_read_and_write_one_stream_at_once() {
    block_on(async {
        let peers = Peers::connect().await;
        let (near, far) = peers.stream().await;
        let (near, far) = (Arc::<dyn MuxedStream>::from(near), Arc::from(far));
        let halves = [near, far].map(|stream: Arc<dyn MuxedStream>| {
            let (writer, reader) = (stream.clone(), stream);
            let (finished, wait) = futures::channel::oneshot::channel();
            let send = async move { send(writer.as_ref(), 1000 * 64 * 1024).await.unwrap() };
            let receive = async move {
                let received = receive(reader.as_ref()).await.unwrap();
                finished.send(received).unwrap();
            };
            peers.tasks.spawn(peers.runtime.as_ref(), send);
            peers.tasks.spawn(peers.runtime.as_ref(), receive);
            wait
        });
        for received in join_all(halves).await {
            assert_eq!(received.unwrap(), 1000 * 64 * 1024);
        }
    });
}

#[test]
fn many_streams_at_once_each_get_their_own_bytes() {
    block_on(async {
        let peers = Peers::connect().await;
        let mut pairs = Vec::new();
        for _ in 0..100 {
            pairs.push(peers.stream().await);
        }
        let transfers = pairs.iter().enumerate().map(|(n, (near, far))| async move {
            let total = (n + 1) * 10_000;
            let (sent, received) = join!(send(near.as_ref(), total), receive(far.as_ref()));
            sent.unwrap();
            assert_eq!(received.unwrap(), total);
        });
        join_all(transfers).await;
    });
}

#[test]
fn more_streams_than_the_limits_allow_wait_for_their_turn() {
    block_on(async {
        let peers = Peers::connect().await;
        let dialer = &peers.dialer;
        let requests = (0..2000).map(|_| async move {
            let stream = dialer.open().await.unwrap();
            send(stream.as_ref(), 100).await.unwrap();
            assert_eq!(receive(stream.as_ref()).await.unwrap(), 100);
        });
        let listener = &peers.listener;
        let serve = async {
            for _ in 0..2000 {
                let stream = listener.accept().await.unwrap();
                let task = async move { drop(echo(stream.as_ref()).await) };
                peers.tasks.spawn(peers.runtime.as_ref(), task);
            }
        };
        join!(join_all(requests), serve);
    });
}

#[test]
fn a_reader_that_never_reads_holds_up_nobody_else() {
    block_on(async {
        let peers = Peers::connect().await;
        let (ignored, ignored_far) = peers.stream().await;
        let (alive, alive_far) = peers.stream().await;
        let flood = send(ignored.as_ref(), 1 << 30);
        let others = async {
            let (sent, received) =
                join!(send(alive.as_ref(), 8 << 20), receive(alive_far.as_ref()));
            sent.unwrap();
            assert_eq!(received.unwrap(), 8 << 20);
            ignored_far.reset(ResetCode(42));
        };
        let (flooded, ()) = join!(flood, others);
        let error = flooded.unwrap_err();
        let reason = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(matches!(
            reason,
            Some(StreamError::ResetByRemote(ResetCode(42)))
        ));
    });
}

#[test]
fn closing_ends_both_sides_and_what_was_sent_arrives() {
    block_on(async {
        let peers = Peers::connect().await;
        let (near, far) = peers.stream().await;
        send(near.as_ref(), 100_000).await.unwrap();
        peers.dialer.close(CloseReason::Normal);
        assert_eq!(receive(far.as_ref()).await.unwrap(), 100_000);
        drop((near, far));
        assert!(matches!(
            peers.dialer.closed().await,
            ConnectionError::Closed
        ));
        assert!(matches!(
            peers.listener.closed().await,
            ConnectionError::ClosedByRemote(0)
        ));
        assert!(peers.listener.open().await.is_err());
        assert!(peers.listener.accept().await.is_err());
        peers.tasks.join().await;
    });
}

struct Peers {
    runtime: Arc<dyn Runtime>,
    dialer: Arc<dyn Connection>,
    listener: Arc<dyn Connection>,
    tasks: TaskGroup,
}

impl Peers {
    async fn connect() -> Self {
        let runtime: Arc<dyn Runtime> = Arc::new(AsyncIo::new());
        let local = "127.0.0.1:0".parse().expect("an address");
        let network = runtime.network();
        let options = TcpOptions::default();
        let mut socket = network
            .listen_tcp(local, options.clone())
            .expect("a free port");
        let remote = socket.local_addr().expect("a bound socket");
        let (dialed, accepted) = try_join(
            network.connect_tcp(remote, options),
            poll_fn(|cx| socket.poll_accept(cx)),
        )
        .await
        .expect("loopback works");
        let tasks = TaskGroup::default();
        let start = |io, role| {
            let context = MuxerContext {
                role,
                runtime: runtime.clone(),
            };
            let muxer = Yamux::new(Config::default());
            let (connection, driver) = muxer.upgrade(Channel::plain(io), context);
            tasks.spawn(runtime.as_ref(), driver);
            connection
        };
        Self {
            dialer: start(dialed.io, Role::Dialer),
            listener: start(accepted.io, Role::Listener),
            tasks: tasks.clone(),
            runtime: runtime.clone(),
        }
    }

    /// A stream comes into being with its first byte.
    async fn stream(&self) -> (Box<dyn MuxedStream>, Box<dyn MuxedStream>) {
        let near = self.dialer.open().await.unwrap();
        assert_eq!(write(near.as_ref(), b"!").await.unwrap(), 1);
        let far = self.listener.accept().await.unwrap();
        assert_eq!(read(far.as_ref(), &mut [0]).await.unwrap(), 1);
        (near, far)
    }
}

/// Sends so many bytes, then finishes.
async fn send(stream: &dyn MuxedStream, total: usize) -> io::Result<()> {
    let bytes: Vec<u8> = (0..50_000 + 251).map(pattern).collect();
    let mut sent = 0;
    while sent < total {
        let begin = sent % 251;
        let length = (total - sent).min(50_000);
        sent += write(stream, &bytes[begin..begin + length]).await?;
    }
    poll_fn(|cx| stream.poll_close(cx)).await
}

/// Reads to the end and tells how many bytes there were; all of them must be the right ones.
async fn receive(stream: &dyn MuxedStream) -> io::Result<usize> {
    let expected: Vec<u8> = (0..30_000 + 251).map(pattern).collect();
    let mut buffer = vec![0; 30_000];
    let mut received = 0;
    loop {
        let count = read(stream, &mut buffer).await?;
        if count == 0 {
            return Ok(received);
        }
        assert!(buffer[..count] == expected[received % 251..][..count]);
        received += count;
    }
}

async fn echo(stream: &dyn MuxedStream) -> io::Result<usize> {
    let mut buffer = vec![0; 30_000];
    let mut copied = 0;
    loop {
        let count = read(stream, &mut buffer).await?;
        if count == 0 {
            poll_fn(|cx| stream.poll_close(cx)).await?;
            return Ok(copied);
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            rest = &rest[write(stream, rest).await?..];
        }
        copied += count;
    }
}

async fn read(stream: &dyn MuxedStream, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await
}

async fn write(stream: &dyn MuxedStream, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_write(cx, bytes)).await
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}
