//! Errors of a host.

use std::{fmt, sync::Arc, time::Duration};

use peerkit_core::{
    ConnectionError, Fault, InvalidProtocolId, Multiaddr, NegotiationError, PeerId, ProtocolId,
    TransportError,
};

use crate::{Denied, LimitExceeded};

/// Why no connection could be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No address of the peer is known.
    #[error("no address of {0} is known: give one, for example /ip4/../tcp/../p2p/{0}")]
    NoAddress(PeerId),
    /// The target names neither a peer nor an address.
    #[error("the target names neither a peer nor an address")]
    NoTarget,
    /// The target is this node itself.
    #[error("this is the node's own identity; it does not connect to itself")]
    OwnPeer,
    /// Every address failed.
    #[error("could not reach {}: {}", Whom(.peer), Attempts(.attempts))]
    Failed {
        /// Who was to be reached, if that was known.
        peer: Option<PeerId>,
        /// Each address that was tried, and why it failed.
        attempts: Arc<[DialAttempt]>,
    },
    /// The peer could not be reached a moment ago and is left alone for a while.
    /// Dialing an address explicitly goes ahead at once.
    #[error("{peer} could not be reached and is not dialed again for {remaining:?}; the last time: {}", Attempts(.attempts))]
    BackingOff {
        /// Who was to be reached.
        peer: PeerId,
        /// How long it is still left alone.
        remaining: Duration,
        /// Each address that was tried the last time.
        attempts: Arc<[DialAttempt]>,
    },
    /// The host is closed.
    #[error("the host is closed")]
    Closed,
}

impl DialError {
    /// Who is at fault; of several addresses, what the last one says.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoAddress(_) | Self::NoTarget | Self::OwnPeer => Fault::Misuse,
            Self::Failed { attempts, .. } => attempts
                .last()
                .map_or(Fault::Network, |attempt| attempt.error.fault()),
            Self::BackingOff { .. } => Fault::Limit,
            Self::Closed => Fault::Closed,
        }
    }
}

/// One address that was tried.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialAttempt {
    /// The address.
    pub addr: Multiaddr,
    /// Why it failed.
    pub error: AttemptError,
}

/// Why one address did not lead to a usable connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The transport, the handshake or a negotiation failed.
    #[error(transparent)]
    Transport(Arc<TransportError>),
    /// The connection ended before it was confirmed.
    #[error(transparent)]
    Connection(ConnectionError),
    /// This node itself answered.
    #[error("this node itself answered")]
    OwnPeer,
    /// A limit of this host was reached.
    #[error(transparent)]
    Limit(LimitExceeded),
    /// The connection is not wanted: a list or the application speaks against it.
    #[error(transparent)]
    Denied(Denied),
}

impl AttemptError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Transport(error) => error.fault(),
            Self::Connection(error) => error.fault(),
            Self::OwnPeer | Self::Denied(_) => Fault::Misuse,
            Self::Limit(_) => Fault::Limit,
        }
    }
}

/// Why no stream could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStreamError {
    /// There is no connection and none could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The remote supports none of the protocols.
    #[error("{peer} supports none of: {}", Names(.protocols))]
    Unsupported {
        /// The remote.
        peer: PeerId,
        /// What was proposed.
        protocols: Vec<ProtocolId>,
    },
    /// The remote's answer was no multistream-select, or did not come.
    #[error("agreeing on a protocol with {peer} failed: {source}")]
    Negotiation {
        /// The remote.
        peer: PeerId,
        /// What went wrong.
        source: NegotiationError,
    },
    /// The remote did not answer in time.
    #[error("{peer} did not answer within {limit:?}")]
    Timeout {
        /// The remote.
        peer: PeerId,
        /// The deadline that was set.
        limit: Duration,
    },
    /// A limit of this host was reached.
    #[error(transparent)]
    Limit(LimitExceeded),
    /// No protocol was named.
    #[error("no protocol was named")]
    NoProtocol,
    /// A protocol name is not valid.
    #[error(transparent)]
    InvalidProtocol(#[from] InvalidProtocolId),
}

impl OpenStreamError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Dial(error) => error.fault(),
            Self::Connection(error) => error.fault(),
            Self::Unsupported { .. } => Fault::Incompatible,
            Self::Negotiation { source, .. } => source.fault(),
            Self::Timeout { .. } | Self::Limit(_) => Fault::Limit,
            Self::NoProtocol | Self::InvalidProtocol(_) => Fault::Misuse,
        }
    }
}

struct Whom<'a>(&'a Option<PeerId>);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("the peer"),
        }
    }
}

struct Attempts<'a>(&'a [DialAttempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, attempt) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", attempt.addr, attempt.error)?;
        }
        Ok(())
    }
}

struct Names<'a>(&'a [ProtocolId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ProtocolId::as_str).collect();
        f.write_str(&names.join(", "))
    }
}
