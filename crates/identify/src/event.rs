//! What happens to the knowledge of peers.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_broadcast::{InactiveReceiver, Receiver, RecvError, Sender};
use futures::Stream;
use peerkit_core::PeerId;

use crate::{IdentifyError, Info};

/// Something was learned of a peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IdentifyEvent {
    /// A peer has answered who it is.
    Identified {
        /// The peer.
        peer: PeerId,
        /// What it says of itself.
        info: Arc<Info>,
    },
    /// A peer has told of a change.
    Pushed {
        /// The peer.
        peer: PeerId,
        /// What is known of it now.
        info: Arc<Info>,
    },
    /// A peer could not be identified, or its push could not be used.
    Failed {
        /// The peer.
        peer: PeerId,
        /// Why.
        error: Arc<IdentifyError>,
    },
    /// The reader was too slow: so many events were dropped before this one.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// A stream of [`IdentifyEvent`]s, from the moment of [`Identify::events`](crate::Identify::events) on.
///
/// It is bounded: a reader that lags behind loses the oldest events and is told by
/// [`IdentifyEvent::Lagged`]. It ends when the node is closed.
#[derive(Debug)]
pub struct IdentifyEvents {
    receiver: Receiver<IdentifyEvent>,
}

impl IdentifyEvents {
    /// The next event; `None` once the node is closed.
    ///
    /// Cancel safety: no event is lost.
    pub async fn next(&mut self) -> Option<IdentifyEvent> {
        futures::StreamExt::next(self).await
    }
}

impl Stream for IdentifyEvents {
    type Item = IdentifyEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<IdentifyEvent>> {
        let event = ready!(Pin::new(&mut self.receiver).poll_recv(cx));
        Poll::Ready(match event {
            Some(Ok(event)) => Some(event),
            Some(Err(RecvError::Overflowed(missed))) => Some(IdentifyEvent::Lagged { missed }),
            Some(Err(RecvError::Closed)) | None => None,
        })
    }
}

/// The sending side. When it is full, the oldest event gives way.
#[derive(Debug)]
pub(crate) struct EventBus {
    sender: Sender<IdentifyEvent>,
    /// Keeps the channel open while nobody listens.
    idle: InactiveReceiver<IdentifyEvent>,
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

    pub(crate) fn subscribe(&self) -> IdentifyEvents {
        IdentifyEvents {
            receiver: self.idle.activate_cloned(),
        }
    }

    pub(crate) fn emit(&self, event: IdentifyEvent) {
        if self.sender.receiver_count() > 0 {
            // Fails only when the channel is closed, and then nobody cares.
            let _ = self.sender.try_broadcast(event);
        }
    }

    pub(crate) fn close(&self) {
        self.sender.close();
    }
}
