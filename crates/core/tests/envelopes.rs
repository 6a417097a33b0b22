//! Signed envelopes.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use peerkit_core::{Envelope, EnvelopeError, Fault, Keypair};
use proptest::prelude::*;

const DOMAIN: &str = "test-domain";
const TYPE: &[u8] = b"/test";

#[test]
fn a_signed_payload_is_read_by_whoever_knows_the_purpose() {
    for keypair in [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
    ] {
        let signed = Envelope::sign(&keypair, DOMAIN, TYPE, b"payload").unwrap();
        let received = Envelope::decode(signed.encoded().clone()).unwrap();
        assert_eq!(received, signed);
        let verified = received.verify(DOMAIN, TYPE).unwrap();
        assert_eq!(&verified.payload[..], b"payload");
        assert_eq!(verified.key, &keypair.public());
    }
}

#[test]
fn a_signature_for_one_purpose_is_worthless_for_another() {
    let signed = signed(b"payload");
    assert!(matches!(
        signed.verify("other-domain", TYPE),
        Err(EnvelopeError::BadSignature)
    ));
    assert!(matches!(
        signed.verify(DOMAIN, b"/other"),
        Err(EnvelopeError::WrongType { .. })
    ));
    assert!(matches!(
        signed.verify("", TYPE),
        Err(EnvelopeError::EmptyDomain)
    ));
}

#[test]
fn the_parts_that_are_signed_can_not_be_shifted_among_each_other() {
    let keypair = Keypair::generate_ed25519();
    let signed = Envelope::sign(&keypair, "ab", b"cd", b"ef").unwrap();
    let shifted = replace(
        signed.encoded(),
        b"\x12\x02cd\x1a\x02ef",
        b"\x12\x01c\x1a\x03def",
    );
    let shifted = Envelope::decode(shifted).unwrap();
    assert!(signed.verify("ab", b"cd").is_ok());
    assert!(shifted.verify("ab", b"c").is_err());
}

#[test]
fn somebody_elses_key_does_not_verify() {
    let signed = signed(b"payload");
    let other = Keypair::generate_ed25519().public().encode_protobuf();
    let mut forged = signed.encoded().to_vec();
    forged[2..2 + other.len()].copy_from_slice(&other);
    let forged = Envelope::decode(forged).unwrap();
    let error = forged.verify(DOMAIN, TYPE).unwrap_err();
    assert!(matches!(error, EnvelopeError::BadSignature));
    assert_eq!(error.fault(), Fault::PeerMisbehaved);
}

#[test]
fn the_bytes_that_came_in_are_kept_even_if_they_are_not_canonical() {
    let signed = signed(b"payload");
    // An unknown field, number 9, at the end.
    let unusual = [signed.encoded(), &[0x4a, 0x01, 0x00][..]].concat();
    let received = Envelope::decode(unusual.clone()).unwrap();
    assert!(received.verify(DOMAIN, TYPE).is_ok());
    assert_eq!(received.encoded(), &unusual);
}

#[test]
fn sizes_are_bounded_in_both_directions() {
    let keypair = Keypair::generate_ed25519();
    let overhead = signed(b"").encoded().len() + 3;
    let largest = Envelope::MAX_LEN - overhead;
    let fits = Envelope::sign(&keypair, DOMAIN, TYPE, &vec![7; largest]).unwrap();
    assert!(Envelope::decode(fits.encoded().clone()).is_ok());
    for len in [
        Envelope::MAX_LEN - 40,
        Envelope::MAX_LEN,
        Envelope::MAX_LEN * 10,
    ] {
        let error = Envelope::sign(&keypair, DOMAIN, TYPE, &vec![7; len]).unwrap_err();
        assert!(matches!(error, EnvelopeError::TooLarge { .. }), "{error}");
    }
    let error = Envelope::decode(vec![0; Envelope::MAX_LEN + 1]).unwrap_err();
    assert!(matches!(error, EnvelopeError::TooLarge { .. }));
}

#[test]
fn what_is_no_envelope_is_refused_with_a_reason() {
    let reason = |bytes: &[u8]| Envelope::decode(bytes.to_vec()).unwrap_err().to_string();
    assert!(reason(&[0xff; 20]).contains("no signed envelope"));
    assert!(reason(b"").contains("public key can't be used"));
    // A key of type 4, which is only a proposal.
    assert!(reason(&[0x0a, 5, 0x08, 4, 0x12, 1, 0]).contains("unknown key type 4"));
}

#[test]
fn no_flipped_bit_verifies() {
    let signed = signed(b"payload");
    for bit in 0..signed.encoded().len() * 8 {
        let mut bytes = signed.encoded().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verified =
            Envelope::decode(bytes).is_ok_and(|envelope| envelope.verify(DOMAIN, TYPE).is_ok());
        assert!(!verified, "bit {bit}");
    }
}

#[test]
fn no_cut_off_envelope_verifies() {
    let signed = signed(b"payload");
    for len in 0..signed.encoded().len() {
        let verified = Envelope::decode(signed.encoded().slice(..len))
            .is_ok_and(|envelope| envelope.verify(DOMAIN, TYPE).is_ok());
        assert!(!verified, "{len} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_payload_comes_back(
        domain in "[a-z-]{1,40}",
        payload_type in proptest::collection::vec(any::<u8>(), 0..40),
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let keypair = Keypair::generate_ed25519();
        let signed = Envelope::sign(&keypair, &domain, &payload_type, &payload).unwrap();
        let received = Envelope::decode(signed.encoded().clone()).unwrap();
        let verified = received.verify(&domain, &payload_type).unwrap();
        prop_assert_eq!(&verified.payload[..], &payload[..]);
        prop_assert_eq!(verified.key, &keypair.public());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(envelope) = Envelope::decode(bytes) {
            prop_assert!(envelope.verify(DOMAIN, TYPE).is_err());
        }
    }

    #[test]
    fn damaged_envelopes_never_verify(
        at in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 1..6),
    ) {
        let signed = signed(b"some payload that is a little longer");
        let mut damaged = signed.encoded().to_vec();
        let at = at.index(damaged.len());
        let end = damaged.len().min(at + bytes.len());
        damaged.splice(at..end, bytes);
        prop_assume!(damaged != signed.encoded()[..]);
        if let Ok(envelope) = Envelope::decode(damaged) {
            // What is behind the signed parts may change, the parts may not.
            if let Ok(verified) = envelope.verify(DOMAIN, TYPE) {
                prop_assert_eq!(&verified, &signed.verify(DOMAIN, TYPE).unwrap());
            }
        }
    }
}

fn signed(payload: &[u8]) -> Envelope {
    Envelope::sign(&Keypair::generate_ed25519(), DOMAIN, TYPE, payload).unwrap()
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old);
    let mut replaced = bytes.to_vec();
    let start = at.unwrap();
    replaced.splice(start..start + old.len(), new.iter().copied());
    replaced
}
