//! Binding the Noise static key to the libp2p identity.

use peerkit_core::{Keypair, PeerId, PublicKey, SecurityError, decode_identity_key};

use crate::{payload::Payload, xx::KEY};

/// Signs for a static key, once for all sessions of that key.
pub(crate) fn prove(identity: &Keypair, static_key: &[u8; KEY]) -> Result<Payload, SecurityError> {
    let signature = identity
        .sign(&signed_bytes(static_key))
        .map_err(|_| SecurityError::LocalKey)?;
    let key = identity.public().encode_protobuf();
    if key.len() + signature.len() > MAX_IDENTITY {
        return Err(SecurityError::LocalKey);
    }
    Ok(Payload::new(key, signature))
}

/// Checks that the owner of `static_key` is who the payload says, and who was expected.
pub(crate) fn verify(
    payload: &Payload,
    static_key: &[u8; KEY],
    expected: Option<PeerId>,
) -> Result<(PeerId, PublicKey), SecurityError> {
    let (encoded, signature) = payload.identity()?;
    let key = decode_identity_key(encoded)?;
    // Peer ids are hashes of the canonical encoding: with another one the two sides would not mean the same peer.
    if key.encode_protobuf() != encoded {
        return Err(SecurityError::BadIdentity(
            "its identity key is not encoded canonically",
        ));
    }
    if is_small_order(&key) {
        return Err(SecurityError::BadIdentity(
            "its identity key is one for which everybody can sign",
        ));
    }
    let found = key.to_peer_id();
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(SecurityError::PeerMismatch { expected, found });
    }
    if !key.verify(&signed_bytes(static_key), signature) {
        return Err(SecurityError::BadIdentity(
            "the signature of its static key is wrong",
        ));
    }
    Ok((found, key))
}

fn signed_bytes(static_key: &[u8; KEY]) -> Vec<u8> {
    [&PREFIX[..], static_key].concat()
}

/// Whether this is one of the Ed25519 points of small order, for which a signature
/// can be made up that is valid for many messages.
fn is_small_order(key: &PublicKey) -> bool {
    let Ok(key) = key.clone().try_into_ed25519() else {
        return false;
    };
    let mut y = key.to_bytes();
    y[KEY - 1] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// The most bytes of identity key and signature together; an RSA key of 8192 bits needs 2,100.
pub(crate) const MAX_IDENTITY: usize = 3072;

const PREFIX: &[u8; 24] = b"noise-libp2p-static-key:";

/// The y coordinates of the eight points of small order, with those that are not reduced.
const SMALL_ORDER: [[u8; 32]; 7] = [
    y_of_small_order(0x00, 0x00, 0x00),
    y_of_small_order(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    y_of_small_order(0xec, 0xff, 0x7f),
    y_of_small_order(0xed, 0xff, 0x7f),
    y_of_small_order(0xee, 0xff, 0x7f),
];

const fn y_of_small_order(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut y = [middle; 32];
    y[0] = first;
    y[31] = last;
    y
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn keypair() -> Keypair {
        Keypair::ed25519_from_bytes([9; 32]).unwrap()
    }

    fn forged(key: Vec<u8>, signature: Vec<u8>) -> Result<(PeerId, PublicKey), SecurityError> {
        let bytes = Payload::new(key, signature).encode_with_muxers(&[]);
        let payload = Payload::decode_bounded(BytesMut::from(&bytes[..])).unwrap();
        verify(&payload, &STATIC, None)
    }

    #[test]
    fn a_proof_holds_for_its_static_key_alone() {
        let proof = prove(&keypair(), &STATIC).unwrap();
        let (peer, key) = verify(&proof, &STATIC, None).unwrap();
        assert_eq!(key, keypair().public());
        assert_eq!(peer, key.to_peer_id());
        assert!(verify(&proof, &STATIC, Some(peer)).is_ok());
        assert_bad_identity(verify(&proof, &[8; KEY], None));
    }

    #[test]
    fn another_peer_than_expected_is_named() {
        let proof = prove(&keypair(), &STATIC).unwrap();
        let other = PeerId::random();
        let Err(SecurityError::PeerMismatch { expected, found }) =
            verify(&proof, &STATIC, Some(other))
        else {
            panic!("somebody else was expected");
        };
        assert_eq!((expected, found), (other, keypair().public().to_peer_id()));
    }

    #[test]
    fn signatures_of_anything_else_are_refused() {
        let key = keypair().public().encode_protobuf();
        let good = keypair().sign(&signed_bytes(&STATIC)).unwrap();
        let without_prefix = keypair().sign(&STATIC).unwrap();
        let of_another_key = Keypair::generate_ed25519()
            .sign(&signed_bytes(&STATIC))
            .unwrap();
        assert!(forged(key.clone(), good.clone()).is_ok());
        for bad in [
            Vec::new(),
            vec![0; 64],
            [&good[..], &[0]].concat(),
            good[..63].to_vec(),
            without_prefix,
            of_another_key,
        ] {
            assert_bad_identity(forged(key.clone(), bad));
        }
    }

    #[test]
    fn a_key_in_another_encoding_is_refused() {
        let key = keypair().public().encode_protobuf();
        let signature = keypair().sign(&signed_bytes(&STATIC)).unwrap();
        let unknown_field = [&key[..], &[0x18, 1]].concat();
        let swapped = [&key[2..], &key[..2]].concat();
        let long_varint = [&[0x08, 0x81, 0x00], &key[2..]].concat();
        for bad in [unknown_field, swapped, long_varint, Vec::new()] {
            assert_bad_identity(forged(bad, signature.clone()));
        }
    }

    #[test]
    fn keys_for_which_everybody_can_sign_are_refused() {
        // For the neutral point, this is a valid signature of every message.
        let mut signature = vec![0; 64];
        signature[0] = 1;
        for point in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut point = point;
                point[31] |= sign;
                let key = [&[0x08, 1, 0x12, 0x20], &point[..]].concat();
                assert_bad_identity(forged(key, signature.clone()));
            }
        }
    }

    #[test]
    fn the_neutral_point_would_be_taken_without_the_check() {
        let key = [&[0x08, 1, 0x12, 0x20, 1], &[0; 31][..]].concat();
        let key = PublicKey::try_decode_protobuf(&key).unwrap();
        let mut signature = vec![0; 64];
        signature[0] = 1;
        assert!(key.verify(b"whatever", &signature));
    }

    #[test]
    fn the_largest_identity_and_offer_fit_a_message() {
        use crate::{MAX_HANDSHAKE_MESSAGE, muxers::OFFER_BYTES, xx::OVERHEAD_2};
        let framing = 32;
        assert!(MAX_IDENTITY + OFFER_BYTES + OVERHEAD_2 + framing <= MAX_HANDSHAKE_MESSAGE);
    }

    fn assert_bad_identity(outcome: Result<(PeerId, PublicKey), SecurityError>) {
        assert!(
            matches!(outcome, Err(SecurityError::BadIdentity(_))),
            "{outcome:?}"
        );
    }

    const STATIC: [u8; KEY] = [7; KEY];
}
