//! Errors of ping.

use std::{io, time::Duration};

use peerkit_core::{Fault, PeerId, ResetCode, StreamError};
use peerkit_swarm::{DialError, OpenStreamError};

/// Why a ping failed. The connection goes on, unless it was the connection that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The peer could not be reached, or no stream could be opened.
    #[error(transparent)]
    Open(#[from] OpenStreamError),
    /// The remote does not support ping.
    #[error("{peer} does not support ping")]
    Unsupported {
        /// The remote.
        peer: PeerId,
    },
    /// The answer did not come in time.
    #[error("{peer} did not answer a ping within {limit:?}")]
    Timeout {
        /// The remote.
        peer: PeerId,
        /// The deadline that was set.
        limit: Duration,
    },
    /// The answer was not what had been sent.
    #[error("{peer} answered a ping with other bytes than it was sent")]
    Mismatch {
        /// The remote.
        peer: PeerId,
    },
    /// The remote closed the stream before the answer was complete.
    #[error("{peer} closed the stream in place of a complete answer")]
    Unanswered {
        /// The remote.
        peer: PeerId,
    },
    /// The stream failed: reset, or lost with its connection. A
    /// [`StreamError`] inside of `source` tells more.
    #[error("pinging {peer} failed: {source}")]
    Stream {
        /// The remote.
        peer: PeerId,
        /// What happened to the stream.
        source: io::Error,
    },
}

impl PingError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Open(error) => error.fault(),
            Self::Unsupported { .. } => Fault::Incompatible,
            Self::Timeout { .. } => Fault::Limit,
            Self::Mismatch { .. } | Self::Unanswered { .. } => Fault::PeerMisbehaved,
            Self::Stream { source, .. } => {
                stream_error(source).map_or(Fault::Network, StreamError::fault)
            }
        }
    }

    pub(crate) fn stream(peer: PeerId, source: io::Error) -> Self {
        // A remote that takes the bytes behind a refused proposal for another one may reset the
        // stream before its answer is out.
        if let Some(
            StreamError::Unsupported(_) | StreamError::ResetByRemote(ResetCode::NEGOTIATION_FAILED),
        ) = stream_error(&source)
        {
            return Self::Unsupported { peer };
        }
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Unanswered { peer };
        }
        Self::Stream { peer, source }
    }
}

impl From<DialError> for PingError {
    fn from(error: DialError) -> Self {
        Self::Open(error.into())
    }
}

fn stream_error(error: &io::Error) -> Option<&StreamError> {
    error.get_ref()?.downcast_ref()
}
