//! Frames on the wire.
//!
//! ```text
//! 0        1        2        4                8                12
//! | version | kind   | flags  | stream         | length         | body of a data frame ...
//! ```

use bytes::{Buf, Bytes};
use peerkit_core::ConnectionError;

/// Bytes in front of every frame.
pub(crate) const HEADER_LEN: usize = 12;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    WindowUpdate,
    Ping,
    GoAway,
}

/// What a frame does beside its kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// Zero for pings and goodbyes.
    pub(crate) stream: u32,
    /// Data: length of the body. Window update: additional window, or the code of a reset.
    /// Ping: an opaque value. Goodbye: its code.
    pub(crate) length: u32,
}

/// Cuts input into headers and pieces of bodies, wherever its chunks begin and end.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    partial: [u8; HEADER_LEN],
    filled: usize,
    body_left: u32,
}

/// What a [`Decoder`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Header(Header),
    /// Part of the body of the last data frame; it shares the input's memory.
    Body {
        bytes: Bytes,
        last: bool,
    },
}

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const SYN: Self = Self(1);
    pub(crate) const ACK: Self = Self(2);
    pub(crate) const FIN: Self = Self(4);
    pub(crate) const RST: Self = Self(8);

    pub(crate) fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub(crate) fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#06b}", self.0)
    }
}

impl Header {
    pub(crate) fn data(stream: u32, flags: Flags, length: u32) -> Self {
        Self {
            kind: Kind::Data,
            flags,
            stream,
            length,
        }
    }

    pub(crate) fn window_update(stream: u32, flags: Flags, delta: u32) -> Self {
        Self {
            kind: Kind::WindowUpdate,
            flags,
            stream,
            length: delta,
        }
    }

    pub(crate) fn ping(flag: Flags, value: u32) -> Self {
        Self {
            kind: Kind::Ping,
            flags: flag,
            stream: 0,
            length: value,
        }
    }

    pub(crate) fn go_away(code: u32) -> Self {
        Self {
            kind: Kind::GoAway,
            flags: Flags::NONE,
            stream: 0,
            length: code,
        }
    }

    /// A reset rides on a window update, whose length field can tell the code.
    pub(crate) fn reset(stream: u32, code: u32) -> Self {
        Self::window_update(stream, Flags::RST, code)
    }

    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let kind: u8 = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Unknown flags are kept and mean nothing.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, ConnectionError> {
        let mut bytes = &bytes[..];
        if bytes.get_u8() != VERSION {
            return Err(ConnectionError::Malformed("unknown version of yamux"));
        }
        let kind = match bytes.get_u8() {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            _ => return Err(ConnectionError::Malformed("unknown kind of frame")),
        };
        Ok(Self {
            kind,
            flags: Flags(bytes.get_u16()),
            stream: bytes.get_u32(),
            length: bytes.get_u32(),
        })
    }
}

impl Decoder {
    /// Takes the next header or piece of a body from the front of `input`;
    /// `None` when it is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Item>, ConnectionError> {
        if self.body_left > 0 {
            return Ok(self.body(input));
        }
        let Some(header) = self.header(input) else {
            return Ok(None);
        };
        let header = Header::decode(&header)?;
        if header.kind == Kind::Data {
            self.body_left = header.length;
        }
        Ok(Some(Item::Header(header)))
    }

    fn body(&mut self, input: &mut Bytes) -> Option<Item> {
        if input.is_empty() {
            return None;
        }
        let length = u32::try_from(input.len())
            .unwrap_or(u32::MAX)
            .min(self.body_left);
        self.body_left -= length;
        Some(Item::Body {
            bytes: input.split_to(length as usize),
            last: self.body_left == 0,
        })
    }

    fn header(&mut self, input: &mut Bytes) -> Option<[u8; HEADER_LEN]> {
        let wanted = &mut self.partial[self.filled..];
        let length = wanted.len().min(input.len());
        wanted[..length].copy_from_slice(&input[..length]);
        input.advance(length);
        self.filled += length;
        if self.filled < HEADER_LEN {
            return None;
        }
        self.filled = 0;
        Some(self.partial)
    }
}

const VERSION: u8 = 0;

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_the_specification_are_encoded_and_decoded() {
        let vectors = [
            (
                Header::window_update(1, Flags::SYN, 0),
                hex!("000100010000000100000000"),
            ),
            (
                Header::data(1, Flags::ACK, 2),
                hex!("000000020000000100000002"),
            ),
            (
                Header::ping(Flags::SYN, 0xdead_beef),
                hex!("0002000100000000deadbeef"),
            ),
            (
                Header::ping(Flags::ACK, 0xdead_beef),
                hex!("0002000200000000deadbeef"),
            ),
            (Header::go_away(0), hex!("000300000000000000000000")),
        ];
        for (header, bytes) in vectors {
            assert_eq!(header.encode(), bytes);
            assert_eq!(Header::decode(&bytes).unwrap(), header);
        }
    }

    #[test]
    fn other_versions_and_kinds_are_refused() {
        for bytes in [
            hex!("010000010000000100000000"),
            hex!("000400000000000000000000"),
        ] {
            assert!(matches!(
                Header::decode(&bytes),
                Err(ConnectionError::Malformed(_))
            ));
        }
    }

    #[test]
    fn the_body_shares_the_memory_of_the_input() {
        let mut wire = Header::data(1, Flags::NONE, 3).encode().to_vec();
        wire.extend_from_slice(b"abc");
        let mut input = Bytes::from(wire);
        let expected = input.slice(HEADER_LEN..).as_ptr();
        let mut decoder = Decoder::default();
        decoder.next(&mut input).unwrap();
        let Some(Item::Body { bytes, last: true }) = decoder.next(&mut input).unwrap() else {
            panic!("the body follows the header");
        };
        assert_eq!(bytes.as_ptr(), expected);
    }

    #[derive(Debug, Clone)]
    struct Frame {
        header: Header,
        body: Vec<u8>,
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        (0..4_u8, any::<u16>(), any::<u32>(), any::<u32>(), body).prop_map(
            |(kind, flags, stream, length, body)| {
                let kind =
                    [Kind::Data, Kind::WindowUpdate, Kind::Ping, Kind::GoAway][usize::from(kind)];
                let body = if kind == Kind::Data { body } else { Vec::new() };
                let length = if kind == Kind::Data {
                    body.len() as u32
                } else {
                    length
                };
                let header = Header {
                    kind,
                    flags: Flags(flags),
                    stream,
                    length,
                };
                Frame { header, body }
            },
        )
    }

    /// Everything that a decoder finds, bodies joined.
    fn decode_all(chunks: &[&[u8]]) -> Result<Vec<Frame>, ConnectionError> {
        let mut decoder = Decoder::default();
        let mut frames: Vec<Frame> = Vec::new();
        for chunk in chunks {
            let mut input = Bytes::copy_from_slice(chunk);
            while let Some(item) = decoder.next(&mut input)? {
                match item {
                    Item::Header(header) => frames.push(Frame {
                        header,
                        body: Vec::new(),
                    }),
                    Item::Body { bytes, last } => {
                        let frame = frames.last_mut().unwrap();
                        frame.body.extend_from_slice(&bytes);
                        assert_eq!(last, frame.body.len() == frame.header.length as usize);
                    }
                }
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire_however_it_is_cut(
            frames in proptest::collection::vec(frame(), 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut wire = Vec::new();
            for frame in &frames {
                wire.extend_from_slice(&frame.header.encode());
                wire.extend_from_slice(&frame.body);
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect();
            let found = decode_all(&chunks).unwrap();
            prop_assert_eq!(found.len(), frames.len());
            for (found, sent) in found.iter().zip(&frames) {
                prop_assert_eq!(found.header, sent.header);
                prop_assert_eq!(&found.body, &sent.body);
            }
        }

        #[test]
        fn a_truncated_frame_yields_its_beginning_and_no_more(frame in frame(), cut in any::<prop::sample::Index>()) {
            let mut wire = frame.header.encode().to_vec();
            wire.extend_from_slice(&frame.body);
            let cut = cut.index(wire.len());
            let found = decode_all(&[&wire[..cut]]).unwrap();
            if cut < HEADER_LEN {
                prop_assert!(found.is_empty());
            } else {
                prop_assert_eq!(&found[0].body[..], &frame.body[..cut - HEADER_LEN]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&[&bytes]);
        }
    }
}
