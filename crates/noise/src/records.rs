//! Records of an established session.

use bytes::{Buf, BytesMut};
use peerkit_core::{RecordLayout, Records, SecurityError};

use crate::{aead::TAG, cipher::CipherState};

/// How many records without payload a remote may send in a row before the connection is refused.
///
/// They are legal and mean nothing; without a limit they would keep a peer busy for ever.
pub const MAX_EMPTY_RECORDS: u32 = 1024;

/// The record cipher of one session: `be16 length || ciphertext || tag`, one key for each direction.
///
/// Records must be opened in the order in which they were sealed; anything else
/// fails as [`SecurityError::Authentication`], and after any failure no further record opens.
/// After 2⁶⁴ − 1 records in one direction it fails with [`SecurityError::Exhausted`].
#[derive(Debug)]
pub struct NoiseRecords {
    send: CipherState,
    receive: CipherState,
    empty_in_a_row: u32,
    failed: bool,
}

impl NoiseRecords {
    pub(crate) fn new(send: CipherState, receive: CipherState) -> Self {
        Self {
            send,
            receive,
            empty_in_a_row: 0,
            failed: false,
        }
    }

    fn open_next(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError> {
        let Some(len) = input.first_chunk().copied().map(u16::from_be_bytes) else {
            return Ok(None);
        };
        let len = usize::from(len);
        if len < TAG {
            return Err(SecurityError::Authentication);
        }
        if input.len() < HEADER + len {
            return Ok(None);
        }
        let mut record = input.split_to(HEADER + len);
        record.advance(HEADER);
        let payload = self.receive.open(&[], &mut record)?;
        record.truncate(payload);
        self.count_empty(payload)?;
        Ok(Some(record))
    }

    fn count_empty(&mut self, payload: usize) -> Result<(), SecurityError> {
        self.empty_in_a_row = if payload == 0 {
            self.empty_in_a_row + 1
        } else {
            0
        };
        if self.empty_in_a_row > MAX_EMPTY_RECORDS {
            return Err(SecurityError::Malformed("too many empty records"));
        }
        Ok(())
    }
}

impl Records for NoiseRecords {
    fn layout(&self) -> RecordLayout {
        LAYOUT
    }

    /// # Panics
    ///
    /// If `record` is not cut as [`layout`](Records::layout) says.
    fn seal(&mut self, record: &mut [u8]) -> Result<(), SecurityError> {
        let len = record.len().checked_sub(HEADER);
        let len = len.and_then(|len| u16::try_from(len).ok());
        let len = len.expect("records have room for the header and fit their layout");
        let (header, sealed) = record.split_at_mut(HEADER);
        let (payload, tag) = sealed
            .split_last_chunk_mut::<TAG>()
            .expect("records have room for the tag");
        header.copy_from_slice(&len.to_be_bytes());
        *tag = self.send.seal(&[], payload)?;
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError> {
        if self.failed {
            return Err(SecurityError::Authentication);
        }
        let outcome = self.open_next(input);
        self.failed = outcome.is_err();
        outcome
    }
}

/// Bytes of the length field.
pub(crate) const HEADER: usize = 2;

const LAYOUT: RecordLayout = RecordLayout {
    header: HEADER,
    trailer: TAG,
    max_payload: u16::MAX as usize - TAG,
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair() -> (NoiseRecords, NoiseRecords) {
        let key = |byte| CipherState::new(&[byte; 32]);
        (
            NoiseRecords::new(key(1), key(2)),
            NoiseRecords::new(key(2), key(1)),
        )
    }

    fn sealed(records: &mut NoiseRecords, payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER];
        record.extend_from_slice(payload);
        record.resize(record.len() + TAG, 0);
        records.seal(&mut record).unwrap();
        record
    }

    #[test]
    fn the_layout_is_that_of_libp2p() {
        let layout = pair().0.layout();
        assert_eq!((layout.header, layout.trailer), (2, 16));
        assert_eq!(layout.max_payload, 65_519);
    }

    #[test]
    fn the_largest_record_passes() {
        let (mut local, mut remote) = pair();
        let payload = vec![3; LAYOUT.max_payload];
        let mut input = BytesMut::from(&sealed(&mut local, &payload)[..]);
        assert_eq!(input.len(), 65_537);
        assert_eq!(remote.open(&mut input).unwrap().unwrap(), payload);
    }

    #[test]
    fn a_record_is_opened_where_it_lies() {
        let (mut local, mut remote) = pair();
        let mut input = BytesMut::from(&sealed(&mut local, b"payload")[..]);
        let start = input.as_ptr();
        let payload = remote.open(&mut input).unwrap().unwrap();
        assert_eq!(payload.as_ptr(), start.wrapping_add(HEADER));
    }

    #[test]
    fn an_empty_record_is_payload_of_no_bytes() {
        let (mut local, mut remote) = pair();
        let mut input = BytesMut::from(&sealed(&mut local, b"")[..]);
        assert_eq!(remote.open(&mut input).unwrap().unwrap(), b""[..]);
    }

    #[test]
    fn endless_empty_records_are_refused_but_not_those_between_payload() {
        let (mut local, mut remote) = pair();
        for _ in 0..3 {
            for _ in 0..MAX_EMPTY_RECORDS {
                let mut input = BytesMut::from(&sealed(&mut local, b"")[..]);
                remote.open(&mut input).unwrap();
            }
            let mut input = BytesMut::from(&sealed(&mut local, b"payload")[..]);
            remote.open(&mut input).unwrap();
        }
        let mut input = BytesMut::new();
        for _ in 0..=MAX_EMPTY_RECORDS {
            input.extend_from_slice(&sealed(&mut local, b""));
        }
        let error = std::iter::repeat_with(|| remote.open(&mut input)).find_map(Result::err);
        assert!(matches!(error, Some(SecurityError::Malformed(_))));
    }

    #[test]
    fn a_length_without_room_for_the_tag_fails_at_once() {
        for len in 0..TAG as u8 {
            let (_, mut remote) = pair();
            let mut input = BytesMut::from(&[0, len][..]);
            assert_authentication(remote.open(&mut input));
        }
    }

    #[test]
    fn replayed_reordered_and_reflected_records_are_refused() {
        let (mut local, mut remote) = pair();
        let one = sealed(&mut local, b"one");
        let two = sealed(&mut local, b"two");
        assert_authentication(remote.open(&mut BytesMut::from(&two[..])));

        let (_, mut remote) = pair();
        remote.open(&mut BytesMut::from(&one[..])).unwrap();
        assert_authentication(remote.open(&mut BytesMut::from(&one[..])));

        assert_authentication(local.open(&mut BytesMut::from(&one[..])));
    }

    #[test]
    fn nothing_opens_after_a_failure() {
        let (mut local, mut remote) = pair();
        let mut damaged = sealed(&mut local, b"one");
        damaged[5] ^= 1;
        assert_authentication(remote.open(&mut BytesMut::from(&damaged[..])));
        let (mut fresh, _) = pair();
        for _ in 0..2 {
            let record = sealed(&mut fresh, b"one");
            assert_authentication(remote.open(&mut BytesMut::from(&record[..])));
        }
        assert_authentication(remote.open(&mut BytesMut::new()));
    }

    #[test]
    fn used_up_nonces_end_the_session() {
        let (mut local, mut remote) = pair();
        local.send.skip_to(u64::MAX);
        let sealed = local.seal(&mut [0; HEADER + TAG]);
        assert!(matches!(sealed, Err(SecurityError::Exhausted)));
        remote.receive.skip_to(u64::MAX);
        let opened = remote.open(&mut BytesMut::from(
            &[0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        ));
        assert!(matches!(opened, Err(SecurityError::Exhausted)));
    }

    proptest! {
        #[test]
        fn records_round_trip_however_they_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..8),
            cut in 1usize..64,
        ) {
            let (mut local, mut remote) = pair();
            let wire: Vec<u8> = payloads.iter().flat_map(|payload| sealed(&mut local, payload)).collect();
            let mut input = BytesMut::new();
            let mut opened = Vec::new();
            for piece in wire.chunks(cut) {
                input.extend_from_slice(piece);
                while let Some(payload) = remote.open(&mut input).unwrap() {
                    opened.push(payload.to_vec());
                }
            }
            prop_assert_eq!(opened, payloads);
        }

        #[test]
        fn no_flipped_bit_goes_unseen(
            payload in prop::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let (mut local, mut remote) = pair();
            let mut record = sealed(&mut local, &payload);
            let at = at.index(record.len());
            record[at] ^= 1 << bit;
            // A larger length waits for bytes that never come; anything else fails.
            match remote.open(&mut BytesMut::from(&record[..])) {
                Ok(None) => prop_assert!(at < HEADER),
                Ok(Some(_)) => prop_assert!(false, "a damaged record opened"),
                Err(error) => prop_assert!(matches!(error, SecurityError::Authentication)),
            }
        }

        #[test]
        fn garbage_never_opens(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let (_, mut remote) = pair();
            let opened = remote.open(&mut BytesMut::from(&garbage[..]));
            prop_assert!(!matches!(opened, Ok(Some(_))));
        }
    }

    fn assert_authentication(outcome: Result<Option<BytesMut>, SecurityError>) {
        assert!(
            matches!(outcome, Err(SecurityError::Authentication)),
            "{outcome:?}"
        );
    }
}
