//! The machine: its state, its life, and the trait through which it is driven.
//!
//! ```text
//!            goodbye of the remote           its last stream has ended
//!   Running ----------------------> Draining ------------------------+
//!      |                               |                             v
//!      +-------------------------------+--------------------------> Over(why)
//!         close(), a broken rule, a limit, silence, a goodbye with an error code
//! ```

use std::{
    collections::VecDeque,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{
    Batch, CloseReason, ConnectionError, RecordLayout, ResetCode, Role, SessionEvent, StreamError,
    StreamId,
};

use crate::{
    Config,
    frame::{Decoder, Flags, Header},
    keep_alive::{KeepAlive, Silence},
    limits::{Growth, Meter, Reserve},
    outbound::Outbound,
    remote::Body,
    stream::{Stream, Writer},
    table::Table,
};

/// A yamux session: the machine behind one connection.
///
/// Use it through [`peerkit_core::Session`]; the documentation of this crate shows how.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    /// The id of the next stream of this side, as long as there are any.
    pub(crate) next_id: Option<u32>,
    pub(crate) table: Table,
    /// Inbound streams in the order in which they came. At most as many as inbound streams are allowed.
    pub(crate) incoming: VecDeque<u32>,
    pub(crate) outbound: Outbound,
    pub(crate) decoder: Decoder,
    /// Where the body goes that the decoder is in.
    pub(crate) body: Body,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) meters: Meters,
    /// Answers to pings in the transmit buffer.
    pub(crate) unsent_pongs: usize,
    pub(crate) dropped_pongs: u64,
    /// Somebody had to wait for a stream.
    pub(crate) opener_waited: bool,
    /// Drained after each call; each event is asked for by a call or a frame.
    pub(crate) events: VecDeque<SessionEvent>,
    /// The latest time that was told.
    pub(crate) now: Instant,
}

/// The life of a session.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Running,
    /// The remote opens and takes no new streams; those that there are may end in peace.
    Draining,
    Over(ConnectionError),
}

#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) rapid_resets: Meter,
    pub(crate) empty_frames: Meter,
    pub(crate) pings: Meter,
}

impl Session {
    /// A session on a channel with records of the given layout. It sends nothing until it is used,
    /// and shares its [`window_growth_shared_max`](Config::window_growth_shared_max) with nobody.
    pub fn new(config: Config, role: Role, layout: RecordLayout, now: Instant) -> Self {
        let reserve = Reserve::new(&config);
        Self::sharing(reserve, config, role, layout, now)
    }

    /// A session that shares a reserve with others.
    pub(crate) fn sharing(
        reserve: Reserve,
        config: Config,
        role: Role,
        layout: RecordLayout,
        now: Instant,
    ) -> Self {
        let config = config.allowed();
        Self {
            role,
            phase: Phase::Running,
            next_id: Some(match role {
                Role::Dialer => 1,
                Role::Listener => 2,
            }),
            table: Table::new(Growth::new(&config, reserve)),
            incoming: VecDeque::new(),
            outbound: Outbound::new(layout, config.transmit_buffer_max),
            decoder: Decoder::default(),
            body: Body::Discard,
            keep_alive: KeepAlive::new(config.keep_alive_interval, config.keep_alive_timeout, now),
            meters: Meters {
                rapid_resets: Meter::new(config.rapid_resets, now),
                empty_frames: Meter::new(config.empty_frames, now),
                pings: Meter::new(config.pings, now),
            },
            unsent_pongs: 0,
            dropped_pongs: 0,
            opener_waited: false,
            events: VecDeque::new(),
            now,
            config,
        }
    }

    /// The round trip time to the remote, once it was measured. Queues on the way count.
    pub fn round_trip(&self) -> Option<Duration> {
        self.keep_alive.rtt()
    }

    pub(crate) fn ended(&self) -> Option<&ConnectionError> {
        match &self.phase {
            Phase::Over(error) => Some(error),
            Phase::Running | Phase::Draining => None,
        }
    }

    /// Ends the session and wakes everybody. What was received completely can still be read.
    fn end(&mut self, error: ConnectionError) {
        self.phase = Phase::Over(error);
        self.outbound.clear_queues();
        for (id, stream) in self.table.iter_mut() {
            wake_reader(&mut self.events, id, stream);
            wake_writer(&mut self.events, id, stream);
        }
        self.events.push_back(SessionEvent::Openable);
        self.events.push_back(SessionEvent::Incoming);
    }

    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        if matches!(
            error,
            ConnectionError::Malformed(_) | ConnectionError::Limit(_)
        ) {
            self.outbound.frame(Header::go_away(PROTOCOL_ERROR));
        }
        self.end(error.clone());
        error
    }

    /// Takes a stream out of all tables.
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(stream) = self.table.remove(id) {
            self.outbound
                .remove(id, &stream.turn, stream.control_requested);
            self.openable();
        }
    }

    /// One more stream may be opened.
    pub(crate) fn openable(&mut self) {
        if self.opener_waited {
            self.events.push_back(SessionEvent::Openable);
        }
    }

    /// After a goodbye of the remote, the last stream takes the session with it.
    fn check_drained(&self) -> Result<(), ConnectionError> {
        if matches!(self.phase, Phase::Draining) && self.table.len() == 0 {
            return Err(ConnectionError::ClosedByRemote(NO_ERROR));
        }
        Ok(())
    }

    /// Sends what streams have to tell beside their data.
    fn flush_control(&mut self) {
        while let Some(id) = self.outbound.next_control() {
            let Some(stream) = self.table.get(id) else {
                continue;
            };
            stream.control_requested = false;
            let flags = stream.greet();
            let delta = if stream.wants_more() && stream.window.is_due() {
                stream.window.grant()
            } else {
                0
            };
            if flags != Flags::NONE || delta > 0 {
                self.outbound.frame(Header::window_update(id, flags, delta));
            }
        }
    }

    fn wake_writers(&mut self) {
        while let Some(id) = self.outbound.next_writer() {
            if let Some(stream) = self.table.get(id) {
                self.outbound.wake(&mut stream.turn);
                wake_writer(&mut self.events, id, stream);
            }
        }
    }

    /// Streams whose remote never finishes are given up.
    fn expire_lingering(&mut self, now: Instant) {
        while let Some((since, id)) = self.table.first_gone()
            && now.saturating_duration_since(since) >= self.config.linger_timeout
        {
            self.outbound.frame(Header::reset(id, ResetCode::NONE.0));
            self.remove(id);
        }
    }

    fn check_timeouts(&mut self, now: Instant) -> Result<(), ConnectionError> {
        let ping = self
            .keep_alive
            .handle_timeout(now)
            .map_err(|Silence(limit)| ConnectionError::Timeout(limit))?;
        if let Some(value) = ping {
            self.outbound.frame(Header::ping(Flags::SYN, value));
        }
        self.expire_lingering(now);
        self.check_drained()
    }
}

impl peerkit_core::Session for Session {
    fn handle_read(&mut self, chunk: Bytes, now: Instant) -> Result<(), ConnectionError> {
        match self.ended() {
            // The remote can't know yet; what it has sent meanwhile is of no interest.
            Some(ConnectionError::Closed) => return Ok(()),
            Some(error) => return Err(error.clone()),
            None => {}
        }
        self.now = now;
        self.keep_alive.heard(now);
        self.receive(chunk)
            .and_then(|()| self.check_drained())
            .map_err(|error| self.fail(error))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.ended().is_some() {
            return Ok(());
        }
        self.now = now;
        self.check_timeouts(now).map_err(|error| self.fail(error))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over(_) => return None,
            Phase::Draining if self.table.len() == 0 => return Some(self.now),
            Phase::Draining | Phase::Running => {}
        }
        let linger = self
            .table
            .first_gone()
            .and_then(|(since, _)| since.checked_add(self.config.linger_timeout));
        self.keep_alive.deadline().into_iter().chain(linger).min()
    }

    fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self, batch: &mut Batch) -> bool {
        self.flush_control();
        self.keep_alive.sent(self.outbound.len());
        let swapped = self.outbound.swap(batch);
        if swapped {
            self.unsent_pongs = 0;
            self.wake_writers();
        }
        swapped
    }

    fn transmit_len(&self) -> usize {
        self.outbound.len()
    }

    fn end_of_input(&self) -> ConnectionError {
        match &self.phase {
            Phase::Running => ConnectionError::Truncated,
            Phase::Draining => ConnectionError::ClosedByRemote(NO_ERROR),
            Phase::Over(error) => error.clone(),
        }
    }

    fn open(&mut self, now: Instant) -> Poll<Result<StreamId, ConnectionError>> {
        self.now = now;
        self.open_stream()
    }

    fn accept(&mut self, now: Instant) -> Option<StreamId> {
        self.now = now;
        self.accept_stream()
    }

    fn read(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        self.now = now;
        self.read_stream(id, buffer)
    }

    fn write(
        &mut self,
        id: StreamId,
        buffer: &[u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        self.now = now;
        self.write_stream(id, buffer)
    }

    fn finish(&mut self, id: StreamId, now: Instant) -> Result<(), StreamError> {
        self.now = now;
        self.finish_stream(id)
    }

    fn reset(&mut self, id: StreamId, code: ResetCode) {
        self.reset_stream(id, code);
    }

    fn forget(&mut self, id: StreamId) {
        self.forget_stream(id);
    }

    fn close(&mut self, reason: CloseReason) {
        if self.ended().is_some() {
            return;
        }
        self.outbound.frame(Header::go_away(go_away_code(reason)));
        self.end(ConnectionError::Closed);
    }

    fn stream_count(&self) -> usize {
        self.table.len()
    }
}

pub(crate) fn wake_reader(events: &mut VecDeque<SessionEvent>, id: u32, stream: &mut Stream) {
    if std::mem::take(&mut stream.reader_waits) {
        events.push_back(SessionEvent::Readable(StreamId(id.into())));
    }
}

pub(crate) fn wake_writer(events: &mut VecDeque<SessionEvent>, id: u32, stream: &mut Stream) {
    if std::mem::replace(&mut stream.writer, Writer::Idle) != Writer::Idle {
        events.push_back(SessionEvent::Writable(StreamId(id.into())));
    }
}

fn go_away_code(reason: CloseReason) -> u32 {
    match reason {
        CloseReason::Normal => NO_ERROR,
        CloseReason::ProtocolError => PROTOCOL_ERROR,
        CloseReason::LimitExceeded => LIMIT_EXCEEDED,
        CloseReason::Trimmed => TRIMMED,
        CloseReason::Denied => DENIED,
        CloseReason::InternalError | _ => INTERNAL_ERROR,
    }
}

// spec: yamux "Go Away" codes.
pub(crate) const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;

// What go-libp2p sends in the same place, since yamux itself has no codes for these.
const LIMIT_EXCEEDED: u32 = 0x1001;
const TRIMMED: u32 = 0x1005;
const DENIED: u32 = 0x1007;
