//! Frames and payloads of Noise, and a key that is made by hand.

use peerkit::Keypair;
use zeroize::Zeroizing;

use super::protobuf;
use peerkit::noise::xx::KeyPair;

/// What an identity signs: this text and the static key.
pub const SIGNED: &[u8] = b"noise-libp2p-static-key:";

/// A message behind its length of two bytes.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A handshake payload of any key and signature.
pub fn payload(key: &[u8], signature: &[u8]) -> Vec<u8> {
    [protobuf::bytes(1, key), protobuf::bytes(2, signature)].concat()
}

/// The signature of a static key.
pub fn signature(identity: &Keypair, static_key: &[u8; 32]) -> Vec<u8> {
    identity
        .sign(&[SIGNED, static_key].concat())
        .expect("Ed25519 signs everything")
}

/// The payload of a peer that is what it says.
pub fn honest_payload(identity: &Keypair, static_key: &[u8; 32]) -> Vec<u8> {
    payload(
        &identity.public().encode_protobuf(),
        &signature(identity, static_key),
    )
}

/// A fresh X25519 key pair.
pub fn key_pair() -> KeyPair {
    KeyPair::from_secret(Zeroizing::new(rand::random()))
}
