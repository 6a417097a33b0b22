//! Random operations on two sessions, compared with a model that is as simple as can be:
//! how much each end has written and read, and what may have ended it.

use std::task::Poll;

use bytes::Bytes;
use peerkit_core::{ResetCode, Role, Session as _, SessionEvent, StreamError, StreamId};
use peerkit_mplex::Config;
use proptest::prelude::*;

use crate::support::{Pair, Read, Side, opened, start};

mod support;

#[derive(Clone, Debug)]
enum Operation {
    Open(usize),
    Write(usize, usize),
    Read(usize, usize),
    Finish(usize),
    Reset(usize),
    Forget(usize),
    Move(usize),
}

/// One end of a stream, and what its application has done and seen.
struct End {
    side: usize,
    id: StreamId,
    written: usize,
    read: usize,
    finished: bool,
    /// It was reset here, or let go of before it was finished.
    aborted: bool,
    forgotten: bool,
    reader: Waiter,
    writer: Waiter,
}

#[derive(PartialEq, Eq)]
enum Waiter {
    Idle,
    Waits,
    Told,
}

/// The ends of one stream are neighbours in the list.
struct World {
    pair: Pair,
    ends: Vec<End>,
}

impl World {
    fn new() -> Self {
        let mut config = Config::default();
        config.unread_stream_pause = 3000;
        config.unread_pause = 8000;
        config.transmit_buffer = 5000;
        config.outbound_streams_max = 8;
        Self {
            pair: Pair::new(config),
            ends: Vec::new(),
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Open(side) => self.open(side % 2),
            Operation::Write(end, count) => self.on(end, |world, at| world.write(at, count)),
            Operation::Read(end, count) => self.on(end, |world, at| {
                world.read(at, count);
            }),
            Operation::Finish(end) => self.on(end, Self::finish),
            Operation::Reset(end) => self.on(end, Self::reset),
            Operation::Forget(end) => self.on(end, Self::forget),
            Operation::Move(chunks) => drop(self.pair.step(chunks)),
        }
        self.note_events();
    }

    fn on(&mut self, end: usize, work: impl FnOnce(&mut Self, usize)) {
        let known = |at: &usize| !self.ends[*at].forgotten;
        let usable: Vec<usize> = (0..self.ends.len()).filter(known).collect();
        if !usable.is_empty() {
            work(self, usable[end % usable.len()]);
        }
    }

    /// Opens a stream if it can be accepted at once, so that it is clear which one is accepted.
    fn open(&mut self, side: usize) {
        self.pair.settle();
        let now = self.pair.now;
        if !self.pair.is_settled() || self.live_streams(side) >= 8 {
            return;
        }
        let near = opened(self.side(side).session.open(now));
        self.pair.settle();
        let far = self.side(1 - side).session.accept(now);
        self.ends.push(End::new(side, near));
        self.ends
            .push(End::new(1 - side, far.expect("the stream has arrived")));
    }

    fn write(&mut self, at: usize, count: usize) {
        let now = self.pair.now;
        let End {
            side,
            id,
            written,
            finished,
            ..
        } = self.ends[at];
        let bytes: Vec<u8> = (written..written + count).map(|n| pattern(at, n)).collect();
        let outcome = self.side(side).session.write(id, &bytes, now);
        self.note_events();
        let end = &mut self.ends[at];
        end.writer.check(outcome.is_pending());
        match outcome {
            Poll::Ready(Ok(taken)) => {
                assert!(!finished && taken <= count);
                end.written += taken;
            }
            Poll::Ready(Err(StreamError::WriteClosed)) => assert!(finished),
            Poll::Ready(Err(error)) => self.explain(at, &error),
            Poll::Pending => assert!(!finished),
        }
    }

    /// True when there was something.
    fn read(&mut self, at: usize, count: usize) -> bool {
        let now = self.pair.now;
        let End { side, id, read, .. } = self.ends[at];
        let outcome = self.side(side).read(id, count, now);
        self.note_events();
        self.ends[at].reader.check(matches!(outcome, Read::Nothing));
        let other = &self.ends[at ^ 1];
        match outcome {
            Read::Bytes(bytes) => {
                assert!(read + bytes.len() <= other.written);
                let same = |(n, byte): (usize, &u8)| *byte == pattern(at ^ 1, read + n);
                assert!(bytes.iter().enumerate().all(same));
                self.ends[at].read += bytes.len();
                true
            }
            Read::End => {
                assert!(other.finished && other.written == read);
                false
            }
            Read::Failed(error) => {
                self.explain(at, &error);
                false
            }
            Read::Nothing => false,
        }
    }

    fn finish(&mut self, at: usize) {
        let now = self.pair.now;
        let End { side, id, .. } = self.ends[at];
        match self.side(side).session.finish(id, now) {
            Ok(()) => self.ends[at].finished = true,
            Err(error) => self.explain(at, &error),
        }
    }

    fn reset(&mut self, at: usize) {
        let End { side, id, .. } = self.ends[at];
        self.side(side).session.reset(id, ResetCode::NONE);
        self.ends[at].aborted = true;
    }

    fn forget(&mut self, at: usize) {
        let End { side, id, .. } = self.ends[at];
        self.side(side).session.forget(id);
        let end = &mut self.ends[at];
        end.forgotten = true;
        end.aborted |= !end.finished;
    }

    /// A stream fails only if one of its ends has been given up.
    fn explain(&self, at: usize, error: &StreamError) {
        let (end, other) = (&self.ends[at], &self.ends[at ^ 1]);
        let here = matches!(error, StreamError::Reset) && end.aborted;
        let there = matches!(error, StreamError::ResetByRemote(_));
        let explained = here || there && (other.aborted || other.forgotten);
        assert!(explained, "{error}");
    }

    /// Reads everything that can be read, then checks that nothing is missing or left behind.
    fn conclude(mut self) {
        loop {
            self.pair.settle();
            self.note_events();
            let reads =
                (0..self.ends.len()).map(|at| !self.ends[at].forgotten && self.read(at, 700));
            if reads.fold(false, |any, read| any | read) {
                continue;
            }
            if self.pair.is_settled() {
                break;
            }
        }
        for at in 0..self.ends.len() {
            let (end, other) = (&self.ends[at], &self.ends[at ^ 1]);
            if !(end.aborted || other.aborted || end.forgotten || other.forgotten) {
                assert_eq!(end.read, other.written);
                assert!(
                    self.ends[at].writer != Waiter::Waits,
                    "a writer was not told of room"
                );
            }
            if !self.ends[at].forgotten {
                self.forget(at);
            }
        }
        self.pair.settle();
        for side in [&self.pair.dialer, &self.pair.listener] {
            assert_eq!(side.session.stream_count(), 0);
            assert_eq!(side.session.unread_len(), 0);
            assert!(side.session.poll_timeout().is_none());
        }
    }

    fn note_events(&mut self) {
        for side in 0..2 {
            for event in self.side(side).drain_events() {
                if let SessionEvent::Readable(id) = event {
                    self.end(side, id).reader.tell();
                } else if let SessionEvent::Writable(id) = event {
                    self.end(side, id).writer.tell();
                }
            }
        }
    }

    fn end(&mut self, side: usize, id: StreamId) -> &mut End {
        let mut ends = self.ends.iter_mut();
        let end = ends.find(|end| end.side == side && end.id == id);
        end.expect("events are about streams that exist")
    }

    fn live_streams(&self, side: usize) -> usize {
        let live = |end: &&End| end.side == side && !end.forgotten;
        self.ends.iter().filter(live).count()
    }

    fn side(&mut self, side: usize) -> &mut Side {
        match side {
            0 => &mut self.pair.dialer,
            _ => &mut self.pair.listener,
        }
    }
}

impl End {
    fn new(side: usize, id: StreamId) -> Self {
        Self {
            side,
            id,
            written: 0,
            read: 0,
            finished: false,
            aborted: false,
            forgotten: false,
            reader: Waiter::Idle,
            writer: Waiter::Idle,
        }
    }
}

impl Waiter {
    fn tell(&mut self) {
        if *self == Waiter::Waits {
            *self = Waiter::Told;
        }
    }

    /// Whoever waits must have been told before things went on.
    fn check(&mut self, pending: bool) {
        assert!(
            pending || *self != Waiter::Waits,
            "nobody told the one who waits"
        );
        if pending {
            *self = Waiter::Waits;
        } else {
            *self = Waiter::Idle;
        }
    }
}

fn pattern(end: usize, at: usize) -> u8 {
    ((end * 31 + at) % 251) as u8
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let end = 0_usize..40;
    prop_oneof![
        2 => (0_usize..2).prop_map(Operation::Open),
        8 => (end.clone(), 1_usize..4000).prop_map(|(end, count)| Operation::Write(end, count)),
        8 => (end.clone(), 1_usize..4000).prop_map(|(end, count)| Operation::Read(end, count)),
        2 => end.clone().prop_map(Operation::Finish),
        1 => end.clone().prop_map(Operation::Reset),
        1 => end.prop_map(Operation::Forget),
        6 => (1_usize..4).prop_map(Operation::Move),
    ]
}

/// Frames that are likely to meet each other, and some that are not frames.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0_u8..4, 0_u8..7, prop::collection::vec(any::<u8>(), 0..100)).prop_map(
        |(number, flag, body)| [&[number << 3 | flag, body.len() as u8][..], &body].concat(),
    );
    prop_oneof![20 => frame, 1 => prop::collection::vec(any::<u8>(), 0..5)]
}

proptest! {
    #[test]
    fn two_sessions_behave_like_the_model(operations in prop::collection::vec(any_operation(), 1..120)) {
        let mut world = World::new();
        for operation in operations {
            world.apply(operation);
        }
        world.conclude();
    }

    #[test]
    fn any_input_keeps_the_limits(inputs in prop::collection::vec(any_input(), 1..200), size in 1_usize..50) {
        let mut config = Config::default();
        config.inbound_streams_max = 3;
        config.unread_max = 500;
        config.rapid_reset_burst = 10;
        let now = start();
        let mut side = Side::new(config, Role::Listener, now);
        let mut known = vec![opened(side.session.open(now))];
        for chunk in inputs.concat().chunks(size) {
            if side.session.handle_read(Bytes::copy_from_slice(chunk), now).is_err() {
                break;
            }
            known.extend(side.session.accept(now));
            prop_assert!(side.session.unread_len() <= 500);
            prop_assert!(side.session.stream_count() <= 4);
            prop_assert!(side.session.transmit_len() <= 1000);
            prop_assert!(side.drain_events().len() <= size);
        }
        for id in known {
            let _ = side.read(id, 1000, now);
            side.session.forget(id);
        }
        while let Some(id) = side.session.accept(now) {
            side.session.forget(id);
        }
        prop_assert_eq!(side.session.unread_len(), 0);
        prop_assert_eq!(side.session.stream_count(), 0);
    }
}
