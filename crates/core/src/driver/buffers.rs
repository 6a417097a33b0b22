//! Bytes on their way from and to a socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};

use crate::{Batch, ConnectionError, Io, Preamble};

/// Bytes on their way to the socket.
pub(super) struct Outbound {
    /// What the handshake left unsent; goes out together with the first batch.
    pub(super) leading: BytesMut,
    pub(super) batch: Batch,
    pub(super) unflushed: bool,
    /// The socket takes nothing at present.
    pub(super) blocked: bool,
    pub(super) stall: Option<Stall>,
}

/// The remote takes less than is to be sent; it is over when it has taken enough, or everything.
pub(super) struct Stall {
    pub(super) since: Instant,
    /// Bytes that it has taken meanwhile.
    pub(super) taken: usize,
}

/// Bytes on their way from the socket.
pub(super) struct Inbound {
    pub(super) raw: BytesMut,
    /// How much to read next; adapts to how much comes.
    pub(super) read_size: usize,
    pub(super) preamble: Option<Box<dyn Preamble>>,
    /// Payload that waits for the preamble to be complete.
    pub(super) early: BytesMut,
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.leading.is_empty() && self.batch.unsent().is_empty()
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
    ) -> Poll<io::Result<usize>> {
        let batch = self.batch.unsent();
        let written = if self.leading.is_empty() {
            ready!(Pin::new(io).poll_write(cx, batch))?
        } else {
            let slices = [IoSlice::new(&self.leading), IoSlice::new(batch)];
            ready!(Pin::new(io).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    pub(super) fn block(&mut self, now: Instant) {
        self.blocked = true;
        self.stall.get_or_insert(Stall {
            since: now,
            taken: 0,
        });
    }

    /// A stall goes on until at least `enough` was taken: one byte now and then does not end it.
    pub(super) fn advance(&mut self, written: usize, enough: usize) {
        self.blocked = false;
        self.unflushed = true;
        if let Some(stall) = &mut self.stall {
            stall.taken = stall.taken.saturating_add(written);
        }
        self.stall.take_if(|stall| stall.taken >= enough.max(1));
        let leading = written.min(self.leading.len());
        self.leading.advance(leading);
        self.batch.advance(written - leading);
    }
}

impl Inbound {
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.raw.is_empty() && self.read_size == READ_MIN {
            return self.poll_first(cx, io, max);
        }
        let filled = self.raw.len();
        self.raw.resize(filled + self.read_size, 0);
        let outcome = Pin::new(io).poll_read(cx, &mut self.raw[filled..]);
        let read = match &outcome {
            Poll::Ready(Ok(read)) => *read,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.raw.truncate(filled + read);
        self.adapt(read, max);
        outcome
    }

    /// Reads into the stack, since little is to be expected: what waits for little holds no buffer.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = [0; READ_MIN];
        let read = ready!(Pin::new(io).poll_read(cx, &mut scratch))?;
        self.raw = BytesMut::from(&scratch[..read]);
        self.adapt(read, max);
        Poll::Ready(Ok(read))
    }

    /// Doubles the next read when this one was full, halves it when nothing came.
    fn adapt(&mut self, read: usize, max: usize) {
        if read == self.read_size {
            self.read_size = (self.read_size * 2).min(max.max(READ_MIN));
        } else if read == 0 {
            self.read_size = (self.read_size / 2).max(READ_MIN);
        }
    }

    pub(super) fn release(&mut self) {
        if self.raw.is_empty() {
            self.raw = BytesMut::new();
            self.read_size = READ_MIN;
        }
    }

    /// Feeds the preamble; what lies behind it is returned once it is complete.
    pub(super) fn pass_preamble(
        &mut self,
        payload: BytesMut,
    ) -> Result<Option<Bytes>, ConnectionError> {
        let Some(preamble) = &mut self.preamble else {
            return Ok(Some(payload.freeze()));
        };
        self.early.unsplit(payload);
        match preamble.handle_read(&mut self.early) {
            Poll::Pending => Ok(None),
            Poll::Ready(outcome) => {
                self.preamble = None;
                outcome?;
                Ok(Some(self.early.split().freeze()))
            }
        }
    }
}

/// The smallest read from a socket.
pub(super) const READ_MIN: usize = 2048;
