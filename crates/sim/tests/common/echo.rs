//! A protocol to try a connection with.

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Multiaddr, Stream};

pub(crate) const ECHO: &str = "/echo/1.0.0";

/// Answers the protocol.
pub(crate) fn serve(host: &Host) {
    host.set_stream_handler(ECHO, |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await.map(drop)
    });
}

/// Whether a few bytes come back from there.
pub(crate) async fn echo(host: &Host, addr: &Multiaddr) -> bool {
    let exchange = async {
        let mut stream = host.open_stream(addr, ECHO).await.ok()?;
        stream.write_all(b"hello").await.ok()?;
        stream.close().await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer == "hello")
    };
    exchange.await.unwrap_or(false)
}
