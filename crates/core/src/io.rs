//! Byte pipes.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, future::poll_fn};

use crate::{NegotiationError, channel::Preamble};

/// A reliable, ordered pipe of bytes in both directions, for example a TCP socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An [`Io`] together with the bytes that were read from it but not yet used,
/// and those that are to be written but were not yet sent.
///
/// Handshakes take and return a `Wire`, so that no byte is lost between two
/// layers and so that the last message of one layer travels in one packet
/// with the first of the next.
pub struct Wire {
    io: Box<dyn Io>,
    inbound: BytesMut,
    outbound: BytesMut,
    preamble: Option<Box<dyn Preamble>>,
    heard: Arc<AtomicBool>,
}

impl Wire {
    /// A wire with empty buffers.
    pub fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            preamble: None,
            heard: Arc::default(),
        }
    }

    /// Tells, also while a handshake owns the wire, whether the remote has sent anything yet.
    pub fn heard(&self) -> Arc<AtomicBool> {
        self.heard.clone()
    }

    /// Bytes that were read and not yet used. Take from the front what you use.
    pub fn inbound(&mut self) -> &mut BytesMut {
        &mut self.inbound
    }

    /// Bytes that wait to be sent. Append to it, then [`flush`](Self::flush) or leave
    /// them to travel with the next layer's first bytes.
    pub fn outbound(&mut self) -> &mut BytesMut {
        &mut self.outbound
    }

    /// Lets `preamble` consume the next inbound bytes before anybody else sees them.
    ///
    /// Used for optimistic negotiation: the answer is checked when it arrives.
    ///
    /// # Panics
    ///
    /// If a preamble is still pending.
    pub fn expect(&mut self, preamble: Box<dyn Preamble>) {
        assert!(self.preamble.is_none(), "one preamble at a time");
        self.preamble = Some(preamble);
    }

    /// Sends what [`outbound`](Self::outbound) holds.
    ///
    /// Cancel safety: after a cancelled flush the unsent rest stays in `outbound`.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.outbound.is_empty() {
            let written =
                poll_fn(|cx| Pin::new(&mut self.io).poll_write(cx, &self.outbound)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let _ = self.outbound.split_to(written);
        }
        self.outbound = BytesMut::new();
        self.io.flush().await
    }

    /// Sends what is pending, then reads once, appending to [`inbound`](Self::inbound).
    ///
    /// Returns after at least one byte for the caller has arrived; the end of the
    /// input is an [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), since a
    /// handshake that wants more bytes can't go on.
    ///
    /// Cancel safety: no byte is lost.
    pub async fn read_more(&mut self) -> Result<(), NegotiationError> {
        self.flush().await?;
        loop {
            let read = self.read_once().await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if self.pass_preamble()? && !self.inbound.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes the wire apart.
    pub fn into_parts(self) -> WireParts {
        WireParts {
            io: self.io,
            inbound: self.inbound,
            outbound: self.outbound,
            preamble: self.preamble,
        }
    }

    async fn read_once(&mut self) -> io::Result<usize> {
        let mut buffer = [0; HANDSHAKE_READ];
        let read = poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut buffer)).await?;
        self.inbound.extend_from_slice(&buffer[..read]);
        self.heard.fetch_or(read > 0, Ordering::Relaxed);
        Ok(read)
    }

    /// True once no preamble is left.
    fn pass_preamble(&mut self) -> Result<bool, NegotiationError> {
        let Some(preamble) = &mut self.preamble else {
            return Ok(true);
        };
        if let Poll::Ready(outcome) = preamble.handle_read(&mut self.inbound) {
            self.preamble = None;
            outcome?;
        }
        Ok(self.preamble.is_none())
    }
}

/// A [`Wire`] taken apart.
#[non_exhaustive]
pub struct WireParts {
    /// The pipe.
    pub io: Box<dyn Io>,
    /// Bytes that were read and not yet used.
    pub inbound: BytesMut,
    /// Bytes that are still to be sent.
    pub outbound: BytesMut,
    /// What has to consume the next inbound bytes, if anything.
    pub preamble: Option<Box<dyn Preamble>>,
}

impl fmt::Debug for WireParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireParts")
            .field("inbound", &self.inbound.len())
            .field("outbound", &self.outbound.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("inbound", &self.inbound.len())
            .field("outbound", &self.outbound.len())
            .field("preamble", &self.preamble.is_some())
            .finish_non_exhaustive()
    }
}

/// Handshake messages are a few hundred bytes; the stack holds this during a handshake only.
const HANDSHAKE_READ: usize = 2048;
