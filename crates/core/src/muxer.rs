//! Muxers: many streams on one channel.

use std::{fmt, sync::Arc, task::Poll, time::Instant};

use bytes::Bytes;

use crate::{
    Batch, Channel, Connection, ConnectionError, ProtocolId, ResetCode, Role, Runtime, StreamError,
};

/// A stream multiplexer, for example yamux: turns a secured channel into a connection.
pub trait MuxerUpgrade: fmt::Debug + Send + Sync + 'static {
    /// The name under which it is negotiated.
    fn protocol(&self) -> &ProtocolId;

    /// Starts the muxer. It begins at once, there is no handshake.
    ///
    /// A muxer that is a [`Session`] uses [`SessionConnection::start`](crate::SessionConnection::start).
    fn upgrade(
        &self,
        channel: Channel,
        context: MuxerContext,
    ) -> (Arc<dyn Connection>, futures::future::BoxFuture<'static, ()>);
}

/// What a muxer needs beside its channel.
#[derive(Clone, Debug)]
pub struct MuxerContext {
    /// Which side this is.
    pub role: Role,
    /// Clock and timers.
    pub runtime: Arc<dyn Runtime>,
}

/// A stream's name inside one session. Sessions choose the numbers; they are not those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Why this side closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Nobody needs it any more.
    Normal,
    /// The remote broke the rules.
    ProtocolError,
    /// Something failed on this side.
    InternalError,
    /// A limit of this side was reached, so that it can't keep the connection.
    LimitExceeded,
    /// This side has more connections than it wants and needs others more.
    Trimmed,
    /// This side does not want to talk with the remote.
    Denied,
}

/// A muxer as a pure machine: no I/O, clock, randomness, async or locks.
///
/// After each call drain [`poll_event`](Self::poll_event) until `None`, send what
/// [`poll_transmit`](Self::poll_transmit) yields, and arm a timer for
/// [`poll_timeout`](Self::poll_timeout).
///
/// Bytes wait in the sender's application, in the bounded transmit buffer or in the
/// receive window, nowhere else.
pub trait Session: Send {
    /// Takes a piece of the channel's payload. After an error the session is over:
    /// send what is left in the transmit buffer (a goodbye) and close.
    fn handle_read(&mut self, chunk: Bytes, now: Instant) -> Result<(), ConnectionError>;

    /// To be called once the time of [`poll_timeout`](Self::poll_timeout) has come.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError>;

    /// When to call [`handle_timeout`](Self::handle_timeout).
    fn poll_timeout(&self) -> Option<Instant>;

    /// What somebody may be waiting for has happened.
    fn poll_event(&mut self) -> Option<SessionEvent>;

    /// Swaps the bytes to send into `batch`, which must be sent out; false when there are none.
    /// Frees room, so that [`SessionEvent::Writable`] may follow.
    fn poll_transmit(&mut self, batch: &mut Batch) -> bool;

    /// Payload bytes that wait to be sent. The driver stops reading from the
    /// socket while the remote lets this grow by not reading the answers that it asks for.
    fn transmit_len(&self) -> usize;

    /// Whether more input is welcome. While it is not, the driver stops reading from
    /// the socket, so that the remote's sending stalls. Only muxers without flow
    /// control need this; they have to end such a stall in [`handle_timeout`](Self::handle_timeout).
    fn wants_read(&self) -> bool {
        true
    }

    /// What the end of the input means now: without a goodbye, that the conversation was cut.
    fn end_of_input(&self) -> ConnectionError {
        ConnectionError::Truncated
    }

    /// Opens a stream; `Pending` means to wait for [`SessionEvent::Openable`].
    fn open(&mut self, now: Instant) -> Poll<Result<StreamId, ConnectionError>>;

    /// The next stream that the remote opened; after `None` wait for [`SessionEvent::Incoming`].
    fn accept(&mut self, now: Instant) -> Option<StreamId>;

    /// Copies received bytes out; zero bytes mean that the remote has closed its side.
    /// `Pending` means to wait for [`SessionEvent::Readable`].
    fn read(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>>;

    /// Copies bytes into the transmit buffer. `Pending` means to wait for [`SessionEvent::Writable`].
    fn write(
        &mut self,
        id: StreamId,
        buffer: &[u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>>;

    /// Closes the write side of a stream. Closing twice is fine.
    fn finish(&mut self, id: StreamId, now: Instant) -> Result<(), StreamError>;

    /// Ends both directions of a stream.
    fn reset(&mut self, id: StreamId, code: ResetCode);

    /// The application has let go of a stream: it will not be named again.
    /// A write side that is not finished is reset. What the remote has yet to send on a stream
    /// whose write side is finished is discarded, and answered by a reset only when it comes,
    /// so that a one-way message is never cut short by its sender's goodbye.
    fn forget(&mut self, id: StreamId);

    /// Begins the end: queues the goodbye. Streams fail from now on with [`ConnectionError::Closed`].
    fn close(&mut self, reason: CloseReason);

    /// How many streams are open, in both directions.
    fn stream_count(&self) -> usize;
}

/// Something in a [`Session`] has changed that a task may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The stream has bytes, has ended, or has failed: read again.
    Readable(StreamId),
    /// The stream has window and buffer again, or has failed: write again.
    Writable(StreamId),
    /// A stream may be opened again.
    Openable,
    /// The remote has opened a stream.
    Incoming,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
