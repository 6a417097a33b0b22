#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aead;
mod cipher;
mod curve;
mod frame;
mod identity;
mod muxers;
mod noise;
mod payload;
mod records;
mod stream;
mod symmetric;
pub mod xx;

pub use frame::MAX_HANDSHAKE_MESSAGE;
pub use muxers::MAX_MUXERS;
pub use noise::{Noise, PROTOCOL};
pub use records::{MAX_EMPTY_RECORDS, NoiseRecords};
pub use stream::NoiseStream;
