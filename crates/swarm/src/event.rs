//! What happens to a host's connections.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_broadcast::{InactiveReceiver, Receiver, RecvError, Sender};
use futures::Stream;
use peerkit_core::{
    ConnectionError, ConnectionInfo, Direction, Multiaddr, PeerId, ProtocolId, UpgradeError,
};

use crate::{ConnectionId, Denied, DialError, LimitExceeded, ListenerId};

/// Something has happened to a host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// The host can be reached here.
    Listening {
        /// Which listener.
        listener: ListenerId,
        /// Where, without `/p2p`.
        addr: Multiaddr,
    },
    /// The host can't be reached there any more.
    ListenAddressExpired {
        /// Which listener.
        listener: ListenerId,
        /// Where, without `/p2p`.
        addr: Multiaddr,
    },
    /// A listener has ended.
    ListenerClosed {
        /// Which listener.
        listener: ListenerId,
    },
    /// There is a new connection.
    Connected {
        /// Its number.
        connection: ConnectionId,
        /// Who, where and how.
        info: Arc<ConnectionInfo>,
        /// How many connections there are now with this peer.
        count: usize,
    },
    /// A connection has ended.
    Disconnected {
        /// Its number.
        connection: ConnectionId,
        /// The remote.
        peer: PeerId,
        /// Why.
        reason: ConnectionError,
        /// How many connections are left with this peer.
        remaining: usize,
    },
    /// Somebody connected, but the connection could not be secured or multiplexed.
    /// Left out while a reader lags, since strangers can cause any number of these.
    InboundFailed {
        /// From where.
        remote_addr: Multiaddr,
        /// Why.
        error: Arc<UpgradeError>,
    },
    /// An inbound connection was refused because of a limit, or since it is not wanted. Left out
    /// while a reader lags, since strangers can cause any number of these.
    InboundRefused {
        /// From where.
        remote_addr: Multiaddr,
        /// Who it was, if that was known already. The remote was told why then, where the muxer can.
        peer: Option<PeerId>,
        /// Why.
        reason: Arc<Refusal>,
    },
    /// A stream was refused because of a limit, and reset if the remote had opened it. Left out
    /// while a reader lags, since strangers can cause any number of these.
    StreamRefused {
        /// On which connection.
        connection: ConnectionId,
        /// The remote.
        peer: PeerId,
        /// Who wanted to open it.
        direction: Direction,
        /// What it was for, if that was known already.
        protocol: Option<ProtocolId>,
        /// The limit.
        limit: Arc<LimitExceeded>,
    },
    /// A dial or a connection that it led to was refused because of a limit of this host. The caller gets the same as an error.
    OutboundRefused {
        /// Where it was to go.
        addr: Multiaddr,
        /// Whom it was to reach, if that was known.
        peer: Option<PeerId>,
        /// Why.
        reason: Arc<Refusal>,
    },
    /// There were too many connections, and those of the least valuable peers are being closed.
    Trimmed {
        /// How many there were.
        connections: usize,
        /// How many of them are closed.
        closed: usize,
        /// `trim.high_watermark`, above which this happens.
        high_watermark: usize,
    },
    /// A dial has failed.
    DialFailed {
        /// Whom it was to reach, if that was known.
        peer: Option<PeerId>,
        /// Why.
        error: DialError,
    },
    /// The protocols that this host handles have changed.
    ProtocolsChanged,
    /// The reader was too slow: so many events were dropped before this one.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A limit was reached.
    #[error(transparent)]
    Limit(LimitExceeded),
    /// It is not wanted.
    #[error(transparent)]
    Denied(Denied),
}

impl From<LimitExceeded> for Refusal {
    fn from(limit: LimitExceeded) -> Self {
        Self::Limit(limit)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl HostEvent {
    /// The limit that was reached, if this tells of one. Its text is one line that names the setting.
    pub fn limit(&self) -> Option<&LimitExceeded> {
        if let Self::StreamRefused { limit, .. } = self {
            return Some(limit);
        }
        let (Self::InboundRefused { reason, .. } | Self::OutboundRefused { reason, .. }) = self
        else {
            return None;
        };
        match reason.as_ref() {
            Refusal::Limit(limit) => Some(limit),
            Refusal::Denied(_) => None,
        }
    }
}

/// A stream of [`HostEvent`]s, from the moment of [`Host::events`](crate::Host::events) on.
///
/// It is bounded: a reader that lags behind loses the oldest events and is told by
/// [`HostEvent::Lagged`]. It ends when the host is closed.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<HostEvent>,
}

impl Events {
    /// The next event; `None` once the host is closed.
    ///
    /// Cancel safety: no event is lost.
    pub async fn next(&mut self) -> Option<HostEvent> {
        futures::StreamExt::next(self).await
    }
}

impl Stream for Events {
    type Item = HostEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<HostEvent>> {
        let event = ready!(Pin::new(&mut self.receiver).poll_recv(cx));
        Poll::Ready(match event {
            Some(Ok(event)) => Some(event),
            Some(Err(RecvError::Overflowed(missed))) => Some(HostEvent::Lagged { missed }),
            Some(Err(RecvError::Closed)) | None => None,
        })
    }
}

/// The sending side. When it is full, the oldest event gives way.
#[derive(Debug)]
pub(crate) struct EventBus {
    sender: Sender<HostEvent>,
    /// Keeps the channel open while nobody listens.
    idle: InactiveReceiver<HostEvent>,
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

    pub(crate) fn subscribe(&self) -> Events {
        Events {
            receiver: self.idle.activate_cloned(),
        }
    }

    pub(crate) fn emit(&self, event: HostEvent) {
        if self.sender.receiver_count() > 0 {
            // Fails only when the channel is closed, and then nobody cares.
            let _ = self.sender.try_broadcast(event);
        }
    }

    /// As [`emit`](Self::emit), for what others can cause without end: takes no more than half
    /// of the room, so that a flood pushes no other event out.
    pub(crate) fn emit_minor(&self, event: HostEvent) {
        if self.sender.len() < self.sender.capacity().div_ceil(2) {
            self.emit(event);
        }
    }

    pub(crate) fn close(&self) {
        self.sender.close();
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::{DenyRule, GateStage};

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let bus = EventBus::new(2);
        let mut events = bus.subscribe();
        for _ in 0..5 {
            bus.emit(HostEvent::ProtocolsChanged);
        }
        let first = block_on(events.next());
        assert!(matches!(first, Some(HostEvent::Lagged { missed: 3 })));
        assert!(matches!(
            block_on(events.next()),
            Some(HostEvent::ProtocolsChanged)
        ));
        bus.close();
        assert!(block_on(events.next()).is_some());
        assert!(block_on(events.next()).is_none());
    }

    #[test]
    fn a_flood_of_refusals_pushes_nothing_else_out() {
        let bus = EventBus::new(4);
        let mut events = bus.subscribe();
        bus.emit(HostEvent::ProtocolsChanged);
        for _ in 0..100 {
            bus.emit_minor(HostEvent::InboundRefused {
                remote_addr: Multiaddr::empty(),
                peer: None,
                reason: Arc::new(Refusal::Denied(Denied {
                    stage: GateStage::Accept,
                    rule: DenyRule::Gate,
                })),
            });
        }
        bus.emit(HostEvent::ProtocolsChanged);
        bus.close();
        let seen: Vec<_> = block_on(futures::StreamExt::collect(&mut events));
        assert!(matches!(
            seen[..],
            [
                HostEvent::ProtocolsChanged,
                HostEvent::InboundRefused { .. },
                HostEvent::ProtocolsChanged
            ]
        ));
    }
}
