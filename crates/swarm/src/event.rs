//! What happens to a host's connections.

use std::sync::Arc;

use peerkit_core::{
    ConnectionError, ConnectionInfo, Direction, Multiaddr, PeerId, ProtocolId, UpgradeError,
};

use crate::{BusEvent, ConnectionId, Denied, DialError, EventStream, LimitExceeded, ListenerId};

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
    /// A dial or a connection that it led to was refused because of a limit of this host. Left out
    /// while a reader lags; the caller gets the same as an error.
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

impl BusEvent for HostEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }

    fn is_minor(&self) -> bool {
        matches!(
            self,
            Self::InboundFailed { .. }
                | Self::InboundRefused { .. }
                | Self::StreamRefused { .. }
                | Self::OutboundRefused { .. }
        )
    }
}

/// What happens to a host, from the moment of [`Host::events`](crate::Host::events) on. It ends
/// when the host is closed; who reads too slowly is told by [`HostEvent::Lagged`].
pub type Events = EventStream<HostEvent>;
