//! multistream-select.

use std::{fmt::Debug, task::Poll};

use bytes::BytesMut;
use futures::FutureExt;
use peerkit_core::{NegotiationError, ProtocolId};
use peerkit_multistream::{Dialer, Listener, MAX_LISTING, MAX_PROPOSALS, dial, list_protocols};

use crate::{input::Input, io::Script};

/// A dialer against any answers: how they are cut makes no difference, and not a byte too many is taken.
pub fn multistream_dialer(data: &[u8]) {
    let mut input = Input::new(data);
    let (proposed, piece) = (names(&mut input), 1 + input.below(40));
    let answers = input.rest();
    let whole = converse(&mut dialer(&proposed), answers, answers.len().max(1));
    let cut = converse(&mut dialer(&proposed), answers, piece);
    assert_eq!(whole, cut);

    let mut script = Script::of(answers, piece);
    let outcome = dial(&mut script, proposed.clone()).now_or_never();
    let outcome = outcome.expect("a script never lets anybody wait");
    match &whole.outcome {
        Some(expected) => {
            assert_eq!(&format!("{outcome:?}"), expected);
            if outcome.is_ok() {
                assert_eq!(script.unread(), whole.left);
            }
        }
        None => assert!(
            matches!(outcome, Err(NegotiationError::Io(_))),
            "{outcome:?}"
        ),
    }
    let names: usize = proposed.iter().map(|name| name.as_str().len() + 3).sum();
    assert!(whole.sent.len() <= 20 + names);
}

/// A listener against any proposals.
pub fn multistream_listener(data: &[u8]) {
    let mut input = Input::new(data);
    let (supported, piece) = (names(&mut input), 1 + input.below(40));
    let proposals = input.rest();
    let whole = converse(&mut listener(&supported), proposals, proposals.len().max(1));
    let cut = converse(&mut listener(&supported), proposals, piece);
    assert_eq!(whole, cut);
    // The header, a refusal of each proposal, one listing.
    assert!(whole.sent.len() <= 64 + 4 * MAX_PROPOSALS + MAX_LISTING + 2);
}

/// The listing of a remote, whatever it says.
pub fn multistream_listing(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = 1 + input.below(40);
    let answers = input.rest();
    let list = |piece| {
        let outcome = list_protocols(&mut Script::of(answers, piece)).now_or_never();
        outcome.expect("a script never lets anybody wait")
    };
    let (whole, cut) = (list(usize::MAX), list(piece));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    if let Ok(Some(names)) = whole {
        assert!(names.len() <= MAX_LISTING / 3);
    }
}

/// A dialer and a listener agree on the first proposal that is supported, or on nothing.
pub fn multistream_pair(data: &[u8]) {
    let mut input = Input::new(data);
    let (proposed, supported) = (names(&mut input), names(&mut input));
    let (mut dialer, mut listener) = (dialer(&proposed), listener(&supported));
    let (mut to_dialer, mut to_listener) = (BytesMut::new(), BytesMut::new());
    let (mut here, mut there) = (None, None);
    while here.is_none() {
        let dialer_sent = feed(&mut dialer, &mut to_listener);
        if there.is_none() {
            there = advance(&mut listener, &mut input, &mut to_listener);
        }
        let listener_sent = feed(&mut listener, &mut to_dialer);
        here = advance(&mut dialer, &mut input, &mut to_dialer);
        assert!(here.is_some() || dialer_sent || listener_sent || !input.is_empty());
    }
    let expected = proposed.iter().find(|name| supported.contains(name));
    match (here.expect("the loop ends so"), expected) {
        (Ok(agreed), Some(expected)) => {
            assert_eq!(&agreed, expected);
            assert_eq!(there.expect("it has agreed").ok(), Some(agreed));
        }
        (Err(NegotiationError::Unsupported { .. }), None) => {}
        (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
    }
}

/// Either side.
trait Machine {
    fn read(&mut self, input: &mut BytesMut) -> Poll<Result<ProtocolId, NegotiationError>>;
    fn sent(&mut self) -> Option<bytes::Bytes>;
}

impl Machine for Dialer {
    fn read(&mut self, input: &mut BytesMut) -> Poll<Result<ProtocolId, NegotiationError>> {
        self.handle_read(input)
    }

    fn sent(&mut self) -> Option<bytes::Bytes> {
        self.poll_transmit()
    }
}

impl Machine for Listener {
    fn read(&mut self, input: &mut BytesMut) -> Poll<Result<ProtocolId, NegotiationError>> {
        self.handle_read(input)
    }

    fn sent(&mut self) -> Option<bytes::Bytes> {
        self.poll_transmit()
    }
}

/// All that can be seen of one conversation.
#[derive(Debug, PartialEq, Eq)]
struct Conversation {
    outcome: Option<String>,
    sent: Vec<u8>,
    /// What lies behind the negotiation, after a success.
    left: Vec<u8>,
}

fn converse(machine: &mut impl Machine, bytes: &[u8], piece: usize) -> Conversation {
    let mut buffer = BytesMut::new();
    let (mut outcome, mut sent, mut left) = (None, Vec::new(), Vec::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        if let Poll::Ready(ready) = machine.read(&mut buffer) {
            if ready.is_ok() {
                left.extend_from_slice(&buffer);
                left.extend(pieces.flatten());
            }
            outcome = Some(format!("{ready:?}"));
            break;
        }
        let Some(piece) = pieces.next() else { break };
        buffer.extend_from_slice(piece);
    }
    while let Some(bytes) = machine.sent() {
        sent.extend_from_slice(&bytes);
    }
    Conversation {
        outcome,
        sent,
        left,
    }
}

/// Whether there was something to send.
fn feed(machine: &mut impl Machine, to: &mut BytesMut) -> bool {
    let sent = machine.sent();
    to.extend_from_slice(sent.as_deref().unwrap_or_default());
    sent.is_some()
}

/// Lets a part of what has come arrive, then the rest.
fn advance<M: Machine + Debug>(
    machine: &mut M,
    input: &mut Input<'_>,
    arrived: &mut BytesMut,
) -> Option<Result<ProtocolId, NegotiationError>> {
    let later = arrived.split_off(input.below(32).min(arrived.len()));
    if let Poll::Ready(outcome) = machine.read(arrived) {
        return Some(outcome);
    }
    arrived.unsplit(later);
    match machine.read(arrived) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn dialer(proposed: &[ProtocolId]) -> Dialer {
    Dialer::new(proposed.to_vec())
}

fn listener(supported: &[ProtocolId]) -> Listener {
    Listener::new(supported.into())
}

fn names(input: &mut Input<'_>) -> Vec<ProtocolId> {
    let chosen = input.byte();
    let known = ["/noise", "/a", "/yamux/1.0.0", "/ipfs/id/1.0.0", "/ls"];
    let known = known.iter().enumerate();
    let mut names: Vec<_> = known
        .filter(|(at, _)| chosen >> at & 1 == 1)
        .map(|(_, name)| name.parse().expect("these are names"))
        .collect();
    if chosen & 0x80 != 0 {
        names.reverse();
    }
    if chosen & 0x40 != 0 {
        let long = format!("/{}", "x".repeat(990));
        names.push(long.parse().expect("names may be long"));
    }
    names
}
