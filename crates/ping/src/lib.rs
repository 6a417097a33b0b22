#![doc = include_str!("../README.md")]

mod bucket;
mod config;
mod error;
mod ping;
mod responder;
mod turns;

pub use config::Config;
pub use error::PingError;
pub use ping::{Ping, Pinger};

use peerkit_core::ProtocolId;

/// The name of the protocol.
pub static PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");

/// The bytes of one ping, and of its answer.
const PING_LEN: usize = 32;
