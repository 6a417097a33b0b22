//! Streams as applications use them.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncWrite};
use peerkit_core::{Direction, MuxedStream, PeerId, ProtocolId, ResetCode, lock};

use crate::{
    ConnectionId, LimitExceeded, MemoryReservation, connections::Entry, opening::Opening,
    resources::StreamPermit,
};

/// A stream with a remote peer: `AsyncRead + AsyncWrite`, also through a shared reference,
/// so that one task may read while another writes ([`into_split`](Self::into_split)).
///
/// Closing ([`AsyncWriteExt::close`](futures::AsyncWriteExt::close)) ends the write side; reading goes
/// on until the remote closes its side. Dropping a stream that was not closed resets it, but for
/// a handler that succeeds (see [`StreamHandler`](crate::StreamHandler)).
///
/// A stream that was opened with one protocol is usable at once: the proposal travels
/// with the first bytes, and what the remote says to it shows in the first
/// read or in `close`, which waits for it: a request that the remote takes apart only
/// at its end costs one round trip more than one whose length the remote knows.
/// [`confirmed`](Self::confirmed) waits for the answer explicitly.
///
/// Errors are [`io::Error`]s whose inner error is a [`StreamError`](peerkit_core::StreamError).
///
/// Cancel safety: reads, writes and closes may be dropped and tried again; no byte is lost or sent twice.
pub struct Stream {
    first: Arc<dyn MuxedStream>,
    /// In use instead of `first` when the remote had to be dialed again.
    second: OnceLock<Arc<dyn MuxedStream>>,
    /// Nothing of the beginning is left to do.
    settled: AtomicBool,
    opening: Mutex<Opening>,
    protocol: ProtocolId,
    permit: StreamPermit,
    entry: Arc<Entry>,
}

impl Stream {
    /// A stream that the remote opened; `rest` was read behind the negotiation.
    pub(crate) fn inbound(
        muxed: Arc<dyn MuxedStream>,
        entry: Arc<Entry>,
        protocol: ProtocolId,
        rest: BytesMut,
        permit: StreamPermit,
    ) -> Self {
        Self::new(muxed, entry, protocol, Opening::agreed(rest), permit)
    }

    pub(crate) fn outbound(
        muxed: Box<dyn MuxedStream>,
        entry: Arc<Entry>,
        protocol: ProtocolId,
        opening: Opening,
        permit: StreamPermit,
    ) -> Self {
        Self::new(muxed.into(), entry, protocol, opening, permit)
    }

    fn new(
        first: Arc<dyn MuxedStream>,
        entry: Arc<Entry>,
        protocol: ProtocolId,
        opening: Opening,
        permit: StreamPermit,
    ) -> Self {
        Self {
            first,
            second: OnceLock::new(),
            settled: AtomicBool::new(opening.is_settled()),
            opening: Mutex::new(opening),
            protocol,
            permit,
            entry,
        }
    }

    /// The protocol that is spoken.
    pub fn protocol(&self) -> &ProtocolId {
        &self.protocol
    }

    /// The authenticated remote.
    pub fn remote_peer(&self) -> PeerId {
        self.entry.info.remote_peer
    }

    /// The connection on which the stream was opened.
    pub fn connection_id(&self) -> ConnectionId {
        self.entry.id
    }

    /// What is known of that connection, addresses included.
    pub fn connection_info(&self) -> &peerkit_core::ConnectionInfo {
        &self.entry.info
    }

    /// Who opened the stream.
    pub fn direction(&self) -> Direction {
        self.permit.direction()
    }

    /// Counts memory that is about to be spent on this stream, beyond what every stream is charged. It is
    /// counted for the stream, its connection, its peer, its protocol and the node, and given back when the
    /// result is dropped.
    ///
    /// For handlers that hold much at the wish of the remote, for example a message of announced length.
    pub fn reserve_memory(&self, bytes: usize) -> Result<MemoryReservation, LimitExceeded> {
        self.permit.reserve(bytes)
    }

    /// Ends both directions at once and tells the remote why, where the muxer can carry it.
    pub fn reset(&self, code: ResetCode) {
        self.io().reset(code);
    }

    /// Waits until the remote has agreed to the protocol.
    ///
    /// Cancel safety: it may be called any number of times.
    pub async fn confirmed(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_confirmed(cx)).await
    }

    /// Two halves for two tasks. The stream ends when both are dropped.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let stream = Arc::new(self);
        (ReadHalf(stream.clone()), WriteHalf(stream))
    }

    fn io(&self) -> &dyn MuxedStream {
        match self.second.get() {
            Some(second) => second.as_ref(),
            None => self.first.as_ref(),
        }
    }

    fn poll_confirmed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.begin(|opening, io| opening.poll_confirmed(cx, io))
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.settled.load(Ordering::Acquire) {
            return self.io().poll_read(cx, buffer);
        }
        self.begin(|opening, io| opening.poll_read(cx, io, buffer))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.settled.load(Ordering::Acquire) {
            return self.io().poll_write(cx, buffer);
        }
        self.begin(|opening, io| opening.poll_write(cx, io, buffer))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.settled.load(Ordering::Acquire) {
            return self.io().poll_flush(cx);
        }
        self.begin(|opening, io| opening.poll_flush(cx, io))
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.settled.load(Ordering::Acquire) {
            return self.io().poll_close(cx);
        }
        self.begin(|opening, io| opening.poll_close(cx, io))
    }

    /// Works on a stream whose beginning is not over. When the remote had to be
    /// dialed again, the stream moves over and the work goes on there.
    fn begin<T>(
        &self,
        mut work: impl FnMut(&mut Opening, &dyn MuxedStream) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut opening = lock(&self.opening);
        let outcome = loop {
            let outcome = work(&mut opening, self.io());
            let Some(second) = opening.take_replacement() else {
                break outcome;
            };
            if self.second.set(second).is_err() {
                break outcome;
            }
        };
        let progress = opening.take_progress();
        if opening.is_settled() {
            self.settled.store(true, Ordering::Release);
        }
        drop(opening);
        if let Some(waiting) = progress {
            waiting.wake_all();
        }
        outcome
    }
}

impl AsyncRead for &Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_read(*self, cx, buffer)
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(*self, cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(*self, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_close(*self, cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_read(&self, cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&self, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_close(&self, cx)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("protocol", &self.protocol)
            .field("remote_peer", &self.entry.info.remote_peer)
            .field("direction", &self.direction())
            .finish_non_exhaustive()
    }
}

/// The reading half of a [`Stream`].
#[derive(Debug)]
pub struct ReadHalf(Arc<Stream>);

/// The writing half of a [`Stream`].
#[derive(Debug)]
pub struct WriteHalf(Arc<Stream>);

impl ReadHalf {
    /// The whole stream.
    pub fn stream(&self) -> &Stream {
        &self.0
    }
}

impl WriteHalf {
    /// The whole stream.
    pub fn stream(&self) -> &Stream {
        &self.0
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Stream>();
};
