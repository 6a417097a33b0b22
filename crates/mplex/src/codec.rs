//! Bytes and frames.

use std::task::Poll;

use bytes::{Buf, Bytes};
use peerkit_core::{ConnectionError, Direction, Transmit};

/// The largest body of a frame that is accepted, in bytes.
// spec: mplex#message-format "the maximum size of the data is 1 MiB"
pub(crate) const BODY_MAX: u64 = 1024 * 1024;

/// A stream's name on the wire: both sides may use the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WireId {
    pub(crate) number: u64,
    /// Outbound streams were opened by this side.
    pub(crate) direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body is a name for people; it has no meaning.
    Open,
    Message,
    Close,
    Reset,
}

/// What an input consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A frame begins.
    Head(Kind, WireId),
    /// Some bytes, never none, of a message's body.
    Body(WireId, Bytes),
}

/// Takes frames apart as their bytes arrive. It holds nothing but the numbers at their beginning.
#[derive(Debug)]
pub(crate) struct Decoder(State);

/// ```text
/// Header --> Length --> Body --all bytes--> Header
///               +--no body--> Header
/// ```
#[derive(Debug)]
enum State {
    Header(Varint),
    Length(Kind, WireId, Varint),
    Body(Kind, WireId, u64),
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self(State::Header(Varint::default()))
    }

    /// Whether the input so far ends between two frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.0, State::Header(header) if header.bytes == 0)
    }

    /// Takes the next piece from the front of `chunk`; `None` means that all of it was used.
    pub(crate) fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Piece>, ConnectionError> {
        while !chunk.is_empty() {
            let piece = match self.0 {
                State::Header(header) => self.next_header(header, chunk)?,
                State::Length(kind, id, length) => self.next_length(kind, id, length, chunk)?,
                State::Body(kind, id, left) => self.next_body(kind, id, left, chunk),
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    fn next_header(
        &mut self,
        mut header: Varint,
        chunk: &mut Bytes,
    ) -> Result<Option<Piece>, ConnectionError> {
        let value = match header.push(chunk.get_u8(), HEADER_BYTES) {
            Poll::Ready(value) => value.ok_or(BAD_HEADER)?,
            Poll::Pending => {
                self.0 = State::Header(header);
                return Ok(None);
            }
        };
        let (kind, id) = parse_header(value)?;
        self.0 = State::Length(kind, id, Varint::default());
        Ok(None)
    }

    fn next_length(
        &mut self,
        kind: Kind,
        id: WireId,
        mut length: Varint,
        chunk: &mut Bytes,
    ) -> Result<Option<Piece>, ConnectionError> {
        let value = match length.push(chunk.get_u8(), LENGTH_BYTES) {
            Poll::Ready(value) => value.ok_or(BAD_LENGTH)?,
            Poll::Pending => {
                self.0 = State::Length(kind, id, length);
                return Ok(None);
            }
        };
        if value > BODY_MAX {
            return Err(BAD_LENGTH);
        }
        self.0 = State::after(kind, id, value);
        Ok(Some(Piece::Head(kind, id)))
    }

    fn next_body(&mut self, kind: Kind, id: WireId, left: u64, chunk: &mut Bytes) -> Option<Piece> {
        let here = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        self.0 = State::after(kind, id, left - here as u64);
        let bytes = chunk.split_to(here);
        (kind == Kind::Message).then_some(Piece::Body(id, bytes))
    }
}

impl State {
    /// The state with `left` bytes of a body to come.
    fn after(kind: Kind, id: WireId, left: u64) -> Self {
        if left == 0 {
            State::Header(Varint::default())
        } else {
            State::Body(kind, id, left)
        }
    }
}

/// Writes the beginning of a frame whose body of `length` bytes follows.
pub(crate) fn put_head(output: &mut Transmit, kind: Kind, id: WireId, length: usize) {
    let header = id.number << 3 | flag(kind, id.direction);
    let (mut first, mut second) = (
        unsigned_varint::encode::u64_buffer(),
        unsigned_varint::encode::usize_buffer(),
    );
    output.put(unsigned_varint::encode::u64(header, &mut first));
    output.put(unsigned_varint::encode::usize(length, &mut second));
}

/// Each kind has two flags: the odd one is for streams that the receiver of the frame has opened.
fn flag(kind: Kind, direction: Direction) -> u64 {
    let opened_by_receiver = u64::from(direction == Direction::Inbound);
    match kind {
        Kind::Open => 0,
        Kind::Message => 2 - opened_by_receiver,
        Kind::Close => 4 - opened_by_receiver,
        Kind::Reset => 6 - opened_by_receiver,
    }
}

fn parse_header(header: u64) -> Result<(Kind, WireId), ConnectionError> {
    use Direction::{Inbound, Outbound};
    let (kind, direction) = match header & 7 {
        0 => (Kind::Open, Inbound),
        1 => (Kind::Message, Outbound),
        2 => (Kind::Message, Inbound),
        3 => (Kind::Close, Outbound),
        4 => (Kind::Close, Inbound),
        5 => (Kind::Reset, Outbound),
        6 => (Kind::Reset, Inbound),
        _ => return Err(ConnectionError::Malformed("an mplex frame of unknown type")),
    };
    let number = header >> 3;
    Ok((kind, WireId { number, direction }))
}

/// A varint of which some bytes have come.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    bytes: u32,
}

impl Varint {
    /// Adds a byte. `None` means that the number is longer than `max` bytes (at most nine,
    /// so that it fits) or not in its shortest form.
    fn push(&mut self, byte: u8, max: u32) -> Poll<Option<u64>> {
        self.value |= u64::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        if byte & 0x80 == 0 {
            let shortest = byte != 0 || self.bytes == 1;
            Poll::Ready(shortest.then_some(self.value))
        } else if self.bytes == max {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

/// Numbers of streams have at most 60 bits.
const HEADER_BYTES: u32 = 9;
/// No allowed length needs more.
const LENGTH_BYTES: u32 = 3;
const BAD_HEADER: ConnectionError =
    ConnectionError::Malformed("the stream number of an mplex frame is too long");
const BAD_LENGTH: ConnectionError =
    ConnectionError::Malformed("an mplex frame is longer than 1 MiB");

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use peerkit_core::{Batch, RecordLayout};
    use proptest::prelude::*;

    use super::*;

    fn wire(number: u64, direction: Direction) -> WireId {
        WireId { number, direction }
    }

    fn encode(kind: Kind, id: WireId, body: &[u8]) -> Vec<u8> {
        let mut output = Transmit::new(RecordLayout::PLAIN);
        put_head(&mut output, kind, id, body.len());
        output.put(body);
        let mut batch = Batch::default();
        output.swap(&mut batch);
        batch.unsent().to_vec()
    }

    /// The pieces, bodies joined, and how the input ended.
    fn decode(
        chunks: impl Iterator<Item = Vec<u8>>,
    ) -> (Vec<Piece>, Result<Decoder, ConnectionError>) {
        let mut decoder = Decoder::new();
        let mut pieces: Vec<Piece> = Vec::new();
        for chunk in chunks {
            let mut chunk = Bytes::from(chunk);
            loop {
                match decoder.next(&mut chunk) {
                    Ok(Some(piece)) => append(&mut pieces, piece),
                    Ok(None) => break,
                    Err(error) => return (pieces, Err(error)),
                }
            }
        }
        (pieces, Ok(decoder))
    }

    fn append(pieces: &mut Vec<Piece>, piece: Piece) {
        if let (Some(Piece::Body(_, before)), Piece::Body(_, more)) = (pieces.last_mut(), &piece) {
            *before = [&before[..], more].concat().into();
        } else {
            pieces.push(piece);
        }
    }

    fn flipped(id: WireId) -> WireId {
        match id.direction {
            Direction::Inbound => wire(id.number, Direction::Outbound),
            Direction::Outbound => wire(id.number, Direction::Inbound),
        }
    }

    fn error_of(bytes: &[u8]) -> ConnectionError {
        decode(std::iter::once(bytes.to_vec())).1.unwrap_err()
    }

    #[test]
    fn frames_of_the_opener_look_as_derived_from_the_specification() {
        let id = wire(5, Direction::Outbound);
        assert_eq!(encode(Kind::Open, id, b""), hex!("28 00"));
        assert_eq!(encode(Kind::Message, id, b"hi"), hex!("2a 02 68 69"));
        assert_eq!(encode(Kind::Close, id, b""), hex!("2c 00"));
        assert_eq!(encode(Kind::Reset, id, b""), hex!("2e 00"));
    }

    #[test]
    fn frames_of_the_other_side_have_the_odd_flags() {
        let id = wire(5, Direction::Inbound);
        assert_eq!(encode(Kind::Message, id, b"hi"), hex!("29 02 68 69"));
        assert_eq!(encode(Kind::Close, id, b""), hex!("2b 00"));
        assert_eq!(encode(Kind::Reset, id, b""), hex!("2d 00"));
    }

    #[test]
    fn a_name_and_the_body_of_a_close_are_skipped() {
        let bytes = hex!("28 03 61 62 63  2c 01 ff  28 00").to_vec();
        let id = wire(5, Direction::Inbound);
        let (pieces, end) = decode(std::iter::once(bytes));
        assert_eq!(
            pieces,
            [
                Piece::Head(Kind::Open, id),
                Piece::Head(Kind::Close, id),
                Piece::Head(Kind::Open, id),
            ]
        );
        assert!(end.unwrap().is_between_frames());
    }

    #[test]
    fn the_largest_number_and_length_are_accepted_and_one_more_is_not() {
        let id = wire((1 << 60) - 1, Direction::Outbound);
        let largest = encode(Kind::Message, id, &vec![7; 1 << 20]);
        let (pieces, _) = decode(std::iter::once(largest));
        assert!(matches!(&pieces[1], Piece::Body(_, body) if body.len() == 1 << 20));

        assert!(matches!(
            error_of(&hex!("2a 81 80 40")),
            ConnectionError::Malformed(_)
        ));
        assert!(matches!(
            error_of(&hex!("2a 80 80 80 01")),
            ConnectionError::Malformed(_)
        ));
        let too_long = hex!("82 80 80 80 80 80 80 80 80 01 00");
        assert!(matches!(error_of(&too_long), ConnectionError::Malformed(_)));
    }

    #[test]
    fn numbers_that_never_end_or_are_not_shortest_are_refused() {
        assert!(decode(std::iter::once(vec![0xff; 8])).1.is_ok());
        for bad in [
            &[0xff; 9][..],
            &hex!("aa 00 00"),
            &hex!("2a 80 00"),
            &hex!("2a ff ff ff"),
        ] {
            assert!(
                matches!(error_of(bad), ConnectionError::Malformed(_)),
                "{bad:02x?}"
            );
        }
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(matches!(
            error_of(&hex!("2f 00")),
            ConnectionError::Malformed(_)
        ));
    }

    fn any_frame() -> impl Strategy<Value = (Kind, WireId, Vec<u8>)> {
        let kinds = [Kind::Open, Kind::Message, Kind::Close, Kind::Reset];
        let number = prop_oneof![0_u64..200, 0_u64..(1 << 60)];
        let body = prop::collection::vec(any::<u8>(), 0..300);
        (
            prop::sample::select(kinds.to_vec()),
            number,
            any::<bool>(),
            body,
        )
            .prop_map(|(kind, number, inbound, body)| {
                let inbound = inbound && kind != Kind::Open;
                let direction = if inbound {
                    Direction::Inbound
                } else {
                    Direction::Outbound
                };
                (kind, wire(number, direction), body)
            })
    }

    proptest! {
        #[test]
        fn frames_survive_however_they_are_cut(
            frames in prop::collection::vec(any_frame(), 0..8),
            size in 1_usize..40,
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (kind, id, body) in frames {
                bytes.extend(encode(kind, id, &body));
                expected.push(Piece::Head(kind, flipped(id)));
                if kind == Kind::Message && !body.is_empty() {
                    expected.push(Piece::Body(flipped(id), body.into()));
                }
            }
            let (pieces, end) = decode(bytes.chunks(size).map(<[u8]>::to_vec));
            prop_assert_eq!(pieces, expected);
            prop_assert!(end.unwrap().is_between_frames());
        }

        #[test]
        fn a_cut_frame_is_noticed((kind, id, body) in any_frame(), cut in 1_usize..400) {
            let bytes = encode(kind, id, &body);
            prop_assume!(cut < bytes.len());
            let (_, end) = decode(std::iter::once(bytes[..cut].to_vec()));
            prop_assert!(!end.unwrap().is_between_frames());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), size in 1_usize..20) {
            let _ = decode(bytes.chunks(size).map(<[u8]>::to_vec));
        }
    }
}
