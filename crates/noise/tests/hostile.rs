//! Peers that break the rules, and somebody in the middle who changes bytes.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::io::ErrorKind;

use common::*;
use futures::{FutureExt, executor::block_on, future::join};
use peerkit_core::{Fault, Role, SecurityError};
use peerkit_noise::MAX_HANDSHAKE_MESSAGE;
use proptest::prelude::*;

#[test]
fn an_unchanged_recording_is_accepted_by_the_same_seed() {
    let (sent, answered) = recording();
    assert!(dial(&answered).is_ok());
    assert!(listen(&sent).is_ok());
}

#[test]
fn a_flipped_bit_anywhere_in_the_handshake_is_refused() {
    let (sent, answered) = recording();
    for at in 0..answered.len() {
        assert_refused(dial(&flipped(&answered, at)));
    }
    for at in 0..sent.len() {
        assert_refused(listen(&flipped(&sent, at)));
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_in_the_handshake_is_an_unexpected_end() {
    let (sent, answered) = recording();
    for end in 0..answered.len() {
        assert_cut(dial(&answered[..end]));
    }
    for end in 0..sent.len() {
        assert_cut(listen(&sent[..end]));
    }
}

#[test]
fn a_message_that_is_shortened_is_refused() {
    let (sent, answered) = recording();
    for len in 0..answered.len() - 2 {
        assert_refused(dial(&framed(&answered[2..2 + len])));
    }
    let (first, last) = sent.split_at(34);
    for len in 0..32 {
        assert_refused(listen(
            &[framed(&first[2..2 + len]), last.to_vec()].concat(),
        ));
    }
    for len in 0..last.len() - 2 {
        assert_refused(listen(&[first, &framed(&last[2..2 + len])].concat()));
    }
}

#[test]
fn a_message_that_is_lengthened_is_refused() {
    let (sent, answered) = recording();
    let longer = |message: &[u8]| framed(&[&message[2..], &[0]].concat());
    assert_refused(dial(&longer(&answered)));
    let (first, last) = sent.split_at(34);
    assert_refused(listen(&[&longer(first), last].concat()));
    assert_refused(listen(&[first, &longer(last)].concat()));
}

#[test]
fn a_recorded_handshake_can_not_be_replayed() {
    let (sent, answered) = recording();
    let listener = noise(2);
    let first = handshake(script(&sent), Role::Listener, None, &[]);
    assert!(block_on(secure(&listener, first)).is_ok());
    let again = handshake(script(&sent), Role::Listener, None, &[]);
    assert_refused(block_on(secure(&listener, again)).map(drop));
    let dialer = noise(1);
    let first = handshake(script(&answered), Role::Dialer, None, &[]);
    assert!(block_on(secure(&dialer, first)).is_ok());
    let again = handshake(script(&answered), Role::Dialer, None, &[]);
    assert_refused(block_on(secure(&dialer, again)).map(drop));
}

#[test]
fn a_reflected_message_is_refused() {
    let (sent, _) = recording();
    assert_refused(dial(&sent));
}

#[test]
fn an_oversized_message_is_refused_by_its_length_alone() {
    let (sent, _) = recording();
    let over = ((MAX_HANDSHAKE_MESSAGE + 1) as u16).to_be_bytes();
    for len in [over, [0xff, 0xff]] {
        assert_malformed(dial_silent(&len));
        assert_malformed(listen_silent(&len));
        assert_malformed(listen_silent(&[&sent[..34], &len].concat()));
    }
    // Message 1 has one length.
    assert_malformed(listen_silent(&[0, 33]));
}

#[test]
fn identities_that_prove_nothing_are_refused_by_both_sides() {
    let honest = identity(3);
    let other = identity(4);
    let key = honest.public().encode_protobuf();
    let other_session = signature(&honest, [1; 32]);
    type Forge<'a> = Box<dyn Fn([u8; 32]) -> Vec<u8> + 'a>;
    let forgeries: Vec<(&str, Forge<'_>)> = vec![
        ("nothing", Box::new(|_| Vec::new())),
        ("no signature", Box::new(|_| field(1, &key))),
        ("no key", Box::new(|at| field(2, &signature(&honest, at)))),
        ("an empty signature", Box::new(|_| payload(&key, &[]))),
        ("zeros", Box::new(|_| payload(&key, &[0; 64]))),
        (
            "a signature of another session",
            Box::new(|_| payload(&key, &other_session)),
        ),
        (
            "a signature of another key",
            Box::new(|at| payload(&key, &signature(&other, at))),
        ),
        (
            "bytes behind the signature",
            Box::new(|at| payload(&key, &[signature(&honest, at), vec![0]].concat())),
        ),
        (
            "bytes behind the key",
            Box::new(|at| payload(&[&key[..], &[0x18, 0]].concat(), &signature(&honest, at))),
        ),
        (
            "two keys",
            Box::new(|at| {
                let other = field(1, &other.public().encode_protobuf());
                [other, honest_payload(&honest, at)].concat()
            }),
        ),
        (
            "two signatures",
            Box::new(|at| [honest_payload(&honest, at), field(2, &[0; 64])].concat()),
        ),
        (
            "an unknown kind of key",
            Box::new(|at| payload(&[0x08, 9, 0x12, 1, 0], &signature(&honest, at))),
        ),
        (
            "a short Ed25519 key",
            Box::new(|at| payload(&[0x08, 1, 0x12, 1, 0], &signature(&honest, at))),
        ),
        (
            "a secp256k1 key that is no point",
            Box::new(|at| {
                let point = [&[0x08, 2, 0x12, 33, 2], &[0xff; 32][..]].concat();
                payload(&point, &signature(&honest, at))
            }),
        ),
        (
            "an RSA key of 1024 bits",
            Box::new(|_| payload(&weak_rsa(), &[0; 128])),
        ),
        (
            "an empty RSA key",
            Box::new(|_| payload(&[0x08, 0, 0x12, 0], &[0; 256])),
        ),
        ("garbage", Box::new(|_| vec![0xff; 100])),
    ];
    for (name, forge) in &forgeries {
        for outcome in against_both(forge) {
            let Err(error) = outcome else {
                panic!("{name} was accepted");
            };
            assert_eq!(error.fault(), Fault::PeerMisbehaved, "{name}: {error}");
        }
    }
    for outcome in against_both(&|at| honest_payload(&honest, at)) {
        assert!(outcome.is_ok(), "the hostile peers can be honest");
    }
}

#[test]
fn unknown_fields_are_no_reason_to_refuse() {
    let identity = identity(3);
    let odd = |at| {
        let old_draft = field(3, b"data");
        let extensions = field(
            4,
            &[field(1, &[7; 34]), field(3, &[]), field(9, b"new")].concat(),
        );
        [
            old_draft,
            honest_payload(&identity, at),
            extensions,
            field(15, b"newer"),
        ]
        .concat()
    };
    for outcome in against_both(&odd) {
        outcome.unwrap();
    }
}

#[test]
fn the_signature_of_an_rsa_identity_of_8192_bits_would_fit() {
    // Whoever has such a key sends about this much; it is refused for its content alone.
    let outcomes = against_both(&|_| payload(&[7; 1070], &[8; 1024]));
    for outcome in outcomes {
        assert!(matches!(outcome, Err(SecurityError::BadIdentity(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_instead_of_a_handshake_is_refused(
        garbage in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        prop_assert!(dial(&garbage).is_err());
        prop_assert!(listen(&garbage).is_err());
        prop_assert!(dial(&framed(&garbage)).is_err());
        prop_assert!(listen(&framed(&garbage)).is_err());
        let (sent, _) = recording();
        prop_assert!(listen(&[&sent[..34], &framed(&garbage)].concat()).is_err());
    }

    #[test]
    fn garbage_as_a_payload_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        for outcome in against_both(&|_| garbage.clone()) {
            prop_assert!(outcome.is_err());
        }
    }
}

/// What the dialer `noise(1)` and the listener `noise(2)` send each other.
fn recording() -> (Vec<u8>, Vec<u8>) {
    let (near, far) = pipe(1 << 16);
    let (sent, answered) = (near.log(), far.log());
    let (dialer, listener) = (noise(1), noise(2));
    let (dialer, listener) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[])),
        secure(&listener, handshake(far, Role::Listener, None, &[])),
    ));
    dialer.and(listener).unwrap();
    (sent.bytes(), answered.bytes())
}

fn dial(answer: &[u8]) -> Result<(), SecurityError> {
    let start = handshake(script(answer), Role::Dialer, None, &[]);
    block_on(secure(&noise(1), start)).map(drop)
}

fn listen(input: &[u8]) -> Result<(), SecurityError> {
    let start = handshake(script(input), Role::Listener, None, &[]);
    block_on(secure(&noise(2), start)).map(drop)
}

/// As `dial`, but the remote stays silent instead of ending.
fn dial_silent(answer: &[u8]) -> Result<(), SecurityError> {
    silent(1, Role::Dialer, answer)
}

fn listen_silent(input: &[u8]) -> Result<(), SecurityError> {
    silent(2, Role::Listener, input)
}

fn silent(byte: u8, role: Role, input: &[u8]) -> Result<(), SecurityError> {
    let (local, mut remote) = pipe(1 << 16);
    block_on(futures::AsyncWriteExt::write_all(&mut remote, input)).unwrap();
    let noise = noise(byte);
    let outcome = secure(&noise, handshake(local, role, None, &[])).now_or_never();
    drop(remote);
    outcome
        .expect("it waits for more than the length")
        .map(drop)
}

/// Sends a payload to an honest dialer and to an honest listener.
fn against_both(forge: &dyn Fn([u8; 32]) -> Vec<u8>) -> [Result<(), SecurityError>; 2] {
    let (near, far) = pipe(1 << 16);
    let dialer = noise(1);
    let (dialing, _) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[])),
        hostile_listener(far, forge),
    ));
    let (near, far) = pipe(1 << 16);
    let listener = noise(2);
    let (_, listening) = block_on(join(
        hostile_dialer(near, forge),
        secure(&listener, handshake(far, Role::Listener, None, &[])),
    ));
    [dialing.map(drop), listening.map(drop)]
}

fn weak_rsa() -> Vec<u8> {
    let spki = include_bytes!("testdata/rsa-1024.spki");
    [&[0x08, 0][..], &field(2, spki)].concat()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (at % 8);
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// Any typed error; where a longer length was claimed, the end comes first.
fn assert_refused(outcome: Result<(), SecurityError>) {
    match outcome {
        Err(SecurityError::Malformed(_) | SecurityError::Authentication) => {}
        Err(SecurityError::Io(error)) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        other => panic!("not refused as damaged: {other:?}"),
    }
}

fn assert_cut(outcome: Result<(), SecurityError>) {
    let Err(SecurityError::Io(error)) = outcome else {
        panic!("not an end of input: {outcome:?}");
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

fn assert_malformed(outcome: Result<(), SecurityError>) {
    assert!(
        matches!(outcome, Err(SecurityError::Malformed(_))),
        "{outcome:?}"
    );
}
