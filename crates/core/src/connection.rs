//! Connections and their streams.

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use multiaddr::Multiaddr;

use crate::{CloseReason, ConnectionError, PeerId, ProtocolId, PublicKey};

/// Which side of a protocol a peer is. The dialer initiates at every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The side that initiates.
    Dialer,
    /// The side that responds.
    Listener,
}

/// Which side made a connection or a stream, seen from here.
///
/// Usually an outbound connection has the role [`Role::Dialer`]; hole punching
/// is where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The remote made it.
    Inbound,
    /// This side made it.
    Outbound,
}

/// The number that a peer gives as the reason for a reset; zero when it gives none.
///
/// Source: the error codes proposal of the libp2p specification (specs pull request 623),
/// carried by yamux in the length field of a reset frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResetCode(pub u32);

impl ResetCode {
    /// No reason was given.
    pub const NONE: Self = Self(0);
    /// The peers found no common protocol.
    pub const NEGOTIATION_FAILED: Self = Self(0x1001);
    /// A resource limit was reached.
    pub const LIMIT_EXCEEDED: Self = Self(0x1002);
    /// A rate limit was reached.
    pub const RATE_LIMITED: Self = Self(0x1003);
    /// The other side broke the protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(0x1004);
    /// The node is shutting down.
    pub const SHUTDOWN: Self = Self(0x1007);
}

impl fmt::Display for ResetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("no reason given"),
            Self::NEGOTIATION_FAILED => f.write_str("protocol negotiation failed"),
            Self::LIMIT_EXCEEDED => f.write_str("resource limit exceeded"),
            Self::RATE_LIMITED => f.write_str("rate limited"),
            Self::PROTOCOL_VIOLATION => f.write_str("protocol violation"),
            Self::SHUTDOWN => f.write_str("shutting down"),
            Self(code) => write!(f, "code {code:#x}"),
        }
    }
}

/// What is known of a connection from its beginning.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The authenticated remote.
    pub remote_peer: PeerId,
    /// Its identity key.
    pub remote_key: PublicKey,
    /// The address on this side.
    pub local_addr: Multiaddr,
    /// The address on the other side, as the transport sees it, without `/p2p`.
    pub remote_addr: Multiaddr,
    /// Which side made the connection.
    pub direction: Direction,
    /// The security protocol.
    pub security: ProtocolId,
    /// The muxer.
    pub muxer: ProtocolId,
}

/// A finished connection and the task that moves its bytes.
pub struct NewConnection {
    /// Opens and accepts streams.
    pub connection: Arc<dyn Connection>,
    /// Moves the bytes. Whoever takes the connection has to spawn it; it ends with the connection.
    pub driver: BoxFuture<'static, ()>,
    /// Who and where.
    pub info: ConnectionInfo,
}

impl fmt::Debug for NewConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewConnection")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// A secured and multiplexed connection.
pub trait Connection: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream. Waits while too many are open or not yet acknowledged.
    ///
    /// Cancel safety: a cancelled call leaves no stream behind.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>>;

    /// The next stream that the remote opened.
    ///
    /// Cancel safety: no stream is lost.
    fn accept(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>>;

    /// Says goodbye: streams fail from now on, what they had queued is still sent. Returns at once, and
    /// [`closed`](Self::closed) is ready at once: it does not wait for the last bytes, which
    /// the connection's task sends within a deadline. Later calls do nothing.
    fn close(&self, reason: CloseReason);

    /// Waits until the connection has ended and tells why.
    ///
    /// Cancel safety: it may be called any number of times.
    fn closed(&self) -> BoxFuture<'_, ConnectionError>;

    /// Why the connection has ended, if it has.
    fn close_error(&self) -> Option<ConnectionError>;

    /// How many streams are open.
    fn stream_count(&self) -> usize;

    /// Whether the remote has confirmed the connection; see [`confirmed`](Self::confirmed).
    fn is_confirmed(&self) -> bool;

    /// Waits until the remote has confirmed the connection, which an optimistic
    /// dialer uses before that.
    ///
    /// Cancel safety: it may be called any number of times.
    fn confirmed(&self) -> BoxFuture<'_, Result<(), ConnectionError>>;
}

/// One stream of a connection, before a protocol was negotiated on it.
///
/// All methods take `&self`: one task may read while another writes. Each
/// direction remembers one waker, that of its last poll.
/// Dropping the stream resets what is not finished.
pub trait MuxedStream: fmt::Debug + Send + Sync + 'static {
    /// Reads into `buffer`; zero bytes mean that the remote has closed its side.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes from `buffer`. Waits while the remote grants no window or the connection's buffer is full.
    fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready once everything written is on its way to the socket.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes the write side; reading goes on.
    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends both directions at once, telling the remote why where the muxer can.
    fn reset(&self, code: ResetCode);
}
