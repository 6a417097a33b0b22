//! Signed peer records.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use bytes::Bytes;
use hex_literal::hex;
use peerkit_core::{
    Envelope, EnvelopeError, Fault, Keypair, Multiaddr, PeerRecord, PeerRecordError, load_keypair,
};
use proptest::prelude::*;

/// Made by go-libp2p, published by js-libp2p.
const GO_KEY: &[u8] = &hex!(
    "0801124085fbe72b6064289004a531f967898df5319ee02992fdd84021fa5052434bf6ee"
    "11bba3ed1721948cefb4e50b0a0bb5cad8a6b52dc7b1a40f4f6652105c91e2c4"
);
const GO_RECORD: &[u8] = &hex!(
    "0a240801122011bba3ed1721948cefb4e50b0a0bb5cad8a6b52dc7b1a40f4f6652105c91e2c4"
    "120203011aaa010a2600240801122011bba3ed1721948cefb4e50b0a0bb5cad8a6b52dc7b1a40f4f6652105c91e2c4"
    "10d8b8e0bf9391b697161a0a0a0804010203040600001a0a0a0804010203040600011a0a0a080401020304060002"
    "1a0a0a0804010203040600031a0a0a0804010203040600041a0a0a0804010203040600051a0a0a08040102030406"
    "00061a0a0a0804010203040600071a0a0a0804010203040600081a0a0a080401020304060009"
    "2a40b197f76b9f288af2b467fe666f774476287049b424b73975c8860efb02372d026a799584541ad72f2654346485"
    "bca3ece36462b7d1b1391c8d276dc4ab8bca0b"
);

#[test]
fn the_record_that_go_made_is_read_and_reproduced() {
    let record = read(GO_RECORD.to_vec()).unwrap();
    let addresses: Vec<Multiaddr> = (0..10)
        .map(|port| format!("/ip4/1.2.3.4/tcp/{port}").parse().unwrap())
        .collect();
    assert_eq!(record.seq(), 1_598_453_001_624_231_000);
    assert_eq!(record.addresses(), addresses);
    assert_eq!(record.envelope().encoded(), GO_RECORD);

    let keypair = load_keypair(GO_KEY).unwrap();
    assert_eq!(record.peer_id(), keypair.public().to_peer_id());
    assert_eq!(record.key(), &keypair.public());
    let own = PeerRecord::sign(&keypair, record.seq(), addresses).unwrap();
    assert_eq!(own.envelope().encoded(), GO_RECORD);
    assert_eq!(own, record);
}

#[test]
fn the_form_of_the_rfc_is_read_as_well() {
    let keypair = Keypair::generate_ed25519();
    let payload = payload_of(&record(&keypair, 7));
    let legacy = Envelope::sign(
        &keypair,
        PeerRecord::LEGACY_DOMAIN,
        PeerRecord::LEGACY_PAYLOAD_TYPE,
        &payload,
    );
    let read = PeerRecord::from_envelope(legacy.unwrap()).unwrap();
    assert_eq!(read.peer_id(), keypair.public().to_peer_id());
    assert_eq!(read.seq(), 7);
}

#[test]
fn the_domain_has_to_be_that_of_the_type() {
    let keypair = Keypair::generate_ed25519();
    let payload = payload_of(&record(&keypair, 7));
    for (domain, payload_type) in [
        (PeerRecord::DOMAIN, PeerRecord::LEGACY_PAYLOAD_TYPE),
        (PeerRecord::LEGACY_DOMAIN, PeerRecord::PAYLOAD_TYPE),
        ("libp2p-relay-rsvp", PeerRecord::PAYLOAD_TYPE),
    ] {
        let crossed = Envelope::sign(&keypair, domain, payload_type, &payload).unwrap();
        let error = PeerRecord::from_envelope(crossed).unwrap_err();
        assert!(
            matches!(
                error,
                PeerRecordError::Envelope(EnvelopeError::BadSignature)
            ),
            "{error}"
        );
    }
}

#[test]
fn an_envelope_of_another_kind_is_no_peer_record() {
    let keypair = Keypair::generate_ed25519();
    let voucher = Envelope::sign(&keypair, "libp2p-relay-rsvp", &[3, 2], b"voucher").unwrap();
    let error = PeerRecord::from_envelope(voucher).unwrap_err();
    assert_eq!(error.fault(), Fault::Incompatible);
    assert_eq!(
        error.to_string(),
        "the envelope holds a payload of another type: 0302"
    );
}

#[test]
fn nobody_can_sign_for_somebody_else() {
    let (victim, attacker) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let payload = payload_of(&record(&victim, 7));
    let forged = sign_payload(&attacker, &payload);
    let error = PeerRecord::from_envelope(forged).unwrap_err();
    assert!(matches!(
        error,
        PeerRecordError::PeerMismatch { claimed, signer }
            if claimed == victim.public().to_peer_id() && signer == attacker.public().to_peer_id()
    ));
    assert_eq!(error.fault(), Fault::PeerMisbehaved);
}

#[test]
fn a_signed_payload_that_is_no_record_is_malformed() {
    let keypair = Keypair::generate_ed25519();
    for payload in [&b""[..], &[0xff; 10], &[0x0a, 3, 1, 2, 3]] {
        let error = PeerRecord::from_envelope(sign_payload(&keypair, payload)).unwrap_err();
        assert!(matches!(error, PeerRecordError::Malformed(_)), "{error}");
    }
}

#[test]
fn addresses_that_can_not_be_used_are_left_out_and_the_others_stay() {
    let keypair = Keypair::generate_ed25519();
    let good: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
    let long: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(600)).parse().unwrap();
    let mut payload = payload_of(&PeerRecord::sign(&keypair, 1, vec![]).unwrap());
    for address in [
        &[0xff, 0xff][..],
        &[],
        &good.to_vec(),
        &[4, 1, 2],
        &long.to_vec(),
    ] {
        payload.extend(address_field(address));
    }
    let record = PeerRecord::from_envelope(sign_payload(&keypair, &payload)).unwrap();
    assert_eq!(record.addresses(), [good]);
}

#[test]
fn a_remote_can_not_make_us_keep_more_addresses_than_the_limit() {
    let keypair = Keypair::generate_ed25519();
    let mut payload = payload_of(&PeerRecord::sign(&keypair, 1, vec![]).unwrap());
    for port in 0..500 {
        payload.extend(address_field(&address(port).to_vec()));
    }
    let record = PeerRecord::from_envelope(sign_payload(&keypair, &payload)).unwrap();
    assert_eq!(record.addresses().len(), PeerRecord::MAX_ADDRESSES);
    assert_eq!(record.addresses()[0], address(0));
}

#[test]
fn a_record_is_not_made_with_more_than_others_accept() {
    let keypair = Keypair::generate_ed25519();
    let addresses = |count: u16| (0..count).map(address).collect::<Vec<_>>();
    assert!(PeerRecord::sign(&keypair, 1, addresses(64)).is_ok());
    let error = PeerRecord::sign(&keypair, 1, addresses(65)).unwrap_err();
    assert!(matches!(
        error,
        PeerRecordError::TooManyAddresses { count: 65 }
    ));

    let long: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(600)).parse().unwrap();
    let error = PeerRecord::sign(&keypair, 1, vec![long]).unwrap_err();
    assert!(matches!(error, PeerRecordError::AddressTooLong { .. }));

    let wide: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(400)).parse().unwrap();
    let error = PeerRecord::sign(&keypair, 1, vec![wide; 60]).unwrap_err();
    assert!(matches!(
        error,
        PeerRecordError::Envelope(EnvelopeError::TooLarge { .. })
    ));
}

#[test]
fn the_higher_number_of_the_same_peer_supersedes() {
    let keypair = Keypair::generate_ed25519();
    let (old, new) = (record(&keypair, 1), record(&keypair, 2));
    assert!(new.supersedes(&old));
    assert!(!old.supersedes(&new));
    assert!(!new.supersedes(&new.clone()));
    let stranger = record(&Keypair::generate_ed25519(), u64::MAX);
    assert!(!stranger.supersedes(&old));
}

#[test]
fn no_cut_off_or_damaged_record_is_accepted() {
    for len in 0..GO_RECORD.len() {
        assert!(read(GO_RECORD[..len].to_vec()).is_err(), "{len} bytes");
    }
    for bit in 0..GO_RECORD.len() * 8 {
        let mut bytes = GO_RECORD.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(bytes).is_err(), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_back(
        seq in any::<u64>(),
        ports in proptest::collection::vec(any::<u16>(), 0..64),
    ) {
        let addresses: Vec<_> = ports.into_iter().map(address).collect();
        let keypair = Keypair::generate_ed25519();
        let signed = PeerRecord::sign(&keypair, seq, addresses).unwrap();
        let received = read(signed.envelope().encoded().to_vec()).unwrap();
        prop_assert_eq!(received, signed);
    }

    #[test]
    fn any_signed_payload_is_read_without_a_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let keypair = Keypair::generate_ed25519();
        let mut payload = payload_of(&PeerRecord::sign(&keypair, 1, vec![]).unwrap());
        payload.extend(tail);
        let _ = PeerRecord::from_envelope(sign_payload(&keypair, &payload));
    }

    #[test]
    fn any_address_is_read_without_a_panic(
        address in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let keypair = Keypair::generate_ed25519();
        let mut payload = payload_of(&PeerRecord::sign(&keypair, 1, vec![]).unwrap());
        payload.extend(address_field(&address));
        let record = PeerRecord::from_envelope(sign_payload(&keypair, &payload)).unwrap();
        prop_assert!(record.addresses().len() <= 1);
    }
}

fn read(encoded: Vec<u8>) -> Result<PeerRecord, PeerRecordError> {
    PeerRecord::from_envelope(Envelope::decode(encoded)?)
}

fn record(keypair: &Keypair, seq: u64) -> PeerRecord {
    PeerRecord::sign(keypair, seq, vec![address(4001)]).unwrap()
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

fn payload_of(record: &PeerRecord) -> Vec<u8> {
    let envelope = record.envelope();
    let verified = envelope.verify(PeerRecord::DOMAIN, PeerRecord::PAYLOAD_TYPE);
    Bytes::clone(verified.unwrap().payload).to_vec()
}

fn sign_payload(keypair: &Keypair, payload: &[u8]) -> Envelope {
    Envelope::sign(
        keypair,
        PeerRecord::DOMAIN,
        PeerRecord::PAYLOAD_TYPE,
        payload,
    )
    .unwrap()
}

/// Field 3 with an `AddressInfo` inside, whose field 1 is the address.
fn address_field(address: &[u8]) -> Vec<u8> {
    let mut info = vec![0x0a];
    prost::encode_length_delimiter(address.len(), &mut info).unwrap();
    info.extend_from_slice(address);
    let mut field = vec![0x1a];
    prost::encode_length_delimiter(info.len(), &mut field).unwrap();
    field.extend(info);
    field
}
