//! Streams that the remote opens.

use std::{sync::Arc, task::Poll};

use async_lock::SemaphoreGuardArc;
use bytes::BytesMut;
use futures::future::poll_fn;
use peerkit_core::{MuxedStream, NegotiationError, ProtocolId, ResetCode, with_deadline};
use peerkit_multistream::Listener;

use crate::{Stream, connections::Entry, handlers::Table, inner::Inner};

/// Accepts streams until the connection ends, then takes it off the table.
///
/// While too many streams are being negotiated, further ones wait in the muxer, whose
/// limits then hold the remote back.
pub(crate) async fn serve(inner: Arc<Inner>, entry: Arc<Entry>) {
    let reason = loop {
        let negotiation = entry.negotiations.acquire_arc().await;
        match entry.connection.accept().await {
            Ok(muxed) => {
                let task = Answering {
                    inner: inner.clone(),
                    entry: entry.clone(),
                    negotiation,
                };
                inner.tasks.spawn(inner.runtime.as_ref(), task.run(muxed));
            }
            Err(reason) => break reason,
        }
    };
    inner.departed(&entry, reason);
}

struct Answering {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    negotiation: SemaphoreGuardArc,
}

impl Answering {
    async fn run(self, muxed: Box<dyn MuxedStream>) {
        let table = self.inner.handlers.snapshot();
        let limit = self.inner.config.negotiation_timeout;
        let mut answered = false;
        let negotiation = negotiate(muxed.as_ref(), &table, &mut answered);
        let outcome = with_deadline(self.inner.runtime.as_ref(), limit, negotiation).await;
        let Some(Ok((protocol, rest))) = outcome else {
            let peer = self.entry.info.remote_peer;
            tracing::debug!(target: "peerkit::stream", %peer, ?outcome, "no protocol was agreed on");
            if answered && outcome.is_some() {
                // What follows a refused proposal was sent ahead of the answer, which has to arrive.
                let _ = poll_fn(|cx| muxed.poll_close(cx)).await;
            } else {
                muxed.reset(ResetCode::NEGOTIATION_FAILED);
            }
            return;
        };
        drop(self.negotiation);
        let muxed: Arc<dyn MuxedStream> = Arc::from(muxed);
        let stream = Stream::inbound(muxed.clone(), self.entry.clone(), protocol, rest);
        handle(&table, &self.entry, stream, muxed).await;
    }
}

/// Runs the handler, unless too many run already, and closes what it has let go of.
async fn handle(table: &Table, entry: &Entry, stream: Stream, muxed: Arc<dyn MuxedStream>) {
    let (peer, protocol) = (entry.info.remote_peer, stream.protocol().clone());
    let admitted = table.admit(&protocol);
    let (Some(admitted), Some(of_connection)) = (admitted, entry.handlers.try_acquire()) else {
        stream.reset(ResetCode::LIMIT_EXCEEDED);
        return;
    };
    tracing::trace!(target: "peerkit::stream", %peer, %protocol, "inbound stream");
    match admitted.handler.handle(stream).await {
        Ok(()) if Arc::strong_count(&muxed) == 1 => {
            // Fails when the stream has ended already, and then nothing is left to do.
            let _ = poll_fn(|cx| muxed.poll_close(cx)).await;
        }
        Ok(()) => {}
        Err(error) => {
            tracing::debug!(target: "peerkit::handler", %peer, %protocol, %error, "a handler failed");
        }
    }
    drop((admitted.permit, of_connection));
}

/// Agrees on a protocol; what was read beyond that is returned as well.
async fn negotiate(
    muxed: &dyn MuxedStream,
    table: &Table,
    answered: &mut bool,
) -> Result<(ProtocolId, BytesMut), NegotiationError> {
    let mut listener = Listener::new(table.ids());
    let mut input = BytesMut::new();
    loop {
        let outcome = listener.handle_read(&mut input);
        while let Some(message) = listener.poll_transmit() {
            write_all(muxed, &message).await?;
            *answered = true;
        }
        if let Poll::Ready(outcome) = outcome {
            return Ok((outcome?, input));
        }
        read_some(muxed, &mut input).await?;
    }
}

pub(crate) async fn write_all(muxed: &dyn MuxedStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| muxed.poll_write(cx, bytes)).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

pub(crate) async fn read_some(
    muxed: &dyn MuxedStream,
    input: &mut BytesMut,
) -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    let read = poll_fn(|cx| muxed.poll_read(cx, &mut buffer)).await?;
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    input.extend_from_slice(&buffer[..read]);
    Ok(())
}
