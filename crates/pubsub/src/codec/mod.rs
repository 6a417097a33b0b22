//! Bytes <-> RPCs.

mod decode;
mod encode;
mod frame;
pub(crate) mod wire;

pub use decode::{Decoded, RpcDecoder};
pub use encode::encode_rpc;
pub(crate) use encode::{FrameEncoder, WriteBuffer};
pub use frame::FrameDecoder;

use peerkit_core::Fault;

/// What one RPC may contain. What goes beyond a number is skipped and counted; a frame beyond its size is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Bytes of a frame, without its length. 1 MiB by default.
    pub frame_len_max: usize,
    /// Topics joined and left. Stops subscription floods. 100 by default.
    pub subscriptions_max: usize,
    /// Messages. 5000 by default.
    pub messages_max: usize,
    /// IHAVE, GRAFT and PRUNE entries, each. 1000 by default.
    pub control_entries_max: usize,
    /// Message ids, of each of IHAVE, IWANT and IDONTWANT. 5000 by default.
    pub ids_max: usize,
    /// Bytes of a message id. 1024 by default.
    pub id_len_max: usize,
    /// Recommended peers of one PRUNE. 16 by default.
    pub recommended_peers_max: usize,
    /// Bytes of the name of a topic. 1024 by default.
    pub topic_len_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            frame_len_max: 1024 * 1024,
            subscriptions_max: 100,
            messages_max: 5000,
            control_entries_max: 1000,
            ids_max: 5000,
            id_len_max: 1024,
            recommended_peers_max: 16,
            topic_len_max: 1024,
        }
    }
}

/// Why bytes are no RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame is announced to be longer than allowed.
    #[error("a frame of {len} bytes is longer than the {max} that are allowed")]
    FrameTooLarge {
        /// Bytes that are announced.
        len: u64,
        /// Bytes that are allowed.
        max: usize,
    },
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    BadVarint,
    /// A field has an impossible tag, or is a group.
    #[error("a field's tag is not valid")]
    BadTag,
    /// A field goes on behind the end.
    #[error("a field goes on behind the end")]
    Truncated,
    /// A known field has the wrong type.
    #[error("field {field} has the wrong type")]
    WrongType {
        /// The number of the field.
        field: u32,
    },
}

impl DecodeError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::FrameTooLarge { .. } => Fault::Limit,
            Self::BadVarint | Self::BadTag | Self::Truncated | Self::WrongType { .. } => {
                Fault::PeerMisbehaved
            }
        }
    }
}
