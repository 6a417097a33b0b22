//! The application's end of a stream.

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
};

use super::shared::Shared;
use crate::{MuxedStream, ResetCode, StreamId};

pub(super) struct SessionStream {
    shared: Arc<Shared>,
    id: StreamId,
}

impl SessionStream {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId) -> Self {
        Self { shared, id }
    }
}

impl MuxedStream for SessionStream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.shared.read(self.id, cx, buffer).map_err(Into::into)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.shared.write(self.id, cx, buffer).map_err(Into::into)
    }

    fn poll_flush(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is in the transmit buffer, which the task sends without being asked.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.finish(self.id).map_err(Into::into))
    }

    fn reset(&self, code: ResetCode) {
        self.shared.reset(self.id, code);
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

impl fmt::Debug for SessionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionStream").field(&self.id.0).finish()
    }
}
