//! The published vector of the Noise community ("cacophony") for this cipher suite.
//!
//! It has a prologue and payloads in all messages, so it tests the engine and not libp2p's payload.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use bytes::{BufMut, BytesMut};
use hex_literal::hex;
use peerkit_core::{Records, SecurityError};
use peerkit_noise::{
    NoiseRecords,
    xx::{Initiator, KeyPair, Responder},
};

#[test]
fn the_engine_speaks_the_published_transcript_in_both_roles() {
    let initiator = Initiator::new(PROLOGUE, key(INITIATOR_STATIC), key(INITIATOR_EPHEMERAL));
    let responder = Responder::new(PROLOGUE, key(RESPONDER_STATIC), key(RESPONDER_EPHEMERAL));

    let (initiator, message) = written(|out| initiator.write(&PAYLOAD_1, out));
    assert_eq!(message[..], MESSAGE_1);
    let (responder, payload) = responder.read(message).unwrap();
    assert_eq!(payload[..], PAYLOAD_1);

    let (responder, message) = written(|out| responder.write(&PAYLOAD_2, out));
    assert_eq!(message[..], MESSAGE_2);
    let (initiator, payload) = initiator.read(message).unwrap();
    assert_eq!(payload[..], PAYLOAD_2);
    assert_eq!(initiator.remote_static(), key(RESPONDER_STATIC).public());

    let (initiator, message) = written(|out| initiator.write(&PAYLOAD_3, out));
    assert_eq!(message[..], MESSAGE_3);
    let (responder, payload) = responder.read(message).unwrap();
    assert_eq!(payload[..], PAYLOAD_3);
    assert_eq!(responder.remote_static(), key(INITIATOR_STATIC).public());

    assert_eq!(initiator.handshake_hash(), HASH);
    assert_eq!(responder.handshake_hash(), HASH);
    let (mut initiator, mut responder) = (initiator.into_records(), responder.into_records());
    exchange(&mut responder, &mut initiator, &PAYLOAD_4, &MESSAGE_4);
    exchange(&mut initiator, &mut responder, &PAYLOAD_5, &MESSAGE_5);
    exchange(&mut responder, &mut initiator, &PAYLOAD_6, &MESSAGE_6);
}

#[test]
fn another_prologue_ends_the_handshake() {
    let initiator = Initiator::new(PROLOGUE, key(INITIATOR_STATIC), key(INITIATOR_EPHEMERAL));
    let responder = Responder::new(b"", key(RESPONDER_STATIC), key(RESPONDER_EPHEMERAL));
    let (initiator, message) = written(|out| initiator.write(&[], out));
    let (responder, _) = responder.read(message).unwrap();
    let (_, message) = written(|out| responder.write(&[], out));
    let outcome = initiator.read(message).map(drop);
    assert!(matches!(outcome, Err(SecurityError::Authentication)));
}

fn key(secret: [u8; 32]) -> KeyPair {
    KeyPair::from_secret(secret.into())
}

fn written<T>(write: impl FnOnce(&mut BytesMut) -> Result<T, SecurityError>) -> (T, BytesMut) {
    let mut out = BytesMut::new();
    let next = write(&mut out).unwrap();
    (next, out)
}

fn exchange(from: &mut NoiseRecords, to: &mut NoiseRecords, payload: &[u8], message: &[u8]) {
    let mut record = BytesMut::zeroed(2);
    record.extend_from_slice(payload);
    record.put_bytes(0, 16);
    from.seal(&mut record).unwrap();
    assert_eq!(record[2..], *message);
    assert_eq!(to.open(&mut record).unwrap().unwrap(), payload);
}

const PROLOGUE: &[u8] = b"John Galt";
const INITIATOR_STATIC: [u8; 32] =
    hex!("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
const INITIATOR_EPHEMERAL: [u8; 32] =
    hex!("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
const RESPONDER_STATIC: [u8; 32] =
    hex!("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
const RESPONDER_EPHEMERAL: [u8; 32] =
    hex!("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
const PAYLOAD_1: [u8; 16] = hex!("4c756477696720766f6e204d69736573");
const MESSAGE_1: [u8; 48] = hex!(
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573"
);
const PAYLOAD_2: [u8; 15] = hex!("4d757272617920526f746862617264");
const MESSAGE_2: [u8; 111] = hex!(
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884381cbad1f276e038c48378ffce2b65285"
    "e08d6b68aaa3629a5a8639392490e5b9bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be9b5c412f8a0db50f"
    "8814c7194e83f23dbd8d162c9326ad"
);
const PAYLOAD_3: [u8; 11] = hex!("462e20412e20486179656b");
const MESSAGE_3: [u8; 75] = hex!(
    "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a80ae475b9df0f169ae80a89be0865b57f"
    "58c9fea0d4ec82a286427402f113e4b6ae769a1d95941d49b25030"
);
const PAYLOAD_4: [u8; 11] = hex!("4361726c204d656e676572");
const MESSAGE_4: [u8; 27] = hex!("96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df");
const PAYLOAD_5: [u8; 17] = hex!("4a65616e2d426170746973746520536179");
const MESSAGE_5: [u8; 33] =
    hex!("3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5");
const PAYLOAD_6: [u8; 21] = hex!("457567656e2042f6686d20766f6e2042617765726b");
const MESSAGE_6: [u8; 37] =
    hex!("eb3f3515110702e047a6c9da4478b6ead94873c11c0f2d710ddb3f09fce024b3a58502ae3f");
const HASH: [u8; 32] = hex!("c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e");
