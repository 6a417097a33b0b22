//! What was received on a stream and not yet read.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::Pool;

/// A queue of bytes. Large pieces stay where they were received; small ones are copied
/// together, so that they neither pin a large chunk nor cost more than their size.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
enum Segment {
    /// A slice of the session's input.
    Shared(Bytes),
    Owned {
        bytes: Vec<u8>,
        read: usize,
    },
}

impl Buffer {
    /// Appends `piece`. Each slice that is kept is taken from `slices`; when there are none
    /// left, the bytes are copied.
    pub(crate) fn push(&mut self, piece: Bytes, slices: &mut Pool) {
        if piece.len() >= SHARED_MIN && slices.take_up_to(1) == 1 {
            self.segments.push_back(Segment::Shared(piece));
        } else {
            self.copy(&piece);
        }
    }

    /// Moves bytes to `out` until it is full or nothing is left.
    pub(crate) fn read(&mut self, out: &mut [u8], slices: &mut Pool) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let Some(segment) = self.segments.front_mut() else {
                break;
            };
            let count = segment.read(&mut out[filled..]);
            filled += count;
            if segment.rest().is_empty() && !self.retire_front(slices) {
                break;
            }
        }
        filled
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, slices: &mut Pool) {
        let shared = |segment: &&Segment| matches!(segment, Segment::Shared(_));
        slices.give(self.segments.iter().filter(shared).count());
        self.segments = VecDeque::new();
    }

    /// Bytes that can be read.
    pub(crate) fn len(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.rest().len())
            .sum()
    }

    /// Bytes of memory that are held, what slices pin beside their own length not counted.
    pub(crate) fn capacity(&self) -> usize {
        let content: usize = self.segments.iter().map(Segment::capacity).sum();
        content + self.segments.capacity() * size_of::<Segment>()
    }

    fn copy(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let tail = self.open_tail();
            let count = rest.len().min(TAIL_MAX - tail.len());
            let (now, later) = rest.split_at(count);
            reserve(tail, count);
            tail.extend_from_slice(now);
            rest = later;
        }
    }

    /// The last segment, if small pieces can be appended to it; otherwise a new one.
    fn open_tail(&mut self) -> &mut Vec<u8> {
        let open = matches!(
            self.segments.back(),
            Some(Segment::Owned { bytes, .. }) if bytes.len() < TAIL_MAX
        );
        if !open {
            self.segments.push_back(Segment::Owned {
                bytes: Vec::new(),
                read: 0,
            });
        }
        match self.segments.back_mut() {
            Some(Segment::Owned { bytes, .. }) => bytes,
            Some(Segment::Shared(_)) | None => unreachable!("an open tail was just made"),
        }
    }

    /// Removes the front segment, which was read; false when nothing is left.
    fn retire_front(&mut self, slices: &mut Pool) -> bool {
        if self.segments.len() == 1
            && let Some(Segment::Owned { bytes, read }) = self.segments.front_mut()
            && bytes.capacity() <= KEPT_MAX
        {
            bytes.clear();
            *read = 0;
            return false;
        }
        if let Some(Segment::Shared(_)) = self.segments.pop_front() {
            slices.give(1);
        }
        if self.segments.is_empty() && self.segments.capacity() > KEPT_SEGMENTS_MAX {
            self.segments = VecDeque::new();
        }
        !self.segments.is_empty()
    }
}

impl Segment {
    fn rest(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned { bytes, read } => &bytes[*read..],
        }
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        let rest = self.rest();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        match self {
            Self::Shared(bytes) => bytes::Buf::advance(bytes, count),
            Self::Owned { read, .. } => *read += count,
        }
        count
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Owned { bytes, .. } => bytes.capacity(),
        }
    }
}

/// Doubles the capacity when it is used up, but never beyond what a tail may hold.
fn reserve(tail: &mut Vec<u8>, additional: usize) {
    let wanted = tail.len() + additional;
    if wanted > tail.capacity() {
        let capacity = wanted.max(tail.capacity() * 2).min(TAIL_MAX);
        tail.reserve_exact(capacity - tail.len());
    }
}

/// Pieces smaller than this are copied: they would pin a chunk that is many times larger.
const SHARED_MIN: usize = 4 * 1024;

/// Small pieces are copied together up to this size.
const TAIL_MAX: usize = 16 * 1024;

/// An empty tail up to this size is kept for the next piece, so that
/// a stream of small messages does not allocate for each.
const KEPT_MAX: usize = 1024;

const KEPT_SEGMENTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slices() -> Pool {
        Pool::new(64)
    }

    #[test]
    fn one_byte_pieces_cost_no_more_than_two_bytes_each() {
        let mut buffer = Buffer::default();
        let mut slices = slices();
        for count in 1..=262_144_usize {
            buffer.push(Bytes::from_static(b"x"), &mut slices);
            assert!(buffer.segments.len() <= count.div_ceil(TAIL_MAX));
            if count % 1000 == 0 {
                assert!(buffer.capacity() <= 2 * count + 1024);
            }
        }
        assert!(buffer.capacity() <= 262_144 + 2048);
    }

    #[test]
    fn large_pieces_are_not_copied_until_slices_run_out() {
        let mut buffer = Buffer::default();
        let mut slices = Pool::new(1);
        let piece = Bytes::from(vec![7; SHARED_MIN]);
        buffer.push(piece.clone(), &mut slices);
        buffer.push(piece.clone(), &mut slices);
        assert_eq!(slices.used(), 1);
        let Some(Segment::Shared(first)) = buffer.segments.front() else {
            panic!("the first piece is shared");
        };
        assert_eq!(first.as_ptr(), piece.as_ptr());
        let mut out = vec![0; 3 * SHARED_MIN];
        assert_eq!(buffer.read(&mut out, &mut slices), 2 * SHARED_MIN);
        assert_eq!(slices.used(), 0);
    }

    #[test]
    fn a_small_tail_is_kept_for_the_next_message_and_a_large_one_is_freed() {
        let mut buffer = Buffer::default();
        let mut slices = slices();
        let mut out = vec![0; TAIL_MAX];
        buffer.push(Bytes::from_static(b"hello"), &mut slices);
        assert_eq!(buffer.read(&mut out, &mut slices), 5);
        assert_eq!(buffer.segments.len(), 1);
        assert_eq!(buffer.len(), 0);
        for _ in 0..3 {
            buffer.push(Bytes::from(vec![1; SHARED_MIN - 1]), &mut slices);
        }
        buffer.read(&mut out, &mut slices);
        assert_eq!(buffer.segments.len(), 0);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in proptest::collection::vec((any::<bool>(), 0..9000_usize), 1..120),
        ) {
            let mut buffer = Buffer::default();
            let mut slices = Pool::new(3);
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for (push, length) in steps {
                if push {
                    let piece: Vec<u8> = (0..length).map(|i| next.wrapping_add(i as u8)).collect();
                    next = next.wrapping_add(13);
                    model.extend(piece.iter().copied());
                    buffer.push(piece.into(), &mut slices);
                } else {
                    let mut out = vec![0; length];
                    let count = buffer.read(&mut out, &mut slices);
                    prop_assert_eq!(count, length.min(model.len()));
                    let expected: Vec<u8> = model.drain(..count).collect();
                    prop_assert_eq!(&out[..count], &expected[..]);
                }
                prop_assert_eq!(buffer.len(), model.len());
            }
            buffer.clear(&mut slices);
            prop_assert_eq!(slices.used(), 0);
        }
    }
}
