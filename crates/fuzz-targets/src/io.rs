//! A pipe whose other end is the fuzzer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use peerkit_core::lock;

/// One end of a pipe; clones are the same end.
///
/// Reads yield what was [given](Self::give), in pieces of a chosen size; then they wait, or end
/// once it was [closed](Self::close). Writes are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    given: Vec<u8>,
    read: usize,
    piece: usize,
    closed: bool,
    written: Vec<u8>,
}

impl Script {
    /// Everything that a remote ever says, read in pieces of so many bytes.
    pub(crate) fn of(bytes: &[u8], piece: usize) -> Self {
        let script = Self::default();
        script.give(bytes);
        script.close();
        lock(&script.0).piece = piece;
        script
    }

    pub(crate) fn give(&self, bytes: &[u8]) {
        lock(&self.0).given.extend_from_slice(bytes);
    }

    pub(crate) fn close(&self) {
        lock(&self.0).closed = true;
    }

    /// What was written since the last call.
    pub(crate) fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0).written)
    }

    /// What was given and not yet read.
    pub(crate) fn unread(&self) -> Vec<u8> {
        let state = lock(&self.0);
        state.given[state.read..].to_vec()
    }
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        let unread = &state.given[state.read..];
        if unread.is_empty() && !state.closed {
            return Poll::Pending;
        }
        let piece = if state.piece == 0 {
            usize::MAX
        } else {
            state.piece
        };
        let count = unread.len().min(buffer.len()).min(piece);
        buffer[..count].copy_from_slice(&unread[..count]);
        state.read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).written.extend_from_slice(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls once; nobody wakes a future here, since its input comes from the caller.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
