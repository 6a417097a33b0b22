//! Errors.

use peerkit_core::{Fault, PeerId, ProtocolId};

use crate::{MessageId, SigningFailed};

/// Why publish/subscribe can't be started on a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Something else answers the protocol on this host already.
    #[error("{0} is answered by something else on this host already")]
    ProtocolTaken(ProtocolId),
    /// The host is closed.
    #[error("the host is closed")]
    Closed,
    /// The configuration contradicts itself.
    #[error("the configuration is not valid: {0}")]
    BadConfig(&'static str),
}

impl SpawnError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ProtocolTaken(_) | Self::BadConfig(_) => Fault::Misuse,
            Self::Closed => Fault::Closed,
        }
    }
}

/// Why a topic can't be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The name of the topic is too long.
    #[error("the name of the topic has {len} bytes, more than the {max} that are allowed")]
    TopicTooLong {
        /// Its bytes.
        len: usize,
        /// Bytes that are allowed.
        max: usize,
    },
    /// The host is closed.
    #[error("the host is closed")]
    Closed,
}

impl SubscribeError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TopicTooLong { .. } => Fault::Misuse,
            Self::Closed => Fault::Closed,
        }
    }
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Nobody is there to take it.
    #[error("no peer has joined the topic")]
    NoPeers,
    /// A message with this id was published or received already.
    #[error("a message with this id is known already")]
    Duplicate,
    /// The message is too large for one frame.
    #[error("with its envelope the message has {len} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// Bytes that are allowed.
        max: usize,
    },
    /// The name of the topic is too long.
    #[error("the name of the topic has {len} bytes, more than the {max} that are allowed")]
    TopicTooLong {
        /// Its bytes.
        len: usize,
        /// Bytes that are allowed.
        max: usize,
    },
    /// The message could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// The host is closed.
    #[error("the host is closed")]
    Closed,
}

impl PublishError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoPeers => Fault::Network,
            Self::Duplicate
            | Self::TooLarge { .. }
            | Self::TopicTooLong { .. }
            | Self::Signing(_) => Fault::Misuse,
            Self::Closed => Fault::Closed,
        }
    }
}

impl From<SubscribeError> for PublishError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::TopicTooLong { len, max } => Self::TopicTooLong { len, max },
            SubscribeError::Closed => Self::Closed,
        }
    }
}

/// What became of a message of this node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishReport {
    /// Its id.
    pub id: MessageId,
    /// To how many peers it goes: those that it waits for at the most.
    pub peers: usize,
    /// The peers that should have got it and don't, and why.
    pub dropped: Vec<(PeerId, DropReason)>,
}

/// Why a message does not go to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// The peer takes messages too slowly: its queue is full.
    #[error("the peer takes messages too slowly: its queue is full")]
    QueueFull,
    /// The peer is gone.
    #[error("the peer is gone")]
    Disconnected,
}
