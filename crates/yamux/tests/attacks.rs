//! Hostile remotes: each gets an error or nothing at all, and memory stays bounded.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod common;

use std::{task::Poll, time::Duration};

use common::*;
use hex_literal::hex;
use peerkit_core::{ConnectionError, ResetCode, Session as _, StreamError, StreamId};
use peerkit_yamux::{Config, RateLimit};

const STREAM_1: StreamId = StreamId(1);

/// A new session, and one that has seen honest traffic.
fn victims() -> [Victim; 2] {
    let mut seasoned = Victim::new();
    let id = StreamId(1001);
    seasoned.receive(header(UPDATE, SYN, 1001, 0));
    seasoned.side.session.accept(seasoned.now);
    let body = pattern(64 * KIB);
    for _ in 0..512 {
        seasoned.receive(data(0, 1001, &body));
        assert_eq!(seasoned.side.read(id, seasoned.now).unwrap().0, body);
        seasoned.side.take_frames();
    }
    seasoned.receive(data(FIN, 1001, b""));
    seasoned.side.session.finish(id, seasoned.now).unwrap();
    seasoned.side.session.forget(id);
    seasoned.side.take_frames();
    assert_eq!(seasoned.side.sizes().streams, 0);
    [Victim::new(), seasoned]
}

/// Feeds the bytes to new and seasoned sessions, whole and one by one.
fn each(bytes: &[u8], check: impl Fn(&mut Victim)) {
    for mut victim in victims() {
        victim.receive(bytes.to_vec());
        check(&mut victim);
    }
    for mut victim in victims() {
        for byte in bytes {
            victim.receive(vec![*byte]);
        }
        check(&mut victim);
    }
}

#[test]
fn credit_that_overflows_is_refused() {
    each(
        &hex!("0000000100000001000000000001000000000001ffff0000"),
        Victim::assert_goodbye,
    );
    each(&hex!("0001000100000001ffffffff"), Victim::assert_goodbye);
}

#[test]
fn the_largest_credit_is_taken_and_one_byte_more_is_not() {
    let most = u32::MAX - WINDOW as u32;
    each(&header(UPDATE, SYN, 1, most), |victim| {
        assert!(victim.is_alive());
        victim.receive(header(UPDATE, 0, 1, 1));
        victim.assert_goodbye();
    });
}

#[test]
fn data_beyond_the_window_is_refused_before_it_is_kept() {
    each(&hex!("000000010000000100040001"), |victim| {
        victim.assert_goodbye();
        victim.receive(vec![0; WINDOW + 1]);
        assert_eq!(victim.side.sizes().received_capacity, 0);
    });
}

#[test]
fn a_full_window_is_taken_and_one_byte_more_is_not() {
    let full = data(SYN, 1, &pattern(WINDOW));
    for next in [data(0, 1, b"x"), data(0, 1, &pattern(WINDOW))] {
        let mut victim = Victim::new();
        victim.receive(full.clone());
        assert!(victim.is_alive());
        victim.receive(next);
        victim.assert_goodbye();
        assert_eq!(victim.side.sizes().received, WINDOW);
    }
}

#[test]
fn ids_that_the_remote_may_not_use_are_refused() {
    each(&hex!("000000010000000200000000"), Victim::assert_goodbye);
    each(&hex!("000000010000000000000000"), Victim::assert_goodbye);
    each(&hex!("000000000000000000000000"), Victim::assert_goodbye);
    each(&hex!("000100000000000000000001"), Victim::assert_goodbye);
}

#[test]
fn opening_a_stream_twice_is_refused() {
    let syn = hex!("000000010000000100000000");
    each(&[syn, syn].concat(), Victim::assert_goodbye);
}

#[test]
fn ids_may_come_in_any_order() {
    each(
        &hex!("000000010000000500000000" "000000010000000300000000"),
        |victim| {
            assert!(victim.is_alive());
            let accepted: Vec<_> =
                std::iter::from_fn(|| victim.side.session.accept(victim.now)).collect();
            assert_eq!(accepted, [StreamId(5), StreamId(3)]);
        },
    );
}

#[test]
fn frames_of_unknown_streams_are_dropped() {
    for bytes in [
        &hex!("00000000000000630000000461626364")[..],
        &hex!("00000000000000640000000461626364"),
        &hex!("000100000000006300000004"),
        &hex!("000000040000006300000000"),
        &hex!("000000080000006300000000"),
        &hex!("000100080000006300001004"),
    ] {
        each(bytes, |victim| {
            assert!(victim.is_alive());
            assert!(victim.side.take_frames().is_empty());
            assert_eq!(victim.side.sizes().received_capacity, 0);
            assert_eq!(victim.side.sizes().streams, 0);
        });
    }
}

#[test]
fn the_remote_can_not_guess_a_stream_that_was_not_announced() {
    let mut victim = Victim::new();
    let id = victim.side.open(victim.now);
    assert_eq!(id, StreamId(2));
    victim.receive(data(ACK, 2, b"guess"));
    victim.receive(header(UPDATE, RST, 2, 0));
    assert!(victim.is_alive());
    assert_eq!(victim.side.sizes().received, 0);
    assert_eq!(victim.side.write(id, b"x", victim.now).unwrap(), 1);
}

#[test]
fn data_after_a_reset_is_dropped() {
    each(
        &hex!(
            "000000010000000100000000" "000000080000000100000000" "00000000000000010000000461626364"
        ),
        |victim| {
            assert!(victim.is_alive());
            assert_eq!(victim.side.sizes().streams, 0);
            assert_eq!(victim.side.sizes().incoming, 0);
        },
    );
}

#[test]
fn data_after_the_end_is_dropped() {
    let mut victim = Victim::new();
    victim.receive(data(SYN | FIN, 1, b"all"));
    victim.side.session.accept(victim.now).unwrap();
    victim.receive(data(0, 1, b"more"));
    victim.receive(data(FIN, 1, b"and more"));
    victim.receive(header(UPDATE, 0, 1, 1000));
    assert!(victim.is_alive());
    assert_eq!(
        victim.side.read(STREAM_1, victim.now).unwrap(),
        (b"all".to_vec(), true)
    );
}

#[test]
fn the_body_of_a_reset_is_dropped() {
    let mut victim = Victim::new();
    victim.receive(header(UPDATE, SYN, 1, 0));
    victim.side.session.accept(victim.now).unwrap();
    victim.receive([data(RST, 1, b"body"), header(UPDATE, SYN, 3, 0)].concat());
    assert!(victim.is_alive());
    assert!(matches!(
        victim.side.read(STREAM_1, victim.now),
        Err(StreamError::ResetByRemote(ResetCode::NONE))
    ));
    assert_eq!(victim.side.sizes().incoming, 1);
}

#[test]
fn other_versions_kinds_and_lengths_are_refused() {
    each(&hex!("010000010000000100000000"), Victim::assert_goodbye);
    each(&hex!("000400000000000000000000"), Victim::assert_goodbye);
    each(&hex!("0000000000000001ffffffff"), Victim::assert_goodbye);
    each(
        &header(DATA, 0, 99, 128 * 1024 * 1024 + 1),
        Victim::assert_goodbye,
    );
}

#[test]
fn streams_that_are_reset_at_once_are_counted_until_it_is_enough() {
    for pair in [
        |id| header(UPDATE, SYN | RST, id, 0),
        |id| [data(SYN, id, b""), data(RST, id, b"")].concat(),
    ] {
        let mut victim = Victim::new();
        let mut opened = 0;
        while victim.is_alive() {
            victim.receive(pair(opened * 2 + 1));
            opened += 1;
            assert!(victim.side.sizes().streams == 0 && victim.side.sizes().incoming == 0);
            victim.side.take_events();
        }
        assert_eq!(opened, 257);
        assert!(matches!(victim.side.end, Some(ConnectionError::Limit(_))));
        victim.assert_goodbye();
    }
}

#[test]
fn a_remote_that_cancels_now_and_then_is_not_punished() {
    let mut victim = Victim::new();
    for round in 0..2000 {
        victim.now += Duration::from_millis(50);
        let id = round * 2 + 1;
        victim.receive([data(SYN, id, b"hello"), header(UPDATE, RST, id, 0)].concat());
    }
    assert!(victim.is_alive());
}

#[test]
fn the_accept_queue_is_bounded() {
    let mut victim = Victim::new();
    for round in 0..600 {
        victim.receive(header(UPDATE, SYN, round * 2 + 1, 0));
    }
    assert!(victim.is_alive());
    assert_eq!(victim.side.sizes().incoming, 256);
    let refused = victim.side.take_frames();
    assert_eq!(refused.len(), 600 - 256);
    assert_eq!(
        refused[0],
        frame(UPDATE, RST, 513, ResetCode::LIMIT_EXCEEDED.0)
    );
}

#[test]
fn data_of_a_refused_stream_is_dropped() {
    let config = Config {
        inbound_streams_max: 0,
        ..Config::default()
    };
    let mut victim = Victim::with(config);
    victim.receive(data(SYN, 1, &pattern(WINDOW)));
    victim.receive(data(0, 1, &pattern(1000)));
    assert!(victim.is_alive());
    assert_eq!(victim.side.sizes().received_capacity, 0);
}

#[test]
fn answers_to_pings_are_bounded() {
    let mut victim = Victim::new();
    for _ in 0..100 {
        victim.receive(hex!("0002000100000000deadbeef").to_vec());
    }
    assert_eq!(victim.side.sizes().transmit, 32 * 12);
    assert_eq!(victim.side.sizes().dropped_pongs, 68);
    let pongs = victim.side.take_frames();
    assert!(
        pongs
            .iter()
            .all(|pong| *pong == frame(PING, ACK, 0, 0xdead_beef))
    );
    victim.receive(hex!("0002000100000000deadbeef").to_vec());
    assert_eq!(victim.side.take_frames().len(), 1);
    for _ in 0..900 {
        victim.receive(hex!("0002000100000000deadbeef").to_vec());
    }
    victim.assert_goodbye();
}

#[test]
fn an_answer_to_no_ping_is_ignored() {
    each(&hex!("000200020000000000000001"), |victim| {
        assert!(victim.is_alive());
        assert!(victim.side.take_frames().is_empty());
    });
}

#[test]
fn frames_without_effect_are_counted_until_it_is_enough() {
    let floods = [
        hex!("000000000000000100000000"),
        hex!("000100000000000100000000"),
        hex!("000000000000006300000000"),
        hex!("000200020000000000000001"),
        hex!("000200000000000000000001"),
        hex!("000000020000000100000000"),
        hex!("000000040000000100000000"),
    ];
    for flood in floods {
        for mut victim in victims() {
            victim.receive(hex!("000000010000000100000000").to_vec());
            let mut sent = 0;
            while victim.is_alive() {
                victim.receive(flood.to_vec());
                sent += 1;
                assert!(sent <= 1002, "{flood:x?}");
            }
            victim.assert_goodbye();
            assert_eq!(victim.side.sizes().received_capacity, 0);
        }
    }
}

#[test]
fn a_goodbye_without_streams_ends_the_session() {
    each(
        &hex!("000300000000000000000000" "000000010000000100000000"),
        |victim| {
            assert!(matches!(
                victim.side.end,
                Some(ConnectionError::ClosedByRemote(0))
            ));
            assert!(matches!(
                victim.side.session.open(victim.now),
                Poll::Ready(Err(ConnectionError::ClosedByRemote(0)))
            ));
            assert_eq!(victim.side.sizes().streams, 0);
        },
    );
}

#[test]
fn an_unknown_goodbye_is_passed_on() {
    each(&hex!("0003000000000000000000ff"), |victim| {
        assert!(matches!(
            victim.side.end,
            Some(ConnectionError::ClosedByRemote(0xff))
        ));
        assert!(victim.side.take_frames().is_empty());
    });
}

#[test]
fn the_end_may_come_with_a_window_update() {
    each(
        &hex!("000000010000000100000000" "000100040000000100000000"),
        |victim| {
            victim.side.session.accept(victim.now).unwrap();
            assert_eq!(
                victim.side.read(STREAM_1, victim.now).unwrap(),
                (vec![], true)
            );
        },
    );
}

#[test]
fn flags_may_come_together() {
    let mut victim = Victim::new();
    victim.receive(data(SYN | ACK | FIN, 1, b"all at once"));
    let id = victim.side.session.accept(victim.now).unwrap();
    assert_eq!(
        victim.side.read(id, victim.now).unwrap(),
        (b"all at once".to_vec(), true)
    );
    let own = victim.side.open(victim.now);
    victim.side.write(own, b"x", victim.now).unwrap();
    victim.side.take_frames();
    victim.receive(data(ACK | FIN, 2, b"answer"));
    assert_eq!(
        victim.side.read(own, victim.now).unwrap(),
        (b"answer".to_vec(), true)
    );
    assert_eq!(victim.side.sizes().unacknowledged_streams, 0);
    victim.receive(header(UPDATE, 0xfff0, 2, 10));
    assert!(victim.is_alive(), "unknown flags mean nothing");
}

#[test]
fn the_end_comes_behind_the_whole_body() {
    let mut victim = Victim::new();
    for byte in data(SYN | FIN, 1, b"in pieces") {
        victim.receive(vec![byte]);
    }
    victim.side.session.accept(victim.now).unwrap();
    assert_eq!(
        victim.side.read(STREAM_1, victim.now).unwrap(),
        (b"in pieces".to_vec(), true)
    );
}

#[test]
fn one_byte_frames_cost_two_bytes_of_memory_at_most() {
    let mut victim = Victim::new();
    victim.receive(data(SYN, 1, b""));
    let chunk = data(0, 1, b"x").repeat(1000);
    for count in 1..=262 {
        victim.receive(chunk.clone());
        let sizes = victim.side.sizes();
        assert_eq!(sizes.received, count * 1000);
        assert!(
            sizes.received_capacity <= 2 * sizes.received + KIB,
            "{sizes:?}"
        );
        assert_eq!(sizes.slices, 0);
    }
    victim.receive(data(0, 1, b"x").repeat(WINDOW - 262_000));
    assert!(victim.is_alive());
    victim.receive(data(0, 1, b"x"));
    victim.assert_goodbye();
    assert!(victim.side.sizes().received_capacity <= WINDOW + 2 * KIB);
}

#[test]
fn few_chunks_of_the_input_are_pinned() {
    let mut victim = Victim::new();
    for stream in 0..20 {
        let id = stream * 2 + 1;
        victim.receive(data(SYN, id, b""));
        for _ in 0..32 {
            // Half of each chunk is for nobody, so that a slice pins twice its length.
            let chunk = [
                data(0, id, &pattern(8 * KIB)),
                data(0, 9999, &pattern(8 * KIB)),
            ];
            victim.receive(chunk.concat());
        }
    }
    let sizes = victim.side.sizes();
    assert_eq!(sizes.received, 20 * WINDOW);
    assert_eq!(sizes.slices, 64);
}

#[test]
fn a_remote_that_grants_nothing_stops_the_writer() {
    let mut victim = Victim::new();
    for stream in 0..256_u32 {
        let id = StreamId(u64::from(stream * 2 + 1));
        victim.receive(header(UPDATE, SYN, stream * 2 + 1, 0));
        victim.side.session.accept(victim.now).unwrap();
        let mut written = 0;
        let all = pattern(64 * KIB);
        loop {
            let count = victim.side.write(id, &all, victim.now).unwrap();
            written += count;
            assert!(victim.side.sizes().transmit <= WINDOW + 300 * 12 + 64 * KIB);
            victim.side.take_frames();
            if count == 0 {
                break;
            }
        }
        assert_eq!(written, WINDOW);
    }
    assert_eq!(victim.side.sizes().waiting_writers, 0);
    victim.side.session.close(peerkit_core::CloseReason::Normal);
    assert!(victim.side.take_frames().contains(&frame(3, 0, 0, 0)));
}

#[test]
fn credit_in_single_bytes_does_not_lead_to_tiny_frames() {
    let mut victim = Victim::new();
    victim.receive(header(UPDATE, SYN, 1, 0));
    let id = victim.side.session.accept(victim.now).unwrap();
    let all = pattern(64 * KIB);
    while victim.side.write(id, &all, victim.now).unwrap() > 0 {
        victim.side.take_frames();
    }
    victim.side.take_events();
    let mut wakes = 0;
    for _ in 0..10 * KIB {
        victim.receive(header(UPDATE, 0, 1, 1));
        if !victim.side.take_events().is_empty() {
            wakes += 1;
            victim.side.write(id, &all, victim.now).unwrap();
        }
    }
    assert_eq!(wakes, 10);
    let frames = victim.side.take_frames();
    assert!(frames.iter().all(|frame| frame.body.len() == KIB));
}

#[test]
fn a_remote_that_delays_its_pongs_can_not_inflate_the_windows_beyond_the_limit() {
    let mut victim = Victim::new();
    let body = pattern(64 * KIB);
    let mut ping = None;
    for stream in 0..4_u32 {
        let id = stream * 2 + 1;
        victim.receive(header(UPDATE, SYN, id, 0));
        victim.side.session.accept(victim.now).unwrap();
        let mut credit = WINDOW;
        for _ in 0..2000 {
            if credit >= body.len() {
                victim.receive(data(0, id, &body));
                credit -= body.len();
            }
            victim.side.read(StreamId(id.into()), victim.now).unwrap();
            for frame in victim.side.take_frames() {
                match frame.kind {
                    PING => ping = Some(frame.length),
                    UPDATE if frame.stream == id => credit += frame.length as usize,
                    _ => {}
                }
            }
            if let Some(value) = ping.take() {
                victim.now += Duration::from_secs(9);
                victim.receive(header(PING, ACK, 0, value));
            }
        }
    }
    assert!(victim.is_alive());
    assert_eq!(victim.side.sizes().window_growth, 128 * 1024 * KIB);
}

#[test]
fn limits_can_be_set_to_nothing_without_a_panic() {
    let nothing = RateLimit {
        count: 0,
        per: Duration::ZERO,
    };
    let config = Config {
        inbound_streams_max: 0,
        streams_max: 0,
        unacknowledged_streams_max: 0,
        stream_window_max: 0,
        window_growth_max: 0,
        window_growth_own: 0,
        window_growth_shared_max: 0,
        frame_payload_max: 0,
        transmit_buffer_max: 0,
        rapid_resets: nothing,
        empty_frames: nothing,
        pings: nothing,
        unsent_pongs_max: 0,
        keep_alive_interval: Duration::MAX,
        keep_alive_timeout: Duration::MAX,
        linger_timeout: Duration::MAX,
    };
    let mut victim = Victim::with(config);
    let id = victim.side.open(victim.now);
    assert_eq!(victim.side.write(id, b"abc", victim.now).unwrap(), 1);
    victim.side.take_frames();
    assert_eq!(victim.side.write(id, b"bc", victim.now).unwrap(), 1);
    victim.side.session.finish(id, victim.now).unwrap();
    victim.side.session.forget(id);
    assert_eq!(victim.side.session.poll_timeout(), None);
    victim.receive(header(UPDATE, SYN, 1, 0));
    assert!(victim.is_alive());
}
