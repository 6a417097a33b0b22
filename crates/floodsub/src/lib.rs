#![doc = include_str!("../README.md")]

mod config;
mod floodsub;
mod state;

pub use config::FloodsubConfig;
pub use floodsub::Floodsub;
pub use state::FloodRouter;

use peerkit_core::ProtocolId;

/// The name of the protocol.
pub static PROTOCOL: ProtocolId = ProtocolId::from_static("/floodsub/1.0.0");
