//! The identify message on the wire.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::collections::BTreeSet;

use hex_literal::hex;
use peerkit_core::{Envelope, Fault, Keypair, Multiaddr, PeerRecord, ProtocolId, PublicKey};
use peerkit_identify::{DecodeError, Decoder, MAX_MESSAGE_LEN, MAX_MESSAGES, Message};
use proptest::{collection::vec, option, prelude::*, sample::Index};

/// What old Go peers read in one message, and what Rust peers do.
const COMMON_LEN: usize = 2048;
const FIRST_LEN: usize = 4096;

#[test]
fn the_fields_have_the_numbers_of_the_specification() {
    let said = Message {
        public_key: Some(public_key()),
        protocol_version: Some("ipfs/0.1.0".into()),
        agent_version: Some("a/1".into()),
        listen_addrs: vec![address(1)],
        protocols: vec![ProtocolId::from_static("/x")],
        observed_addr: Some(address(2)),
        signed_peer_record: None,
    };
    let key = hex!("080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e");
    let expected = [
        &[79, 0x0a, 36][..],
        &key,
        &hex!("12 08 04c0000201060001"),
        b"\x1a\x02/x",
        &hex!("22 08 04c0000201060002"),
        b"\x2a\x0aipfs/0.1.0\x32\x03a/1",
    ]
    .concat();
    assert_eq!(said.encode(), expected);
    assert_eq!(decode(&expected).unwrap(), said);
}

#[test]
fn an_ordinary_message_with_its_record_is_one_message() {
    let said = ordinary();
    let encoded = said.encode();
    assert_eq!(message_lens(&encoded), [encoded.len()]);
    assert!(encoded.len() <= COMMON_LEN);
    assert_eq!(decode(&encoded).unwrap(), said);
}

#[test]
fn a_record_that_makes_the_message_long_goes_into_a_second_one() {
    let addresses: Vec<_> = (0..60).map(address).collect();
    let said = Message {
        signed_peer_record: Some(signed(addresses.clone())),
        listen_addrs: addresses,
        protocols: protocols(60),
        ..ordinary()
    };
    let encoded = said.encode();
    let lens = message_lens(&encoded);
    assert_eq!(lens.len(), 2);
    assert!(lens[0] <= FIRST_LEN);
    let first = decode(&encoded[..lens[0]]).unwrap();
    assert_eq!(first.signed_peer_record, None);
    assert_eq!(first.protocols, said.protocols);
    assert_eq!(decode(&encoded).unwrap(), said);
}

#[test]
fn too_many_addresses_are_cut_at_the_end_before_any_protocol() {
    let said = Message {
        listen_addrs: (0..64).map(long_address).collect(),
        protocols: protocols(20),
        ..ordinary()
    };
    let first = first_message(&said);
    assert_eq!(first.protocols, said.protocols);
    assert!(first.listen_addrs.len() < 64);
    assert!(said.listen_addrs.starts_with(&first.listen_addrs));
    assert_eq!(first.public_key, said.public_key);
    assert_eq!(first.observed_addr, said.observed_addr);
}

#[test]
fn too_many_protocols_leave_room_for_some_addresses() {
    let long = |number| format!("/{number}/{}", "p".repeat(90)).parse().unwrap();
    let said = Message {
        listen_addrs: (0..64).map(long_address).collect(),
        protocols: (0..256).map(long).collect(),
        ..ordinary()
    };
    let first = first_message(&said);
    assert!(
        first.listen_addrs.len() >= 5,
        "{}",
        first.listen_addrs.len()
    );
    assert!(first.protocols.len() >= 20, "{}", first.protocols.len());
    assert!(said.protocols.starts_with(&first.protocols));
}

#[test]
fn own_lists_and_texts_are_bounded_too() {
    let said = Message {
        agent_version: Some("x".repeat(100_000)),
        listen_addrs: (0..100).map(address).collect(),
        protocols: (0..1000)
            .map(|n| format!("/{n}").parse().unwrap())
            .collect(),
        ..Message::default()
    };
    let decoded = decode(&said.encode()).unwrap();
    assert_eq!(decoded.listen_addrs.len(), Message::MAX_ADDRESSES);
    assert_eq!(decoded.protocols.len(), Message::MAX_PROTOCOLS);
    assert_eq!(decoded.agent_version.unwrap().len(), Message::MAX_TEXT_LEN);
}

#[test]
fn a_record_that_nobody_would_read_is_left_out() {
    let keypair = Keypair::generate_ed25519();
    let largest = Envelope::MAX_LEN - 120;
    let envelope = Envelope::sign(&keypair, "d", b"t", &vec![0; largest]).unwrap();
    assert!(envelope.encoded().len() > MAX_MESSAGE_LEN - 20);
    let mut said = ordinary();
    said.signed_peer_record = Some(envelope);
    let encoded = said.encode();
    assert!(
        message_lens(&encoded)
            .iter()
            .all(|len| *len <= MAX_MESSAGE_LEN + 2)
    );
    assert_eq!(decode(&encoded).unwrap().agent_version, said.agent_version);
}

#[test]
fn messages_are_merged_lists_grow_and_later_values_win() {
    let first = Message {
        agent_version: Some("old/1".into()),
        protocol_version: Some("v".into()),
        listen_addrs: vec![address(1)],
        protocols: protocols(2),
        ..Message::default()
    };
    let second = Message {
        agent_version: Some("new/2".into()),
        listen_addrs: vec![address(2), address(1)],
        protocols: protocols(3),
        ..Message::default()
    };
    let merged = decode(&[first.encode(), second.encode()].concat()).unwrap();
    assert_eq!(merged.agent_version.as_deref(), Some("new/2"));
    assert_eq!(merged.protocol_version.as_deref(), Some("v"));
    assert_eq!(merged.listen_addrs, [address(1), address(2)]);
    assert_eq!(merged.protocols, protocols(3));
}

#[test]
fn what_is_bad_alone_is_left_out_and_the_rest_stays() {
    let mut message = Vec::new();
    put(&mut message, 2, &address(7).to_vec());
    put(&mut message, 2, &[0xff; 12]);
    put(&mut message, 2, b"");
    put(&mut message, 2, &dns_address(600).to_vec());
    put(&mut message, 3, b"/good/1");
    put(&mut message, 3, b"no slash");
    put(&mut message, 3, &[0xff, 0xfe]);
    put(&mut message, 4, &dns_address(5000).to_vec());
    put(&mut message, 6, b"bad \xff utf-8\x1b[2J");
    put(&mut message, 8, b"no envelope");
    put(&mut message, 15, b"a field of the future");
    let said = decode(&framed(&message)).unwrap();
    let expected = Message {
        listen_addrs: vec![address(7)],
        protocols: vec![ProtocolId::from_static("/good/1")],
        agent_version: Some("bad \u{fffd} utf-8\\u{1b}[2J".into()),
        ..Message::default()
    };
    assert_eq!(said, expected);
}

#[test]
fn the_eleventh_message_is_one_too_many() {
    let message = framed(b"\x32\x01a");
    assert!(decode(&message.repeat(MAX_MESSAGES)).is_ok());
    let mut decoder = Decoder::default();
    let error = decoder.handle_read(&message.repeat(MAX_MESSAGES + 1));
    assert!(matches!(error, Err(DecodeError::TooManyMessages)));
    let empty = decode(&vec![0; 1_000_000]);
    assert!(matches!(empty, Err(DecodeError::TooManyMessages)));
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_length_alone() {
    let fits = framed(&{
        let mut message = Vec::new();
        put(&mut message, 15, &vec![0; MAX_MESSAGE_LEN - 3]);
        message
    });
    assert_eq!(fits.len(), MAX_MESSAGE_LEN + 2);
    assert!(decode(&fits).is_ok());
    for len in [MAX_MESSAGE_LEN as u64 + 1, u32::MAX.into(), u64::MAX] {
        let mut buffer = unsigned_varint::encode::u64_buffer();
        let prefix = unsigned_varint::encode::u64(len, &mut buffer);
        let error = Decoder::default().handle_read(prefix).unwrap_err();
        assert!(matches!(error, DecodeError::MessageTooLarge { len: found } if found == len));
        assert_eq!(error.fault(), Fault::PeerMisbehaved);
    }
}

#[test]
fn broken_lengths_and_messages_are_malformed() {
    for bytes in [
        // Eleven continuation bytes, a length that is not minimal, a field without an end,
        // a group.
        &[0xff; 11][..],
        &[0x81, 0x00],
        &[2, 0x32, 0x09],
        &[1, 0x0b],
    ] {
        let error = Decoder::default().handle_read(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{error}");
    }
}

#[test]
fn a_bad_public_key_spoils_the_message() {
    let mut message = Vec::new();
    put(&mut message, 1, &[0x08, 9, 0x12, 1, 0]);
    let error = decode(&framed(&message)).unwrap_err();
    assert!(matches!(error, DecodeError::BadKey(_)), "{error}");
}

#[test]
fn a_stream_that_ends_too_early_is_told_from_one_that_never_began() {
    assert!(matches!(decode(b""), Err(DecodeError::NoMessage)));
    let encoded = ordinary().encode();
    for len in 1..encoded.len() {
        let error = decode(&encoded[..len]).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated), "{len}: {error}");
        assert_eq!(error.fault(), Fault::Network);
    }
}

#[test]
fn a_flood_of_addresses_and_protocols_stops_at_the_limits() {
    let mut flood = Vec::new();
    for number in 0..MAX_MESSAGES as u16 {
        let mut message = Vec::new();
        for index in 0..200 {
            put(&mut message, 3, format!("/{number}/{index}").as_bytes());
            put(&mut message, 2, &address(number * 200 + index).to_vec());
        }
        flood.extend(framed(&message));
    }
    let said = decode(&flood).unwrap();
    assert_eq!(said.protocols.len(), Message::MAX_PROTOCOLS);
    assert_eq!(said.listen_addrs.len(), Message::MAX_ADDRESSES);
}

#[test]
fn a_push_changes_only_what_it_mentions() {
    let mut said = ordinary();
    let before = said.clone();
    said.update(Message::default());
    assert_eq!(said, before);
    said.update(Message {
        protocols: protocols(9),
        observed_addr: Some(address(9)),
        ..Message::default()
    });
    let expected = Message {
        protocols: protocols(9),
        observed_addr: Some(address(9)),
        ..before
    };
    assert_eq!(said, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_message_comes_back_whole_or_cut_at_the_end_of_its_lists(
        said in any_message(),
        chunk in 1..500usize,
    ) {
        let encoded = said.encode();
        let lens = message_lens(&encoded);
        prop_assert!(lens[0] <= FIRST_LEN);
        prop_assert!(lens.len() <= 2);
        let mut decoder = Decoder::default();
        for piece in encoded.chunks(chunk) {
            decoder.handle_read(piece).unwrap();
        }
        let read = decoder.finish().unwrap();
        prop_assert!(said.listen_addrs.starts_with(&read.listen_addrs));
        prop_assert!(said.protocols.starts_with(&read.protocols));
        let expected = Message {
            listen_addrs: read.listen_addrs.clone(),
            protocols: read.protocols.clone(),
            ..said
        };
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_cut_off_message_never_looks_whole(said in any_message(), cut in any::<Index>()) {
        let encoded = said.encode();
        let first = message_lens(&encoded)[0];
        let cut = cut.index(encoded.len());
        let whole = decode(&encoded[..cut]).is_ok();
        prop_assert_eq!(whole, cut == first && cut > 0);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(pieces in vec(vec(any::<u8>(), 0..300), 0..10)) {
        let mut decoder = Decoder::default();
        let read = pieces.iter().try_for_each(|piece| decoder.handle_read(piece));
        if read.is_ok() {
            let _ = decoder.finish();
        }
    }

    #[test]
    fn any_fields_are_read_without_a_panic(fields in vec((1..10u8, vec(any::<u8>(), 0..60)), 0..40)) {
        let mut message = Vec::new();
        for (number, value) in &fields {
            put(&mut message, *number, value);
        }
        if let Ok(said) = decode(&framed(&message)) {
            // What was read can be said again.
            prop_assert_eq!(decode(&said.encode()).unwrap().protocols, said.protocols);
        }
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let text = || option::of("[ -~]{0,128}");
    let addresses = vec((any::<u16>(), any::<bool>()), 0..70).prop_map(|ports| {
        let distinct: BTreeSet<_> = ports.into_iter().collect();
        let kind = |(port, long)| {
            if long {
                long_address(port)
            } else {
                address(port)
            }
        };
        distinct.into_iter().take(64).map(kind).collect::<Vec<_>>()
    });
    let names = vec("/[a-z0-9/.]{1,80}", 0..200).prop_map(|names| {
        let distinct: BTreeSet<_> = names.into_iter().collect();
        let parsed = distinct.into_iter().map(|name| name.parse().unwrap());
        parsed.collect::<Vec<ProtocolId>>()
    });
    let observed = option::of(any::<u16>().prop_map(address));
    (
        any::<bool>(),
        any::<bool>(),
        text(),
        text(),
        addresses,
        names,
        observed,
    )
        .prop_map(
            |(
                key,
                record,
                protocol_version,
                agent_version,
                listen_addrs,
                protocols,
                observed_addr,
            )| {
                let record = record.then(|| listen_addrs.iter().take(10).cloned().collect());
                Message {
                    public_key: key.then(public_key),
                    protocol_version,
                    agent_version,
                    signed_peer_record: record.map(signed),
                    listen_addrs,
                    protocols,
                    observed_addr,
                }
            },
        )
}

fn ordinary() -> Message {
    let addresses = vec![address(4001), address(4002)];
    Message {
        public_key: Some(public_key()),
        protocol_version: Some("ipfs/0.1.0".into()),
        agent_version: Some("peerkit/0.1.0".into()),
        signed_peer_record: Some(signed(addresses.clone())),
        listen_addrs: addresses,
        protocols: protocols(6),
        observed_addr: Some(address(5001)),
    }
}

fn public_key() -> PublicKey {
    PublicKey::try_decode_protobuf(&hex!(
        "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    ))
    .unwrap()
}

fn signed(addresses: Vec<Multiaddr>) -> Envelope {
    let record = PeerRecord::sign(&Keypair::generate_ed25519(), 1, addresses).unwrap();
    record.envelope().clone()
}

fn protocols(count: usize) -> Vec<ProtocolId> {
    let names = (0..count).map(|number| format!("/protocol/{number}/1.0.0"));
    names.map(|name| name.parse().unwrap()).collect()
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

/// About 150 bytes.
fn long_address(port: u16) -> Multiaddr {
    let name = "n".repeat(140);
    format!("/dns4/{name}/tcp/{port}").parse().unwrap()
}

fn dns_address(len: usize) -> Multiaddr {
    format!("/dns4/{}/tcp/1", "x".repeat(len)).parse().unwrap()
}

fn first_message(said: &Message) -> Message {
    let encoded = said.encode();
    let first = message_lens(&encoded)[0];
    assert!(first <= FIRST_LEN, "{first}");
    decode(&encoded[..first]).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut decoder = Decoder::default();
    decoder.handle_read(bytes)?;
    decoder.finish()
}

/// How long each message is, with its length in front.
fn message_lens(mut bytes: &[u8]) -> Vec<usize> {
    let mut lens = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = unsigned_varint::decode::usize(bytes).unwrap();
        lens.push(bytes.len() - rest.len() + len);
        bytes = &rest[len..];
    }
    lens
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    prost::encode_length_delimiter(message.len(), &mut framed).unwrap();
    framed.extend_from_slice(message);
    framed
}

/// Appends a field of bytes.
fn put(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    message.push(number << 3 | 2);
    prost::encode_length_delimiter(value.len(), message).unwrap();
    message.extend_from_slice(value);
}
