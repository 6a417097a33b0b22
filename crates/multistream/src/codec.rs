//! Bytes and lines: `varint(length) || text || '\n'`.

use std::{ops::Range, task::Poll};

use bytes::{Buf, BufMut, BytesMut};
use peerkit_core::{NegotiationError, ProtocolId};

/// The longest line in bytes, newline included, that is accepted or sent in a negotiation.
///
/// Go and JavaScript draw the line at the same place.
pub const MAX_LINE: usize = 1024;

/// The longest answer to `ls` in bytes that is sent or accepted; what a length of two bytes can say.
pub const MAX_LISTING: usize = 16_383;

/// The first line of both sides.
pub(crate) const HEADER: &str = "/multistream/1.0.0";
/// The refusal of a proposal.
pub(crate) const NA: &str = "na";
/// The request for a listing.
pub(crate) const LS: &str = "ls";

/// What the front of an input holds.
enum Frame {
    /// Not yet a line: at least this many bytes are still to come.
    Partial { missing: usize },
    /// A line whose text and newline lie here.
    Complete { line: Range<usize> },
}

/// Finds the first line without copying. The length is judged before the line has come.
fn find_line(input: &[u8], limit: usize) -> Result<Frame, NegotiationError> {
    debug_assert!(limit < 1 << (7 * LENGTH_BYTES));
    let prefix = &input[..input.len().min(LENGTH_BYTES)];
    let (length, start) = match unsigned_varint::decode::u64(prefix) {
        Ok((length, rest)) => (length, prefix.len() - rest.len()),
        Err(unsigned_varint::decode::Error::Insufficient) if prefix.len() < LENGTH_BYTES => {
            return Ok(Frame::Partial { missing: 1 });
        }
        Err(unsigned_varint::decode::Error::NotMinimal) => {
            return Err(NegotiationError::Malformed(
                "a length is not in its shortest form",
            ));
        }
        Err(_) => return Err(TOO_LONG),
    };
    let length = usize::try_from(length).map_err(|_| TOO_LONG)?;
    if length > limit {
        return Err(TOO_LONG);
    }
    if length == 0 {
        return Err(NegotiationError::Malformed("a line is empty"));
    }
    let line = start..start + length;
    Ok(match line.end.checked_sub(input.len()) {
        None | Some(0) => Frame::Complete { line },
        Some(missing) => Frame::Partial { missing },
    })
}

/// How many bytes an input lacks at least until it can be taken apart further.
/// Never more than what surely belongs to the line.
pub(crate) fn missing(input: &[u8], limit: usize) -> usize {
    match find_line(input, limit) {
        Ok(Frame::Partial { missing }) => missing,
        Ok(Frame::Complete { .. }) | Err(_) => 0,
    }
}

/// Takes one line from the front of `input` and returns its bytes without the newline.
pub(crate) fn take_bytes(
    input: &mut BytesMut,
    limit: usize,
) -> Poll<Result<BytesMut, NegotiationError>> {
    let Frame::Complete { line } = find_line(input, limit)? else {
        return Poll::Pending;
    };
    input.advance(line.start);
    let mut bytes = input.split_to(line.len());
    if bytes.last() != Some(&b'\n') {
        return Poll::Ready(Err(NegotiationError::Malformed(
            "a line does not end with a newline",
        )));
    }
    bytes.truncate(bytes.len() - 1);
    Poll::Ready(Ok(bytes))
}

/// Whether `input` can still become the header. Another protocol is told at its first byte, so
/// that nobody waits for the rest of what its first byte would be the length of.
pub(crate) fn check_header(input: &[u8]) -> Result<(), NegotiationError> {
    let expected = [&[HEADER.len() as u8 + 1], HEADER.as_bytes(), b"\n"].concat();
    let known = input.len().min(expected.len());
    if input[..known] == expected[..known] {
        Ok(())
    } else {
        Err(NO_HEADER)
    }
}

/// What a remote says that does not speak multistream-select.
pub(crate) const NO_HEADER: NegotiationError =
    NegotiationError::Malformed("the first line is not the header");

/// Takes one line from the front of `input` and returns its text without the newline.
pub(crate) fn take_line(
    input: &mut BytesMut,
    limit: usize,
) -> Poll<Result<String, NegotiationError>> {
    take_bytes(input, limit)
        .map_ok(|bytes| String::from_utf8(bytes.into()))
        .map(|text| text?.map_err(|_| NegotiationError::Malformed("a line is not UTF-8")))
}

/// Appends a line.
pub(crate) fn put_line(output: &mut BytesMut, text: &str) {
    let mut length = unsigned_varint::encode::usize_buffer();
    output.put_slice(unsigned_varint::encode::usize(text.len() + 1, &mut length));
    output.put_slice(text.as_bytes());
    output.put_u8(b'\n');
}

/// Appends the answer to `ls`: one line whose text is a sequence of lines.
/// Names that don't fit [`MAX_LISTING`] are left out.
pub(crate) fn put_listing(output: &mut BytesMut, names: &[ProtocolId]) {
    let mut listing = BytesMut::new();
    for name in names {
        if listing.len() + line_len(name) < MAX_LISTING {
            put_line(&mut listing, name.as_str());
        }
    }
    let mut length = unsigned_varint::encode::usize_buffer();
    output.put_slice(unsigned_varint::encode::usize(
        listing.len() + 1,
        &mut length,
    ));
    output.put(listing);
    output.put_u8(b'\n');
}

/// Reads the answer to `ls`, without its newline. Names that break the rules of [`ProtocolId`] are left out.
pub(crate) fn parse_listing(mut listing: BytesMut) -> Result<Vec<ProtocolId>, NegotiationError> {
    let mut names = Vec::new();
    while !listing.is_empty() {
        let Poll::Ready(name) = take_line(&mut listing, MAX_LISTING)? else {
            return Err(NegotiationError::Malformed("a listing is cut off"));
        };
        names.extend(ProtocolId::try_from(name));
    }
    Ok(names)
}

fn line_len(name: &ProtocolId) -> usize {
    let length = name.as_str().len() + 1;
    let prefix = if length < 0x80 { 1 } else { 2 };
    prefix + length
}

/// No allowed length needs more bytes.
const LENGTH_BYTES: usize = 2;
const TOO_LONG: NegotiationError = NegotiationError::Limit("a line is too long");

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> BytesMut {
        let mut output = BytesMut::new();
        put_line(&mut output, text);
        output
    }

    fn id(name: &str) -> ProtocolId {
        name.parse().unwrap()
    }

    #[test]
    fn the_published_vectors_are_what_is_sent() {
        assert_eq!(line(NA)[..], hex!("03 6e 61 0a"));
        assert_eq!(line(LS)[..], hex!("03 6c 73 0a"));
        assert_eq!(
            line(HEADER)[..],
            hex!("13 2f 6d 75 6c 74 69 73 74 72 65 61 6d 2f 31 2e 30 2e 30 0a")
        );
        assert_eq!(line("/noise")[..], hex!("07 2f 6e 6f 69 73 65 0a"));
        assert_eq!(
            line("/tls/1.0.0")[..],
            hex!("0b 2f 74 6c 73 2f 31 2e 30 2e 30 0a")
        );
        assert_eq!(
            line("/yamux/1.0.0")[..],
            hex!("0d 2f 79 61 6d 75 78 2f 31 2e 30 2e 30 0a")
        );
    }

    #[test]
    fn the_limit_is_exact_and_known_before_the_line_has_come() {
        let text = "x".repeat(MAX_LINE - 1);
        assert!(matches!(
            take_line(&mut line(&text), MAX_LINE),
            Poll::Ready(Ok(taken)) if taken == text
        ));
        let mut length = unsigned_varint::encode::usize_buffer();
        for bad in [MAX_LINE + 1, 16_384, 1 << 35, usize::MAX >> 1] {
            let prefix = unsigned_varint::encode::usize(bad, &mut length);
            let outcome = take_line(&mut BytesMut::from(prefix), MAX_LINE);
            assert!(
                matches!(outcome, Poll::Ready(Err(NegotiationError::Limit(_)))),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_endless_length_is_refused_after_two_bytes() {
        assert!(take_line(&mut BytesMut::from(&[0xff][..]), MAX_LINE).is_pending());
        let outcome = take_line(&mut BytesMut::from(&[0xff; 2][..]), MAX_LINE);
        assert!(matches!(
            outcome,
            Poll::Ready(Err(NegotiationError::Limit(_)))
        ));
    }

    #[test]
    fn malformed_lines_are_told_apart_from_long_ones() {
        for bad in [
            &hex!("00")[..],
            &hex!("83 00 6e 61 0a"),
            &hex!("02 6e 61"),
            &hex!("03 ff ff 0a"),
        ] {
            let outcome = take_line(&mut BytesMut::from(bad), MAX_LINE);
            assert!(
                matches!(outcome, Poll::Ready(Err(NegotiationError::Malformed(_)))),
                "{bad:02x?}"
            );
        }
    }

    #[test]
    fn a_listing_ends_with_two_newlines_and_can_be_read_back() {
        let names = [id("/a"), id("/b/2")];
        let mut output = BytesMut::new();
        put_listing(&mut output, &names);
        assert_eq!(output[..], hex!("0b 03 2f 61 0a 05 2f 62 2f 32 0a 0a"));
        let Poll::Ready(Ok(listing)) = take_bytes(&mut output, MAX_LISTING) else {
            panic!("the listing is one line");
        };
        assert_eq!(parse_listing(listing).unwrap(), names);
    }

    #[test]
    fn a_listing_is_bounded() {
        let names: Vec<_> = (0..100)
            .map(|n| id(&format!("/{n}/{}", "x".repeat(900))))
            .collect();
        let mut output = BytesMut::new();
        put_listing(&mut output, &names);
        assert!(output.len() <= MAX_LISTING + 2);
        let Poll::Ready(Ok(listing)) = take_bytes(&mut output, MAX_LISTING) else {
            panic!("the listing fits its own limit")
        };
        let listed = parse_listing(listing).unwrap();
        assert!(!listed.is_empty() && names.starts_with(&listed));
    }

    proptest! {
        #[test]
        fn lines_survive_and_leave_what_follows(text in "[^\n]{0,300}", rest in any::<Vec<u8>>()) {
            let mut input = line(&text);
            input.extend_from_slice(&rest);
            let taken = take_line(&mut input, MAX_LINE * 2);
            prop_assert!(matches!(taken, Poll::Ready(Ok(taken)) if taken == text));
            prop_assert_eq!(&input[..], &rest[..]);
        }

        #[test]
        fn a_line_cut_anywhere_waits_for_exactly_its_end(text in "[^\n]{0,300}") {
            let whole = line(&text);
            for cut in 0..whole.len() {
                let mut input = BytesMut::from(&whole[..cut]);
                prop_assert!(take_line(&mut input, MAX_LINE * 2).is_pending());
                prop_assert_eq!(input.len(), cut);
                let missing = missing(&input, MAX_LINE * 2);
                prop_assert!(missing >= 1 && missing <= whole.len() - cut);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse_listing(BytesMut::from(&bytes[..]));
            let mut input = BytesMut::from(&bytes[..]);
            while let Poll::Ready(Ok(_)) = take_line(&mut input, MAX_LINE) {}
        }
    }
}
