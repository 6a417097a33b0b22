//! What happens beside messages.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_broadcast::{InactiveReceiver, Receiver, RecvError, Sender};
use futures::Stream;
use peerkit_core::{PeerId, ProtocolId};

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

impl PubsubEvent {
    /// Whether others can cause it without end.
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

/// A stream of [`PubsubEvent`]s, from the moment of [`Pubsub::events`](crate::Pubsub::events) on.
///
/// It is bounded: a reader that lags behind loses the oldest events and is told by
/// [`PubsubEvent::Lagged`]. It ends when the node is closed.
#[derive(Debug)]
pub struct PubsubEvents {
    receiver: Receiver<PubsubEvent>,
}

impl PubsubEvents {
    /// The next event; `None` once the node is closed.
    ///
    /// Cancel safety: no event is lost.
    pub async fn next(&mut self) -> Option<PubsubEvent> {
        futures::StreamExt::next(self).await
    }
}

impl Stream for PubsubEvents {
    type Item = PubsubEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PubsubEvent>> {
        let event = ready!(Pin::new(&mut self.receiver).poll_recv(cx));
        Poll::Ready(match event {
            Some(Ok(event)) => Some(event),
            Some(Err(RecvError::Overflowed(missed))) => Some(PubsubEvent::Lagged { missed }),
            Some(Err(RecvError::Closed)) | None => None,
        })
    }
}

/// The sending side. When it is full, the oldest event gives way.
#[derive(Debug)]
pub(crate) struct EventBus {
    sender: Sender<PubsubEvent>,
    /// Keeps the channel open while nobody listens.
    idle: InactiveReceiver<PubsubEvent>,
}

impl EventBus {
    pub(crate) fn new(capacity: usize) -> Self {
        let (mut sender, receiver) = async_broadcast::broadcast(capacity.max(1));
        sender.set_overflow(true);
        sender.set_await_active(false);
        Self {
            sender,
            idle: receiver.deactivate(),
        }
    }

    pub(crate) fn subscribe(&self) -> PubsubEvents {
        PubsubEvents {
            receiver: self.idle.activate_cloned(),
        }
    }

    /// Minor events take no more than half of the room, so that a flood pushes no other event out.
    pub(crate) fn emit(&self, event: PubsubEvent) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        if event.is_minor() && self.sender.len() >= self.sender.capacity().div_ceil(2) {
            return;
        }
        // Fails only when the channel is closed, and then nobody cares.
        let _ = self.sender.try_broadcast(event);
    }

    pub(crate) fn close(&self) {
        self.sender.close();
    }
}
