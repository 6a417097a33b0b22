//! Whole negotiations, friendly and hostile.

use std::{io, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use futures::{
    AsyncReadExt, AsyncWriteExt,
    executor::block_on,
    future::{join, try_join},
};
use peerkit_core::{NegotiationError, Preamble, ProtocolId};
use peerkit_multistream::{
    Dialer, Listener, MAX_PROPOSALS, MAX_TOTAL, dial, list_protocols, listen,
};
use proptest::prelude::*;

use crate::support::{pipe, recorded};

mod support;

type Outcome = Poll<Result<ProtocolId, NegotiationError>>;

const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

#[test]
fn header_and_proposal_leave_together_and_so_do_header_and_answer() {
    let mut dialer = Dialer::new(vec![id("/noise")]);
    let mut listener = listener(&["/noise"]);
    let request = dialer.poll_transmit().unwrap();
    assert_eq!(request, [HEADER, b"\x07/noise\n"].concat());
    assert!(dialer.poll_transmit().is_none());

    assert_eq!(accepted(feed(&mut listener, &request)), "/noise");
    let answer = listener.poll_transmit().unwrap();
    assert_eq!(answer, request);
    assert_eq!(
        accepted(dialer.handle_read(&mut BytesMut::from(answer))),
        "/noise"
    );
}

#[test]
fn refused_proposals_are_followed_by_the_next() {
    let mut dialer = Dialer::new(vec![id("/a"), id("/b"), id("/c")]);
    let mut listener = listener(&["/c"]);
    let (agreed, round_trips) = negotiate(&mut dialer, &mut listener);
    assert_eq!(agreed.unwrap(), id("/c"));
    assert_eq!(round_trips, 3);
}

#[test]
fn a_dialer_without_anything_in_common_names_what_it_proposed() {
    let proposed = vec![id("/a"), id("/b")];
    let (agreed, _) = negotiate(&mut Dialer::new(proposed.clone()), &mut listener(&["/c"]));
    let Err(NegotiationError::Unsupported { proposed: named }) = agreed else {
        panic!("{agreed:?}");
    };
    assert_eq!(named, proposed);
}

#[test]
fn a_dialer_without_protocols_fails_at_once() {
    let mut dialer = Dialer::new(Vec::new());
    assert!(dialer.poll_transmit().is_none());
    let outcome = dialer.handle_read(&mut BytesMut::new());
    assert!(matches!(
        outcome,
        Poll::Ready(Err(NegotiationError::Unsupported { .. }))
    ));
}

#[test]
fn a_dialer_that_waits_for_the_header_gets_it_before_it_proposes() {
    let mut listener = listener(&["/noise"]);
    assert!(feed(&mut listener, HEADER).is_pending());
    assert_eq!(listener.poll_transmit().unwrap(), HEADER);
    assert_eq!(accepted(feed(&mut listener, b"\x07/noise\n")), "/noise");
    assert_eq!(listener.poll_transmit().unwrap(), b"\x07/noise\n"[..]);
}

#[test]
fn data_sent_along_with_the_proposal_stays_in_the_input() {
    let mut listener = listener(&["/noise"]);
    let mut input = BytesMut::from(&[HEADER, b"\x07/noise\n", b"\x00\x20data"].concat()[..]);
    assert_eq!(accepted(listener.handle_read(&mut input)), "/noise");
    assert_eq!(&input[..], b"\x00\x20data");
}

#[test]
fn data_sent_along_with_the_answer_stays_in_the_input() {
    let mut dialer = Dialer::new(vec![id("/noise")]);
    let mut input = BytesMut::from(&[HEADER, b"\x07/noise\n", b"more"].concat()[..]);
    assert_eq!(accepted(dialer.handle_read(&mut input)), "/noise");
    assert_eq!(&input[..], b"more");
}

#[test]
fn an_optimistic_dialer_checks_the_answer_as_a_preamble() {
    let answer = [HEADER, b"\x07/noise\n", b"more"].concat();
    let mut preamble: Box<dyn Preamble> = Box::new(proposed("/noise"));
    let mut input = BytesMut::new();
    for (at, byte) in answer.iter().enumerate() {
        let outcome = preamble.handle_read(&mut input);
        if outcome.is_ready() {
            assert!(matches!(outcome, Poll::Ready(Ok(()))));
            assert_eq!(at, answer.len() - 4);
            return;
        }
        input.extend_from_slice(&[*byte]);
    }
    panic!("the answer was not seen");
}

#[test]
fn an_optimistic_dialer_is_told_of_a_refusal_and_of_nonsense() {
    let refusal = [HEADER, b"\x03na\n"].concat();
    let outcome = Preamble::handle_read(&mut proposed("/noise"), &mut refusal[..].into());
    assert!(matches!(
        outcome,
        Poll::Ready(Err(NegotiationError::Unsupported { proposed })) if proposed == [id("/noise")]
    ));
    let outcome = Preamble::handle_read(&mut proposed("/noise"), &mut b"\x05HTTP\n"[..].into());
    assert!(matches!(
        outcome,
        Poll::Ready(Err(NegotiationError::Malformed(_)))
    ));
}

#[test]
fn an_answer_must_equal_the_proposal() {
    for answer in ["/b", "/a/", "ls", "/multistream/1.0.0", ""] {
        let mut dialer = Dialer::new(vec![id("/a"), id("/b")]);
        let outcome = dialer.handle_read(&mut [HEADER, &line(answer)].concat()[..].into());
        assert!(is_malformed(&outcome), "{answer}");
    }
}

#[test]
fn both_sides_refuse_a_first_line_that_is_not_the_header() {
    for first in ["/multistream/2.0.0", "/noise", "na", "GET / HTTP/1.1"] {
        let mut dialer = Dialer::new(vec![id("/noise")]);
        assert!(is_malformed(
            &dialer.handle_read(&mut line(first)[..].into())
        ));
        assert!(is_malformed(&feed(
            &mut listener(&["/noise"]),
            &line(first)
        )));
    }
}

#[test]
fn malformed_lines_end_the_negotiation() {
    for bad in [
        &b"\x00"[..],
        b"\x83\x00na\n",
        b"\x06/noise",
        b"\x03\xff\xff\n",
    ] {
        let outcome = feed(&mut listener(&["/noise"]), &[HEADER, bad].concat());
        assert!(is_malformed(&outcome), "{bad:02x?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_refused_before_it_arrives() {
    for length in [&b"\x81\x08"[..], b"\x80\x80\x01", &[0xff; 64 * 1024]] {
        let mut input = BytesMut::from(&[HEADER, length].concat()[..]);
        let outcome = listener(&["/noise"]).handle_read(&mut input);
        assert!(is_limit(&outcome));
    }
    let longest = line(&format!("/{}", "x".repeat(1022)));
    let outcome = feed(&mut listener(&["/noise"]), &[HEADER, &longest].concat());
    assert!(outcome.is_pending());
}

#[test]
fn a_flood_of_unknown_proposals_ends_at_the_limit() {
    let mut listener = listener(&["/noise"]);
    assert!(feed(&mut listener, HEADER).is_pending());
    for _ in 0..MAX_PROPOSALS {
        assert!(feed(&mut listener, &line("/unknown")).is_pending());
    }
    assert!(is_limit(&feed(&mut listener, &line("/noise"))));
    let answers = listener.poll_transmit().unwrap();
    assert_eq!(answers.len(), HEADER.len() + MAX_PROPOSALS * 4);
}

#[test]
fn the_last_allowed_proposal_is_still_accepted() {
    let mut flood = HEADER.to_vec();
    flood.extend(line("/unknown").repeat(MAX_PROPOSALS - 1));
    flood.extend(line("/noise"));
    assert_eq!(accepted(feed(&mut listener(&["/noise"]), &flood)), "/noise");
}

#[test]
fn a_flood_of_long_proposals_ends_at_the_limit() {
    let long = line(&format!("/{}", "x".repeat(1022)));
    let mut flood = HEADER.to_vec();
    flood.extend(long.repeat(MAX_PROPOSALS));
    assert!(flood.len() > MAX_TOTAL);
    let mut input = BytesMut::from(&flood[..]);
    assert!(is_limit(&listener(&["/noise"]).handle_read(&mut input)));
}

#[test]
fn a_listing_is_given_once() {
    let mut listener = listener(&["/a", "/b"]);
    let request = [HEADER, b"\x03ls\n\x03ls\n"].concat();
    assert!(feed(&mut listener, &request).is_pending());
    let answer = [HEADER, b"\x09\x03/a\n\x03/b\n\n", b"\x03na\n"].concat();
    assert_eq!(listener.poll_transmit().unwrap(), answer);
    assert_eq!(accepted(feed(&mut listener, b"\x03/b\n")), "/b");
}

#[test]
fn a_flood_of_listing_requests_makes_little_output() {
    let names: Vec<_> = (0..200)
        .map(|n| format!("/{n}/{}", "x".repeat(800)))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut listener = listener(&names);
    let flood = [HEADER, &b"\x03ls\n".repeat(10_000)].concat();
    assert!(is_limit(&feed(&mut listener, &flood)));
    assert!(listener.poll_transmit().unwrap().len() < 20 * 1024);
}

#[test]
fn two_pipes_agree_and_keep_the_bytes_that_follow() {
    block_on(async {
        let (mut left, mut right) = pipe();
        let dialing = async {
            let agreed = dial(&mut left, vec![id("/a"), id("/b")]).await?;
            left.write_all(b"ping").await?;
            let mut answer = [0; 4];
            left.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"pong");
            Ok::<_, NegotiationError>(agreed)
        };
        let listening = async {
            let agreed = listen(&mut right, Arc::from([id("/b")])).await?;
            // Sent at once, so that it is in the pipe before the dialer has read the answer.
            right.write_all(b"pong").await?;
            let mut request = [0; 4];
            right.read_exact(&mut request).await?;
            assert_eq!(&request, b"ping");
            Ok(agreed)
        };
        let (dialed, listened) = try_join(dialing, listening).await.unwrap();
        assert_eq!((dialed, listened), (id("/b"), id("/b")));
    });
}

#[test]
fn a_listener_reads_nothing_beyond_the_proposal() {
    let sent = [HEADER, b"\x03/a\n", b"data of the protocol"].concat();
    let mut pipe = recorded(&sent);
    let agreed = block_on(listen(&mut pipe, Arc::from([id("/a")]))).unwrap();
    assert_eq!(agreed, id("/a"));
    let mut rest = Vec::new();
    block_on(pipe.read_to_end(&mut rest)).unwrap();
    assert_eq!(rest, b"data of the protocol");
}

#[test]
fn a_pipe_that_ends_anywhere_is_an_error_of_the_network() {
    let sent = [HEADER, b"\x03/a\n"].concat();
    for cut in 0..sent.len() {
        let mut pipe = recorded(&sent[..cut]);
        let outcome = block_on(dial(&mut pipe, vec![id("/a")]));
        let Err(NegotiationError::Io(error)) = outcome else {
            panic!("cut at {cut}: {outcome:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn another_protocol_is_found_out_by_its_first_bytes_also_when_no_line_comes() {
    for sent in [&b"\x13/noise"[..], b"\x13/multistream/9", b"HTTP"] {
        let dialed = block_on(dial(&mut recorded(sent), vec![id("/a")]));
        assert!(is_malformed(&Poll::Ready(dialed)));
        let listened = block_on(listen(&mut recorded(sent), Arc::from([id("/a")])));
        assert!(is_malformed(&Poll::Ready(listened)));
    }
}

#[test]
fn the_protocols_of_a_remote_can_be_listed() {
    let long = format!("/{}", "x".repeat(300));
    let supported: Arc<[ProtocolId]> = Arc::from([id("/a"), id(&long)]);
    block_on(async {
        let (mut left, mut right) = pipe();
        let listing = async {
            let listed = list_protocols(&mut left).await;
            left.close().await.unwrap();
            listed
        };
        let (listed, ended) = join(listing, listen(&mut right, supported.clone())).await;
        assert_eq!(listed.unwrap().unwrap(), *supported);
        assert!(matches!(ended, Err(NegotiationError::Io(_))));
    });
}

#[test]
fn a_remote_may_refuse_to_list() {
    let mut pipe = recorded(&[HEADER, b"\x03na\n"].concat());
    assert!(block_on(list_protocols(&mut pipe)).unwrap().is_none());
    let mut pipe = recorded(&[HEADER, b"\x05\x09/a\n\n"].concat());
    let listed = block_on(list_protocols(&mut pipe));
    assert!(matches!(listed, Err(NegotiationError::Malformed(_))));
}

proptest! {
    #[test]
    fn both_sides_agree_on_the_first_common_protocol(
        proposed in prop::collection::vec(0_u8..12, 1..8),
        supported in prop::collection::vec(0_u8..12, 0..8),
    ) {
        let names = |numbers: &[u8]| numbers.iter().map(|n| id(&format!("/p/{n}"))).collect::<Vec<_>>();
        let (proposed, supported) = (names(&proposed), names(&supported));
        let expected = proposed.iter().find(|id| supported.contains(id));
        let mut listener = Listener::new(supported.clone().into());
        let (agreed, _) = negotiate(&mut Dialer::new(proposed.clone()), &mut listener);
        prop_assert_eq!(agreed.ok(), expected.cloned());
    }

    #[test]
    fn input_cut_anywhere_makes_no_difference(cuts in prop::collection::vec(1_usize..9, 1..40)) {
        let sent = [HEADER, b"\x03/x\n\x03ls\n\x05/a/b\n", b"rest"].concat();
        let mut listener = listener(&["/a/b"]);
        let mut input = BytesMut::new();
        let mut rest = &sent[..];
        let mut sizes = cuts.iter().cycle();
        let mut outcome = Poll::Pending;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = later;
            input.extend_from_slice(now);
            if outcome.is_pending() {
                outcome = listener.handle_read(&mut input);
            }
        }
        prop_assert_eq!(accepted(outcome), "/a/b");
        prop_assert_eq!(&input[..], b"rest");
        let answers = listener.poll_transmit().unwrap();
        let expected = [HEADER, b"\x03na\n\x07\x05/a/b\n\n\x05/a/b\n"].concat();
        prop_assert_eq!(&answers[..], &expected[..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in any::<Vec<u8>>(),
        with_header in any::<bool>(),
    ) {
        let header: &[u8] = if with_header { HEADER } else { &[] };
        let bytes = [header, &bytes[..]].concat();
        let _ = feed(&mut listener(&["/a"]), &bytes);
        let _ = Dialer::new(vec![id("/a"), id("/b")]).handle_read(&mut bytes[..].into());
        let _ = Preamble::handle_read(&mut proposed("/a"), &mut bytes[..].into());
    }
}

fn id(name: &str) -> ProtocolId {
    name.parse().expect("tests use valid names")
}

fn line(text: &str) -> Vec<u8> {
    let mut length = unsigned_varint::encode::usize_buffer();
    let length = unsigned_varint::encode::usize(text.len() + 1, &mut length);
    [length, text.as_bytes(), b"\n"].concat()
}

fn listener(names: &[&str]) -> Listener {
    Listener::new(names.iter().map(|name| id(name)).collect())
}

/// A dialer whose proposal has been sent.
fn proposed(name: &str) -> Dialer {
    let mut dialer = Dialer::new(vec![id(name)]);
    assert!(dialer.poll_transmit().is_some());
    dialer
}

fn feed(listener: &mut Listener, bytes: &[u8]) -> Outcome {
    listener.handle_read(&mut BytesMut::from(bytes))
}

fn accepted(outcome: Outcome) -> String {
    match outcome {
        Poll::Ready(Ok(protocol)) => protocol.as_str().to_owned(),
        Poll::Ready(Err(error)) => panic!("refused: {error}"),
        Poll::Pending => panic!("no outcome"),
    }
}

fn is_malformed(outcome: &Outcome) -> bool {
    matches!(outcome, Poll::Ready(Err(NegotiationError::Malformed(_))))
}

fn is_limit(outcome: &Outcome) -> bool {
    matches!(outcome, Poll::Ready(Err(NegotiationError::Limit(_))))
}

/// Runs both machines; the dialer's outcome and the number of flights it sent.
fn negotiate(
    dialer: &mut Dialer,
    listener: &mut Listener,
) -> (Result<ProtocolId, NegotiationError>, usize) {
    let (mut to_listener, mut to_dialer) = (BytesMut::new(), BytesMut::new());
    let mut flights = 0;
    loop {
        while let Some(bytes) = dialer.poll_transmit() {
            flights += 1;
            to_listener.extend_from_slice(&bytes);
        }
        if !to_listener.is_empty() {
            let _ = listener.handle_read(&mut to_listener);
        }
        let answer: Option<Bytes> = listener.poll_transmit();
        to_dialer.extend_from_slice(&answer.unwrap_or_default());
        if let Poll::Ready(outcome) = dialer.handle_read(&mut to_dialer) {
            return (outcome, flights);
        }
    }
}
