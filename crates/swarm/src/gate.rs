//! Who may connect: the application's own rules.

use std::fmt;

use peerkit_core::{ConnectionInfo, Direction, Multiaddr, PeerId};

use crate::IpNetwork;

/// The application's say in which connections are made. Each method is asked at one point in the
/// life of a connection and allows everything by default.
///
/// The methods run on the tasks of the host, so they must answer at once. Simple lists need no
/// gate of their own: [`Access`](crate::Access) blocks and allows peers and networks.
///
/// ```
/// use peerkit_core::Multiaddr;
/// use peerkit_swarm::{ConnectionGate, GateVerdict};
///
/// /// Nobody gets in, but this node may dial.
/// #[derive(Debug)]
/// struct OutboundOnly;
///
/// impl ConnectionGate for OutboundOnly {
///     fn accept(&self, _local: &Multiaddr, _remote: &Multiaddr) -> GateVerdict {
///         GateVerdict::Deny
///     }
/// }
/// ```
pub trait ConnectionGate: fmt::Debug + Send + Sync + 'static {
    /// This node is about to dial an address, of that peer if it is known. Nothing was sent yet.
    fn dial(&self, _peer: Option<PeerId>, _addr: &Multiaddr) -> GateVerdict {
        GateVerdict::Allow
    }

    /// Somebody has connected from `remote`. Nothing was read or sent yet; who it is, is not known.
    fn accept(&self, _local: &Multiaddr, _remote: &Multiaddr) -> GateVerdict {
        GateVerdict::Allow
    }

    /// The remote has proved who it is. A connection that is denied here is dropped without a word.
    ///
    /// Where security and muxer are agreed on in one step, this is asked right before
    /// [`upgraded`](Self::upgraded).
    fn secured(
        &self,
        _direction: Direction,
        _peer: &PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> GateVerdict {
        GateVerdict::Allow
    }

    /// The connection is complete. One that is denied here ends with a goodbye that says so.
    fn upgraded(&self, _connection: &ConnectionInfo) -> GateVerdict {
        GateVerdict::Allow
    }
}

/// What a [`ConnectionGate`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Go on.
    Allow,
    /// End it.
    Deny,
}

/// A connection was not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} ({stage})")]
#[non_exhaustive]
pub struct Denied {
    /// When it was denied.
    pub stage: GateStage,
    /// By which rule.
    pub rule: DenyRule,
}

/// When a connection was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateStage {
    /// Before it was dialed.
    Dial,
    /// When it came in.
    Accept,
    /// After the remote had proved who it is.
    Secured,
    /// When it was complete.
    Upgraded,
}

/// Why a connection was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenyRule {
    /// The peer is blocked.
    BlockedPeer,
    /// The network is blocked.
    BlockedNetwork(IpNetwork),
    /// Only listed peers and networks are allowed.
    NotListed,
    /// The application's [`ConnectionGate`] said no.
    Gate,
}

impl fmt::Display for GateStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "before dialing",
            Self::Accept => "when it came in",
            Self::Secured => "after the security handshake",
            Self::Upgraded => "when the connection was complete",
        })
    }
}

impl fmt::Display for DenyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockedPeer => f.write_str("the peer is blocked"),
            Self::BlockedNetwork(network) => write!(f, "the network {network} is blocked"),
            Self::NotListed => f.write_str("neither the peer nor its network is on the list"),
            Self::Gate => f.write_str("the application does not want the connection"),
        }
    }
}

/// Allows everything.
#[derive(Debug)]
pub(crate) struct Open;

impl ConnectionGate for Open {}
