//! What messages cost on their way from and to the wire.
#![allow(clippy::unwrap_used, reason = "a benchmark panics when it fails")]

use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use peerkit_core::Keypair;
use peerkit_pubsub::{
    Control, DecodeLimits, FrameDecoder, IHave, Message, MessageId, MessageSigner, MessageVerifier,
    Rpc, RpcDecoder, SignaturePolicy, Topic, encode_rpc,
};

fn main() {
    divan::main();
}

/// What an RPC carries.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A signed message of 256 bytes.
    Message256,
    /// A signed message of 64 KiB.
    Message64K,
    /// An offer of 5000 messages.
    IHave5000,
}

const CONTENTS: [Content; 3] = [Content::Message256, Content::Message64K, Content::IHave5000];

#[divan::bench(args = CONTENTS)]
fn encode(bencher: Bencher, content: Content) {
    let rpc = rpc(content);
    bencher.bench(|| encode_rpc(black_box(&rpc)));
}

#[divan::bench(args = CONTENTS)]
fn decode(bencher: Bencher, content: Content) {
    let frame = frame(&rpc(content));
    let mut decoder = RpcDecoder::new(DecodeLimits::default());
    bencher.bench_local(|| decoder.decode(black_box(&frame)).unwrap());
}

/// A message of this node, built and signed.
#[divan::bench(args = [256, 65_536])]
fn sign(bencher: Bencher, size: usize) {
    let (signer, topic, data) = (signer(), topic(), vec![7; size]);
    bencher.bench(|| signer.message(&topic, black_box(&data)).unwrap());
}

/// A message of an author who has written before.
#[divan::bench(args = [256, 65_536])]
fn verify(bencher: Bencher, size: usize) {
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 16);
    let message = message(size);
    bencher.bench(|| verifier.verify(black_box(&message)).unwrap());
}

/// The same for eight that are checked together.
#[divan::bench]
fn verify_eight(bencher: Bencher) {
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 16);
    let messages = [(); 8].map(|()| message(256));
    bencher.bench(|| verifier.verify_all(black_box(&messages)));
}

/// What is checked before a message is known to be new: no signature.
#[divan::bench]
fn verify_form(bencher: Bencher) {
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 16);
    let message = message(256);
    bencher.bench(|| verifier.verify_form(black_box(&message)));
}

fn rpc(content: Content) -> Rpc {
    match content {
        Content::Message256 => publishing(256),
        Content::Message64K => publishing(65_536),
        Content::IHave5000 => offering(5000),
    }
}

fn publishing(size: usize) -> Rpc {
    Rpc {
        messages: vec![Arc::new(message(size))],
        ..Rpc::default()
    }
}

fn offering(count: u64) -> Rpc {
    // As long as the usual ids: an author and a number.
    let id = |number: u64| MessageId::concat(&[5; 38], &number.to_be_bytes());
    let ihave = IHave {
        topic: topic(),
        ids: (0..count).map(id).collect(),
    };
    Rpc {
        control: Control {
            ihave: vec![ihave],
            ..Control::default()
        },
        ..Rpc::default()
    }
}

/// The RPC as it comes, without its length.
fn frame(rpc: &Rpc) -> Bytes {
    let encoded = encode_rpc(rpc);
    let mut frames = FrameDecoder::new(encoded.len());
    frames.decode(&mut encoded.as_ref()).unwrap().unwrap()
}

fn message(size: usize) -> Message {
    signer().message(&topic(), &vec![7; size]).unwrap()
}

fn signer() -> MessageSigner {
    let author = Keypair::ed25519_from_bytes([1; 32]).unwrap();
    MessageSigner::new(&author, SignaturePolicy::StrictSign, 1)
}

fn topic() -> Topic {
    Topic::from("benchmark")
}
