//! Two sessions of a muxer over a wire: what arrives is what was sent, in order and whole.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Batch, ResetCode, Role, StreamError, StreamId};
use peerkit_mplex as mplex;
use peerkit_yamux as yamux;

use crate::{
    clock,
    input::Input,
    muxers::{Machine, sent},
};

/// Two yamux sessions used in any way.
pub fn yamux_pair(data: &[u8]) {
    let mut input = Input::new(data);
    let config = yamux::Config {
        frame_payload_max: 1 + usize::from(input.u16()),
        transmit_buffer_max: 1 + usize::from(input.u16()),
        window_growth_max: usize::from(input.u16()) * 8,
        inbound_streams_max: 20,
        streams_max: 40,
        unacknowledged_streams_max: 10,
        ..yamux::Config::default()
    };
    let make = |role| Machine::yamux(config.clone(), role);
    World::new(make(Role::Dialer), make(Role::Listener)).run(input);
}

/// Two mplex sessions used in any way.
pub fn mplex_pair(data: &[u8]) {
    let mut input = Input::new(data);
    let mut config = mplex::Config::default();
    config.transmit_buffer = 1 + usize::from(input.u16());
    config.unread_stream_pause = 1 + usize::from(input.u16());
    let make = |role| Machine::mplex(config.clone(), role);
    World::new(make(Role::Dialer), make(Role::Listener)).run(input);
}

struct World {
    sides: [Side; 2],
    now: Instant,
    /// What was written by each side to the stream with this tag.
    flows: BTreeMap<(usize, u8), Flow>,
    tags: u8,
}

struct Side {
    machine: Machine,
    batch: Batch,
    inbox: VecDeque<Bytes>,
    ends: Vec<End>,
}

#[derive(Default)]
struct Flow {
    written: usize,
    finished: bool,
    aborted: bool,
}

/// One end of a stream. The first byte in each direction is the tag that its opener chose.
struct End {
    id: StreamId,
    tag: Option<u8>,
    read: usize,
    broken: bool,
}

impl World {
    fn new(dialer: Machine, listener: Machine) -> Self {
        let side = |machine| Side {
            machine,
            batch: Batch::default(),
            inbox: VecDeque::new(),
            ends: Vec::new(),
        };
        Self {
            sides: [side(dialer), side(listener)],
            now: clock(),
            flows: BTreeMap::new(),
            tags: 0,
        }
    }

    fn run(mut self, mut input: Input<'_>) {
        while !input.is_empty() {
            let action = input.byte();
            let at = usize::from(action >> 7);
            match action & 15 {
                0 => self.open(at),
                1 => {
                    self.accept(at);
                }
                2..=4 => {
                    let len = usize::from(input.u16());
                    self.write(at, input.byte(), len);
                }
                5..=7 => {
                    let len = usize::from(input.u16());
                    self.read(at, input.byte(), len);
                }
                8 => self.finish(at, input.byte()),
                9 => self.reset(at, input.byte()),
                10 => self.forget(at, input.byte()),
                11 => self.transmit(1 + usize::from(input.u16())),
                12 | 13 => {
                    self.deliver(at);
                }
                14 => self.advance(input.time().min(Duration::from_secs(4))),
                _ => self.settle(),
            }
            self.drain_events();
        }
        self.wind_up();
    }

    fn open(&mut self, at: usize) {
        if self.tags == u8::MAX {
            return;
        }
        if let Poll::Ready(id) = self.sides[at].machine.get().open(self.now) {
            let tag = self.tags;
            self.tags += 1;
            let id = id.expect("the connection lives");
            self.sides[at].ends.push(End::new(id, Some(tag)));
            self.flows.insert((at, tag), Flow::default());
            self.flows.insert((1 - at, tag), Flow::default());
        }
    }

    fn accept(&mut self, at: usize) -> bool {
        let accepted = self.sides[at].machine.get().accept(self.now);
        let ends = accepted.map(|id| End::new(id, None));
        self.sides[at].ends.extend(ends);
        accepted.is_some()
    }

    fn write(&mut self, at: usize, number: u8, len: usize) {
        let Some((index, tag)) = self.pick(at, number) else {
            return;
        };
        // Who has accepted does not know the stream's name before it has read.
        let Some(tag) = tag else { return };
        let side = &mut self.sides[at];
        let id = side.ends[index].id;
        let flow = self.flows.get_mut(&(at, tag)).expect("each tag has two");
        let bytes: Vec<u8> = (flow.written..flow.written + len.max(1))
            .map(|position| pattern(at, tag, position))
            .collect();
        match side.machine.get().write(id, &bytes, self.now) {
            Poll::Ready(Ok(count)) => {
                assert!(!flow.finished && count <= bytes.len());
                flow.written += count;
            }
            Poll::Ready(Err(StreamError::WriteClosed)) => assert!(flow.finished),
            Poll::Ready(Err(_)) => side.ends[index].broken = true,
            Poll::Pending => assert!(!flow.finished),
        }
    }

    fn read(&mut self, at: usize, number: u8, len: usize) -> bool {
        let Some((index, _)) = self.pick(at, number) else {
            return false;
        };
        let side = &mut self.sides[at];
        let mut buffer = vec![0; len.max(1)];
        let end = &mut side.ends[index];
        match side.machine.get().read(end.id, &mut buffer, self.now) {
            Poll::Ready(Ok(0)) => {
                let flow = end.tag.and_then(|tag| self.flows.get(&(1 - at, tag)));
                // Nobody knows which stream ended without a byte.
                if let Some(flow) = flow {
                    assert!(flow.finished && flow.written == end.read, "cut short");
                }
                false
            }
            Poll::Ready(Ok(count)) => {
                end.check(1 - at, &buffer[..count]);
                let flow = &self.flows[&(1 - at, end.tag.expect("a byte was read"))];
                assert!(end.read <= flow.written);
                true
            }
            Poll::Ready(Err(_)) => {
                end.broken = true;
                false
            }
            Poll::Pending => false,
        }
    }

    fn finish(&mut self, at: usize, number: u8) {
        if let Some((index, Some(tag))) = self.pick(at, number) {
            let side = &mut self.sides[at];
            let id = side.ends[index].id;
            if side.machine.get().finish(id, self.now).is_ok() {
                self.flows.entry((at, tag)).or_default().finished = true;
            }
        }
    }

    fn reset(&mut self, at: usize, number: u8) {
        if let Some((index, tag)) = self.pick(at, number) {
            let id = self.sides[at].ends[index].id;
            self.sides[at].machine.get().reset(id, ResetCode(7));
            self.abort(at, tag);
        }
    }

    fn forget(&mut self, at: usize, number: u8) {
        if let Some((index, tag)) = self.pick(at, number) {
            let end = self.sides[at].ends.swap_remove(index);
            self.sides[at].machine.get().forget(end.id);
            self.abort(at, tag);
        }
    }

    /// From here on errors of both ends are expected. A stream whose name is not known spoils all.
    fn abort(&mut self, at: usize, tag: Option<u8>) {
        match tag {
            Some(tag) => {
                for side in [at, 1 - at] {
                    self.flows.entry((side, tag)).or_default().aborted = true;
                }
            }
            None => self.flows.values_mut().for_each(|flow| flow.aborted = true),
        }
    }

    fn transmit(&mut self, chunk: usize) {
        for at in 0..2 {
            let side = &mut self.sides[at];
            let bytes = sent(side.machine.get(), &mut side.batch);
            let chunks = bytes.chunks(chunk).map(Bytes::copy_from_slice);
            self.sides[1 - at].inbox.extend(chunks);
        }
    }

    fn deliver(&mut self, at: usize) -> bool {
        let side = &mut self.sides[at];
        if !side.machine.get().wants_read() {
            return false;
        }
        let Some(chunk) = side.inbox.pop_front() else {
            return false;
        };
        let outcome = side.machine.get().handle_read(chunk, self.now);
        outcome.expect("both sides follow the rules");
        true
    }

    /// Everything arrives that can, and the answers to it.
    fn settle(&mut self) {
        loop {
            self.transmit(usize::MAX);
            let mut moved = false;
            for at in 0..2 {
                while self.deliver(at) {
                    moved = true;
                }
            }
            self.drain_events();
            if !moved {
                break;
            }
        }
    }

    /// The wire is quick; only so can nobody be taken for dead.
    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..20 {
            self.settle();
            let timers = self.sides.iter_mut();
            let next = timers
                .filter_map(|side| side.machine.get().poll_timeout())
                .min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.handle_timeouts();
        }
        self.now = end;
        self.handle_timeouts();
        self.settle();
    }

    fn handle_timeouts(&mut self) {
        for side in &mut self.sides {
            let outcome = side.machine.get().handle_timeout(self.now);
            outcome.expect("both sides are quick");
        }
    }

    fn drain_events(&mut self) {
        for side in &mut self.sides {
            while side.machine.get().poll_event().is_some() {}
        }
    }

    /// Everything is read; what was not aborted has arrived. Then all is let go of, and nothing is left.
    fn wind_up(&mut self) {
        let mut idle_rounds = 0;
        while idle_rounds < 2 {
            self.settle();
            let mut moved = false;
            for at in 0..2 {
                moved |= self.accept(at);
                for number in 0..self.sides[at].ends.len() {
                    let Ok(number) = u8::try_from(number) else {
                        break;
                    };
                    moved |= self.read(at, number, 60_000);
                }
            }
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        }
        self.check_arrivals();
        for side in &mut self.sides {
            for end in side.ends.drain(..) {
                side.machine.get().forget(end.id);
            }
            while let Some(id) = side.machine.get().accept(self.now) {
                side.machine.get().forget(id);
            }
        }
        self.settle();
        for side in &mut self.sides {
            while let Some(id) = side.machine.get().accept(self.now) {
                side.machine.get().forget(id);
            }
        }
        self.settle();
        for side in &mut self.sides {
            assert_eq!(side.machine.get().stream_count(), 0);
            assert_eq!(side.machine.get().transmit_len(), 0);
        }
    }

    fn check_arrivals(&self) {
        for at in 0..2 {
            for end in self.sides[at].ends.iter().filter(|end| !end.broken) {
                let Some(tag) = end.tag else { continue };
                let flow = &self.flows[&(1 - at, tag)];
                assert!(flow.aborted || flow.written == end.read, "bytes were lost");
            }
        }
    }

    fn pick(&self, at: usize, number: u8) -> Option<(usize, Option<u8>)> {
        let ends = &self.sides[at].ends;
        let index = usize::from(number) % ends.len().max(1);
        ends.get(index).map(|end| (index, end.tag))
    }
}

impl End {
    fn new(id: StreamId, tag: Option<u8>) -> Self {
        Self {
            id,
            tag,
            read: 0,
            broken: false,
        }
    }

    fn check(&mut self, from: usize, bytes: &[u8]) {
        let tag = match self.tag {
            Some(tag) => tag,
            None => bytes[0],
        };
        self.tag = Some(tag);
        for (offset, byte) in bytes.iter().enumerate() {
            let expected = pattern(from, tag, self.read + offset);
            assert_eq!(*byte, expected, "bytes were mixed up");
        }
        self.read += bytes.len();
    }
}

fn pattern(from: usize, tag: u8, position: usize) -> u8 {
    if position == 0 {
        return tag;
    }
    (position as u8)
        .wrapping_mul(31)
        .wrapping_add((position >> 8) as u8)
        .wrapping_add(tag.wrapping_mul(7))
        .wrapping_add(from as u8 * 101)
}
