//! mplex.

use std::time::Duration;

use anyhow::Result;
use peerkit::{
    core::{ConnectionError, Session as _, StreamId},
    mplex::{Config, Session},
};

use crate::{
    dial::{self, MPLEX},
    frames::{
        mplex::{CLOSE, MESSAGE, NEW, RESET, frame},
        multistream,
    },
    live::{Plan, Target},
    machine::{self, Machine},
    node::{ECHO, HOLD},
    peer::{Reading, storm},
    report::Findings,
    scenario::{Run, Scenario, attack},
    settings::Settings,
};

type Victim = Machine<Session>;

/// Scenarios M01 to M06 and the vectors of mplex.
pub fn table() -> Vec<Scenario> {
    [vectors(), machines(), live_ones()]
        .into_iter()
        .flatten()
        .collect()
}

fn vector(
    id: &str,
    title: &str,
    criterion: &str,
    (bytes, harmless): (Vec<u8>, Vec<u8>),
    check: fn(&mut Victim) -> Findings,
) -> Scenario {
    Scenario::new(id, title, criterion, move |run| {
        let mut victim = machine::mplex(Config::default());
        victim.feed(run.attack_or(bytes.clone(), harmless.clone()));
        let findings = check(&mut victim);
        async { Ok(findings) }
    })
    .harmless()
}

fn ended(victim: &mut Victim) -> Findings {
    let broken = matches!(victim.end, Some(ConnectionError::Malformed(_)));
    Findings::new().holds("ended", broken)
}

fn kept_nothing(victim: &mut Victim) -> Findings {
    Findings::new().holds("alive", victim.is_alive()).equal(
        "bytes kept",
        victim.session.unread_len(),
        0,
    )
}

fn vectors() -> Vec<Scenario> {
    let open = frame(0, NEW, b"a");
    let message = [&open[..], &frame(0, MESSAGE, b"x")].concat();
    vec![
        vector(
            "MX-NEW",
            "a new stream",
            "stream 0 is there",
            (b"\x00\x01a".to_vec(), frame(0, RESET, b"")),
            |victim| Findings::new().equal("streams", victim.session.stream_count(), 1),
        ),
        vector(
            "MX-MSG-UNKNOWN",
            "data of an unknown stream",
            "dropped",
            (b"\x3a\x01x".to_vec(), message.clone()),
            kept_nothing,
        ),
        vector(
            "MX-RESET-UNKNOWN",
            "a reset of an unknown stream",
            "ignored",
            (b"\x06\x00".to_vec(), message.clone()),
            kept_nothing,
        ),
        vector(
            "MX-FLAG7",
            "a flag that there is not",
            "ended",
            (b"\x07\x00".to_vec(), open.clone()),
            ended,
        ),
        vector(
            "MX-VARINT-ENDLESS",
            "a number without end",
            "ended",
            (vec![0xff; 10], open.clone()),
            ended,
        ),
        vector(
            "MX-LEN-1M1",
            "a message of 1 MiB and one byte",
            "ended before it came",
            (vec![0x02, 0x81, 0x80, 0x40], vec![0x02, 0x80, 0x80, 0x40]),
            ended,
        ),
        vector(
            "MX-MSG-AFTER-CLOSE",
            "data behind the end",
            "dropped",
            (
                [&open[..], &frame(0, CLOSE, b""), &frame(0, MESSAGE, b"x")].concat(),
                message,
            ),
            kept_nothing,
        ),
    ]
}

fn victim(run: Run, off: &[&'static str]) -> Result<Victim> {
    Ok(machine::mplex(Settings::changed(run.changes(off))?.mplex))
}

fn machines() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "M01",
            "a stream that nobody reads, beside others",
            "it is reset and the others go on, 4 MiB at most",
            |run| async move {
                Ok(unread_stream(victim(
                    run,
                    &["mplex.stall_timeout=3600000", "mplex.unread_max=max"],
                )?))
            },
        )
        .raised("mplex.stall_timeout"),
        Scenario::new(
            "M02",
            "2^20 streams",
            "128 are kept, and it ends at the budget",
            |run| async move {
                let mut victim = victim(
                    run,
                    &[
                        "mplex.inbound_streams_max=max",
                        "mplex.rapid_reset_burst=max",
                    ],
                )?;
                for number in 0..1 << 20 {
                    victim.feed(frame(number, NEW, b""));
                }
                Ok(Findings::new()
                    .at_most("streams", victim.session.stream_count(), 128)
                    .holds("ended", !victim.is_alive()))
            },
        )
        .raised("mplex.inbound_streams_max"),
        Scenario::new(
            "M03",
            "open and reset, 10^6 times",
            "it ends at the budget",
            |run| async move {
                let mut victim = victim(run, &["mplex.rapid_reset_burst=max"])?;
                let mut count = 0;
                while victim.is_alive() && count < 1_000_000 {
                    victim.feed([frame(count, NEW, b""), frame(count, RESET, b"")].concat());
                    count += 1;
                }
                Ok(Findings::new().at_most("streams", count, 1024))
            },
        )
        .raised("mplex.rapid_reset_burst"),
        Scenario::new(
            "M04",
            "one-byte frames, 10^6",
            "not more than 4 MiB unread, or nothing more is taken",
            |run| async move {
                Ok(one_byte_frames(victim(
                    run,
                    &[
                        "mplex.unread_stream_pause=max",
                        "mplex.unread_pause=max",
                        "mplex.unread_max=max",
                    ],
                )?))
            },
        )
        .raised("mplex.unread_stream_pause"),
        Scenario::new(
            "M05",
            "both ends use number 0",
            "they are two streams",
            |run| async move {
                let mut victim = machine::mplex(Config::default());
                let own = victim.session.open(victim.now);
                // Off: only one side opens it.
                if run.attack_or(true, false) {
                    victim.feed(frame(0, NEW, b"theirs"));
                }
                victim.feed(frame(0, MESSAGE, b"to the remote's"));
                let read = match own {
                    std::task::Poll::Ready(Ok(id)) => victim.read(id).0,
                    _ => anyhow::bail!("no stream could be opened"),
                };
                Ok(Findings::new()
                    .equal("streams", victim.session.stream_count(), 2)
                    .equal("bytes in the wrong one", read, 0))
            },
        )
        .harmless(),
        Scenario::new(
            "M06",
            "close and reset in any order, 10^4 times",
            "alive, and nothing is left",
            |_| async { Ok(close_and_reset(10_000)) },
        ),
    ]
}

fn unread_stream(mut victim: Victim) -> Findings {
    victim.feed([frame(0, NEW, b""), frame(1, NEW, b"")].concat());
    let ids: Vec<_> = std::iter::from_fn(|| victim.session.accept(victim.now)).collect();
    let body = vec![0; 64 * 1024];
    let mut fed = 0;
    while victim.session.wants_read() && fed < 64 << 20 {
        victim.feed(frame(0, MESSAGE, &body));
        fed += body.len();
    }
    let most = victim.session.unread_len();
    victim.pass(Duration::from_secs(6));
    let reads_again = victim.session.wants_read();
    victim.feed(frame(1, MESSAGE, b"patience"));
    let ids = ids.into_iter().map(|id| victim.read(id).0);
    let read: Vec<_> = ids.collect();
    Findings::new()
        .holds("alive", victim.is_alive())
        .at_most("KiB unread", most >> 10, 4096)
        .holds("reads again", reads_again)
        .equal("bytes of the others", read.get(1).copied().unwrap_or(0), 8)
}

fn one_byte_frames(mut victim: Victim) -> Findings {
    victim.feed(frame(0, NEW, b""));
    victim.session.accept(victim.now);
    let chunk = frame(0, MESSAGE, b"x").repeat(1000);
    let mut frames = 0;
    while frames < 1_000_000 && victim.session.wants_read() && victim.is_alive() {
        victim.feed(chunk.clone());
        frames += 1000;
    }
    Findings::new().holds("alive", victim.is_alive()).at_most(
        "KiB unread",
        victim.session.unread_len() >> 10,
        260,
    )
}

fn close_and_reset(rounds: u64) -> Findings {
    let mut victim = machine::mplex(Config::default());
    for number in 0..rounds {
        victim.feed(frame(number, NEW, b""));
        let id = victim.session.accept(victim.now);
        let (close, reset) = (frame(number, CLOSE, b""), frame(number, RESET, b""));
        match number % 4 {
            0 => victim.feed([close, reset].concat()),
            1 => victim.feed([reset, close].concat()),
            2 => {
                let _ = id.map(|id| victim.session.finish(id, victim.now));
                victim.feed([reset.clone(), reset].concat());
            }
            _ => {
                victim.feed(close);
                let _ = id.map(|id| victim.session.finish(id, victim.now));
            }
        }
        forget(&mut victim, id);
        victim.output();
        victim.pass(Duration::from_millis(11));
    }
    Findings::new()
        .holds("alive", victim.is_alive())
        .equal("streams", victim.session.stream_count(), 0)
        .equal("bytes kept", victim.session.unread_len(), 0)
}

fn forget(victim: &mut Victim, id: Option<StreamId>) {
    if let Some(id) = id {
        victim.read(id);
        victim.session.forget(id);
    }
}

fn live_ones() -> Vec<Scenario> {
    vec![
        attack(
            "M01-live",
            "a stream that nobody reads, on a real connection",
            "memory bounded, the stream is reset",
            Plan {
                settings: vec!["mplex.stall_timeout=2000"],
                off: vec![
                    "mplex.unread_stream_pause=max",
                    "mplex.unread_pause=max",
                    "mplex.unread_max=max",
                ],
                lanes: 2,
                memory: 12 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, MPLEX).await?;
                let hold = [
                    frame(0, NEW, b""),
                    frame(0, MESSAGE, &multistream::proposal(HOLD)),
                ];
                let body = frame(0, MESSAGE, &[0; 64 * 1024]);
                let time = Duration::from_secs(3);
                let ending = storm(stream, time, Reading::All, |n| match n {
                    0 => Some(hold.concat()),
                    _ => (n < 400).then(|| body.clone()),
                })
                .await;
                Ok(Findings::new().holds("open or reset", ending.sent > 1))
            },
        ),
        attack(
            "M03-live",
            "open and reset without end, on a real connection",
            "closed at the budget",
            Plan {
                off: vec!["mplex.rapid_reset_burst=max"],
                event: "Disconnected: the remote reached a limit",
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, MPLEX).await?;
                let most = target.run.quick_or(500, 3000);
                let time = target
                    .run
                    .attack_or(Duration::from_secs(8), Duration::from_millis(1500));
                let ending = storm(stream, time, Reading::All, |n| {
                    let pair = |it| [frame(it, NEW, b""), frame(it, RESET, b"")].concat();
                    (n < most).then(|| (n * 100..n * 100 + 100).flat_map(pair).collect())
                })
                .await;
                Ok(Findings::new().holds("closed", ending.closed))
            },
        ),
        attack(
            "M04-live",
            "one-byte frames of many streams, on a real connection",
            "memory bounded",
            Plan {
                lanes: 2,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, MPLEX).await?;
                let begin: Vec<u8> = (0..20)
                    .flat_map(|it| {
                        let echo = frame(it, MESSAGE, &multistream::proposal(ECHO));
                        [frame(it, NEW, b""), echo].concat()
                    })
                    .collect();
                let all: Vec<u8> = (0..20).flat_map(|it| frame(it, MESSAGE, b"x")).collect();
                let all = all.repeat(50);
                let ending = storm(stream, Duration::from_secs(2), Reading::All, |n| match n {
                    0 => Some(begin.clone()),
                    _ => (n < 200).then(|| all.clone()),
                })
                .await;
                Ok(Findings::new().at_least("bytes back", ending.received, 1))
            },
        ),
    ]
}
