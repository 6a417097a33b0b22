//! The same program on tokio: one line chooses the runtime.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example tokio
//! 12D3KooW.. answered a ping on tokio
//! ```

use std::error::Error;

use peerkit::{Host, runtime::Tokio};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Host::builder()
        .runtime(Tokio::current()) // this line
        .listen_on("/ip4/127.0.0.1/tcp/0".parse()?)
        .build()
        .await?;
    let client = Host::builder().runtime(Tokio::current()).build().await?;

    let mut pinger = client.ping().open(server.addrs().remove(0)).await?;
    pinger.ping().await?;
    println!("{} answered a ping on tokio", pinger.peer());

    client.close().await;
    server.close().await;
    Ok(())
}
