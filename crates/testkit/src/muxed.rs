//! Two ends of a muxer on real sockets, with the task of the core crate.

use std::{io, sync::Arc};

use futures::future::{poll_fn, try_join};
use peerkit_core::{
    Channel, Connection, MuxedStream, MuxerContext, MuxerUpgrade, Role, Runtime, TaskGroup,
    TcpOptions,
};
use peerkit_runtime::AsyncIo;

/// Both ends of a connection over loopback, multiplexed but not secured.
#[derive(Debug)]
pub struct MuxedPair {
    /// What both run on.
    pub runtime: Arc<dyn Runtime>,
    /// Who has dialed.
    pub dialer: Arc<dyn Connection>,
    /// Who has listened.
    pub listener: Arc<dyn Connection>,
    /// The tasks of both ends.
    pub tasks: TaskGroup,
}

impl MuxedPair {
    /// Connects two ends of this muxer.
    pub async fn connect(muxer: &dyn MuxerUpgrade) -> Self {
        let runtime: Arc<dyn Runtime> = Arc::new(AsyncIo::new());
        let local = "127.0.0.1:0".parse().unwrap();
        let (network, options) = (runtime.network(), TcpOptions::default());
        let mut socket = network.listen_tcp(local, options.clone()).unwrap();
        let remote = socket.local_addr().unwrap();
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
}

/// Sends so many bytes, which [`receive`] knows, then finishes.
pub async fn send(stream: &dyn MuxedStream, total: usize) -> io::Result<()> {
    let bytes = pattern(50_000);
    let mut sent = 0;
    while sent < total {
        let begin = sent % PERIOD;
        let length = (total - sent).min(50_000);
        sent += write(stream, &bytes[begin..begin + length]).await?;
    }
    poll_fn(|cx| stream.poll_close(cx)).await
}

/// Reads to the end and tells how many bytes there were; all of them must be those that [`send`] sends.
pub async fn receive(stream: &dyn MuxedStream) -> io::Result<usize> {
    let expected = pattern(30_000);
    let mut buffer = vec![0; 30_000];
    let mut received = 0;
    loop {
        let count = read(stream, &mut buffer).await?;
        if count == 0 {
            return Ok(received);
        }
        assert!(buffer[..count] == expected[received % PERIOD..][..count]);
        received += count;
    }
}

/// Sends back what comes, finishes when the other side has, and tells how many bytes there were.
pub async fn echo(stream: &dyn MuxedStream) -> io::Result<usize> {
    let mut buffer = vec![0; 30_000];
    let mut echoed = 0;
    loop {
        let count = read(stream, &mut buffer).await?;
        if count == 0 {
            poll_fn(|cx| stream.poll_close(cx)).await?;
            return Ok(echoed);
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            rest = &rest[write(stream, rest).await?..];
        }
        echoed += count;
    }
}

/// Reads what there is; 0 at the end.
pub async fn read(stream: &dyn MuxedStream, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await
}

/// Writes as much as there is room for.
pub async fn write(stream: &dyn MuxedStream, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_write(cx, bytes)).await
}

/// Prime, so that no buffer is a multiple of it.
const PERIOD: usize = 251;

/// So many bytes of the pattern from any place in its period on.
fn pattern(len: usize) -> Vec<u8> {
    (0..len + PERIOD).map(|at| (at % PERIOD) as u8).collect()
}
