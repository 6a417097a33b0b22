//! Frames: a length and as many bytes, over and over.

use bytes::{Bytes, BytesMut};

use super::{DecodeError, wire::read_varint};

/// Cuts a stream of bytes into frames. Memory grows with what has arrived, not with what is announced.
///
/// Feed it with [`decode`](Self::decode); while a large frame is incomplete, [`space`](Self::space)
/// has room to read into without a further copy.
#[derive(Debug)]
pub struct FrameDecoder {
    frame_len_max: usize,
    /// The bytes of a length that was cut up.
    header: [u8; 10],
    header_len: usize,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    buffer: BytesMut,
    filled: usize,
    len: usize,
}

/// How much room a frame gets before any of it has arrived.
const FIRST_STEP: usize = 128 * 1024;

impl FrameDecoder {
    /// Refuses frames with more bytes.
    pub fn new(frame_len_max: usize) -> Self {
        Self {
            frame_len_max,
            header: [0; 10],
            header_len: 0,
            body: None,
        }
    }

    /// Takes bytes off `input` until a frame is complete; `None` when all of it is taken. Empty
    /// frames are skipped. After an error the stream can't be used any more.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, DecodeError> {
        loop {
            if let Some(body) = &mut self.body {
                if !body.take(input) {
                    return Ok(None);
                }
                return Ok(self.body.take().map(Body::finish));
            }
            let Some(len) = self.decode_len(input)? else {
                return Ok(None);
            };
            if input.len() >= len {
                let (frame, rest) = input.split_at(len);
                *input = rest;
                if len > 0 {
                    return Ok(Some(Bytes::copy_from_slice(frame)));
                }
            } else {
                self.body = Some(Body::new(len));
            }
        }
    }

    /// Bytes that the frame that is being received still lacks; zero between two frames.
    pub fn missing(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.len - body.filled)
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_within_frame(&self) -> bool {
        self.header_len > 0 || self.body.is_some()
    }

    /// Room for the next bytes of an incomplete frame; report with [`filled`](Self::filled) how many were
    /// read. Empty between two frames.
    pub fn space(&mut self) -> &mut [u8] {
        match &mut self.body {
            Some(body) => body.space(),
            None => &mut [],
        }
    }

    /// So many bytes were read into [`space`](Self::space); returns the frame when that was its end.
    ///
    /// # Panics
    ///
    /// If there was less space.
    pub fn filled(&mut self, count: usize) -> Option<Bytes> {
        let body = self.body.as_mut()?;
        body.filled += count;
        assert!(body.filled <= body.buffer.len(), "there was less space");
        if body.filled < body.len {
            return None;
        }
        self.body.take().map(Body::finish)
    }

    fn decode_len(&mut self, input: &mut &[u8]) -> Result<Option<usize>, DecodeError> {
        if self.header_len == 0
            && let Some((first, rest)) = input.split_first()
            && *first < 0x80
        {
            *input = rest;
            return self.checked(u64::from(*first)).map(Some);
        }
        while let Some((byte, rest)) = input.split_first() {
            self.header[self.header_len] = *byte;
            self.header_len += 1;
            *input = rest;
            if let Some((len, _)) = read_varint(&self.header[..self.header_len])? {
                self.header_len = 0;
                return self.checked(len).map(Some);
            }
        }
        Ok(None)
    }

    fn checked(&self, len: u64) -> Result<usize, DecodeError> {
        let max = self.frame_len_max;
        match usize::try_from(len) {
            Ok(len) if len <= max => Ok(len),
            _ => Err(DecodeError::FrameTooLarge { len, max }),
        }
    }
}

impl Body {
    fn new(len: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(len.min(FIRST_STEP)),
            filled: 0,
            len,
        }
    }

    fn space(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            let len = self.len.min(FIRST_STEP.max(self.filled * 2));
            self.buffer.resize(len, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Whether that was the end.
    fn take(&mut self, input: &mut &[u8]) -> bool {
        if self.filled == self.buffer.len() {
            return self.append(input);
        }
        while self.filled < self.len {
            let space = self.space();
            let count = space.len().min(input.len());
            let (taken, rest) = input.split_at(count);
            space[..count].copy_from_slice(taken);
            *input = rest;
            self.filled += count;
            if count == 0 {
                return false;
            }
        }
        true
    }

    /// The same where no room was cleared to read into.
    fn append(&mut self, input: &mut &[u8]) -> bool {
        let count = input.len().min(self.len - self.filled);
        let (taken, rest) = input.split_at(count);
        self.buffer.extend_from_slice(taken);
        *input = rest;
        self.filled += count;
        self.filled == self.len
    }

    fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::wire::put_varint;

    fn frames(lens: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, len) in lens.iter().enumerate() {
            put_varint(&mut bytes, *len as u64);
            bytes.resize(bytes.len() + len, at as u8);
        }
        bytes
    }

    fn cut(bytes: &[u8], step: usize) -> Vec<Bytes> {
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut found = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(frame) = decoder.decode(&mut piece).unwrap() {
                found.push(frame);
            }
        }
        assert!(!decoder.is_within_frame());
        found
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut_up() {
        let lens = [1, 0, 127, 128, 0, 300, 400_000, 5];
        let bytes = frames(&lens);
        for step in [1, 7, 4096, bytes.len()] {
            let found = cut(&bytes, step);
            let found: Vec<_> = found.iter().map(|frame| (frame.len(), frame[0])).collect();
            assert_eq!(
                found,
                [(1, 0), (127, 2), (128, 3), (300, 5), (400_000, 6), (5, 7)]
            );
        }
    }

    #[test]
    fn a_large_frame_is_read_in_place_and_takes_memory_as_it_comes() {
        let bytes = frames(&[1 << 20]);
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut input = &bytes[..100];
        assert!(decoder.decode(&mut input).unwrap().is_none());
        assert!(decoder.space().len() < FIRST_STEP);
        let mut at = 100;
        let frame = loop {
            let space = decoder.space();
            let count = space.len().min(50_000);
            space[..count].copy_from_slice(&bytes[at..at + count]);
            at += count;
            if let Some(frame) = decoder.filled(count) {
                break frame;
            }
        };
        assert_eq!(frame, &bytes[3..]);
        assert_eq!((decoder.missing(), decoder.space().len()), (0, 0));
    }

    /// Attacks F04, G16.
    #[test]
    fn lengths_beyond_the_limit_or_beyond_numbers_are_refused() {
        let mut decoder = FrameDecoder::new(1000);
        let refused = decoder.decode(&mut &[0xe9, 0x07][..]).unwrap_err();
        assert_eq!(
            refused,
            DecodeError::FrameTooLarge {
                len: 1001,
                max: 1000
            }
        );
        let mut decoder = FrameDecoder::new(1000);
        let refused = decoder.decode(&mut &[0xff; 11][..]).unwrap_err();
        assert_eq!(refused, DecodeError::BadVarint);
    }
}
