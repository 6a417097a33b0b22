//! The identify and identify push protocols of libp2p.

mod codec;

pub use codec::{DecodeError, Decoder, Info, MAX_MESSAGE_LEN, MAX_MESSAGES};
