//! An upgrader that only swaps two bytes, and the connection that comes of it.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex},
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use peerkit_core::{
    CloseReason, Connection, ConnectionError, ConnectionInfo, Io, Keypair, MuxedStream,
    NewConnection, ProtocolId, SecurityError, UpgradeError, UpgradeRequest, Upgrader,
};

/// Swaps two bytes and calls that a connection: it has no streams and ends when it is dropped.
#[derive(Debug)]
pub struct FakeUpgrader;

impl Upgrader for FakeUpgrader {
    fn upgrade(
        &self,
        mut io: Box<dyn Io>,
        request: UpgradeRequest,
    ) -> BoxFuture<'static, Result<NewConnection, UpgradeError>> {
        async move {
            swap(&mut io).await.map_err(SecurityError::Io)?;
            let key = Keypair::generate_ed25519().public();
            Ok(NewConnection {
                connection: Arc::new(FakeConnection(Mutex::new(io))),
                driver: pending().boxed(),
                info: ConnectionInfo {
                    remote_peer: key.to_peer_id(),
                    remote_key: key,
                    local_addr: request.local_addr,
                    remote_addr: request.remote_addr,
                    direction: request.direction,
                    security: ProtocolId::from_static("/fake-security"),
                    muxer: ProtocolId::from_static("/fake-muxer"),
                },
            })
        }
        .boxed()
    }
}

async fn swap(io: &mut Box<dyn Io>) -> std::io::Result<()> {
    io.write_all(b"hi").await?;
    let mut greeting = [0; 2];
    io.read_exact(&mut greeting).await?;
    assert_eq!(&greeting, b"hi");
    Ok(())
}

/// Keeps the pipe open, and has no streams.
struct FakeConnection(#[allow(dead_code, reason = "held for its drop")] Mutex<Box<dyn Io>>);

impl fmt::Debug for FakeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeConnection")
    }
}

impl Connection for FakeConnection {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>> {
        pending().boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>> {
        pending().boxed()
    }

    fn close(&self, _: CloseReason) {}

    fn closed(&self) -> BoxFuture<'_, ConnectionError> {
        pending().boxed()
    }

    fn close_error(&self) -> Option<ConnectionError> {
        None
    }

    fn stream_count(&self) -> usize {
        0
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), ConnectionError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn is_confirmed(&self) -> bool {
        true
    }
}
