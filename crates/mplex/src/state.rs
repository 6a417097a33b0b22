//! The machine.

mod session;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Instant,
};

use bytes::Bytes;
use peerkit_core::{
    ConnectionError, Direction, RecordLayout, ResetCode, Role, SessionEvent, StreamError, StreamId,
    Transmit,
};

use crate::{
    Config,
    budget::Budget,
    codec::{Decoder, Kind, Piece, WireId, put_head},
    stream::{Side, Stream},
    unread::Intake,
    writers::Writers,
};

/// mplex without I/O, see [`peerkit_core::Session`] for how to drive it.
///
/// What the specification leaves open, and mplex's differences from other muxers:
///
/// - A number that is in use is opened again, an unknown flag, or a frame that is too long: the
///   connection ends with [`ConnectionError::Malformed`].
/// - Frames for streams that are not known, and bytes behind a close, are ignored: they may have
///   been on their way when the stream ended.
/// - Reset codes are not sent, and those of the remote are [`ResetCode::NONE`].
/// - There is no goodbye: closing the channel is the message. [`close`](peerkit_core::Session::close)
///   resets the streams that this side has not finished. The end of the input is an ordinary
///   end when no stream is half-said, and counts as cut off otherwise.
/// - What had arrived before the end can still be read.
pub struct Session {
    config: Config,
    decoder: Decoder,
    transmit: Transmit,
    /// Streams that the application has not let go of, dead ones included.
    streams: BTreeMap<StreamId, Stream>,
    /// Numbers in use.
    wire: BTreeMap<WireId, Target>,
    /// The order of the lingering ones in `wire`, oldest first.
    lingering: VecDeque<WireId>,
    /// Opened by the remote, not yet accepted.
    incoming: VecDeque<StreamId>,
    slots: Slots,
    next_id: u64,
    next_number: u64,
    waiting_openers: usize,
    writers: Writers,
    intake: Intake,
    vain: Budget,
    events: VecDeque<SessionEvent>,
    ended: Option<ConnectionError>,
}

/// Who takes the frames of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Stream(StreamId),
    /// The application has said all and has gone; the remote may still send, in vain.
    Lingering,
}

/// How many of `streams` each side has opened.
#[derive(Debug, Default)]
struct Slots {
    inbound: usize,
    outbound: usize,
}

impl Session {
    /// A session that begins now, on a channel with records of the given layout.
    ///
    /// Dialers give their streams even numbers and listeners odd ones. Nobody demands
    /// that, since a number counts together with who opened the stream; it makes captures readable.
    pub fn new(config: Config, role: Role, layout: RecordLayout, now: Instant) -> Self {
        let per_second = config.rapid_reset_per_second;
        Self {
            decoder: Decoder::new(),
            transmit: Transmit::new(layout),
            streams: BTreeMap::new(),
            wire: BTreeMap::new(),
            lingering: VecDeque::new(),
            incoming: VecDeque::new(),
            slots: Slots::default(),
            next_id: 0,
            next_number: u64::from(role == Role::Listener),
            waiting_openers: 0,
            writers: Writers::new(config.transmit_buffer),
            intake: Intake::new(&config),
            vain: Budget::new(config.rapid_reset_burst, per_second, now),
            events: VecDeque::new(),
            ended: None,
            config,
        }
    }

    /// Bytes that arrived and were not yet read, of all streams.
    pub fn unread_len(&self) -> usize {
        self.intake.total()
    }

    fn handle_piece(&mut self, piece: Piece, now: Instant) -> Result<(), ConnectionError> {
        match piece {
            Piece::Head(Kind::Open, id) => return self.handle_open(id, now),
            Piece::Head(Kind::Message, _) => {}
            Piece::Head(Kind::Close, id) => self.handle_close(id),
            Piece::Head(Kind::Reset, id) => return self.handle_reset(id, now),
            Piece::Body(id, bytes) => self.handle_body(id, bytes, now),
        }
        Ok(())
    }

    fn handle_open(&mut self, wire: WireId, now: Instant) -> Result<(), ConnectionError> {
        if self.wire.contains_key(&wire) {
            return Err(ConnectionError::Malformed(
                "an mplex stream was opened twice",
            ));
        }
        if self.slots.inbound >= self.config.inbound_streams_max {
            self.send(Kind::Reset, wire);
            return self.count_vain(now);
        }
        let id = self.insert(wire, now);
        self.incoming.push_back(id);
        self.events.push_back(SessionEvent::Incoming);
        Ok(())
    }

    fn handle_body(&mut self, wire: WireId, bytes: Bytes, now: Instant) {
        match self.wire.get(&wire) {
            Some(Target::Stream(id)) => self.receive(*id, bytes, now),
            Some(Target::Lingering) => {
                self.send(Kind::Reset, wire);
                self.stop_lingering(wire);
            }
            None => {}
        }
    }

    fn receive(&mut self, id: StreamId, bytes: Bytes, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.inbound == Side::Finished {
            return;
        }
        if self.intake.push(&mut stream.unread, bytes, now).is_err() {
            self.abort(id, StreamError::Limit("too many bytes wait to be read"));
        } else {
            self.wake_reader(id);
        }
    }

    fn handle_close(&mut self, wire: WireId) {
        match self.wire.get(&wire).copied() {
            Some(Target::Stream(id)) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.inbound = Side::Finished;
                }
                self.wake_reader(id);
                self.unlink_if_finished(id);
            }
            Some(Target::Lingering) => self.stop_lingering(wire),
            None => {}
        }
    }

    fn handle_reset(&mut self, wire: WireId, now: Instant) -> Result<(), ConnectionError> {
        match self.wire.get(&wire).copied() {
            Some(Target::Stream(id)) => {
                self.fail(id, StreamError::ResetByRemote(ResetCode::NONE));
                if wire.direction == Direction::Inbound {
                    self.count_vain(now)?;
                }
            }
            Some(Target::Lingering) => self.stop_lingering(wire),
            None => {}
        }
        Ok(())
    }

    /// The remote has opened a stream for nothing, which costs it less than this side.
    fn count_vain(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.vain.take(now) {
            Ok(())
        } else {
            Err(ConnectionError::Limit("too many streams opened in vain"))
        }
    }

    fn insert(&mut self, wire: WireId, now: Instant) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id += 1;
        *self.slots.of(wire.direction) += 1;
        self.streams.insert(id, Stream::new(wire, now));
        self.wire.insert(wire, Target::Stream(id));
        id
    }

    /// Takes a stream off the table; its number is dealt with before.
    fn remove(&mut self, id: StreamId) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        self.intake.discard(&mut stream.unread);
        self.writers.remove(id);
        *self.slots.of(stream.wire.direction) -= 1;
        self.offer_openings();
    }

    /// There is no goodbye; but a remote that has no unfinished stream left knows that nothing was cut.
    fn reset_what_is_half_said(&mut self) {
        let half_said = |stream: &Stream| stream.outbound == Side::Open;
        let wires: Vec<_> = self
            .streams
            .iter()
            .filter(|(id, stream)| half_said(stream) && self.is_linked(stream.wire, **id))
            .map(|(_, stream)| stream.wire)
            .collect();
        for wire in wires {
            self.send(Kind::Reset, wire);
        }
    }

    /// Ends both directions from this side.
    fn abort(&mut self, id: StreamId, error: StreamError) {
        let wire = self.streams.get(&id).map(|stream| stream.wire);
        if let Some(wire) = wire.filter(|wire| self.is_linked(*wire, id)) {
            self.send(Kind::Reset, wire);
        }
        self.fail(id, error);
    }

    /// Marks a stream as dead until the application lets go of it. One that was not
    /// yet accepted is never seen.
    fn fail(&mut self, id: StreamId, error: StreamError) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.failure.is_none() && stream.keeps_unread(&error) {
            stream.failure = Some(error);
            self.unlink(id);
            self.stop_writer(id);
            return;
        }
        stream.failure.get_or_insert(error);
        stream.lose_unread(&mut self.intake);
        self.unlink(id);
        self.wake_reader(id);
        self.stop_writer(id);
        if let Some(at) = self.incoming.iter().position(|other| *other == id) {
            self.incoming.remove(at);
            self.remove(id);
        }
    }

    fn is_linked(&self, wire: WireId, id: StreamId) -> bool {
        self.wire.get(&wire) == Some(&Target::Stream(id))
    }

    /// The stream's number may be used again.
    fn unlink(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get(&id)
            && self.is_linked(stream.wire, id)
        {
            self.wire.remove(&stream.wire);
        }
    }

    fn unlink_if_finished(&mut self, id: StreamId) {
        if self.streams.get(&id).is_some_and(Stream::is_finished) {
            self.unlink(id);
        }
    }

    /// Remembers that the remote may go on sending to nobody. The oldest is forgotten when there are
    /// too many: what the remote sends there is then ignored without an answer.
    fn linger(&mut self, wire: WireId) {
        if self.lingering.len() >= self.config.inbound_streams_max.max(1)
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.wire.remove(&oldest);
        }
        self.wire.insert(wire, Target::Lingering);
        self.lingering.push_back(wire);
    }

    fn stop_lingering(&mut self, wire: WireId) {
        self.wire.remove(&wire);
        self.lingering.retain(|other| *other != wire);
    }

    fn send(&mut self, kind: Kind, wire: WireId) {
        if self.ended.is_none() {
            put_head(&mut self.transmit, kind, wire, 0);
        }
    }

    fn wake_reader(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && std::mem::take(&mut stream.reader_waits)
        {
            self.events.push_back(SessionEvent::Readable(id));
        }
    }

    fn stop_writer(&mut self, id: StreamId) {
        if self.writers.remove(id) {
            self.events.push_back(SessionEvent::Writable(id));
        }
    }

    /// Tells as many who wait to open as may do so now.
    fn offer_openings(&mut self) {
        if !self.may_open() {
            return;
        }
        let free = self.config.outbound_streams_max - self.slots.outbound;
        let offered = free.min(self.waiting_openers);
        self.waiting_openers -= offered;
        self.events
            .extend(std::iter::repeat_n(SessionEvent::Openable, offered));
    }

    fn may_open(&self) -> bool {
        self.slots.outbound < self.config.outbound_streams_max
            && !self.writers.is_full(self.transmit.len())
    }

    /// The stream that holds most of what nobody has read for too long.
    fn stalled(&self, now: Instant) -> Option<StreamId> {
        let overdue = |stream: &Stream| self.stall_deadline(stream).is_some_and(|at| at <= now);
        self.streams
            .iter()
            .filter(|(_, stream)| overdue(stream))
            .max_by_key(|(_, stream)| stream.unread.len())
            .map(|(id, _)| *id)
    }

    fn stall_deadline(&self, stream: &Stream) -> Option<Instant> {
        let since = self.intake.stalled_since(&stream.unread)?;
        since.checked_add(self.config.stall_timeout)
    }

    fn check_ended(&self) -> Result<(), ConnectionError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// The stream, if its write side is neither finished nor failed.
    fn writable(&self, id: StreamId) -> Result<&Stream, StreamError> {
        let stream = self.streams.get(&id).ok_or(StreamError::Reset)?;
        if let Some(failure) = &stream.failure {
            return Err(failure.clone());
        }
        self.check_ended()?;
        if stream.outbound == Side::Finished {
            return Err(StreamError::WriteClosed);
        }
        Ok(stream)
    }

    /// From now on everything fails with `error`; those who wait are told.
    fn end(&mut self, error: ConnectionError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error);
        for (id, stream) in &mut self.streams {
            if std::mem::take(&mut stream.reader_waits) {
                self.events.push_back(SessionEvent::Readable(*id));
            }
        }
        self.events
            .extend(self.writers.clear().map(SessionEvent::Writable));
        let openers = std::mem::take(&mut self.waiting_openers);
        self.events
            .extend(std::iter::repeat_n(SessionEvent::Openable, openers));
    }
}

impl Slots {
    fn of(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("slots", &self.slots)
            .field("unread", &self.intake.total())
            .field("transmit", &self.transmit.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
