//! mplex behind the trait as it is compiled here.

use std::{task::Poll, time::Instant};

use bytes::Bytes;
use peerkit_core::{RecordLayout, Session as _};
use peerkit_mplex::Config;

use crate::{
    Batch, CloseReason, ConnectionError, ResetCode, Role, Session, SessionEvent, StreamError,
    StreamId,
};

/// A dialer's session of mplex.
pub(crate) struct Mplex(peerkit_mplex::Session);

impl Mplex {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        let layout = RecordLayout::PLAIN;
        Self(peerkit_mplex::Session::new(config, Role::Dialer, layout, now))
    }
}

impl Session for Mplex {
    fn handle_read(&mut self, chunk: Bytes, now: Instant) -> Result<(), ConnectionError> {
        self.0.handle_read(chunk, now)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.0.handle_timeout(now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn poll_event(&mut self) -> Option<SessionEvent> {
        Some(match self.0.poll_event()? {
            peerkit_core::SessionEvent::Readable(id) => SessionEvent::Readable(StreamId(id.0)),
            peerkit_core::SessionEvent::Writable(id) => SessionEvent::Writable(StreamId(id.0)),
            peerkit_core::SessionEvent::Openable => SessionEvent::Openable,
            peerkit_core::SessionEvent::Incoming => SessionEvent::Incoming,
            event => panic!("the model does not know {event:?}"),
        })
    }

    fn poll_transmit(&mut self, batch: &mut Batch) -> bool {
        self.0.poll_transmit(batch)
    }

    fn transmit_len(&self) -> usize {
        self.0.transmit_len()
    }

    fn wants_read(&self) -> bool {
        self.0.wants_read()
    }

    fn open(&mut self, now: Instant) -> Poll<Result<StreamId, ConnectionError>> {
        self.0.open(now).map_ok(|id| StreamId(id.0))
    }

    fn accept(&mut self, now: Instant) -> Option<StreamId> {
        self.0.accept(now).map(|id| StreamId(id.0))
    }

    fn read(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        self.0.read(name(id), buffer, now)
    }

    fn write(
        &mut self,
        id: StreamId,
        buffer: &[u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        self.0.write(name(id), buffer, now)
    }

    fn finish(&mut self, id: StreamId, now: Instant) -> Result<(), StreamError> {
        self.0.finish(name(id), now)
    }

    fn reset(&mut self, id: StreamId, code: ResetCode) {
        self.0.reset(name(id), code);
    }

    fn forget(&mut self, id: StreamId) {
        self.0.forget(name(id));
    }

    fn close(&mut self, _reason: CloseReason) {
        self.0.close(peerkit_core::CloseReason::Normal);
    }

    fn stream_count(&self) -> usize {
        self.0.stream_count()
    }
}

fn name(id: StreamId) -> peerkit_core::StreamId {
    peerkit_core::StreamId(id.0)
}
