//! Whose turn it is to write.

use std::collections::{BTreeSet, VecDeque};

use peerkit_core::StreamId;

/// Shares the transmit buffer among the streams, first come first served.
///
/// ```text
/// write refused -> waiting --the buffer was taken to be sent--> granted --write--> out
/// ```
///
/// Once somebody waits or has a turn, everybody else waits as well, so that a
/// greedy writer can't fill the buffer again before the others have run. Whoever
/// waits does so with bytes in the buffer, so that its next emptying is certain.
#[derive(Debug)]
pub(crate) struct Writers {
    capacity: usize,
    waiting: VecDeque<StreamId>,
    granted: BTreeSet<StreamId>,
}

impl Writers {
    /// `capacity` is the size of the transmit buffer.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            waiting: VecDeque::new(),
            granted: BTreeSet::new(),
        }
    }

    /// How many of `wanted` bytes the stream may put into a buffer that holds `queued`.
    /// With `None` it waits and will be among those of [`grant`](Self::grant).
    pub(crate) fn admit(&mut self, id: StreamId, queued: usize, wanted: usize) -> Option<usize> {
        let has_turn = self.granted.remove(&id);
        let contended = !self.granted.is_empty() || !self.waiting.is_empty();
        let share = self.capacity.saturating_sub(queued) / (self.granted.len() + 1);
        let count = wanted.min(share).min(MESSAGE_MAX);
        if queued == 0 {
            return Some(count.max(1));
        }
        if (contended && !has_turn) || count < wanted.min(MESSAGE_MIN) {
            self.wait(id);
            return None;
        }
        Some(count)
    }

    /// Whether the buffer is so full that even small frames should wait.
    pub(crate) fn is_full(&self, queued: usize) -> bool {
        queued >= self.capacity
    }

    /// The buffer was emptied: those who wait get their turn, and are named in order.
    pub(crate) fn grant(&mut self) -> impl Iterator<Item = StreamId> + '_ {
        self.waiting.drain(..).inspect(|id| {
            self.granted.insert(*id);
        })
    }

    /// The stream writes no more; true when it was waiting.
    pub(crate) fn remove(&mut self, id: StreamId) -> bool {
        self.granted.remove(&id);
        let waiting = self.waiting.len();
        self.waiting.retain(|other| *other != id);
        self.waiting.len() < waiting
    }

    /// Nobody writes any more; names those who waited.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = StreamId> + '_ {
        self.granted.clear();
        self.waiting.drain(..)
    }

    fn wait(&mut self, id: StreamId) {
        if !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
    }
}

/// The largest message that is sent, in bytes. All implementations accept more; smaller
/// messages let streams take turns.
const MESSAGE_MAX: usize = 64 * 1024;

/// Rather than a smaller piece than this, a stream waits for the buffer to be emptied.
const MESSAGE_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const A: StreamId = StreamId(1);
    const B: StreamId = StreamId(2);

    #[test]
    fn a_lone_writer_fills_the_buffer() {
        let mut writers = Writers::new(100_000);
        assert_eq!(writers.admit(A, 0, 1_000_000), Some(MESSAGE_MAX));
        assert_eq!(
            writers.admit(A, MESSAGE_MAX, 1_000_000),
            Some(100_000 - MESSAGE_MAX)
        );
        assert_eq!(writers.admit(A, 100_000, 1), None);
        assert_eq!(writers.admit(A, 99_500, 600), None);
        assert_eq!(writers.grant().collect::<Vec<_>>(), [A]);
    }

    #[test]
    fn a_greedy_writer_waits_for_those_who_wait() {
        let mut writers = Writers::new(1000);
        assert_eq!(writers.admit(A, 1000, 5), None);
        assert_eq!(writers.admit(B, 1000, 5), None);
        assert_eq!(writers.grant().collect::<Vec<_>>(), [A, B]);
        assert_eq!(writers.admit(A, 0, 2000), Some(500));
        assert_eq!(writers.admit(A, 500, 2000), None);
        assert_eq!(writers.admit(B, 500, 5), Some(5));
        assert_eq!(writers.admit(B, 505, 5), None);
        assert_eq!(writers.grant().collect::<Vec<_>>(), [A, B]);
    }

    #[test]
    fn a_turn_that_is_not_used_blocks_nobody() {
        let mut writers = Writers::new(1000);
        assert_eq!(writers.admit(A, 1000, 5), None);
        assert_eq!(writers.grant().count(), 1);
        assert_eq!(writers.admit(B, 0, 5), Some(5));
        assert!(!writers.remove(A));
        assert_eq!(writers.admit(B, 5, 5), Some(5));
    }
}
