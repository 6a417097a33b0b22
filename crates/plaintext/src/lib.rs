#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codec;
mod plaintext;

pub use codec::MAX_EXCHANGE;
pub use plaintext::{PROTOCOL, Plaintext};
