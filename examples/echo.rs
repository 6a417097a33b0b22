//! A node answers streams with what it reads from them; another node asks it.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example echo
//! listening on /ip4/127.0.0.1/tcp/../p2p/12D3KooW..
//! 12D3KooW.. answered: hello
//! ```
//!
//! With the address of another node, for example of `peerkit listen`, it asks that one:
//!
//! ```text
//! $ cargo run -p peerkit-examples --example echo -- /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW..
//! ```

use std::error::Error;

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Multiaddr, Stream, runtime::AsyncStd};

const ECHO: &str = "/echo/1.0.0";

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(async {
        let server = serve().await?;
        let addr = match std::env::args().nth(1) {
            Some(addr) => addr.parse()?,
            None => server.addrs().remove(0),
        };
        ask(addr).await?;
        server.close().await;
        Ok(())
    })
}

async fn serve() -> Result<Host, Box<dyn Error>> {
    let host = Host::builder()
        .runtime(AsyncStd::new())
        .listen_on("/ip4/127.0.0.1/tcp/0".parse()?)
        .build()
        .await?;
    host.set_stream_handler(ECHO, |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await
    });
    for addr in host.addrs() {
        println!("listening on {addr}");
    }
    Ok(host)
}

async fn ask(addr: Multiaddr) -> Result<(), Box<dyn Error>> {
    let host = Host::builder().runtime(AsyncStd::new()).build().await?;
    let mut stream = host.open_stream(addr, ECHO).await?;
    stream.write_all(b"hello").await?;
    stream.close().await?; // ends this direction only
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("{} answered: {answer}", stream.remote_peer());
    host.close().await;
    Ok(())
}
