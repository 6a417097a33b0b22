//! The muxer on real sockets, with the task of the core crate.

use std::{io, sync::Arc, time::Duration};

use futures::{
    future::{poll_fn, try_join},
    join,
};
use peerkit_core::{
    Channel, CloseReason, Connection, ConnectionError, MuxedStream, MuxerContext, MuxerUpgrade,
    Role, Runtime, TaskGroup, TcpOptions,
};
use peerkit_mplex::{Config, Mplex};
use peerkit_runtime::{AsyncIo, block_on};

#[test]
fn a_transfer_much_larger_than_all_buffers_is_echoed() {
    block_on(async {
        let peers = Peers::connect(Config::default()).await;
        let (stream, echo) = peers.stream().await;
        let total = 32 << 20;
        let (sent, received, echoed) = join!(
            send(stream.as_ref(), total),
            receive(stream.as_ref()),
            copy(echo.as_ref()),
        );
        sent.unwrap();
        assert_eq!((received.unwrap(), echoed.unwrap()), (total, total));
    });
}

#[test]
fn a_reader_that_never_reads_holds_up_the_others_only_for_a_while() {
    block_on(async {
        let mut config = Config::default();
        config.stall_timeout = Duration::from_millis(300);
        let peers = Peers::connect(config).await;
        let (ignored, ignored_far) = peers.stream().await;
        let (alive, alive_far) = peers.stream().await;
        let flood = async {
            let error = send(ignored.as_ref(), 1 << 30).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            send(alive.as_ref(), 1 << 20).await
        };
        let (_, received) = try_join(flood, receive(alive_far.as_ref())).await.unwrap();
        assert_eq!(received, 1 << 20);
        let mut buffer = [0; 10];
        let error = read(ignored_far.as_ref(), &mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn many_streams_at_once_each_get_their_own_bytes() {
    block_on(async {
        let peers = Peers::connect(Config::default()).await;
        let mut pairs = Vec::new();
        for _ in 0..50 {
            pairs.push(peers.stream().await);
        }
        let transfers = pairs.iter().enumerate().map(|(n, (near, far))| async move {
            let total = (n + 1) * 10_000;
            let (sent, received) = join!(send(near.as_ref(), total), receive(far.as_ref()));
            sent.unwrap();
            assert_eq!(received.unwrap(), total);
        });
        futures::future::join_all(transfers).await;
    });
}

#[test]
fn closing_ends_both_sides_without_an_error_of_the_network() {
    block_on(async {
        let peers = Peers::connect(Config::default()).await;
        let (near, far) = peers.stream().await;
        let (sent, received) = join!(send(near.as_ref(), 100_000), receive(far.as_ref()));
        sent.unwrap();
        assert_eq!(received.unwrap(), 100_000);
        drop((near, far));
        peers.dialer.close(CloseReason::Normal);
        assert!(matches!(
            peers.dialer.closed().await,
            ConnectionError::Closed
        ));
        assert!(matches!(
            peers.listener.closed().await,
            ConnectionError::ClosedByRemote(_)
        ));
        peers.tasks.join().await;
    });
}

struct Peers {
    dialer: Arc<dyn Connection>,
    listener: Arc<dyn Connection>,
    tasks: TaskGroup,
}

impl Peers {
    async fn connect(config: Config) -> Self {
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
            let muxer = Mplex::new(config.clone());
            let (connection, driver) = muxer.upgrade(Channel::plain(io), context);
            tasks.spawn(runtime.as_ref(), driver);
            connection
        };
        Self {
            dialer: start(dialed.io, Role::Dialer),
            listener: start(accepted.io, Role::Listener),
            tasks: tasks.clone(),
        }
    }

    async fn stream(&self) -> (Box<dyn MuxedStream>, Box<dyn MuxedStream>) {
        let both = try_join(self.dialer.open(), self.listener.accept());
        both.await.expect("the connection is up")
    }
}

/// Sends so many bytes, then finishes.
async fn send(stream: &dyn MuxedStream, total: usize) -> io::Result<usize> {
    let mut sent = 0;
    while sent < total {
        let bytes: Vec<u8> = (sent..total.min(sent + 50_000)).map(pattern).collect();
        sent += write(stream, &bytes).await?;
    }
    poll_fn(|cx| stream.poll_close(cx)).await?;
    Ok(sent)
}

/// Reads to the end and tells how many bytes there were; all of them must be the right ones.
async fn receive(stream: &dyn MuxedStream) -> io::Result<usize> {
    let mut buffer = vec![0; 30_000];
    let mut received = 0;
    loop {
        let count = read(stream, &mut buffer).await?;
        if count == 0 {
            return Ok(received);
        }
        let right = |(at, byte): (usize, &u8)| *byte == pattern(received + at);
        assert!(buffer[..count].iter().enumerate().all(right));
        received += count;
    }
}

async fn copy(stream: &dyn MuxedStream) -> io::Result<usize> {
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
