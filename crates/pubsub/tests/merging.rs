#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! What stands twice in an RPC is merged, as protobuf wants it: found by the fuzzer, beside prost.

use peerkit_pubsub::{DecodeLimits, Extensions, RpcDecoder};

/// A field with a length.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    [
        &[number << 3 | 2, u8::try_from(body.len()).unwrap()][..],
        body,
    ]
    .concat()
}

fn decode(frame: Vec<u8>) -> peerkit_pubsub::Rpc {
    let decoded = RpcDecoder::new(DecodeLimits::default()).decode(&frame.into());
    decoded.unwrap().rpc
}

#[test]
fn extensions_that_stand_there_twice_are_merged() {
    let extensions = |flag: &[u8]| field(3, &field(6, flag));
    let rpc = decode([extensions(&[0x50, 1]), extensions(&[])].concat());
    let expected = Extensions {
        partial_messages: true,
        test: false,
    };
    assert_eq!(rpc.control.extensions, Some(expected));
}

#[test]
fn parts_of_a_message_that_stand_there_twice_are_merged() {
    let first = [field(1, b"news"), field(2, b"group"), field(3, b"old")].concat();
    let second = [field(3, b"new"), field(4, b"data")].concat();
    let partial = decode([field(10, &first), field(10, &second)].concat())
        .partial
        .unwrap();
    assert_eq!(partial.topic.as_str(), "news");
    assert_eq!(&partial.group[..], b"group");
    assert_eq!(partial.message.as_deref(), Some(&b"new"[..]));
    assert_eq!(partial.metadata.as_deref(), Some(&b"data"[..]));
}
