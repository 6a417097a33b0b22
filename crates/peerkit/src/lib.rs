#![doc = include_str!("../README.md")]

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod repository_readme {}

mod builder;
mod error;
mod host;

pub use builder::Builder;
pub use error::BuildError;
pub use host::Host;

pub use peerkit_core as core;
pub use peerkit_core::{
    ConnectionError, Direction, Fault, KeyType, Keypair, Multiaddr, PeerId, ProtocolId, PublicKey,
    ResetCode, Runtime, StreamError,
};
pub use peerkit_runtime as runtime;
pub use peerkit_swarm as swarm;
pub use peerkit_swarm::{
    ConnectionId, ConnectionSummary, DialError, DialTarget, Events, HostConfig, HostEvent,
    ListenerId, OpenStreamError, ReadHalf, Stream, StreamHandler, WriteHalf,
};
pub use peerkit_upgrade as upgrade;

#[cfg(feature = "floodsub")]
pub use peerkit_floodsub as floodsub;
#[cfg(feature = "gossipsub")]
pub use peerkit_gossipsub as gossipsub;
#[cfg(feature = "identify")]
pub use peerkit_identify as identify;
#[cfg(feature = "memory")]
pub use peerkit_memory as memory;
#[cfg(feature = "mplex")]
pub use peerkit_mplex as mplex;
#[cfg(any(feature = "noise", feature = "ring"))]
pub use peerkit_noise as noise;
#[cfg(feature = "ping")]
pub use peerkit_ping as ping;
#[cfg(feature = "plaintext")]
pub use peerkit_plaintext as plaintext;
#[cfg(any(feature = "floodsub", feature = "gossipsub"))]
pub use peerkit_pubsub as pubsub;
#[cfg(feature = "tcp")]
pub use peerkit_tcp as tcp;
#[cfg(feature = "yamux")]
pub use peerkit_yamux as yamux;
