#![doc = include_str!("../README.md")]

mod codec;
mod config;
mod error;
mod event;
mod exchange;
mod identify;
mod info;
mod jobs;
mod known;
mod local;
mod observed;
mod scope;
mod service;
mod shared;
mod sources;
mod turns;

pub use codec::{DecodeError, Decoder, MAX_MESSAGE_LEN, MAX_MESSAGES, Message};
pub use config::Config;
pub use error::{IdentifyError, RecordError};
pub use event::{IdentifyEvent, IdentifyEvents};
pub use identify::Identify;
pub use info::Info;

use peerkit_core::ProtocolId;

/// The name of the protocol that asks a peer who it is.
pub static PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/id/1.0.0");

/// The name of the protocol that tells a peer of changes.
pub static PUSH_PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/id/push/1.0.0");
