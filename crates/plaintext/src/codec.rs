//! The one message: `uvarint length || Exchange`.

use bytes::{Buf, Bytes, BytesMut};
use peerkit_core::{PeerId, PublicKey, SecurityError, decode_identity_key};
use prost::Message;
use unsigned_varint::{decode, encode};

/// The longest message in bytes that is read, its length field aside; go-libp2p has the same limit.
///
/// What this side sends is as short as the protocol allows, since rust-libp2p reads
/// no more than 100 bytes: Ed25519 and secp256k1 identities fit there, RSA and ECDSA don't.
pub const MAX_EXCHANGE: usize = 64 * 1024;

/// Who somebody says to be.
///
/// spec: libp2p plaintext r0. Field 2 is a message on paper, which is the same on the wire as its bytes.
#[derive(Clone, PartialEq, Message)]
struct Exchange {
    #[prost(bytes = "bytes", optional, tag = "1")]
    id: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pubkey: Option<Bytes>,
}

/// The message of this side, with its length in front.
pub(crate) fn encode(key: &PublicKey) -> Vec<u8> {
    let exchange = Exchange {
        id: Some(key.to_peer_id().to_bytes().into()),
        pubkey: Some(key.encode_protobuf().into()),
    }
    .encode_to_vec();
    let mut len = encode::usize_buffer();
    [encode::usize(exchange.len(), &mut len), &exchange].concat()
}

/// Takes one message from the front of `input`, or nothing until all of it is there.
///
/// Bytes behind it stay.
pub(crate) fn take(input: &mut BytesMut) -> Result<Option<(PeerId, PublicKey)>, SecurityError> {
    let (len, header) = match decode::usize(input) {
        Ok((len, rest)) => (len, input.len() - rest.len()),
        Err(decode::Error::Insufficient) => return Ok(None),
        Err(_) => return Err(SecurityError::Malformed("a length that is no varint")),
    };
    if len > MAX_EXCHANGE {
        return Err(SecurityError::Malformed("an exchange that is too long"));
    }
    if input.len() < header + len {
        return Ok(None);
    }
    input.advance(header);
    verify(input.split_to(len).freeze()).map(Some)
}

/// Checks that the id belongs to the key. Nobody checks that the key belongs to the sender.
fn verify(bytes: Bytes) -> Result<(PeerId, PublicKey), SecurityError> {
    let exchange =
        Exchange::decode(bytes).map_err(|_| SecurityError::Malformed("an undecodable exchange"))?;
    let pubkey = exchange
        .pubkey
        .ok_or(SecurityError::BadIdentity("there is no identity key"))?;
    let key = decode_identity_key(&pubkey)?;
    let id = exchange
        .id
        .ok_or(SecurityError::BadIdentity("there is no peer id"))?;
    let id = PeerId::from_bytes(&id)
        .map_err(|_| SecurityError::BadIdentity("its peer id is no valid id"))?;
    if id != key.to_peer_id() {
        return Err(SecurityError::BadIdentity(
            "its peer id does not belong to its identity key",
        ));
    }
    Ok((id, key))
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use peerkit_core::Keypair;
    use proptest::prelude::*;

    use super::*;

    /// Derived from the Ed25519 key in the peer id specification.
    const KEY: [u8; 36] =
        hex!("080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e");

    fn exchange(id: &[u8], key: &[u8]) -> Exchange {
        Exchange {
            id: Some(id.to_vec().into()),
            pubkey: Some(key.to_vec().into()),
        }
    }

    fn outcome(exchange: &Exchange) -> Result<(PeerId, PublicKey), SecurityError> {
        verify(exchange.encode_to_vec().into())
    }

    #[test]
    fn the_key_of_the_specification_makes_the_known_message() {
        let key = PublicKey::try_decode_protobuf(&KEY).unwrap();
        let bytes = [&hex!("4e 0a26 0024")[..], &KEY, &hex!("1224"), &KEY].concat();
        assert_eq!(encode(&key), bytes);
        let taken = take(&mut BytesMut::from(&bytes[..])).unwrap();
        assert_eq!(taken, Some((key.to_peer_id(), key)));
    }

    #[test]
    fn short_keys_make_messages_that_every_implementation_reads() {
        for key in [Keypair::generate_ed25519(), Keypair::generate_secp256k1()] {
            assert!(encode(&key.public()).len() <= 1 + 100);
        }
    }

    #[test]
    fn bytes_behind_the_message_stay() {
        let key = Keypair::generate_ed25519().public();
        let mut input = BytesMut::from(&encode(&key)[..]);
        input.extend_from_slice(b"next");
        take(&mut input).unwrap().unwrap();
        assert_eq!(input, b"next"[..]);
    }

    #[test]
    fn a_bad_length_is_refused_by_itself() {
        let too_long = [0x81, 0x80, 0x04];
        let not_minimal = [0x80, 0x00];
        let endless = [0xff; 10];
        for bad in [&too_long[..], &not_minimal, &endless] {
            let outcome = take(&mut BytesMut::from(bad));
            assert!(matches!(outcome, Err(SecurityError::Malformed(_))));
        }
        // Exactly the limit is waited for.
        let longest = [0x80, 0x80, 0x04];
        assert!(take(&mut BytesMut::from(&longest[..])).unwrap().is_none());
    }

    #[test]
    fn an_id_that_is_not_that_of_the_key_is_refused() {
        let key = Keypair::generate_ed25519().public();
        let encoded = key.encode_protobuf();
        let id = key.to_peer_id().to_bytes();
        assert!(outcome(&exchange(&id, &encoded)).is_ok());
        let other = PeerId::random().to_bytes();
        let legacy = {
            // The SHA-256 form of an id that has to be inlined; any digest will do.
            [&[0x12, 0x20][..], &[7; 32]].concat()
        };
        for bad in [other, legacy, Vec::new(), id[..10].to_vec()] {
            assert_bad_identity(outcome(&exchange(&bad, &encoded)));
        }
    }

    #[test]
    fn missing_and_broken_fields_are_refused() {
        let key = Keypair::generate_ed25519().public();
        let whole = exchange(&key.to_peer_id().to_bytes(), &key.encode_protobuf());
        let without_id = Exchange {
            id: None,
            ..whole.clone()
        };
        let without_key = Exchange {
            pubkey: None,
            ..whole.clone()
        };
        assert_bad_identity(outcome(&without_id));
        assert_bad_identity(outcome(&without_key));
        assert_bad_identity(outcome(&Exchange::default()));
        assert_bad_identity(outcome(&exchange(&key.to_peer_id().to_bytes(), &[8, 9])));
    }

    proptest! {
        #[test]
        fn messages_round_trip_and_wait_for_their_last_byte(seed in any::<[u8; 32]>()) {
            let key = Keypair::ed25519_from_bytes(seed).unwrap().public();
            let bytes = encode(&key);
            for end in 0..bytes.len() {
                let mut input = BytesMut::from(&bytes[..end]);
                prop_assert_eq!(take(&mut input).unwrap(), None);
                prop_assert_eq!(&input[..], &bytes[..end]);
            }
            let taken = take(&mut BytesMut::from(&bytes[..])).unwrap();
            prop_assert_eq!(taken, Some((key.to_peer_id(), key)));
        }

        #[test]
        fn garbage_never_panics_and_never_names_a_peer(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let named = take(&mut BytesMut::from(&garbage[..])).is_ok_and(|taken| taken.is_some());
            prop_assert!(!named);
            prop_assert!(verify(garbage.into()).is_err());
        }
    }

    fn assert_bad_identity(outcome: Result<(PeerId, PublicKey), SecurityError>) {
        assert!(
            matches!(outcome, Err(SecurityError::BadIdentity(_))),
            "{outcome:?}"
        );
    }
}
