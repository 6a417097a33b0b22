//! yamux and mplex: one session against a stranger, and two against each other.

use std::{fmt::Debug, task::Poll, time::Instant};

use bytes::Bytes;
use peerkit_core::{Batch, RecordLayout, ResetCode, Role, Session, StreamId};
use peerkit_mplex as mplex;
use peerkit_yamux as yamux;

use crate::{clock, input::Input};

/// Any bytes into a yamux session: how they are cut makes no difference.
pub fn yamux_frames(data: &[u8]) {
    frames(data, &|role| Victim::yamux(role));
}

/// Any bytes into an mplex session.
pub fn mplex_frames(data: &[u8]) {
    frames(data, &|role| Victim::mplex(role));
}

/// Frames of a stranger between the calls of an application, with time: yamux.
pub fn yamux_session(data: &[u8]) {
    session(data, &|role| Victim::yamux(role), &yamux_frame);
}

/// The same for mplex.
pub fn mplex_session(data: &[u8]) {
    session(data, &|role| Victim::mplex(role), &mplex_frame);
}

/// A session with small limits, and what it holds.
struct Victim {
    session: Machine,
    batch: Batch,
    now: Instant,
    known: Vec<StreamId>,
}

pub(crate) enum Machine {
    Yamux(Box<yamux::Session>),
    Mplex(Box<mplex::Session>),
}

/// More would be kept than the configuration below allows.
const STREAMS_MAX: usize = 12;
const RECEIVED_MAX: usize = 3 * 1024 * 1024;

impl Victim {
    fn yamux(role: Role) -> Self {
        let config = yamux::Config {
            inbound_streams_max: 6,
            streams_max: STREAMS_MAX,
            unacknowledged_streams_max: 4,
            window_growth_max: 100_000,
            frame_payload_max: 1000,
            transmit_buffer_max: 3000,
            unsent_pongs_max: 4,
            ..yamux::Config::default()
        };
        Self::new(Machine::yamux(config, role))
    }

    fn mplex(role: Role) -> Self {
        let mut config = mplex::Config::default();
        config.inbound_streams_max = 6;
        config.outbound_streams_max = 6;
        config.unread_stream_pause = 500;
        config.unread_pause = 1000;
        config.unread_max = 2000;
        config.transmit_buffer = 3000;
        Self::new(Machine::mplex(config, role))
    }

    fn new(session: Machine) -> Self {
        Self {
            session,
            batch: Batch::default(),
            now: clock(),
            known: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), String> {
        let outcome = self
            .session
            .get()
            .handle_read(Bytes::copy_from_slice(bytes), self.now);
        outcome.map_err(|error| error.to_string())
    }

    fn sent(&mut self) -> Vec<u8> {
        sent(self.session.get(), &mut self.batch)
    }

    fn stream(&self, input: &mut Input<'_>) -> Option<StreamId> {
        let at = input.below(self.known.len().max(1));
        self.known.get(at).copied()
    }

    fn opened(&mut self, id: Option<StreamId>) {
        self.known.extend(id);
    }

    fn check(&mut self, events_max: usize) {
        let session = self.session.get();
        let mut events = 0;
        while session.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= events_max, "{events} events");
        assert!(session.stream_count() <= STREAMS_MAX);
        assert!(session.transmit_len() <= 3000 + 64 * STREAMS_MAX + 2000);
        assert!(self.session.received() <= RECEIVED_MAX);
        let timeout = self.session.get().poll_timeout();
        assert!(timeout.is_none_or(|at| at >= clock()));
    }
}

impl Machine {
    pub(crate) fn yamux(config: yamux::Config, role: Role) -> Self {
        let session = yamux::Session::new(config, role, RecordLayout::PLAIN, clock());
        Self::Yamux(Box::new(session))
    }

    pub(crate) fn mplex(config: mplex::Config, role: Role) -> Self {
        let session = mplex::Session::new(config, role, RecordLayout::PLAIN, clock());
        Self::Mplex(Box::new(session))
    }

    pub(crate) fn get(&mut self) -> &mut dyn Session {
        match self {
            Self::Yamux(session) => &mut **session,
            Self::Mplex(session) => &mut **session,
        }
    }

    /// Bytes that wait for the application.
    fn received(&self) -> usize {
        match self {
            Self::Yamux(session) => session.sizes().received_capacity,
            Self::Mplex(session) => session.unread_len(),
        }
    }
}

pub(crate) fn sent(session: &mut dyn Session, batch: &mut Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    while session.poll_transmit(batch) {
        bytes.extend_from_slice(batch.unsent());
        batch.advance(batch.unsent().len());
    }
    bytes
}

fn frames(data: &[u8], make: &dyn Fn(Role) -> Victim) {
    let mut input = Input::new(data);
    let role = role(&mut input);
    let piece = 1 + input.below(60);
    let bytes = input.rest();
    let whole = swallow(make(role), bytes, bytes.len().max(1));
    let cut = swallow(make(role), bytes, piece);
    let farewell = cut.outcome.as_ref().err();
    if farewell.is_some_and(|error| error.contains("closed the connection")) {
        // After a goodbye a session may be over between two pieces, and what follows is not looked at.
        assert!(whole.outcome.is_err());
    } else {
        assert_eq!(whole, cut);
    }
}

/// All that can be seen of a session that was fed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    outcome: Result<(), String>,
    streams: usize,
    accepted: Vec<StreamId>,
    read: Vec<Vec<u8>>,
    sent: Vec<u8>,
}

fn swallow(mut victim: Victim, bytes: &[u8], piece: usize) -> Seen {
    let mut outcome = Ok(());
    for piece in bytes.chunks(piece) {
        outcome = victim.receive(piece);
        if outcome.is_err() {
            break;
        }
    }
    victim.check(2 * bytes.len() + 2 * STREAMS_MAX);
    let now = victim.now;
    let session = victim.session.get();
    let streams = session.stream_count();
    let accepted: Vec<_> = std::iter::from_fn(|| session.accept(now)).collect();
    let read = accepted.iter().map(|id| drain(session, *id, now)).collect();
    Seen {
        outcome,
        streams,
        read,
        sent: victim.sent(),
        accepted,
    }
}

fn drain(session: &mut dyn Session, id: StreamId, now: Instant) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 512]);
    while let Poll::Ready(Ok(count @ 1..)) = session.read(id, &mut buffer, now) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    bytes
}

fn session(data: &[u8], make: &dyn Fn(Role) -> Victim, frame: &dyn Fn(&mut Input<'_>) -> Vec<u8>) {
    let mut input = Input::new(data);
    let mut victim = make(role(&mut input));
    while !input.is_empty() {
        let now = victim.now;
        let action = input.byte();
        let stream = victim.stream(&mut input);
        match (action % 16, stream) {
            (0..=6, _) => {
                let bytes = frame(&mut input);
                let _ = victim.receive(&bytes);
            }
            (7, _) => drop(victim.sent()),
            (8, _) => {
                let id = victim.session.get().accept(now);
                victim.opened(id);
            }
            (9, _) => {
                if let Poll::Ready(Ok(id)) = victim.session.get().open(now) {
                    victim.opened(Some(id));
                }
            }
            (10, Some(id)) => {
                let mut buffer = vec![0; usize::from(input.byte())];
                drop(victim.session.get().read(id, &mut buffer, now));
            }
            (11, Some(id)) => drop(victim.session.get().write(id, input.bytes(), now)),
            (12, Some(id)) => drop(victim.session.get().finish(id, now)),
            (13, Some(id)) => victim.session.get().reset(id, ResetCode(input.u32())),
            (14, Some(id)) => {
                victim.known.retain(|known| *known != id);
                victim.session.get().forget(id);
            }
            (15, _) => {
                victim.now += input.time();
                let now = victim.now;
                let _ = victim.session.get().handle_timeout(now);
            }
            _ => {}
        }
        victim.check(1000);
    }
}

/// A frame that is likely to mean something.
fn yamux_frame(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    if kind >= 0xf0 {
        return input.bytes().to_vec();
    }
    let kind = kind % 4;
    let (flags, stream) = (u16::from(input.byte() % 32), input.u32());
    let body = if kind == 0 { input.bytes() } else { &[] };
    let length = if kind == 0 {
        body.len() as u32
    } else {
        input.u32()
    };
    let mut frame = vec![0, kind];
    frame.extend_from_slice(&flags.to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn mplex_frame(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    if kind >= 0xf0 {
        return input.bytes().to_vec();
    }
    let mut frame = Vec::new();
    varint(
        u64::from(input.u32()) << 3 | u64::from(kind % 7),
        &mut frame,
    );
    let body = input.bytes();
    varint(body.len() as u64, &mut frame);
    frame.extend_from_slice(body);
    frame
}

pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn role(input: &mut Input<'_>) -> Role {
    if input.flag() {
        Role::Dialer
    } else {
        Role::Listener
    }
}
