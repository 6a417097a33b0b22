//! Frames as Noise has them, `be16 length || ciphertext || tag`, sealed with ring.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
};

/// A socket whose bytes are sealed in frames, each as large as possible.
pub(crate) struct Framed {
    socket: TcpStream,
    key: LessSafeKey,
    inbound: Vec<u8>,
    /// What was read and not opened.
    sealed: Range<usize>,
    /// What was opened and not taken.
    opened: Range<usize>,
    opened_frames: u64,
    /// One frame, its length field first.
    outbound: Vec<u8>,
    /// What is to be sent; while there is any, nothing may be added.
    unsent: Range<usize>,
    sealed_frames: u64,
}

impl Framed {
    pub(crate) fn new(socket: TcpStream) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes");
        Self {
            socket,
            key: LessSafeKey::new(key),
            inbound: vec![0; 4 * FRAME],
            sealed: 0..0,
            opened: 0..0,
            opened_frames: 0,
            outbound: empty(),
            unsent: 0..0,
            sealed_frames: 0,
        }
    }

    /// Opens the next frame; false when it is not complete.
    fn open(&mut self) -> io::Result<bool> {
        let start = self.sealed.start;
        let Some(length) = self.inbound[self.sealed.clone()].first_chunk() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if self.sealed.len() < LENGTH + length {
            return Ok(false);
        }
        let body = start + LENGTH..start + LENGTH + length;
        let nonce = nonce(&mut self.opened_frames);
        let opened = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut self.inbound[body.clone()])
            .map_err(|_| io::ErrorKind::InvalidData)?;
        self.opened = body.start..body.start + opened.len();
        self.sealed.start = body.end;
        Ok(true)
    }

    fn make_room(&mut self) {
        if self.inbound.len() - self.sealed.start < FRAME || self.sealed.is_empty() {
            self.inbound.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..self.sealed.len();
        }
    }

    fn seal(&mut self) -> io::Result<()> {
        let nonce = nonce(&mut self.sealed_frames);
        let (length, body) = self.outbound.split_at_mut(LENGTH);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), body)
            .map_err(|_| io::ErrorKind::InvalidData)?;
        length.copy_from_slice(&((body.len() + TAG) as u16).to_be_bytes());
        self.outbound.extend_from_slice(tag.as_ref());
        self.unsent = 0..self.outbound.len();
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let unsent = &self.outbound[self.unsent.clone()];
            self.unsent.start += ready!(Pin::new(&mut self.socket).poll_write(cx, unsent))?;
            if self.unsent.is_empty() {
                self.outbound.truncate(LENGTH);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.opened.is_empty() && !this.open()? {
            this.make_room();
            let mut free = ReadBuf::new(&mut this.inbound[this.sealed.end..]);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut free))?;
            match free.filled().len() {
                0 => return Poll::Ready(Ok(0)),
                read => this.sealed.end += read,
            }
        }
        let count = this.opened.len().min(buffer.len());
        let taken = this.opened.start..this.opened.start + count;
        buffer[..count].copy_from_slice(&this.inbound[taken]);
        this.opened.start += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let room = FRAME - TAG - this.outbound.len();
        let count = buffer.len().min(room);
        this.outbound.extend_from_slice(&buffer[..count]);
        if count == room {
            this.seal()?;
            if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if this.outbound.len() > LENGTH {
            this.seal()?;
        }
        this.poll_send(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Room for one frame.
fn empty() -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.resize(LENGTH, 0);
    frame
}

fn nonce(counter: &mut u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    *counter += 1;
    Nonce::assume_unique_for_key(nonce)
}

const LENGTH: usize = 2;
const TAG: usize = 16;
const FRAME: usize = LENGTH + u16::MAX as usize;
