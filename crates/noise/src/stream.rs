//! A protected stream for programs that use nothing else of the stack.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use peerkit_core::{
    Batch, Channel, ChannelParts, Io, Records, SecurityError, Transmit, WireParts, lock,
};

/// Bytes in both directions, encrypted and authenticated.
///
/// **Writing.** A write goes to the pipe at once as far as the pipe takes it; up to
/// 128 KiB wait here, then writes wait. [`flush`](futures::AsyncWriteExt::flush) returns
/// when nothing is left here. Waiting bytes also move on while the stream is read, so that a plain copy
/// loop needs no flush. Each write makes a record (18 bytes more): wrap many tiny ones in a
/// [`BufWriter`](futures::io::BufWriter).
///
/// **Reading.** Noise has no goodbye: anybody on the way can cut the connection. So the end
/// of the pipe is an [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) error, never an orderly end
/// of zero bytes. Protocols on top say themselves when they are done, as muxers do.
///
/// **Errors.** A record that was forged, damaged, replayed or left out is an
/// [`InvalidData`](io::ErrorKind::InvalidData) error that wraps a [`SecurityError`]; the
/// stream then delivers nothing more.
///
/// Cancel safety: reads and writes that are cancelled lose nothing. Two tasks may use the
/// halves that [`split`](futures::AsyncReadExt::split) makes.
pub struct NoiseStream {
    io: Box<dyn Io>,
    records: Box<dyn Records>,
    /// Read from the pipe, not yet opened: at most one record and one read.
    inbound: BytesMut,
    /// Opened, not yet read by the application.
    payload: BytesMut,
    /// Written by the application, not yet sealed: at most [`BUFFER`] bytes.
    transmit: Transmit,
    /// Sealed, not yet taken by the pipe.
    batch: Batch,
    wakers: Arc<Wakers>,
}

impl NoiseStream {
    /// Sends what the handshake left, so that the remote is not kept waiting for it.
    pub(crate) async fn start(channel: Channel) -> Result<Self, SecurityError> {
        let ChannelParts {
            mut wire,
            records,
            early: payload,
            ..
        } = channel.into_parts();
        wire.flush().await?;
        let WireParts { io, inbound, .. } = wire.into_parts();
        Ok(Self {
            io,
            transmit: Transmit::new(records.layout()),
            records,
            inbound,
            payload,
            batch: Batch::default(),
            wakers: Arc::default(),
        })
    }

    /// Makes the next payload available.
    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.payload.is_empty() {
            match self.records.open(&mut self.inbound).map_err(into_io)? {
                Some(payload) => self.payload = payload,
                None => {
                    // Lets go of the memory that it shares with `inbound`, for the next read.
                    self.payload = BytesMut::new();
                    ready!(self.poll_receive(cx))?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let start = self.inbound.len();
        self.inbound.resize(start + READ, 0);
        let outcome = Pin::new(&mut self.io).poll_read(cx, &mut self.inbound[start..]);
        let count = match &outcome {
            Poll::Ready(Ok(count)) => *count,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.inbound.truncate(start + count);
        if self.inbound.is_empty() {
            // An idle stream holds no buffer.
            self.inbound = BytesMut::new();
        }
        match ready!(outcome)? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Waits until the pipe has taken everything.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.seal()? {
                self.batch.release();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Waits until there is room for more of the application's bytes.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.transmit.len() >= BUFFER {
            ready!(self.poll_send(cx))?;
            self.seal()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the sealed batch.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.batch.unsent().is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.batch.unsent()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.batch.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Seals the bytes that wait into the batch, which must be sent; false when there are none.
    fn seal(&mut self) -> io::Result<bool> {
        if !self.transmit.swap(&mut self.batch) {
            return Ok(false);
        }
        self.batch.seal(self.records.as_mut()).map_err(into_io)?;
        Ok(true)
    }
}

impl AsyncRead for NoiseStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let waker = this.wakers.for_reader(cx);
        let cx = &mut Context::from_waker(&waker);
        let outcome = this.poll_payload(cx);
        if outcome.is_pending() {
            // An error of the write side is the next write's to report.
            let _ = this.poll_drain(cx);
        }
        ready!(outcome)?;
        let count = this.payload.len().min(buffer.len());
        this.payload.copy_to_slice(&mut buffer[..count]);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for NoiseStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let waker = this.wakers.for_writer(cx);
        let cx = &mut Context::from_waker(&waker);
        ready!(this.poll_room(cx))?;
        let count = buffer.len().min(BUFFER - this.transmit.len());
        this.transmit.put(&buffer[..count]);
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waker = this.wakers.for_writer(cx);
        let cx = &mut Context::from_waker(&waker);
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().io).poll_close(cx)
    }
}

impl fmt::Debug for NoiseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseStream")
            .field("inbound", &self.inbound.len())
            .field("payload", &self.payload.len())
            .field("unsealed", &self.transmit.len())
            .field("unsent", &self.batch.unsent().len())
            .finish_non_exhaustive()
    }
}

/// The tasks that read and write, which may be two: a pipe remembers only the last task
/// that wrote to it, and here the reading side writes too. So either event wakes both.
#[derive(Debug, Default)]
struct Wakers {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Wakers {
    fn for_reader(self: &Arc<Self>, cx: &Context<'_>) -> Waker {
        remember(&self.reader, cx);
        self.clone().into()
    }

    fn for_writer(self: &Arc<Self>, cx: &Context<'_>) -> Waker {
        remember(&self.writer, cx);
        self.clone().into()
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        for side in [&self.reader, &self.writer] {
            let waker = lock(side).take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

fn remember(side: &Mutex<Option<Waker>>, cx: &Context<'_>) {
    let mut side = lock(side);
    match side.as_mut() {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *side = Some(cx.waker().clone()),
    }
}

fn into_io(error: SecurityError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes that one read asks for.
const READ: usize = 16 * 1024;

/// Bytes of the application that wait to be sealed; as many again may wait sealed.
const BUFFER: usize = 64 * 1024;
