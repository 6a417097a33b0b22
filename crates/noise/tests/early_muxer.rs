//! Agreeing on a muxer inside the handshake.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use common::*;
use futures::{executor::block_on, future::join};
use peerkit_core::{ProtocolId, Role, SecurityError};

#[test]
fn the_dialers_order_decides() {
    assert_eq!(agreed(&[YAMUX, MPLEX], &[MPLEX, YAMUX]), Some(YAMUX));
    assert_eq!(agreed(&[MPLEX, YAMUX], &[YAMUX, MPLEX]), Some(MPLEX));
    assert_eq!(agreed(&[MPLEX, YAMUX], &[YAMUX]), Some(YAMUX));
}

#[test]
fn a_side_that_offers_nothing_leaves_the_choice_for_later() {
    assert_eq!(agreed(&[], &[YAMUX]), None);
    assert_eq!(agreed(&[YAMUX], &[]), None);
    assert_eq!(agreed(&[], &[]), None);
}

#[test]
fn the_handshake_fails_when_none_is_common() {
    let (dialer, _) = shake((&noise(1), None, &[YAMUX]), (&noise(2), &[MPLEX]));
    let Err(SecurityError::NoCommonMuxer { remote }) = dialer else {
        panic!("they have no muxer in common");
    };
    assert_eq!(remote, [MPLEX]);
}

#[test]
fn the_listener_finds_out_too_when_the_dialer_goes_on() {
    let (near, far) = pipe(1 << 16);
    let listener = noise(2);
    let (_, outcome) = block_on(join(
        hostile_dialer(near, |key| {
            let payload = honest_payload(&identity(1), key);
            [payload, muxers(["/mplex/6.7.0"])].concat()
        }),
        secure(&listener, handshake(far, Role::Listener, None, &[YAMUX])),
    ));
    let Err(SecurityError::NoCommonMuxer { remote }) = outcome else {
        panic!("they have no muxer in common");
    };
    assert_eq!(remote, [MPLEX]);
}

#[test]
fn a_dialer_may_name_its_choice_alone() {
    let (near, far) = pipe(1 << 16);
    let listener = noise(2);
    let (_, outcome) = block_on(join(
        hostile_dialer(near, |key| {
            let payload = honest_payload(&identity(1), key);
            [payload, muxers(["/mplex/6.7.0"])].concat()
        }),
        secure(
            &listener,
            handshake(far, Role::Listener, None, &[YAMUX, MPLEX]),
        ),
    ));
    assert_eq!(outcome.unwrap().early_muxer, Some(MPLEX));
}

#[test]
fn an_endless_offer_is_refused() {
    let (near, far) = pipe(1 << 16);
    let dialer = noise(1);
    let (outcome, _) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[YAMUX])),
        hostile_listener(far, |key| {
            let payload = honest_payload(&identity(2), key);
            [payload, muxers(["/m"; 101])].concat()
        }),
    ));
    assert!(matches!(outcome, Err(SecurityError::Malformed(_))));
}

#[test]
fn muxers_are_not_offered_before_there_is_a_key() {
    let (near, far) = pipe(1 << 16);
    let (sent, answered) = (near.log(), far.log());
    let (dialer, listener) = (noise(1), noise(2));
    let (dialer, _listener) = block_on(join(
        secure(&dialer, handshake(near, Role::Dialer, None, &[YAMUX])),
        secure(&listener, handshake(far, Role::Listener, None, &[YAMUX])),
    ));
    assert!(dialer.is_ok());
    assert_eq!(sent.writes()[0].len(), 34);
    for bytes in [sent.bytes(), answered.bytes()] {
        let name = b"/yamux/1.0.0";
        assert!(!bytes.windows(name.len()).any(|window| window == name));
    }
}

fn agreed(offer: &[ProtocolId], answer: &[ProtocolId]) -> Option<ProtocolId> {
    let (dialer, listener) = shake((&noise(1), None, offer), (&noise(2), answer));
    let (dialer, listener) = (dialer.unwrap().early_muxer, listener.unwrap().early_muxer);
    assert_eq!(dialer, listener);
    dialer
}
