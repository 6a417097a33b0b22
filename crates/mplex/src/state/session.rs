//! What the task of a connection and the handles of its streams ask of the machine.

use std::{task::Poll, time::Instant};

use bytes::Bytes;
use peerkit_core::{
    Batch, CloseReason, ConnectionError, Direction, ResetCode, SessionEvent, StreamError, StreamId,
};

use super::{Session, Target};
use crate::{
    codec::{Kind, WireId, put_head},
    stream::Side,
};

impl peerkit_core::Session for Session {
    fn handle_read(&mut self, mut chunk: Bytes, now: Instant) -> Result<(), ConnectionError> {
        while self.ended.is_none() {
            let outcome = match self.decoder.next(&mut chunk) {
                Ok(Some(piece)) => self.handle_piece(piece, now),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.end(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        while let Some(id) = self.stalled(now) {
            self.abort(id, StreamError::Limit("it was not read for too long"));
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() || !self.intake.is_paused() {
            return None;
        }
        let deadlines = self.streams.values();
        deadlines
            .filter_map(|stream| self.stall_deadline(stream))
            .min()
    }

    fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self, batch: &mut Batch) -> bool {
        if !self.transmit.swap(batch) {
            return false;
        }
        self.events
            .extend(self.writers.grant().map(SessionEvent::Writable));
        self.offer_openings();
        true
    }

    fn transmit_len(&self) -> usize {
        self.transmit.len()
    }

    fn wants_read(&self) -> bool {
        self.ended.is_some() || !self.intake.is_paused()
    }

    fn end_of_input(&self) -> ConnectionError {
        let half_said = |target: &Target| match target {
            Target::Stream(id) => self
                .streams
                .get(id)
                .is_some_and(|stream| stream.inbound == Side::Open),
            Target::Lingering => false,
        };
        if self.decoder.is_between_frames() && !self.wire.values().any(half_said) {
            ConnectionError::ClosedByRemote(0)
        } else {
            ConnectionError::Truncated
        }
    }

    fn open(&mut self, now: Instant) -> Poll<Result<StreamId, ConnectionError>> {
        self.check_ended()?;
        if !self.may_open() {
            self.waiting_openers = self.waiting_openers.saturating_add(1);
            return Poll::Pending;
        }
        let wire = WireId {
            number: self.next_number,
            direction: Direction::Outbound,
        };
        // 2^59 streams take longer than any connection lasts.
        self.next_number += 2;
        self.send(Kind::Open, wire);
        Poll::Ready(Ok(self.insert(wire, now)))
    }

    fn accept(&mut self, _now: Instant) -> Option<StreamId> {
        self.incoming.pop_front()
    }

    fn read(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Reset)?;
        if let Some(failure) = stream.read_failure() {
            return Poll::Ready(Err(failure.clone()));
        }
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if stream.unread.len() > 0 {
            return Poll::Ready(Ok(self.intake.read(&mut stream.unread, buffer, now)));
        }
        if stream.inbound == Side::Finished {
            return Poll::Ready(Ok(0));
        }
        if let Some(ended) = &self.ended {
            return Poll::Ready(Err(ended.clone().into()));
        }
        stream.reader_waits = true;
        Poll::Pending
    }

    fn write(
        &mut self,
        id: StreamId,
        buffer: &[u8],
        _now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        let wire = self.writable(id)?.wire;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let queued = self.transmit.len();
        let Some(count) = self.writers.admit(id, queued, buffer.len()) else {
            return Poll::Pending;
        };
        put_head(&mut self.transmit, Kind::Message, wire, count);
        self.transmit.put(&buffer[..count]);
        Poll::Ready(Ok(count))
    }

    fn finish(&mut self, id: StreamId, _now: Instant) -> Result<(), StreamError> {
        let wire = match self.writable(id) {
            Ok(stream) => stream.wire,
            Err(StreamError::WriteClosed) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.send(Kind::Close, wire);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.outbound = Side::Finished;
        }
        self.stop_writer(id);
        self.unlink_if_finished(id);
        Ok(())
    }

    fn reset(&mut self, id: StreamId, _code: ResetCode) {
        self.abort(id, StreamError::Reset);
    }

    fn forget(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (wire, outbound) = (stream.wire, stream.outbound);
        if self.is_linked(wire, id) {
            self.wire.remove(&wire);
            match outbound {
                Side::Open => self.send(Kind::Reset, wire),
                Side::Finished => self.linger(wire),
            }
        }
        self.remove(id);
    }

    fn close(&mut self, _reason: CloseReason) {
        self.reset_what_is_half_said();
        self.end(ConnectionError::Closed);
    }

    fn stream_count(&self) -> usize {
        self.streams.len()
    }
}
