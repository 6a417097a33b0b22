//! Peer ids as text.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use peerkit_core::{InvalidPeerId, PeerId, parse_peer_id};
use proptest::prelude::*;

#[test]
fn both_text_forms_of_the_specification_are_the_same_id() {
    let plain = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    let cid = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    let peer_id = parse_peer_id(plain).unwrap();
    assert_eq!(parse_peer_id(cid), Ok(peer_id));
    assert_eq!(peer_id.to_string(), plain);
}

#[test]
fn an_inlined_key_is_read_in_each_form() {
    let plain = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    let peer_id: PeerId = plain.parse().unwrap();
    let bytes = [&[0x01, 0x72][..], &peer_id.to_bytes()].concat();
    for base in [
        multibase::Base::Base32Lower,
        multibase::Base::Base36Lower,
        multibase::Base::Base58Btc,
        multibase::Base::Base16Lower,
    ] {
        let text = multibase::encode(base, &bytes);
        assert_eq!(parse_peer_id(&text), Ok(peer_id), "{text}");
    }
    assert_eq!(parse_peer_id(plain), Ok(peer_id));
}

#[test]
fn what_is_no_peer_id_is_refused_with_a_reason() {
    use InvalidPeerId::{BadHash, NotAKey, NotText};
    let cid = |bytes: &[u8]| multibase::encode(multibase::Base::Base32Lower, bytes);
    let inlined = |len: u8| [&[0x00, len][..], &vec![7; len.into()]].concat();
    let base58 = |bytes: &[u8]| multibase::Base::Base58Btc.encode(bytes);

    assert_eq!(parse_peer_id(""), Err(NotText));
    assert_eq!(parse_peer_id("hello"), Err(NotText));
    assert_eq!(
        parse_peer_id("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWj0OIl"),
        Err(NotText)
    );
    assert_eq!(parse_peer_id("12D3KooW"), Err(BadHash));
    assert_eq!(parse_peer_id(&base58(&inlined(43))), Err(BadHash));
    assert!(parse_peer_id(&base58(&inlined(42))).is_ok());
    // A CID of a file (dag-pb), and a SHA-256 hash that was cut off.
    assert_eq!(
        parse_peer_id(&cid(&[&[0x01, 0x70, 0x12, 32][..], &[7; 32]].concat())),
        Err(NotAKey)
    );
    assert_eq!(
        parse_peer_id(&cid(&[0x01, 0x72, 0x12, 3, 1, 2, 3])),
        Err(BadHash)
    );
}

#[test]
fn a_huge_text_is_refused_at_once() {
    let text = "1".repeat(10 * 1024 * 1024);
    assert!(matches!(
        parse_peer_id(&text),
        Err(InvalidPeerId::TooLong { .. })
    ));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,150}") {
        let _ = parse_peer_id(&text);
    }

    #[test]
    fn every_sha256_id_comes_back(hash in any::<[u8; 32]>()) {
        let bytes = [&[0x12, 32][..], &hash].concat();
        let peer_id = PeerId::from_bytes(&bytes).unwrap();
        prop_assert_eq!(parse_peer_id(&peer_id.to_string()), Ok(peer_id));
    }
}
