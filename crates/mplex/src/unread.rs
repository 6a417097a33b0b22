//! Bytes that arrived and were not yet read.

use std::{collections::VecDeque, time::Instant};

use bytes::{Buf, Bytes, BytesMut};

use crate::Config;

/// The unread bytes of one stream.
#[derive(Debug)]
pub(crate) struct Unread {
    segments: VecDeque<Segment>,
    len: usize,
    /// Whether this stream alone is a reason to pause.
    full: bool,
    /// When bytes were last read, or began to wait.
    moved: Instant,
}

/// ```text
/// chunk of the channel:  [ head | body ............ | head | body | head | body .. ]
///                               '---- Kept: shared -'      '-- Copied --'
/// ```
#[derive(Debug)]
enum Segment {
    /// A slice of what the channel delivered. It keeps the whole chunk in memory, so there are few.
    Kept(Bytes),
    /// A copy, for small pieces: one byte must not keep a chunk.
    Copied(BytesMut),
}

/// The unread bytes of all streams of a connection, and whether to pause.
#[derive(Debug)]
pub(crate) struct Intake {
    stream_pause: usize,
    pause: usize,
    max: usize,
    total: usize,
    /// How many segments are kept.
    kept: usize,
    /// How many streams are full.
    full_streams: usize,
    /// Whether all streams together are a reason to pause.
    full: bool,
    paused: Option<Instant>,
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Unread {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            segments: VecDeque::new(),
            len: 0,
            full: false,
            moved: now,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push_copy(&mut self, bytes: &[u8]) {
        if let Some(Segment::Copied(tail)) = self.segments.back_mut()
            && tail.len() + bytes.len() <= COPIED_MAX
        {
            tail.extend_from_slice(bytes);
            return;
        }
        self.segments.push_back(Segment::Copied(bytes.into()));
    }
}

impl Intake {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            stream_pause: config.unread_stream_pause.max(1),
            pause: config.unread_pause.max(1),
            max: config.unread_max,
            total: 0,
            kept: 0,
            full_streams: 0,
            full: false,
            paused: None,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Appends to `unread`. The bytes must not be none.
    pub(crate) fn push(
        &mut self,
        unread: &mut Unread,
        bytes: Bytes,
        now: Instant,
    ) -> Result<(), Overflow> {
        let count = bytes.len();
        if count > self.max.saturating_sub(self.total) {
            return Err(Overflow);
        }
        if unread.len == 0 {
            unread.moved = now;
        }
        if count >= KEPT_MIN && self.kept < KEPT_COUNT_MAX {
            self.kept += 1;
            unread.segments.push_back(Segment::Kept(bytes));
        } else {
            unread.push_copy(&bytes);
        }
        unread.len += count;
        self.total += count;
        self.judge(unread, now);
        Ok(())
    }

    /// Moves bytes from the front of `unread` into `buffer` and tells how many.
    pub(crate) fn read(&mut self, unread: &mut Unread, buffer: &mut [u8], now: Instant) -> usize {
        let mut filled = 0;
        while let Some(front) = unread.segments.front_mut() {
            filled += front.read(&mut buffer[filled..]);
            if !front.is_empty() {
                break;
            }
            self.kept -= front.kept();
            unread.segments.pop_front();
        }
        unread.len -= filled;
        self.total -= filled;
        unread.moved = now;
        self.judge(unread, now);
        filled
    }

    /// Throws the unread bytes away.
    pub(crate) fn discard(&mut self, unread: &mut Unread) {
        self.kept -= unread.segments.iter().map(Segment::kept).sum::<usize>();
        self.total -= unread.len;
        unread.len = 0;
        unread.segments = VecDeque::new();
        self.judge(unread, unread.moved);
    }

    /// Since when this stream holds up the connection without being read; `None` if it does not.
    pub(crate) fn stalled_since(&self, unread: &Unread) -> Option<Instant> {
        let paused = self.paused?;
        let guilty = match self.full_streams {
            0 => unread.len > 0,
            _ => unread.full,
        };
        guilty.then_some(unread.moved.max(paused))
    }

    /// Notes whether to pause. It takes more to begin a pause than to stay in it, so that
    /// a slow reader does not start and stop the channel with each byte.
    fn judge(&mut self, unread: &mut Unread, now: Instant) {
        let was_full = unread.full;
        unread.full = is_full(unread.len, self.stream_pause, was_full);
        self.full_streams += usize::from(unread.full);
        self.full_streams -= usize::from(was_full);
        self.full = is_full(self.total, self.pause, self.full);
        if self.full || self.full_streams > 0 {
            self.paused.get_or_insert(now);
        } else {
            self.paused = None;
        }
    }
}

impl Segment {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        match self {
            Segment::Kept(bytes) => take(bytes, buffer),
            Segment::Copied(bytes) => take(bytes, buffer),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Segment::Kept(bytes) => bytes.is_empty(),
            Segment::Copied(bytes) => bytes.is_empty(),
        }
    }

    fn kept(&self) -> usize {
        match self {
            Segment::Kept(_) => 1,
            Segment::Copied(_) => 0,
        }
    }
}

fn take(bytes: &mut impl Buf, buffer: &mut [u8]) -> usize {
    let count = bytes.remaining().min(buffer.len());
    bytes.copy_to_slice(&mut buffer[..count]);
    count
}

fn is_full(len: usize, limit: usize, was_full: bool) -> bool {
    len >= limit || (was_full && len > limit / 2)
}

/// Smaller pieces are copied.
const KEPT_MIN: usize = 4096;

/// How many slices of the channel's chunks a connection keeps; beyond that it copies. With
/// chunks of the driver's 128 KiB, at most 2 MiB are held for the sake of smaller slices.
const KEPT_COUNT_MAX: usize = 16;

/// Copied pieces are joined up to this size, so that memory goes back while they are read.
const COPIED_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn intake(stream_pause: usize, pause: usize, max: usize) -> Intake {
        Intake::new(&Config {
            unread_stream_pause: stream_pause,
            unread_pause: pause,
            unread_max: max,
            ..Config::default()
        })
    }

    /// Bytes of memory behind a buffer, shared chunks left out.
    fn heap(unread: &Unread) -> usize {
        let copied = unread.segments.iter().map(|segment| match segment {
            Segment::Kept(_) => 0,
            Segment::Copied(bytes) => bytes.capacity(),
        });
        copied.sum::<usize>() + unread.segments.capacity() * size_of::<Segment>()
    }

    #[test]
    fn a_million_single_bytes_take_little_more_than_a_million_bytes() {
        let now = start();
        let mut intake = intake(usize::MAX, usize::MAX, usize::MAX);
        let mut unread = Unread::new(now);
        let chunk = Bytes::from(vec![7; 1 << 20]);
        for at in 0..chunk.len() {
            intake.push(&mut unread, chunk.slice(at..=at), now).unwrap();
        }
        assert!(heap(&unread) <= 2 << 20, "{}", heap(&unread));
        assert!(chunk.is_unique(), "no single byte keeps the chunk");
    }

    #[test]
    fn large_pieces_are_kept_without_a_copy_but_only_some() {
        let now = start();
        let mut intake = intake(usize::MAX, usize::MAX, usize::MAX);
        let mut unread = Unread::new(now);
        for _ in 0..KEPT_COUNT_MAX + 4 {
            intake
                .push(&mut unread, vec![1; KEPT_MIN].into(), now)
                .unwrap();
        }
        assert_eq!(intake.kept, KEPT_COUNT_MAX);
        assert!(heap(&unread) < 8 * KEPT_MIN);
        let mut buffer = vec![0; KEPT_MIN];
        assert_eq!(intake.read(&mut unread, &mut buffer, now), KEPT_MIN);
        assert_eq!(intake.kept, KEPT_COUNT_MAX - 1);
        intake.discard(&mut unread);
        assert_eq!((intake.kept, intake.total), (0, 0));
    }

    #[test]
    fn a_full_stream_pauses_until_half_of_it_was_read() {
        let now = start();
        let mut intake = intake(100, 1000, 2000);
        let mut unread = Unread::new(now);
        intake.push(&mut unread, vec![0; 99].into(), now).unwrap();
        assert!(!intake.is_paused());
        intake.push(&mut unread, vec![0; 1].into(), now).unwrap();
        assert!(intake.is_paused());
        intake.read(&mut unread, &mut [0; 49], now);
        assert!(intake.is_paused());
        intake.read(&mut unread, &mut [0; 1], now);
        assert!(!intake.is_paused());
    }

    #[test]
    fn only_streams_that_cause_the_pause_are_stalled() {
        let now = start();
        let later = now + Duration::from_secs(1);
        let mut intake = intake(100, 1000, 2000);
        let (mut full, mut small) = (Unread::new(now), Unread::new(now));
        intake.push(&mut small, vec![0; 10].into(), now).unwrap();
        intake.push(&mut full, vec![0; 100].into(), later).unwrap();
        assert_eq!(intake.stalled_since(&full), Some(later));
        assert_eq!(intake.stalled_since(&small), None);
    }

    #[test]
    fn many_small_streams_pause_and_are_stalled_together() {
        let now = start();
        let later = now + Duration::from_secs(1);
        let mut intake = intake(1000, 100, 2000);
        let mut streams: Vec<_> = (0..11).map(|_| Unread::new(now)).collect();
        for unread in &mut streams[..10] {
            intake.push(unread, vec![0; 10].into(), later).unwrap();
        }
        assert!(intake.is_paused());
        assert_eq!(intake.stalled_since(&streams[0]), Some(later));
        assert_eq!(intake.stalled_since(&streams[10]), None);
    }

    #[test]
    fn the_hard_limit_is_exact() {
        let now = start();
        let mut intake = intake(1000, 1000, 100);
        let mut unread = Unread::new(now);
        assert_eq!(
            intake.push(&mut unread, vec![0; 101].into(), now),
            Err(Overflow)
        );
        assert_eq!(intake.push(&mut unread, vec![0; 100].into(), now), Ok(()));
        assert_eq!(
            intake.push(&mut unread, vec![0; 1].into(), now),
            Err(Overflow)
        );
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in prop::collection::vec((0_usize..9000, 0_usize..9000), 1..60),
        ) {
            let now = start();
            let mut intake = intake(20_000, 100_000, usize::MAX);
            let mut unread = Unread::new(now);
            let (mut model, mut next) = (VecDeque::new(), 0_u8);
            for (pushed, wanted) in steps {
                let bytes: Vec<u8> = (0..pushed).map(|_| { next = next.wrapping_add(1); next }).collect();
                model.extend(&bytes);
                if pushed > 0 {
                    intake.push(&mut unread, bytes.into(), now).unwrap();
                }
                let mut buffer = vec![0; wanted];
                let read = intake.read(&mut unread, &mut buffer, now);
                prop_assert_eq!(read, wanted.min(model.len()));
                let expected: Vec<u8> = model.drain(..read).collect();
                prop_assert_eq!(&buffer[..read], &expected[..]);
                prop_assert_eq!((unread.len(), intake.total()), (model.len(), model.len()));
                prop_assert!(heap(&unread) <= 2 * model.len() + 2 * COPIED_MAX + 8192);
            }
        }
    }
}
