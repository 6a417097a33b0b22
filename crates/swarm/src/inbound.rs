//! Streams that the remote opens.

use std::{sync::Arc, task::Poll};

use async_lock::SemaphoreGuardArc;
use bytes::BytesMut;
use futures::future::poll_fn;
use peerkit_core::{
    Direction, MuxedStream, NegotiationError, ProtocolId, ResetCode, with_deadline,
};
use peerkit_multistream::Listener;

use crate::{
    LimitExceeded, Resource, Stream, StreamHandler,
    connections::Entry,
    handlers::Table,
    inner::Inner,
    resources::{Held, StreamPermit},
};

/// Accepts streams until the connection ends, then takes it off the table.
///
/// While too many streams are being negotiated, further ones wait in the muxer, whose
/// limits then hold the remote back.
pub(crate) async fn serve(inner: Arc<Inner>, entry: Arc<Entry>) {
    let reason = loop {
        let negotiation = entry.negotiations.acquire_arc().await;
        match entry.connection.accept().await {
            Ok(muxed) => match inner.admit_inbound_stream(&entry) {
                Ok((permit, transient)) => {
                    let task = Answering {
                        inner: inner.clone(),
                        entry: entry.clone(),
                        negotiation,
                        transient,
                        permit,
                    };
                    inner.tasks.spawn(inner.runtime.as_ref(), task.run(muxed));
                }
                Err(_) => muxed.reset(ResetCode::LIMIT_EXCEEDED),
            },
            Err(reason) => break reason,
        }
    };
    inner.departed(&entry, reason);
}

impl Inner {
    fn admit_inbound_stream(&self, entry: &Entry) -> Result<(StreamPermit, Held), LimitExceeded> {
        let permit = self.admit_stream(entry, Direction::Inbound, None)?;
        let transient = self.accounts.negotiation().inspect_err(|limit| {
            self.report_stream(entry, Direction::Inbound, None, limit.clone());
        })?;
        Ok((permit, transient))
    }
}

struct Answering {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    negotiation: SemaphoreGuardArc,
    transient: Held,
    permit: StreamPermit,
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
        drop((self.negotiation, self.transient));
        let agreed = Agreed {
            inner: self.inner,
            entry: self.entry,
            permit: self.permit,
            protocol,
        };
        agreed.handle(&table, muxed.into(), rest).await;
    }
}

/// A stream whose protocol was agreed on.
struct Agreed {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    permit: StreamPermit,
    protocol: ProtocolId,
}

impl Agreed {
    /// Runs the handler, unless too many run already, and closes what it has let go of.
    async fn handle(mut self, table: &Table, muxed: Arc<dyn MuxedStream>, rest: BytesMut) {
        let Some((handler, running)) = self.admit(table) else {
            muxed.reset(ResetCode::LIMIT_EXCEEDED);
            return;
        };
        let (peer, protocol) = (self.entry.info.remote_peer, self.protocol.clone());
        let stream = Stream::inbound(muxed.clone(), self.entry, self.protocol, rest, self.permit);
        tracing::trace!(target: "peerkit::stream", %peer, %protocol, "inbound stream");
        match handler.handle(stream).await {
            Ok(()) if Arc::strong_count(&muxed) == 1 => {
                // Fails when the stream has ended already, and then nothing is left to do.
                let _ = poll_fn(|cx| muxed.poll_close(cx)).await;
            }
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(target: "peerkit::handler", %peer, %protocol, %error, "a handler failed");
            }
        }
        drop(running);
    }

    /// The handler and its places among those of the protocol, the peer and the connection.
    fn admit(&mut self, table: &Table) -> Option<(Arc<dyn StreamHandler>, [Held; 3])> {
        // Without a handler, it was removed a moment ago.
        let admitted = table.admit(&self.protocol)?;
        let outcome = admitted.and_then(|admitted| {
            let accounts = &self.inner.accounts;
            let share = accounts.share(self.entry.info.remote_peer, &self.protocol)?;
            let of_connection = self.entry.scope.hold(Resource::Handlers, 1)?;
            self.permit.enter(admitted.scope)?;
            Ok((admitted.handler, [admitted.permit, share, of_connection]))
        });
        let report = |limit: LimitExceeded| {
            let protocol = Some(&self.protocol);
            self.inner
                .report_stream(&self.entry, Direction::Inbound, protocol, limit);
        };
        outcome.map_err(report).ok()
    }
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
