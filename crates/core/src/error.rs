//! Errors of the seams, and who is at fault.

use std::{fmt, io, time::Duration};

use multiaddr::Multiaddr;

use crate::{PeerId, ProtocolId, ResetCode};

/// Who has to change something so that an error does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The remote peer broke a protocol's rules.
    PeerMisbehaved,
    /// Both sides are correct but have nothing in common.
    Incompatible,
    /// A configured limit or deadline was reached.
    Limit,
    /// The network or the operating system failed.
    Network,
    /// One of the sides closed on purpose.
    Closed,
    /// This program used the API wrongly.
    Misuse,
}

/// A stage on the way from an address to a connection with streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Resolving a name and connecting the transport.
    Connect,
    /// Agreeing on a security protocol.
    SecurityNegotiation,
    /// The security handshake.
    Handshake,
    /// Agreeing on a muxer.
    MuxerNegotiation,
    /// Agreeing on the protocol of a stream.
    StreamNegotiation,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::SecurityNegotiation => "negotiating security",
            Self::Handshake => "the security handshake",
            Self::MuxerNegotiation => "negotiating the muxer",
            Self::StreamNegotiation => "negotiating the stream's protocol",
        })
    }
}

/// Why two peers found no common protocol with multistream-select.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The remote supports none of the proposals.
    #[error("the remote supports none of: {}", list(.proposed))]
    Unsupported {
        /// What was proposed.
        proposed: Vec<ProtocolId>,
    },
    /// The remote sent something that is not multistream-select.
    #[error("the remote does not speak multistream-select: {0}")]
    Malformed(&'static str),
    /// The remote asked for too much: too many proposals or too many bytes.
    #[error("the remote reached a limit of the negotiation: {0}")]
    Limit(&'static str),
    /// The bytes stopped.
    #[error("the connection failed while negotiating: {0}")]
    Io(#[from] io::Error),
}

impl NegotiationError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unsupported { .. } => Fault::Incompatible,
            Self::Malformed(_) | Self::Limit(_) => Fault::PeerMisbehaved,
            Self::Io(_) => Fault::Network,
        }
    }
}

/// Why a security handshake or a protected record failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// The bytes stopped.
    #[error("the connection failed during the security handshake: {0}")]
    Io(#[from] io::Error),
    /// The optimistic proposal in front of the handshake was not accepted.
    #[error(transparent)]
    Negotiation(NegotiationError),
    /// A message was not what the protocol allows at this point.
    #[error("the remote broke the security protocol: {0}")]
    Malformed(&'static str),
    /// A record or handshake message was forged or damaged.
    #[error("a message of the remote failed authentication")]
    Authentication,
    /// The remote's identity key does not sign what it must.
    #[error("the remote could not prove its identity: {0}")]
    BadIdentity(&'static str),
    /// The remote's identity key is of a type that this build leaves out.
    #[error("the remote's identity key needs the feature `{feature}`, which is off in this build")]
    KeyTypeOff {
        /// The feature of `peerkit-core` and of the facade that brings the type.
        feature: &'static str,
    },
    /// Somebody else answered than was asked for.
    #[error("expected peer {expected} but {found} answered")]
    PeerMismatch {
        /// Who was asked for.
        expected: PeerId,
        /// Who answered.
        found: PeerId,
    },
    /// Both sides named their muxers in the handshake and have none in common.
    #[error("no muxer in common; the remote offers: {}", list(.remote))]
    NoCommonMuxer {
        /// What the remote offers.
        remote: Vec<ProtocolId>,
    },
    /// The local key can't sign.
    #[error("the local identity key failed to sign")]
    LocalKey,
    /// So many messages were sent that nonces would repeat.
    #[error("the connection has used up its nonces")]
    Exhausted,
}

impl SecurityError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io(_) => Fault::Network,
            Self::Negotiation(error) => error.fault(),
            Self::Malformed(_) | Self::Authentication | Self::BadIdentity(_) => {
                Fault::PeerMisbehaved
            }
            Self::PeerMismatch { .. } | Self::NoCommonMuxer { .. } | Self::KeyTypeOff { .. } => {
                Fault::Incompatible
            }
            Self::LocalKey => Fault::Misuse,
            Self::Exhausted => Fault::Limit,
        }
    }
}

impl From<NegotiationError> for SecurityError {
    fn from(error: NegotiationError) -> Self {
        match error {
            NegotiationError::Io(error) => Self::Io(error),
            error @ (NegotiationError::Unsupported { .. }
            | NegotiationError::Malformed(_)
            | NegotiationError::Limit(_)) => Self::Negotiation(error),
        }
    }
}

/// Why a pipe did not become a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The deadline passed.
    #[error("{stage} took longer than {limit:?}{}", if *.heard { "" } else { ": the remote said nothing" })]
    Timeout {
        /// What was under way.
        stage: Stage,
        /// The deadline that was set.
        limit: Duration,
        /// Whether the remote had said anything at all.
        heard: bool,
    },
    /// No common protocol, or no multistream-select.
    #[error("{stage} failed: {source}")]
    Negotiation {
        /// Security or muxer.
        stage: Stage,
        /// What went wrong.
        source: NegotiationError,
    },
    /// The handshake failed.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

impl UpgradeError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Timeout { .. } => Fault::Limit,
            Self::Negotiation { source, .. } => source.fault(),
            Self::Security(error) => error.fault(),
        }
    }
}

/// Why one address could not be dialed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No transport here understands the address.
    #[error("no transport can dial {0}")]
    UnsupportedAddress(Multiaddr),
    /// The name has no address.
    #[error("{host} could not be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The operating system could not connect.
    #[error("could not connect: {0}")]
    Connect(io::Error),
    /// Connecting took too long.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The pipe was there but did not become a connection.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

impl TransportError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnsupportedAddress(_) => Fault::Misuse,
            Self::Resolve { .. } | Self::Connect(_) => Fault::Network,
            Self::Timeout(_) => Fault::Limit,
            Self::Upgrade(error) => error.fault(),
        }
    }
}

/// Why listening on an address failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No transport here understands the address.
    #[error("no transport can listen on {0}")]
    UnsupportedAddress(Multiaddr),
    /// The operating system refused.
    #[error("could not listen on {addr}: {source}")]
    Io {
        /// The address.
        addr: Multiaddr,
        /// What the system said.
        source: io::Error,
    },
    /// The host or the listener is closed.
    #[error("the host is closed")]
    Closed,
}

impl ListenError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnsupportedAddress(_) => Fault::Misuse,
            Self::Io { .. } => Fault::Network,
            Self::Closed => Fault::Closed,
        }
    }
}

/// Why a connection ended. Cheap to clone, since every stream of the connection reports it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// This side closed it.
    #[error("the connection was closed")]
    Closed,
    /// The remote said goodbye; zero is the ordinary code.
    #[error("the remote closed the connection ({})", close_code(*.0))]
    ClosedByRemote(u32),
    /// The remote broke the muxer's rules.
    #[error("the remote broke the muxer's rules: {0}")]
    Malformed(&'static str),
    /// The remote went over a limit.
    #[error("the remote reached a limit: {0}")]
    Limit(&'static str),
    /// A record failed authentication, or another failure of the secured channel.
    #[error("the secured channel failed: {0}")]
    Security(std::sync::Arc<SecurityError>),
    /// The optimistic choice of the muxer was refused.
    #[error("the remote refused the muxer: {0}")]
    Negotiation(std::sync::Arc<NegotiationError>),
    /// The bytes stopped without a goodbye: possibly somebody cut the conversation short.
    #[error("the connection was cut")]
    Truncated,
    /// The remote accepted no byte, or answered no keep-alive, for this long.
    #[error("the remote did not react for {0:?}")]
    Timeout(Duration),
    /// The operating system reported a failure.
    #[error("the connection failed: {0}")]
    Io(std::sync::Arc<io::Error>),
}

impl ConnectionError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Closed | Self::ClosedByRemote(_) => Fault::Closed,
            Self::Malformed(_) | Self::Limit(_) => Fault::PeerMisbehaved,
            Self::Security(error) => error.fault(),
            Self::Negotiation(error) => error.fault(),
            Self::Truncated | Self::Io(_) => Fault::Network,
            Self::Timeout(_) => Fault::Limit,
        }
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(std::sync::Arc::new(error))
    }
}

impl From<SecurityError> for ConnectionError {
    fn from(error: SecurityError) -> Self {
        Self::Security(std::sync::Arc::new(error))
    }
}

impl From<NegotiationError> for ConnectionError {
    fn from(error: NegotiationError) -> Self {
        Self::Negotiation(std::sync::Arc::new(error))
    }
}

/// Why a stream can't be read or written.
///
/// As an [`io::Error`] (what `AsyncRead` and `AsyncWrite` return) it is the
/// inner error: `error.get_ref()` can be downcast to it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The remote reset the stream.
    #[error("the remote reset the stream ({0})")]
    ResetByRemote(ResetCode),
    /// This side reset the stream.
    #[error("the stream was reset")]
    Reset,
    /// The write side was already closed.
    #[error("the stream was closed for writing")]
    WriteClosed,
    /// The remote does not support the protocol that was proposed optimistically.
    #[error("the remote does not support the protocol {0}")]
    Unsupported(ProtocolId),
    /// The remote's answer to the proposal is not multistream-select.
    #[error("the remote did not negotiate the stream's protocol: {0}")]
    Malformed(&'static str),
    /// A configured limit was reached, so the stream was reset.
    #[error("the stream was reset: {0}")]
    Limit(&'static str),
    /// The whole connection ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl StreamError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ResetByRemote(_) | Self::Reset => Fault::Closed,
            Self::WriteClosed => Fault::Misuse,
            Self::Unsupported(_) => Fault::Incompatible,
            Self::Malformed(_) => Fault::PeerMisbehaved,
            Self::Limit(_) => Fault::Limit,
            Self::Connection(error) => error.fault(),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::ResetByRemote(_) | Self::Reset | Self::Limit(_) => io::ErrorKind::ConnectionReset,
            Self::WriteClosed => io::ErrorKind::BrokenPipe,
            Self::Unsupported(_) => io::ErrorKind::Unsupported,
            Self::Malformed(_) => io::ErrorKind::InvalidData,
            Self::Connection(ConnectionError::Timeout(_)) => io::ErrorKind::TimedOut,
            Self::Connection(_) => io::ErrorKind::ConnectionAborted,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

/// What a goodbye's code means: those of yamux itself, and those that go-libp2p has added (its
/// `network.ConnErrorCode`; the proposal of the specification gives streams other numbers).
fn close_code(code: u32) -> String {
    let meaning = match code {
        0 => "code 0",
        1 => "code 1: protocol error",
        2 => "code 2: internal error",
        0x1000 => "code 0x1000: protocol negotiation failed",
        0x1001 => "code 0x1001: resource limit exceeded",
        0x1002 => "code 0x1002: rate limited",
        0x1003 => "code 0x1003: protocol violation",
        0x1004 => "code 0x1004: supplanted by another connection",
        0x1005 => "code 0x1005: trimmed",
        0x1006 => "code 0x1006: shutting down",
        0x1007 => "code 0x1007: not wanted",
        code => return format!("code {code:#x}"),
    };
    meaning.into()
}

fn list(ids: &[ProtocolId]) -> String {
    let names: Vec<_> = ids.iter().map(ProtocolId::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_error_survives_the_way_through_io_error() {
        let error: io::Error = StreamError::ResetByRemote(ResetCode(7)).into();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let inner = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(matches!(
            inner,
            Some(StreamError::ResetByRemote(ResetCode(7)))
        ));
    }

    #[test]
    fn a_goodbye_tells_what_its_code_means() {
        let texts = [0, 0x1001, 77].map(|code| ConnectionError::ClosedByRemote(code).to_string());
        assert_eq!(
            texts,
            [
                "the remote closed the connection (code 0)",
                "the remote closed the connection (code 0x1001: resource limit exceeded)",
                "the remote closed the connection (code 0x4d)",
            ]
        );
    }

    #[test]
    fn errors_are_readable_sentences() {
        let error = UpgradeError::Negotiation {
            stage: Stage::SecurityNegotiation,
            source: NegotiationError::Unsupported {
                proposed: vec![ProtocolId::from_static("/noise")],
            },
        };
        assert_eq!(
            error.to_string(),
            "negotiating security failed: the remote supports none of: /noise"
        );
        assert_eq!(error.fault(), Fault::Incompatible);
    }
}
