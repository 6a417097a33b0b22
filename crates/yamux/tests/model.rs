//! Random use of two sessions, compared with queues of bytes; and random bytes.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod common;

use std::{
    collections::{BTreeMap, VecDeque},
    task::Poll,
    time::Duration,
};

use common::*;
use peerkit_core::{ResetCode, Session as _, StreamError, StreamId};
use peerkit_yamux::Config;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Action {
    Open(At),
    Accept(At),
    Write(At, usize, usize),
    Read(At, usize, usize),
    Finish(At, usize),
    Reset(At, usize, u32),
    Forget(At, usize),
    /// Everything that waits is sent.
    Transmit,
    /// Time moves to the next arrival.
    Step,
    Advance(Duration),
}

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Dialer,
    Listener,
}

/// One direction of a stream as it should be.
#[derive(Debug, Default)]
struct Flow {
    /// Written and not yet read.
    bytes: VecDeque<u8>,
    written: usize,
    finished: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// From the dialer, from the listener.
    flows: [Flow; 2],
    /// Who has reset it, with which code.
    resets: [Option<u32>; 2],
    /// Who has its end in hand.
    held: [bool; 2],
}

struct World {
    pair: Pair,
    streams: BTreeMap<StreamId, Stream>,
    wire: Wire,
}

/// What somebody sees who watches the wire.
#[derive(Default)]
struct Wire {
    seen: [usize; 2],
    /// Data sent by each side, and window granted by each side, for each stream.
    sent: [BTreeMap<u32, usize>; 2],
    granted: [BTreeMap<u32, usize>; 2],
}

impl At {
    fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            pair: Pair::with(config.clone(), config),
            streams: BTreeMap::new(),
            wire: Wire::default(),
        }
    }

    fn side(&mut self, at: At) -> &mut Side {
        match at {
            At::Dialer => &mut self.pair.dialer,
            At::Listener => &mut self.pair.listener,
        }
    }

    /// A stream whose end is in hand there.
    fn pick(&self, at: At, number: usize) -> Option<StreamId> {
        let held: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.held[at.index()])
            .map(|(&id, _)| id)
            .collect();
        (!held.is_empty()).then(|| held[number % held.len()])
    }

    fn run(&mut self, step: &Action) {
        let now = self.pair.now;
        match *step {
            Action::Open(at) => {
                if let Poll::Ready(id) = self.side(at).session.open(now) {
                    let stream = self.streams.entry(id.unwrap()).or_default();
                    stream.held[at.index()] = true;
                }
            }
            Action::Accept(at) => {
                if let Some(id) = self.side(at).session.accept(now) {
                    let stream = self.streams.get_mut(&id).expect("it was opened");
                    stream.held[at.index()] = true;
                }
            }
            Action::Write(at, number, length) => self.write(at, number, length),
            Action::Read(at, number, length) => {
                if let Some(id) = self.pick(at, number) {
                    self.read(at, id, length);
                }
            }
            Action::Finish(at, number) => self.finish(at, number),
            Action::Reset(at, number, code) => {
                if let Some(id) = self.pick(at, number) {
                    self.side(at).session.reset(id, ResetCode(code));
                    self.note_reset(at, id, code);
                }
            }
            Action::Forget(at, number) => {
                if let Some(id) = self.pick(at, number) {
                    self.forget(at, id);
                }
            }
            Action::Transmit => self.pair.transmit(),
            Action::Step => {
                self.pair.step();
            }
            Action::Advance(time) => self.pair.advance(time),
        }
        self.check();
    }

    fn write(&mut self, at: At, number: usize, length: usize) {
        let Some(id) = self.pick(at, number) else {
            return;
        };
        let begin = self.streams[&id].flows[at.index()].written;
        let bytes: Vec<u8> = (begin..begin + length).map(|at| byte(id, at)).collect();
        let now = self.pair.now;
        let outcome = self.side(at).session.write(id, &bytes, now);
        let stream = self.streams.get_mut(&id).unwrap();
        let flow = &mut stream.flows[at.index()];
        match outcome {
            Poll::Pending => {}
            Poll::Ready(Ok(count)) => {
                assert!(!flow.finished);
                flow.bytes.extend(&bytes[..count]);
                flow.written += count;
            }
            Poll::Ready(Err(error)) => check_error(at, stream, &error),
        }
    }

    fn read(&mut self, at: At, id: StreamId, length: usize) -> usize {
        let mut buffer = vec![0; length];
        let now = self.pair.now;
        let outcome = self.side(at).session.read(id, &mut buffer, now);
        let stream = self.streams.get_mut(&id).unwrap();
        let flow = &mut stream.flows[at.other().index()];
        match outcome {
            Poll::Pending => 0,
            Poll::Ready(Ok(0)) => {
                let ended = flow.finished && flow.bytes.is_empty();
                assert!(ended || length == 0, "an end without an end: {flow:?}");
                0
            }
            Poll::Ready(Ok(count)) => {
                let expected: Vec<u8> = flow.bytes.drain(..count).collect();
                assert!(buffer[..count] == expected, "bytes were mixed up");
                count
            }
            Poll::Ready(Err(error)) => {
                check_error(at, stream, &error);
                0
            }
        }
    }

    fn finish(&mut self, at: At, number: usize) {
        let Some(id) = self.pick(at, number) else {
            return;
        };
        let now = self.pair.now;
        let outcome = self.side(at).session.finish(id, now);
        let stream = self.streams.get_mut(&id).unwrap();
        match outcome {
            Ok(()) => stream.flows[at.index()].finished = true,
            Err(error) => check_error(at, stream, &error),
        }
    }

    fn forget(&mut self, at: At, id: StreamId) {
        self.side(at).session.forget(id);
        self.note_reset(at, id, 0);
        self.streams.get_mut(&id).unwrap().held[at.index()] = false;
    }

    fn note_reset(&mut self, at: At, id: StreamId, code: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        stream.resets[at.index()].get_or_insert(code);
    }

    /// What must hold after each step.
    fn check(&mut self) {
        assert!(self.pair.dialer.end.is_none(), "{:?}", self.pair.dialer.end);
        assert!(self.pair.listener.end.is_none());
        self.pair.dialer.take_events();
        self.pair.listener.take_events();
        for at in [At::Dialer, At::Listener] {
            let bytes = match at {
                At::Dialer => &self.pair.dialer.sent,
                At::Listener => &self.pair.listener.sent,
            };
            let seen = std::mem::replace(&mut self.wire.seen[at.index()], bytes.len());
            for frame in frames(&bytes[seen..]) {
                self.wire.note(at, &frame);
            }
            let sizes = self.side(at).sizes();
            assert!(sizes.streams <= 40 && sizes.received_capacity <= 40 * 2 * WINDOW);
        }
        self.wire.check();
    }

    /// Everything is finished and read; nothing may be left.
    fn wind_up(&mut self) {
        // Reading announces streams, which can be accepted in the next round.
        let mut idle_rounds = 0;
        while idle_rounds < 2 {
            self.pair.settle();
            let mut moved = 0;
            for at in [At::Dialer, At::Listener] {
                moved += self.accept_all(at);
                for id in self.held(at) {
                    moved += self.read(at, id, 1024 * KIB);
                }
            }
            self.check();
            idle_rounds = if moved == 0 { idle_rounds + 1 } else { 0 };
        }
        for (id, stream) in &self.streams {
            let untouched = stream.resets == [None, None];
            let read = stream.flows.iter().all(|flow| flow.bytes.is_empty());
            assert!(read || !untouched, "bytes of {id} were lost");
        }
        for at in [At::Dialer, At::Listener] {
            for id in self.held(at) {
                let now = self.pair.now;
                let _ = self.side(at).session.finish(id, now);
                self.pair.settle();
                self.side(at).session.forget(id);
            }
        }
        self.pair.settle();
        for side in [&self.pair.dialer, &self.pair.listener] {
            let sizes = side.sizes();
            assert_eq!((sizes.streams, sizes.unacknowledged_streams), (0, 0));
            assert_eq!((sizes.window_growth, sizes.slices), (0, 0));
            assert_eq!((sizes.transmit, sizes.waiting_writers), (0, 0));
        }
    }

    fn accept_all(&mut self, at: At) -> usize {
        let now = self.pair.now;
        let mut count = 0;
        while let Some(id) = self.side(at).session.accept(now) {
            self.streams.get_mut(&id).unwrap().held[at.index()] = true;
            count += 1;
        }
        count
    }

    fn held(&self, at: At) -> Vec<StreamId> {
        let held = self.streams.iter();
        held.filter(|(_, stream)| stream.held[at.index()])
            .map(|(&id, _)| id)
            .collect()
    }
}

impl Wire {
    fn note(&mut self, at: At, frame: &Frame) {
        let sum = match frame.kind {
            DATA => &mut self.sent,
            UPDATE if frame.flags & RST == 0 => &mut self.granted,
            _ => return,
        };
        *sum[at.index()].entry(frame.stream).or_default() += frame.length as usize;
    }

    /// Nobody sends more than was granted.
    fn check(&self) {
        for at in [At::Dialer, At::Listener] {
            for (id, sent) in &self.sent[at.index()] {
                let granted = self.granted[at.other().index()].get(id).unwrap_or(&0);
                assert!(*sent <= WINDOW + granted);
            }
        }
    }
}

/// An error needs somebody who has caused it.
fn check_error(at: At, stream: &Stream, error: &StreamError) {
    let local = stream.resets[at.index()];
    let remote = stream.resets[at.other().index()];
    let fits = match error {
        StreamError::Reset => local.is_some(),
        StreamError::ResetByRemote(code) => {
            let refused = *code == ResetCode::LIMIT_EXCEEDED;
            // A stream that was let go of is reset without a code.
            refused || remote.is_some_and(|told| code.0 == told || code.0 == 0)
        }
        StreamError::WriteClosed => stream.flows[at.index()].finished,
        StreamError::Unsupported(_)
        | StreamError::Malformed(_)
        | StreamError::Limit(_)
        | StreamError::Connection(_)
        | _ => false,
    };
    assert!(fits, "{error} at {at:?}: {:?}", stream.resets);
}

fn byte(id: StreamId, at: usize) -> u8 {
    (at as u64 * 31 + id.0 * 7 + (at as u64 >> 8)) as u8
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![Just(At::Dialer), Just(At::Listener)]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1..20_usize, 1..5000_usize, 1..300_000_usize]
}

fn step() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => at().prop_map(Action::Open),
        3 => at().prop_map(Action::Accept),
        12 => (at(), 0..8_usize, length()).prop_map(|(at, of, length)| Action::Write(at, of, length)),
        12 => (at(), 0..8_usize, length()).prop_map(|(at, of, length)| Action::Read(at, of, length)),
        2 => (at(), 0..8_usize).prop_map(|(at, of)| Action::Finish(at, of)),
        1 => (at(), 0..8_usize, 0..5_u32).prop_map(|(at, of, code)| Action::Reset(at, of, code)),
        1 => (at(), 0..8_usize).prop_map(|(at, of)| Action::Forget(at, of)),
        4 => Just(Action::Transmit),
        8 => Just(Action::Step),
        1 => (0..40_000_u64).prop_map(|ms| Action::Advance(Duration::from_millis(ms))),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (
        0..2_usize,
        1..70_000_usize,
        1..300_000_usize,
        0..1_000_000_usize,
    )
        .prop_map(|(few, frame, buffer, growth)| Config {
            inbound_streams_max: 20,
            streams_max: 40,
            unacknowledged_streams_max: if few == 0 { 2 } else { 20 },
            frame_payload_max: frame,
            transmit_buffer_max: buffer,
            window_growth_max: growth,
            ..Config::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn streams_are_queues_of_bytes(
        config in config(),
        chop in prop_oneof![Just(usize::MAX), 1..40_000_usize],
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(config);
        world.pair.chop(chop);
        for step in &steps {
            world.run(step);
        }
        world.wind_up();
    }

    #[test]
    fn random_bytes_never_panic_and_keep_memory_bounded(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..8),
    ) {
        let mut victim = Victim::new();
        for chunk in chunks {
            victim.receive(chunk);
            bounded(&victim);
        }
    }

    #[test]
    fn random_frames_never_panic_and_keep_memory_bounded(
        steps in proptest::collection::vec(
            (0..4_u8, 0..16_u16, 0..9_u32, 0..300_u32, 0..8_u8),
            1..300,
        ),
    ) {
        let mut victim = Victim::new();
        let mut buffer = [0; 100];
        for (kind, flags, stream, length, action) in steps {
            let kind = if kind == 3 && length > 3 { DATA } else { kind };
            let mut bytes = header(kind, flags, stream, length);
            if kind == DATA {
                bytes.extend(pattern(length as usize));
            }
            victim.receive(bytes);
            let id = StreamId(stream.into());
            let now = victim.now;
            let session = &mut victim.side.session;
            match action {
                0 => drop(session.accept(now)),
                1 => drop(session.read(id, &mut buffer, now)),
                2 => drop(session.write(id, &buffer, now)),
                3 => drop(session.finish(id, now)),
                4 => session.reset(id, ResetCode(length)),
                5 => drop(session.open(now)),
                6 => drop(victim.side.take_frames()),
                _ => {}
            }
            bounded(&victim);
        }
    }
}

fn bounded(victim: &Victim) {
    let sizes = victim.side.sizes();
    assert!(sizes.streams <= 512 && sizes.inbound_streams <= 256);
    assert!(sizes.received_capacity <= 256 * KIB);
    assert!(sizes.transmit <= 300 * (100 + 24));
}
