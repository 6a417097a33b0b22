//! Keys, peer ids and what is signed with keys.

use std::sync::LazyLock;

use peerkit_core::{
    Envelope, Keypair, PeerId, PeerRecord, PublicKey, import_rsa_key, load_keypair, parse_peer_id,
    save_keypair,
};

use crate::input::Input;

/// Ed25519 keys that are always the same.
pub(crate) fn keypair(number: u8) -> &'static Keypair {
    static KEYS: LazyLock<Vec<Keypair>> = LazyLock::new(|| {
        let key =
            |number| Keypair::ed25519_from_bytes([number; 32]).expect("any 32 bytes are a key");
        (0..=63).map(key).collect()
    });
    &KEYS[usize::from(number)]
}

pub(crate) fn peer(number: u8) -> PeerId {
    static PEERS: LazyLock<Vec<PeerId>> =
        LazyLock::new(|| (0..=63).map(|n| keypair(n).public().to_peer_id()).collect());
    PEERS[usize::from(number)]
}

/// A public key as identify, noise and envelopes carry it.
pub fn public_key(data: &[u8]) {
    let mut input = Input::new(data);
    let signature = input.bytes();
    let Ok(key) = PublicKey::try_decode_protobuf(input.rest()) else {
        return;
    };
    let encoded = key.encode_protobuf();
    let again = PublicKey::try_decode_protobuf(&encoded).expect("it was encoded here");
    assert_eq!(again, key);
    let peer = key.to_peer_id();
    assert_eq!(PeerId::from_bytes(&peer.to_bytes()).ok(), Some(peer));
    let _ = key.verify(b"message", signature);
}

/// A private key as a file holds it, or as another program made it.
pub fn private_key(data: &[u8]) {
    if let Ok(keypair) = load_keypair(data) {
        let public = keypair.public();
        if let Ok(saved) = save_keypair(&keypair) {
            let again = load_keypair(&saved).expect("it was saved here");
            assert_eq!(again.public(), public);
        }
        if let Ok(signature) = keypair.sign(b"message") {
            assert!(public.verify(b"message", &signature));
        }
    }
    if let Ok(imported) = import_rsa_key(data) {
        load_keypair(&imported).expect("it was made here");
    }
}

/// Peer ids, in bytes and as text.
pub fn peer_id(data: &[u8]) {
    if let Ok(peer) = PeerId::from_bytes(data) {
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()).ok(), Some(peer));
        // Hashes of any length pass as bytes; text has to be that of a peer id that can be.
        let again = parse_peer_id(&peer.to_string());
        assert!(again.is_err() || again == Ok(peer));
    }
    let text = std::str::from_utf8(data).unwrap_or_default();
    if let Ok(peer) = parse_peer_id(text) {
        assert_eq!(parse_peer_id(&peer.to_string()), Ok(peer));
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()).ok(), Some(peer));
        // The plain form is read by others as well.
        if let Ok(theirs) = text.parse::<PeerId>() {
            assert_eq!(theirs, peer);
        }
    }
}

/// Signed envelopes.
pub fn envelope(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        return forged_envelope(&mut input);
    }
    let data = input.rest();
    let Ok(envelope) = Envelope::decode(data.to_vec()) else {
        return;
    };
    assert_eq!(&envelope.encoded()[..], data);
    assert!(data.len() <= Envelope::MAX_LEN);
    let payload_type = envelope.payload_type().to_vec();
    for domain in [PeerRecord::DOMAIN, PeerRecord::LEGACY_DOMAIN, "", "other"] {
        if let Ok(verified) = envelope.verify(domain, &payload_type) {
            assert!(!domain.is_empty());
            assert!(verified.payload.len() <= data.len());
        }
    }
    let _ = PeerRecord::from_envelope(envelope);
}

/// A good envelope that somebody changes: what still verifies says what was signed.
fn forged_envelope(input: &mut Input<'_>) {
    let (payload_type, payload) = (input.bytes(), input.bytes());
    let signed = Envelope::sign(keypair(3), "domain", payload_type, payload);
    let mut bytes = signed.expect("it is short").encoded().to_vec();
    crate::input::patch(input, &mut bytes);
    let Ok(envelope) = Envelope::decode(bytes) else {
        return;
    };
    assert!(envelope.verify("niamod", payload_type).is_err());
    if let Ok(verified) = envelope.verify("domain", payload_type) {
        assert_eq!(verified.key, &keypair(3).public());
        assert_eq!(&verified.payload[..], payload);
    }
}

/// Peer records, whose signature is good whatever they say.
pub fn peer_record(data: &[u8]) {
    let mut input = Input::new(data);
    let (domain, payload_type) = if input.flag() {
        (PeerRecord::LEGACY_DOMAIN, PeerRecord::LEGACY_PAYLOAD_TYPE)
    } else {
        (PeerRecord::DOMAIN, PeerRecord::PAYLOAD_TYPE)
    };
    let Ok(envelope) = Envelope::sign(keypair(4), domain, payload_type, input.rest()) else {
        return;
    };
    let Ok(record) = PeerRecord::from_envelope(envelope) else {
        return;
    };
    assert_eq!(record.peer_id(), peer(4));
    assert!(record.addresses().len() <= PeerRecord::MAX_ADDRESSES);
    let longest = record.addresses().iter().map(|addr| addr.len()).max();
    assert!(longest <= Some(PeerRecord::MAX_ADDRESS_LEN));
    let again = PeerRecord::sign(keypair(4), record.seq(), record.addresses().to_vec());
    if let Ok(again) = again {
        let again = PeerRecord::from_envelope(again.envelope().clone()).expect("it is good");
        assert_eq!(again.addresses(), record.addresses());
        assert!(!again.supersedes(&record));
    }
}
