//! Public keys that no honest peer has.

use super::protobuf;

/// Kinds of keys in libp2p's encoding.
pub const RSA: u64 = 0;
/// Ed25519.
pub const ED25519: u64 = 1;
/// secp256k1.
pub const SECP256K1: u64 = 2;
/// ECDSA.
pub const ECDSA: u64 = 3;

/// A key as libp2p encodes it.
pub fn key(kind: u64, data: &[u8]) -> Vec<u8> {
    [protobuf::number(1, kind), protobuf::bytes(2, data)].concat()
}

/// An RSA key with so many bits, of which all but the last are arbitrary.
pub fn rsa(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0xab; bits / 8];
    modulus[bits / 8 - 1] |= 1;
    let numbers = [der(2, &[&[0][..], &modulus].concat()), der(2, &[1, 0, 1])].concat();
    let rsa_encryption = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let content = [
        der(0x30, &rsa_encryption),
        der(3, &[&[0][..], &der(0x30, &numbers)].concat()),
    ];
    key(RSA, &der(0x30, &content.concat()))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=127 => vec![tag, len as u8],
        128..=255 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [&head[..], content].concat()
}

/// The points of Ed25519 whose order is small, for which many signatures hold.
pub const SMALL_ORDER: [[u8; 32]; 4] = [
    hex_literal::hex!("0100000000000000000000000000000000000000000000000000000000000000"),
    hex_literal::hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex_literal::hex!("0000000000000000000000000000000000000000000000000000000000000000"),
    hex_literal::hex!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
];
