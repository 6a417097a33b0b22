//! What the handshake and the records cost.
//!
//! The features choose the back ends, as for everybody else:
//!
//! ```text
//! cargo bench -p peerkit-noise
//! cargo bench -p peerkit-noise --features ring
//! cargo bench -p peerkit-noise --features ring,aws-lc
//! ```
#![allow(clippy::unwrap_used, reason = "a benchmark panics when it fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use bytes::BytesMut;
use common::*;
use divan::{Bencher, black_box, counter::BytesCount};
use peerkit_core::Records;
use peerkit_noise::{
    NoiseRecords,
    xx::{Finished, Initiator, KeyPair, Responder},
};
use zeroize::Zeroizing;

fn main() {
    let cipher = if cfg!(feature = "ring") {
        "ring"
    } else {
        "portable"
    };
    let curve = if cfg!(feature = "aws-lc") {
        "aws-lc"
    } else {
        "portable"
    };
    println!("cipher: {cipher}, curve: {curve}");
    divan::main();
}

/// A small message of a protocol, and the largest payload of a record.
const PAYLOADS: [usize; 2] = [64, 65_519];

const HEADER: usize = 2;
const TAG: usize = 16;

#[divan::bench(args = PAYLOADS)]
fn seal(bencher: Bencher, payload: usize) {
    let (mut local, _) = session();
    let mut record = vec![7; HEADER + payload + TAG];
    bencher
        .counter(BytesCount::new(payload))
        .bench_local(|| local.seal(black_box(&mut record)).unwrap());
}

#[divan::bench(args = PAYLOADS)]
fn open(bencher: Bencher, payload: usize) {
    let (mut local, mut remote) = session();
    bencher
        .counter(BytesCount::new(payload))
        .with_inputs(|| {
            let mut record = vec![7; HEADER + payload + TAG];
            local.seal(&mut record).unwrap();
            BytesMut::from(record.as_slice())
        })
        .bench_local_refs(|input| remote.open(input).unwrap().unwrap());
}

/// The key that each side of a connection makes for it.
#[divan::bench]
fn ephemeral_key() -> KeyPair {
    key(black_box(9))
}

/// Both sides of the key exchange, their ephemeral keys included, without identities.
#[divan::bench]
fn xx_handshake(bencher: Bencher) {
    let (dialer, listener) = (key(1), key(2));
    bencher.bench(|| exchange(&dialer, &listener));
}

/// Both sides of a connection's handshake: key exchange, encoding, and each other's identity checked.
#[divan::bench]
fn secured_handshake(bencher: Bencher) {
    let (dialer, listener) = (noise(1), noise(2));
    bencher.bench(|| {
        let (near, far) = shake((&dialer, Some(peer(2)), &[YAMUX]), (&listener, &[YAMUX]));
        (near.unwrap(), far.unwrap())
    });
}

fn key(byte: u8) -> KeyPair {
    KeyPair::from_secret(Zeroizing::new([byte; 32]))
}

fn session() -> (NoiseRecords, NoiseRecords) {
    let (near, far) = exchange(&key(1), &key(2));
    (near.into_records(), far.into_records())
}

fn exchange(dialer: &KeyPair, listener: &KeyPair) -> (Finished, Finished) {
    let initiator = Initiator::new(&[], dialer.clone(), key(3));
    let responder = Responder::new(&[], listener.clone(), key(4));
    let mut message = BytesMut::new();
    let initiator = initiator.write(&[], &mut message).unwrap();
    let (responder, _) = responder.read(message.split()).unwrap();
    let responder = responder.write(&[], &mut message).unwrap();
    let (initiator, _) = initiator.read(message.split()).unwrap();
    let near = initiator.write(&[], &mut message).unwrap();
    let (far, _) = responder.read(message.split()).unwrap();
    (near, far)
}
