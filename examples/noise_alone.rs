//! The crate `peerkit-noise` alone: a TCP socket becomes an encrypted stream, and both
//! sides know who is at the other end.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example noise_alone
//! the server sees the right client, and reads: hello over noise
//! a client that expects somebody else: expected peer 12D3KooW.. but 12D3KooW.. answered
//! ```

use std::{error::Error, net::SocketAddr};

use async_std::net::{TcpListener, TcpStream};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Keypair, PeerId, SecurityError};
use peerkit_noise::Noise;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(async {
        let (server, client) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (server_id, client_id) = (server.public().to_peer_id(), client.public().to_peer_id());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;

        let serve = serve(&listener, &server, client_id);
        let dial = dial(addr, &client, server_id);
        futures::try_join!(serve, dial)?;

        let stranger = Keypair::generate_ed25519().public().to_peer_id();
        let serve = accept(&listener, &server);
        let (refused, _) = futures::join!(self::dial(addr, &client, stranger), serve);
        let error = refused.err().ok_or("the wrong server was accepted")?;
        println!("a client that expects somebody else: {error}");
        Ok(())
    })
}

async fn dial(addr: SocketAddr, key: &Keypair, server: PeerId) -> Result<(), Box<dyn Error>> {
    let socket = TcpStream::connect(addr).await?;
    let (mut stream, _) = Noise::new(key)?.dial(socket, server).await?;
    stream.write_all(b"hello over noise").await?;
    stream.close().await?;
    Ok(())
}

async fn serve(
    listener: &TcpListener,
    key: &Keypair,
    client: PeerId,
) -> Result<(), Box<dyn Error>> {
    let (socket, _) = listener.accept().await?;
    let (mut stream, remote) = Noise::new(key)?.accept(socket).await?;
    if remote != client {
        return Err("somebody else dialed".into());
    }
    // Noise has no end of its own: a protocol on top says how much there is to read.
    let mut text = [0; "hello over noise".len()];
    stream.read_exact(&mut text).await?;
    let text = String::from_utf8_lossy(&text);
    println!("the server sees the right client, and reads: {text}");
    Ok(())
}

/// Only the handshake.
async fn accept(listener: &TcpListener, key: &Keypair) -> Result<PeerId, SecurityError> {
    let (socket, _) = listener.accept().await?;
    let (_, remote) = Noise::new(key)?.accept(socket).await?;
    Ok(remote)
}
