//! What waits to be sent, and whose turn it is.
//!
//! Frames are written straight into the transmit buffer. Payload in it is bounded; a writer
//! that finds it full waits until the buffer is swapped out, which begins the next *round*.
//! In each round every stream that waited, a *contender*, has an equal share for itself, and those who
//! come without having waited have one together. So nobody can fill the buffer alone,
//! whoever runs first, and nobody waits for a share that is not used: a round lasts until the next swap, and
//! whoever has to wait finds something in the buffer that leads to a swap.
//!
//! Frames without payload are never held back: there is at most one announcement and window update
//! for each stream, which are only written when the buffer is swapped out and join what else
//! the stream sends until then. Answers to the remote's frames are as many as it
//! provokes; the session's owner stops reading when they pile up.

use std::collections::VecDeque;

use peerkit_core::{Batch, RecordLayout, Transmit};

use crate::frame::{HEADER_LEN, Header};

#[derive(Debug)]
pub(crate) struct Outbound {
    transmit: Transmit,
    /// Payload of data frames in the transmit buffer.
    data: usize,
    data_max: usize,
    round: u64,
    /// Streams that waited when this round began.
    contenders: usize,
    /// Those among them that have not used any of their share.
    unclaimed: usize,
    /// Streams that wait and got nothing in this round; they are woken first.
    starved: VecDeque<u32>,
    /// Streams that wait and have used up their share.
    served: VecDeque<u32>,
    /// Streams with an announcement or a window update to send.
    control: VecDeque<u32>,
}

/// What one stream has used of its share.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    round: u64,
    taken: usize,
    /// The round in which the stream is a contender.
    contends: Option<u64>,
    /// In one of the queues of those who wait.
    waits: bool,
}

impl Outbound {
    pub(crate) fn new(layout: RecordLayout, data_max: usize) -> Self {
        Self {
            transmit: Transmit::new(layout),
            data: 0,
            data_max,
            round: 0,
            contenders: 0,
            unclaimed: 0,
            starved: VecDeque::new(),
            served: VecDeque::new(),
            control: VecDeque::new(),
        }
    }

    /// Bytes that wait to be sent.
    pub(crate) fn len(&self) -> usize {
        self.transmit.len() + self.control.len() * HEADER_LEN
    }

    /// Queues a frame without a body.
    pub(crate) fn frame(&mut self, header: Header) {
        self.transmit.put(&header.encode());
    }

    /// Queues a data frame.
    pub(crate) fn data(&mut self, header: Header, payload: &[u8], turn: &mut Turn) {
        self.transmit.put(&header.encode());
        self.transmit.put(payload);
        self.data += payload.len();
        if self.taken(turn) == 0 && self.contends(turn) {
            self.unclaimed -= 1;
        }
        turn.taken = self.taken(turn) + payload.len();
        turn.round = self.round;
    }

    /// Payload bytes that a stream may queue now.
    pub(crate) fn room(&self, turn: &Turn) -> usize {
        let left = self.data_max.saturating_sub(self.data);
        let share = self.share();
        if !self.contends(turn) {
            let reserved = (self.unclaimed * share).min(self.data_max - share);
            left.saturating_sub(reserved)
        } else if self.contenders == 1 {
            left
        } else {
            left.min(share.saturating_sub(self.taken(turn)))
        }
    }

    /// One share for each contender, and one for all others.
    fn share(&self) -> usize {
        let share = self.data_max / (self.contenders + 1);
        share.max(SHARE_MIN).min(self.data_max)
    }

    /// The stream is woken in the next round.
    pub(crate) fn wait(&mut self, id: u32, turn: &mut Turn) {
        if turn.waits {
            return;
        }
        turn.waits = true;
        if self.taken(turn) == 0 {
            self.starved.push_back(id);
        } else {
            self.served.push_back(id);
        }
    }

    /// The stream has an announcement or a window update to send.
    pub(crate) fn request_control(&mut self, id: u32, requested: &mut bool) {
        if !*requested {
            *requested = true;
            self.control.push_back(id);
        }
    }

    pub(crate) fn next_control(&mut self) -> Option<u32> {
        self.control.pop_front()
    }

    /// Swaps the buffer out and begins the next round; false when nothing waits to be sent.
    pub(crate) fn swap(&mut self, batch: &mut Batch) -> bool {
        if !self.transmit.swap(batch) {
            return false;
        }
        self.data = 0;
        self.round += 1;
        self.contenders = self.waiting();
        self.unclaimed = self.contenders;
        true
    }

    /// After a swap: who may write again, in this order. Each is to be [woken](Self::wake).
    pub(crate) fn next_writer(&mut self) -> Option<u32> {
        self.starved.pop_front().or_else(|| self.served.pop_front())
    }

    /// A stream has waited long enough.
    pub(crate) fn wake(&self, turn: &mut Turn) {
        turn.waits = false;
        turn.contends = Some(self.round);
    }

    /// Streams that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.starved.len() + self.served.len()
    }

    /// Forgets a stream.
    pub(crate) fn remove(&mut self, id: u32, turn: &Turn, control_requested: bool) {
        // The queues hold each stream once, so this is short; it happens only to streams that
        // end while they wait.
        if turn.waits {
            self.starved.retain(|&other| other != id);
            self.served.retain(|&other| other != id);
        }
        if control_requested {
            self.control.retain(|&other| other != id);
        }
    }

    /// Forgets announcements, window updates and waiting writers: the session is over.
    pub(crate) fn clear_queues(&mut self) {
        self.control.clear();
        self.starved.clear();
        self.served.clear();
    }

    fn contends(&self, turn: &Turn) -> bool {
        turn.contends == Some(self.round)
    }

    fn taken(&self, turn: &Turn) -> usize {
        if turn.round == self.round {
            turn.taken
        } else {
            0
        }
    }
}

/// Smaller shares would be spent on headers and wake-ups.
const SHARE_MIN: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Flags;

    const MAX: usize = 64 * 1024;

    fn outbound() -> Outbound {
        Outbound::new(RecordLayout::PLAIN, MAX)
    }

    /// Writes as much as a stream may, then waits.
    fn write_all(outbound: &mut Outbound, id: u32, turn: &mut Turn) -> usize {
        let mut total = 0;
        loop {
            let room = outbound.room(turn).min(16 * 1024);
            if room == 0 {
                outbound.wait(id, turn);
                return total;
            }
            let header = Header::data(id, Flags::NONE, room as u32);
            outbound.data(header, &vec![0; room], turn);
            total += room;
        }
    }

    fn next_round(outbound: &mut Outbound, turns: &mut [Turn]) -> Vec<u32> {
        assert!(outbound.swap(&mut Batch::default()));
        let order: Vec<_> = std::iter::from_fn(|| outbound.next_writer()).collect();
        for &id in &order {
            outbound.wake(&mut turns[id as usize]);
        }
        order
    }

    #[test]
    fn a_lone_writer_gets_the_whole_buffer() {
        let mut outbound = outbound();
        let mut turns = [Turn::default()];
        for _ in 0..3 {
            assert_eq!(write_all(&mut outbound, 0, &mut turns[0]), MAX);
            assert_eq!(next_round(&mut outbound, &mut turns), [0]);
        }
    }

    #[test]
    fn writers_that_waited_get_equal_shares() {
        let mut outbound = outbound();
        let mut turns: [Turn; 4] = Default::default();
        for (id, turn) in turns.iter_mut().enumerate() {
            write_all(&mut outbound, id as u32, turn);
        }
        assert_eq!(next_round(&mut outbound, &mut turns), [1, 2, 3, 0]);
        for (id, turn) in turns.iter_mut().enumerate() {
            assert_eq!(write_all(&mut outbound, id as u32, turn), MAX / 5);
        }
    }

    #[test]
    fn who_did_not_wait_leaves_the_shares_of_those_who_did() {
        let mut outbound = outbound();
        let mut turns: [Turn; 4] = Default::default();
        write_all(&mut outbound, 0, &mut turns[0]);
        outbound.wait(1, &mut turns[1]);
        outbound.wait(2, &mut turns[2]);
        next_round(&mut outbound, &mut turns);
        let share = MAX / 4;
        assert_eq!(write_all(&mut outbound, 3, &mut turns[3]), share);
        for id in 0..3 {
            let turn = &mut turns[id as usize];
            assert_eq!(write_all(&mut outbound, id, turn), share);
        }
    }

    #[test]
    fn what_contenders_leave_over_is_for_all() {
        let mut outbound = outbound();
        let mut turns: [Turn; 3] = Default::default();
        write_all(&mut outbound, 0, &mut turns[0]);
        outbound.wait(1, &mut turns[1]);
        next_round(&mut outbound, &mut turns);
        for id in 0..2 {
            let header = Header::data(id, Flags::NONE, 1);
            outbound.data(header, b"x", &mut turns[id as usize]);
        }
        assert_eq!(write_all(&mut outbound, 2, &mut turns[2]), MAX - 2);
    }

    #[test]
    fn shares_that_nobody_claims_block_nobody() {
        let mut outbound = outbound();
        let mut turns: Vec<Turn> = (0..200).map(|_| Turn::default()).collect();
        write_all(&mut outbound, 0, &mut turns[0]);
        for id in 1..199 {
            outbound.wait(id, &mut turns[id as usize]);
        }
        next_round(&mut outbound, &mut turns);
        assert!(write_all(&mut outbound, 199, &mut turns[199]) > 0);
        assert_eq!(next_round(&mut outbound, &mut turns), [199]);
        assert_eq!(write_all(&mut outbound, 199, &mut turns[199]), MAX);
    }

    #[test]
    fn with_more_writers_than_shares_nobody_starves() {
        let mut outbound = outbound();
        let mut turns: Vec<Turn> = (0..256).map(|_| Turn::default()).collect();
        let mut written = vec![0; turns.len()];
        let mut order: Vec<u32> = (0..256).collect();
        let shares_in_a_round = MAX / SHARE_MIN;
        for _ in 0..10 * turns.len() / shares_in_a_round {
            for &id in &order {
                written[id as usize] += write_all(&mut outbound, id, &mut turns[id as usize]);
            }
            order = next_round(&mut outbound, &mut turns);
        }
        assert!(written[1..].iter().all(|&bytes| bytes >= 8 * SHARE_MIN));
    }

    #[test]
    fn a_stream_that_ends_leaves_no_trace() {
        let mut outbound = outbound();
        let mut turn = Turn::default();
        let mut requested = false;
        outbound.wait(7, &mut turn);
        outbound.request_control(7, &mut requested);
        outbound.request_control(7, &mut requested);
        assert_eq!(outbound.len(), HEADER_LEN);
        outbound.remove(7, &turn, requested);
        assert_eq!((outbound.len(), outbound.waiting()), (0, 0));
    }
}
