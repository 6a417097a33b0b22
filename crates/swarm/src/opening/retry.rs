//! The second beginning, when the remote refuses the muxer that was proposed optimistically.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{ConnectionError, MuxedStream, ResetCode, StreamError};

use crate::{connections::Entry, inbound::write_all, inner::Inner};

/// What it takes to begin again on another connection.
pub(super) struct Retry {
    pub(super) inner: Arc<Inner>,
    pub(super) entry: Arc<Entry>,
    pub(super) proposal: Bytes,
    /// What the application has written so far.
    pub(super) written: BytesMut,
    pub(super) confirmed: Option<BoxFuture<'static, Result<(), ConnectionError>>>,
    pub(super) reopening: Option<Reopening>,
}

type Reopening = BoxFuture<'static, Result<Arc<dyn MuxedStream>, StreamError>>;

impl Retry {
    pub(super) fn poll_confirmed(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        let entry = self.entry.clone();
        let confirmed = self
            .confirmed
            .get_or_insert_with(|| async move { entry.connection.confirmed().await }.boxed());
        confirmed.poll_unpin(cx)
    }

    /// Dials again without sending ahead, opens a stream and writes once more what was written.
    pub(super) fn reopen(&mut self, refusal: ConnectionError) {
        if self.reopening.is_some() {
            return;
        }
        let peer = self.entry.info.remote_peer;
        self.inner.remember_careful(peer);
        let inner = self.inner.clone();
        let addr = self.entry.info.remote_addr.clone();
        let mut bytes = BytesMut::from(&self.proposal[..]);
        bytes.unsplit(std::mem::take(&mut self.written));
        let reopening = async move {
            let second = inner.open_again((peer, addr).into(), refusal).await?;
            write_all(second.as_ref(), &bytes)
                .await
                .map_err(into_stream_error)?;
            Ok(second)
        };
        self.reopening = Some(reopening.boxed());
    }
}

pub(super) fn is_refusal(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Negotiation(_))
}

pub(super) fn refusal(error: &io::Error) -> Option<ConnectionError> {
    match stream_error(error) {
        Some(StreamError::Connection(error)) if is_refusal(error) => Some(error.clone()),
        _ => None,
    }
}

pub(super) fn reset_code(error: &io::Error) -> Option<ResetCode> {
    match stream_error(error) {
        Some(StreamError::ResetByRemote(code)) => Some(*code),
        _ => None,
    }
}

fn stream_error(error: &io::Error) -> Option<&StreamError> {
    error.get_ref()?.downcast_ref()
}

fn into_stream_error(error: io::Error) -> StreamError {
    stream_error(&error)
        .cloned()
        .unwrap_or_else(|| StreamError::Connection(error.into()))
}

/// Bytes that are kept for a replay; more are written only once the connection is confirmed.
pub(super) const REPLAY_MAX: usize = 64 * 1024;
