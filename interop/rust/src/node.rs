//! The swarm with exactly the asked-for stack.

use std::time::Duration;

use anyhow::{Result, bail};
use libp2p::{
    PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identify,
    identity::Keypair,
    noise, ping, plaintext,
    swarm::{self, NetworkBehaviour},
    tcp, yamux,
};

use crate::{KeyType, Muxer, Security, Stack, Unsupported};

/// As Cargo.toml pins it.
pub const LIBRARY_VERSION: &str = "0.57.1";

/// Long enough that no test loses its connection for being quiet.
const IDLE: Duration = Duration::from_secs(120);

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub ping: ping::Behaviour,
    pub identify: identify::Behaviour,
    pub streams: libp2p_stream::Behaviour,
}

/// How often the ping behaviour pings each peer.
pub enum Pings {
    Fast,
    Slow,
}

pub fn swarm(stack: Stack, pings: Pings) -> Result<Swarm<Behaviour>> {
    let interval = match pings {
        Pings::Fast => Duration::from_millis(1),
        Pings::Slow => Duration::from_secs(15),
    };
    build(stack, |key| {
        Ok(Behaviour {
            ping: ping::Behaviour::new(ping::Config::new().with_interval(interval)),
            identify: identify::Behaviour::new(identify_config(key)),
            streams: libp2p_stream::Behaviour::new(),
        })
    })
}

pub fn build<B: NetworkBehaviour>(
    stack: Stack,
    behaviour: impl FnOnce(&Keypair) -> Result<B>,
) -> Result<Swarm<B>> {
    let key = key(stack.key_type)?;
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    let peer = key.public().to_peer_id();
    Ok(Swarm::new(
        transport(stack, &key)?,
        behaviour(&key)?,
        peer,
        config,
    ))
}

pub fn identify_config(key: &Keypair) -> identify::Config {
    identify::Config::new("/ipfs/0.1.0".into(), key.public())
        .with_agent_version(format!("peerkit-interop-rust/{LIBRARY_VERSION}"))
}

fn key(key_type: KeyType) -> Result<Keypair> {
    Ok(match key_type {
        KeyType::Ed25519 => Keypair::generate_ed25519(),
        KeyType::Secp256k1 => Keypair::generate_secp256k1(),
        KeyType::Ecdsa => Keypair::generate_ecdsa(),
        KeyType::Rsa => bail!(Unsupported("rust-libp2p cannot generate RSA keys")),
    })
}

fn transport(stack: Stack, key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).upgrade(Version::V1Lazy);
    let noise = noise::Config::new(key)?;
    let plaintext = plaintext::Config::new(key);
    let yamux = yamux::Config::default();
    let mplex = libp2p_mplex::Config::new();
    Ok(match (stack.security, stack.muxer) {
        (Security::Noise, Muxer::Yamux) => tcp.authenticate(noise).multiplex(yamux).boxed(),
        (Security::Noise, Muxer::Mplex) => tcp.authenticate(noise).multiplex(mplex).boxed(),
        (Security::Plaintext, Muxer::Yamux) => tcp.authenticate(plaintext).multiplex(yamux).boxed(),
        (Security::Plaintext, Muxer::Mplex) => tcp.authenticate(plaintext).multiplex(mplex).boxed(),
    })
}
