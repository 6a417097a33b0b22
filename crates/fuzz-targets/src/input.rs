//! The fuzzer's bytes, read as choices.

use std::time::Duration;

/// Reads choices from the front. What is missing reads as zero, so that every input has a meaning.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at least one and at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A small number mostly, and often one at which numbers break.
    pub(crate) fn u32(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=0x9f => u32::from(small),
            0xa0..=0xbf => u32::from(self.u16()),
            0xc0..=0xcf => u32::from(self.u16()) << 16 | u32::from(self.u16()),
            0xd0..=0xdf => 256 * 1024 - 1 + u32::from(self.byte() % 3),
            0xe0..=0xef => (1 << 31) - 1 + u32::from(self.byte() % 3),
            0xf0..=0xff => u32::MAX - u32::from(self.byte() % 3),
        }
    }

    /// The same with 64 bits.
    pub(crate) fn u64(&mut self) -> u64 {
        match self.byte() % 4 {
            0 | 1 => u64::from(self.u32()),
            2 => u64::from(self.u32()) << 32 | u64::from(self.u32()),
            _ => u64::MAX - u64::from(self.byte()),
        }
    }

    /// From no time at all to some hours.
    pub(crate) fn time(&mut self) -> Duration {
        let number = u64::from(self.byte());
        let millis = match self.byte() % 4 {
            0 => number,
            1 => number * 20,
            2 => number * 1000,
            _ => number * 60_000,
        };
        Duration::from_millis(millis)
    }

    /// As many bytes as the next one says, or fewer.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// The same for up to 65,535 bytes.
    pub(crate) fn long_bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(len)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A change to bytes that somebody else has made.
pub(crate) fn patch(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    match input.byte() % 5 {
        0 => {}
        1 | 2 => {
            let (at, mask) = (usize::from(input.u16()), input.byte());
            let len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte ^= mask;
            }
        }
        3 => bytes.truncate(usize::from(input.u16())),
        _ => bytes.extend_from_slice(input.bytes()),
    }
}
