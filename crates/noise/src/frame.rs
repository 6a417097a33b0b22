//! Handshake messages on the wire: `be16 length || message`.

use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, BytesMut};
use peerkit_core::{SecurityError, Wire};

use crate::records::HEADER;

/// The longest handshake message in bytes that is read. An RSA key of 8192 bits with its
/// signature and a long list of muxers needs less; what is longer is refused by its length field alone.
pub const MAX_HANDSHAKE_MESSAGE: usize = 8192;

/// Appends a frame with the message that `write` appends.
///
/// # Panics
///
/// If the message is longer than [`MAX_HANDSHAKE_MESSAGE`].
pub(crate) fn put<T>(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<T, SecurityError>,
) -> Result<T, SecurityError> {
    let start = out.len();
    out.put_u16(0);
    let outcome = write(out)?;
    let len = out.len() - start - HEADER;
    assert!(
        len <= MAX_HANDSHAKE_MESSAGE,
        "identity and offer are bounded"
    );
    out[start..start + HEADER].copy_from_slice(&(len as u16).to_be_bytes());
    Ok(outcome)
}

/// Reads one frame, and not a byte more than the wire has already read.
///
/// Cancel safety: no byte is lost.
pub(crate) async fn read(
    wire: &mut Wire,
    allowed: RangeInclusive<usize>,
) -> Result<BytesMut, SecurityError> {
    loop {
        if let Some(message) = take(wire.inbound(), &allowed)? {
            return Ok(message);
        }
        wire.read_more().await?;
    }
}

fn take(
    input: &mut BytesMut,
    allowed: &RangeInclusive<usize>,
) -> Result<Option<BytesMut>, SecurityError> {
    let Some(len) = input.first_chunk().copied().map(u16::from_be_bytes) else {
        return Ok(None);
    };
    let len = usize::from(len);
    if !allowed.contains(&len) {
        return Err(SecurityError::Malformed(
            "a handshake message of a length that it can't have",
        ));
    }
    if input.len() < HEADER + len {
        return Ok(None);
    }
    input.advance(HEADER);
    Ok(Some(input.split_to(len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bad_length_is_refused_before_its_bytes_arrive() {
        for len in [[0, 0], [0, 1], [0, 31], [0x20, 1], [0xff, 0xff]] {
            let outcome = take(&mut BytesMut::from(&len[..]), &(32..=MAX_HANDSHAKE_MESSAGE));
            assert!(matches!(outcome, Err(SecurityError::Malformed(_))));
        }
    }

    #[test]
    fn what_follows_a_frame_stays() {
        let mut input = BytesMut::new();
        put(&mut input, |out| {
            out.extend_from_slice(b"message");
            Ok(())
        })
        .unwrap();
        input.extend_from_slice(b"next");
        let message = take(&mut input, &(0..=10)).unwrap().unwrap();
        assert_eq!((&message[..], &input[..]), (&b"message"[..], &b"next"[..]));
    }

    #[test]
    fn a_frame_waits_for_its_last_byte() {
        let frame = b"\x00\x03abc";
        for end in 0..frame.len() {
            let mut input = BytesMut::from(&frame[..end]);
            assert!(take(&mut input, &(0..=10)).unwrap().is_none());
            assert_eq!(input, frame[..end]);
        }
    }

    proptest! {
        #[test]
        fn frames_round_trip(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5)) {
            let mut input = BytesMut::new();
            for message in &messages {
                put(&mut input, |out| {
                    out.extend_from_slice(message);
                    Ok(())
                })
                .unwrap();
            }
            for message in &messages {
                let taken = take(&mut input, &(0..=50)).unwrap().unwrap();
                prop_assert_eq!(&taken[..], &message[..]);
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn garbage_is_taken_whole_or_not_at_all(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut input = BytesMut::from(&garbage[..]);
            let taken = take(&mut input, &(32..=256));
            let used = taken.ok().flatten().map_or(0, |message| HEADER + message.len());
            prop_assert_eq!(&input[..], &garbage[used..]);
        }
    }
}
