//! Secured channels.

use std::{fmt, task::Poll};

use bytes::BytesMut;

use crate::{Io, NegotiationError, PlainRecords, Records, Wire};

/// Something that consumes the first bytes of an input, then is done.
///
/// It has no I/O: the owner of the input feeds it.
pub trait Preamble: Send {
    /// Takes what it needs from the front of `input`.
    ///
    /// `Pending` asks to be called again with more bytes. After `Ready` it is
    /// not called again, and what is left in `input` belongs to the next layer.
    fn handle_read(&mut self, input: &mut BytesMut) -> Poll<Result<(), NegotiationError>>;
}

/// What a security handshake leaves behind: a wire and the cipher for its records.
pub struct Channel {
    wire: Wire,
    records: Box<dyn Records>,
    preamble: Option<Box<dyn Preamble>>,
    early: BytesMut,
}

impl Channel {
    /// A channel whose bytes on `wire` are framed and protected by `records`.
    pub fn new(wire: Wire, records: Box<dyn Records>) -> Self {
        Self {
            wire,
            records,
            preamble: None,
            early: BytesMut::new(),
        }
    }

    /// A channel without records, for layers that only offer plain reads and writes.
    pub fn plain(io: Box<dyn Io>) -> Self {
        Self::new(Wire::new(io), Box::new(PlainRecords))
    }

    /// Lets `preamble` consume the first payload bytes before the muxer sees any.
    ///
    /// # Panics
    ///
    /// If a preamble is still pending.
    pub fn expect(&mut self, preamble: Box<dyn Preamble>) {
        assert!(self.preamble.is_none(), "one preamble at a time");
        self.preamble = Some(preamble);
    }

    /// The layout of this channel's records.
    pub fn layout(&self) -> crate::RecordLayout {
        self.records.layout()
    }

    /// Payload that was decrypted and not yet used; what is left here goes to the muxer first.
    pub fn early(&mut self) -> &mut BytesMut {
        &mut self.early
    }

    /// Seals `payload` and queues it on the wire.
    pub fn queue(&mut self, payload: &[u8]) -> Result<(), crate::SecurityError> {
        let mut transmit = crate::Transmit::new(self.layout());
        transmit.put(payload);
        let mut batch = crate::Batch::default();
        if transmit.swap(&mut batch) {
            batch.seal(self.records.as_mut())?;
            self.wire.outbound().extend_from_slice(batch.unsent());
        }
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// Cancel safety: the unsent rest stays queued.
    pub async fn flush(&mut self) -> Result<(), crate::SecurityError> {
        Ok(self.wire.flush().await?)
    }

    /// Flushes, then reads until at least one more byte of payload is in [`early`](Self::early).
    ///
    /// Cancel safety: no byte is lost.
    pub async fn read_more(&mut self) -> Result<(), crate::SecurityError> {
        self.flush().await?;
        loop {
            while let Some(payload) = self.records.open(self.wire.inbound())? {
                self.early.extend_from_slice(&payload);
                if !payload.is_empty() {
                    return Ok(());
                }
            }
            self.wire.read_more().await?;
        }
    }

    /// Takes the channel apart.
    pub fn into_parts(self) -> ChannelParts {
        ChannelParts {
            wire: self.wire,
            records: self.records,
            preamble: self.preamble,
            early: self.early,
        }
    }
}

/// A [`Channel`] taken apart.
#[non_exhaustive]
pub struct ChannelParts {
    /// The wire below.
    pub wire: Wire,
    /// The cipher.
    pub records: Box<dyn Records>,
    /// What has to consume the next payload, if anything.
    pub preamble: Option<Box<dyn Preamble>>,
    /// Payload that was decrypted and not yet used.
    pub early: BytesMut,
}

impl fmt::Debug for ChannelParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelParts")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}
