//! Two honest peers.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use bytes::BytesMut;
use common::*;
use futures::{FutureExt, executor::block_on, future::join};
use peerkit_core::{ChannelParts, Keypair, Role, SecurityError, SecurityUpgrade};
use peerkit_noise::Noise;

#[test]
fn both_sides_learn_who_the_other_is_and_understand_each_other() {
    let (dialer, listener) = shake((&noise(1), Some(peer(2)), &[]), (&noise(2), &[]));
    let (mut dialer, mut listener) = (dialer.unwrap(), listener.unwrap());
    assert_eq!(dialer.remote_peer, peer(2));
    assert_eq!(dialer.remote_key, identity(2).public());
    assert_eq!(listener.remote_peer, peer(1));
    assert_eq!(listener.remote_key, identity(1).public());

    dialer.channel.queue(b"ping").unwrap();
    listener.channel.queue(b"pong").unwrap();
    let (near, far) = block_on(join(
        dialer.channel.read_more(),
        listener.channel.read_more(),
    ));
    near.and(far).unwrap();
    assert_eq!(dialer.channel.early()[..], *b"pong");
    assert_eq!(listener.channel.early()[..], *b"ping");
}

#[test]
fn all_four_kinds_of_identity_keys_work_on_both_sides() {
    let mut rsa = include_bytes!("testdata/rsa-2048.pk8").to_vec();
    let identities = [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa).unwrap(),
    ];
    for dialing in &identities {
        for listening in &identities {
            let (dialer, listener) = shake(
                (&Noise::new(dialing).unwrap(), None, &[YAMUX]),
                (&Noise::new(listening).unwrap(), &[YAMUX]),
            );
            assert_eq!(dialer.unwrap().remote_key, listening.public());
            assert_eq!(listener.unwrap().remote_key, dialing.public());
        }
    }
}

#[test]
fn somebody_else_behind_the_address_is_refused_by_the_dialer() {
    let (dialer, listener) = shake((&noise(1), Some(peer(3)), &[]), (&noise(2), &[]));
    let Err(SecurityError::PeerMismatch { expected, found }) = dialer else {
        panic!("the dialer wanted somebody else");
    };
    assert_eq!((expected, found), (peer(3), peer(2)));
    // And the dialer's name was not given away to the wrong peer.
    assert!(matches!(listener, Err(SecurityError::Io(_))));
}

#[test]
fn a_listener_may_expect_somebody_too() {
    let (near, far) = pipe(1 << 16);
    let (dialer, listener) = (noise(1), noise(2));
    let (_, outcome) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[])),
        secure(
            &listener,
            handshake(far, Role::Listener, Some(peer(3)), &[]),
        ),
    ));
    assert!(matches!(outcome, Err(SecurityError::PeerMismatch { .. })));
}

#[test]
fn messages_have_the_sizes_that_the_specification_gives_them() {
    let (sent, answered) = transcript();
    let sizes: Vec<_> = sent.iter().chain(&answered).map(Vec::len).collect();
    // An Ed25519 identity: 32, 168 and 200 bytes, and the length of each.
    assert_eq!(sizes, [34, 170, 202]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(transcript(), transcript());
}

#[test]
fn each_session_has_its_own_ephemeral_key() {
    let dialer = noise(1);
    assert_ne!(start_of(&dialer), start_of(&dialer));
    assert_ne!(start_of(&fresh()), start_of(&fresh()));
}

#[test]
fn the_first_message_travels_with_what_was_queued_before_it() {
    let (near, _far) = pipe(1 << 16);
    let log = near.log();
    let mut start = handshake(near, Role::Dialer, None, &[]);
    start.wire.outbound().extend_from_slice(b"before");
    let noise = noise(1);
    assert!(noise.secure(start).now_or_never().is_none());
    let writes = log.writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0][..6], *b"before");
    assert_eq!(writes[0].len(), 6 + 34);
}

#[test]
fn the_last_message_waits_for_the_first_bytes_of_the_next_layer() {
    let (near, far) = pipe(1 << 16);
    let log = near.log();
    let (dialer, listener) = (noise(1), noise(2));
    block_on(join(
        async {
            let start = handshake(near, Role::Dialer, None, &[]);
            let mut channel = dialer.secure(start).await.unwrap().channel;
            assert_eq!(log.writes().len(), 1);
            channel.queue(b"request").unwrap();
            channel.read_more().await.unwrap();
            assert_eq!(channel.early()[..], *b"answer");
        },
        async {
            let start = handshake(far, Role::Listener, None, &[]);
            let mut channel = listener.secure(start).await.unwrap().channel;
            channel.read_more().await.unwrap();
            assert_eq!(channel.early()[..], *b"request");
            channel.queue(b"answer").unwrap();
            let mut wire = channel.into_parts().wire;
            wire.flush().await.unwrap();
        },
    ));
    let writes = log.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[1].len(), 170 + 18 + 7);
}

#[test]
fn bytes_behind_the_last_message_stay_for_the_records() {
    let (near, far) = pipe(1 << 16);
    let (dialer, listener) = (noise(1), noise(2));
    let (dialer, listener) = block_on(join(
        async {
            let start = handshake(near, Role::Dialer, None, &[]);
            let mut channel = dialer.secure(start).await.unwrap().channel;
            channel.queue(b"early").unwrap();
            let ChannelParts {
                mut wire, records, ..
            } = channel.into_parts();
            wire.flush().await.unwrap();
            (wire, records)
        },
        listener.secure(handshake(far, Role::Listener, None, &[])),
    ));
    drop(dialer);
    let ChannelParts {
        mut wire,
        mut records,
        ..
    } = listener.unwrap().channel.into_parts();
    let mut rest: BytesMut = wire.inbound().split();
    assert_eq!(rest.len(), 18 + 5);
    assert_eq!(records.open(&mut rest).unwrap().unwrap()[..], *b"early");
}

/// What dialer and listener write.
fn transcript() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (near, far) = pipe(1 << 16);
    let (sent, answered) = (near.log(), far.log());
    let (dialer, listener) = (noise(1), noise(2));
    let (dialer, listener) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[])),
        secure(&listener, handshake(far, Role::Listener, None, &[])),
    ));
    dialer.and(listener).unwrap();
    (sent.writes(), answered.writes())
}

fn fresh() -> Noise {
    Noise::new(&identity(1)).unwrap()
}

/// The first message of a dialer.
fn start_of(noise: &Noise) -> Vec<u8> {
    let (near, _far) = pipe(1 << 16);
    let log = near.log();
    let outcome = noise.secure(handshake(near, Role::Dialer, None, &[]));
    assert!(outcome.now_or_never().is_none());
    log.bytes()
}
