//! Errors of identify.

use std::{io, time::Duration};

use peerkit_core::{Fault, PeerId, PeerRecordError, ResetCode, StreamError};
use peerkit_swarm::OpenStreamError;

use crate::DecodeError;

/// Why a peer could not be identified. The connection goes on, unless it was the connection that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// The peer could not be reached, or no stream could be opened.
    #[error(transparent)]
    Open(#[from] OpenStreamError),
    /// The remote does not support identify.
    #[error("{peer} does not support identify")]
    Unsupported {
        /// The remote.
        peer: PeerId,
    },
    /// The exchange was not over in time.
    #[error("{peer} did not identify itself within {limit:?}")]
    Timeout {
        /// The remote.
        peer: PeerId,
        /// The deadline that was set.
        limit: Duration,
    },
    /// What the remote sent is no identify message.
    #[error("{peer}: {source}")]
    Malformed {
        /// The remote.
        peer: PeerId,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The remote says that it has the key of somebody else.
    #[error("{peer} says that its key is that of {claimed}")]
    WrongKey {
        /// The remote, as the secured connection has proven.
        peer: PeerId,
        /// Whose key was sent.
        claimed: PeerId,
    },
    /// The stream failed: reset, or lost with its connection. A
    /// [`StreamError`] inside of `source` tells more.
    #[error("identifying {peer} failed: {source}")]
    Stream {
        /// The remote.
        peer: PeerId,
        /// What happened to the stream.
        source: io::Error,
    },
    /// The peer is not connected any more.
    #[error("{peer} is not connected any more")]
    Disconnected {
        /// The remote.
        peer: PeerId,
    },
}

impl IdentifyError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Open(error) => error.fault(),
            Self::Unsupported { .. } => Fault::Incompatible,
            Self::Timeout { .. } => Fault::Limit,
            Self::Malformed { source, .. } => source.fault(),
            Self::WrongKey { .. } => Fault::PeerMisbehaved,
            Self::Stream { source, .. } => {
                stream_error(source).map_or(Fault::Network, StreamError::fault)
            }
            Self::Disconnected { .. } => Fault::Closed,
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
        Self::Stream { peer, source }
    }
}

fn stream_error(error: &io::Error) -> Option<&StreamError> {
    error.get_ref()?.downcast_ref()
}

/// Why a peer's signed record was not accepted. Everything else that the peer has said of itself stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record is broken, of an unknown form, or its signature is wrong.
    #[error(transparent)]
    Invalid(#[from] PeerRecordError),
    /// It is the record of somebody else.
    #[error("the signed record is that of {signer}")]
    OtherPeer {
        /// Who signed it.
        signer: PeerId,
    },
    /// It is older than one that is known, or another one with the same number.
    #[error("the signed record has the number {seq}, and {known} is known already")]
    Outdated {
        /// The record's number.
        seq: u64,
        /// The highest number so far.
        known: u64,
    },
}

impl RecordError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Invalid(error) => error.fault(),
            Self::OtherPeer { .. } | Self::Outdated { .. } => Fault::PeerMisbehaved,
        }
    }
}
