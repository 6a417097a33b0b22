//! What happens beside messages.

use peerkit_core::{PeerId, ProtocolId};
use peerkit_swarm::{BusEvent, EventStream};

use crate::{InvalidMessage, MessageId, Partial, Topic};

/// Something has happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PubsubEvent {
    /// A peer speaks the protocol and can be sent to.
    PeerConnected {
        /// Who.
        peer: PeerId,
        /// What was agreed upon.
        protocol: ProtocolId,
    },
    /// Such a peer is gone.
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// A peer has joined a topic.
    Subscribed {
        /// Who.
        peer: PeerId,
        /// Which one.
        topic: Topic,
    },
    /// A peer has left a topic, also because it is gone.
    Unsubscribed {
        /// Who.
        peer: PeerId,
        /// Which one.
        topic: Topic,
    },
    /// A message was rejected. Left out while a reader lags, since strangers can cause any
    /// number of these.
    Rejected {
        /// Its id.
        id: MessageId,
        /// Where it was published.
        topic: Topic,
        /// Who has sent it.
        source: PeerId,
        /// Why.
        reason: RejectReason,
    },
    /// A message was not sent to a peer that takes messages too slowly. Left out while a reader lags.
    Dropped {
        /// Who should have got it.
        peer: PeerId,
        /// Its id.
        id: MessageId,
        /// Where it was published.
        topic: Topic,
    },
    /// A peer has sent what is no RPC. Left out while a reader lags.
    BadFrame {
        /// Who.
        peer: PeerId,
        /// What is wrong with it.
        error: crate::DecodeError,
    },
    /// Part of a message (gossipsub 1.3).
    Partial {
        /// Who has sent it.
        source: PeerId,
        /// What.
        partial: Partial,
    },
    /// The reader was too slow: so many events were dropped before this one.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Why a message was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// It breaks the rules of the protocol.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// The topic's validator has rejected it.
    #[error("the topic's validator has rejected it")]
    Validator,
}

impl BusEvent for PubsubEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }

    fn is_minor(&self) -> bool {
        matches!(
            self,
            Self::Rejected { .. }
                | Self::Dropped { .. }
                | Self::BadFrame { .. }
                | Self::Partial { .. }
        )
    }
}

/// What happens beside messages, from the moment of [`Pubsub::events`](crate::Pubsub::events) on. It
/// ends when the node is closed; who reads too slowly is told by [`PubsubEvent::Lagged`].
pub type PubsubEvents = EventStream<PubsubEvent>;
