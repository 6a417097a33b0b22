//! yamux.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt, future};
use hex_literal::hex;
use peerkit::{
    core::{CloseReason, ConnectionError, Session as _, StreamId},
    yamux::{Config, Session},
};

use crate::{
    dial::{self, YAMUX},
    frames::{
        multistream,
        yamux::{self, DATA, FIN, PING, RST, SYN, UPDATE, WINDOW},
    },
    live::{Plan, Target},
    machine::{self, Machine},
    measure,
    node::{ECHO, Node, SOURCE},
    peer::{Ending, Puppet, Reading, storm},
    report::Findings,
    scenario::{Run, Scenario, attack},
    settings::Settings,
};

type Victim = Machine<Session>;

/// Scenarios Y01 to Y14, the vectors of yamux, and the advisories about it.
pub fn table() -> Vec<Scenario> {
    [vectors(), machines(), live_ones(), advisories()]
        .into_iter()
        .flatten()
        .collect()
}

/// Bytes against the machine, each fed to a fresh one and to one with a past, whole and byte by byte.
fn vector(
    id: &str,
    title: &str,
    criterion: &str,
    (bytes, harmless): (Vec<u8>, Vec<u8>),
    check: fn(&mut Victim) -> Findings,
) -> Scenario {
    Scenario::new(id, title, criterion, move |run| {
        let findings = in_all_ways(&run.attack_or(bytes.clone(), harmless.clone()), check);
        async { Ok(findings) }
    })
    .harmless()
}

/// What was found in the first way that failed, or in the last.
fn in_all_ways(bytes: &[u8], check: fn(&mut Victim) -> Findings) -> Findings {
    let fresh = || machine::yamux(Config::default());
    let seasoned = || machine::seasoned_yamux(8 << 20);
    let mut found = Findings::new();
    for mut victim in [fresh(), seasoned()] {
        victim.feed(bytes.to_vec());
        found = check(&mut victim);
        if !found.passed() {
            return found;
        }
    }
    let mut victim = seasoned();
    for byte in bytes.iter().take(1 << 12) {
        victim.feed(vec![*byte]);
    }
    if bytes.len() <= 1 << 12 {
        check(&mut victim)
    } else {
        found
    }
}

fn vectors() -> Vec<Scenario> {
    let open = yamux::open(1);
    let with_body = |len| [&yamux::header(DATA, SYN, 1, len)[..], &[0; WINDOW + 1]].concat();
    let goodbyes: [(&str, &str, Vec<u8>, Vec<u8>); 8] = [
        (
            "YX-WU-OVERFLOW",
            "credit that overflows",
            hex!("0000000100000001000000000001000000000001ffff0000").to_vec(),
            [&open[..], &yamux::header(UPDATE, 0, 1, 1)].concat(),
        ),
        (
            "YX-SYN-DATA-OVER-CREDIT",
            "a first frame beyond the window",
            with_body(WINDOW as u32 + 1),
            with_body(WINDOW as u32)[..12 + WINDOW].to_vec(),
        ),
        (
            "YX-WU-SYN-MAX",
            "a new stream with the largest credit",
            hex!("0001000100000001ffffffff").to_vec(),
            yamux::header(UPDATE, SYN, 1, 1),
        ),
        (
            "YX-EVEN-ID",
            "a stream with an id of the other side",
            hex!("000000010000000200000000").to_vec(),
            open.clone(),
        ),
        (
            "YX-ID0-SYN",
            "a stream with id 0",
            hex!("000000010000000000000000").to_vec(),
            open.clone(),
        ),
        (
            "YX-BAD-VERSION",
            "another version",
            hex!("010000010000000100000000").to_vec(),
            open.clone(),
        ),
        (
            "YX-BAD-TYPE",
            "an unknown kind of frame",
            hex!("000400000000000000000000").to_vec(),
            yamux::header(PING, SYN, 0, 1),
        ),
        (
            "YX-LEN-4G",
            "a frame of 4 GiB",
            hex!("0000000000000001ffffffff").to_vec(),
            yamux::header(DATA, 0, 1, 4),
        ),
    ];
    let goodbyes = goodbyes.map(|(id, title, bytes, harmless)| {
        vector(
            id,
            title,
            "goodbye 1",
            (bytes, harmless),
            Machine::said_goodbye,
        )
    });
    let others = [
        vector(
            "YX-ID-BACKWARDS",
            "ids that go down",
            "both streams are accepted",
            (
                hex!("000000010000000500000000000000010000000300000000").to_vec(),
                yamux::open(5),
            ),
            |victim| {
                let count = std::iter::from_fn(|| victim.session.accept(victim.now)).count();
                Findings::new().equal("streams", count, 2)
            },
        ),
        vector(
            "YX-DATA-UNKNOWN",
            "data of an unknown stream",
            "dropped",
            (
                hex!("00000000000000630000000461626364").to_vec(),
                yamux::data(SYN, 99, b"abcd"),
            ),
            Machine::kept_nothing,
        ),
        vector(
            "YX-DATA-AFTER-RST",
            "data behind a reset",
            "dropped",
            (
                hex!("00000001000000010000000000000008000000010000000000000000000000010000000461626364")
                    .to_vec(),
                hex!("00000001000000010000000000000000000000010000000461626364").to_vec(),
            ),
            Machine::kept_nothing,
        ),
        vector(
            "YX-PING-ACK-UNSOLICITED",
            "an answer to no ping",
            "ignored",
            (
                hex!("000200020000000000000001").to_vec(),
                yamux::header(PING, SYN, 0, 1),
            ),
            |victim| {
                let answers = victim.frames().len();
                victim.kept_nothing().equal("answers", answers, 0)
            },
        ),
        vector(
            "YX-GOAWAY",
            "a goodbye, and a stream behind it",
            "no new streams of this side",
            (
                hex!("000300000000000000000000000000010000000100000000").to_vec(),
                open.clone(),
            ),
            |victim| {
                let opened = victim.session.open(victim.now);
                Findings::new().holds("opening fails", matches!(opened, Poll::Ready(Err(_))))
            },
        ),
        vector(
            "YX-GOAWAY-UNKNOWN",
            "a goodbye with an unknown reason",
            "the reason is told",
            (
                hex!("0003000000000000000000ff").to_vec(),
                yamux::header(PING, SYN, 0, 1),
            ),
            |victim| {
                let told = matches!(victim.end, Some(ConnectionError::ClosedByRemote(255)));
                Findings::new().holds("told", told)
            },
        ),
        vector(
            "YX-FIN-ON-WU",
            "FIN on a window update",
            "the reader sees the end",
            (
                hex!("000000010000000100000000000100040000000100000000").to_vec(),
                open,
            ),
            |victim| {
                victim.session.accept(victim.now);
                let (_, ended) = victim.read(StreamId(1));
                Findings::new().holds("end seen", ended)
            },
        ),
    ];
    goodbyes.into_iter().chain(others).collect()
}

/// Feeds a frame for each number until the machine ends or there were `most`; how many it took.
fn until_over(victim: &mut Victim, most: u32, frame: impl Fn(u32) -> Vec<u8>) -> u32 {
    let mut count = 0;
    while victim.is_alive() && count < most {
        victim.feed(frame(count));
        count += 1;
    }
    count
}

/// yamux with changes of its settings while the control is run.
fn victim(run: Run, off: &[&'static str]) -> Result<Victim> {
    Ok(machine::yamux(Settings::changed(run.changes(off))?.yamux))
}

fn syn_and_rst(number: u32) -> Vec<u8> {
    let id = number * 2 + 1;
    [yamux::open(id), yamux::header(UPDATE, RST, id, 0)].concat()
}

fn machines() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "YX-SYN-RST",
            "SYN and RST in one frame, 10^6 times",
            "ends within 1024, no backlog",
            |run| async move {
                let mut victim = victim(run, &["yamux.rapid_resets=max"])?;
                let count = until_over(&mut victim, 1_000_000, |n| {
                    yamux::header(DATA, SYN | RST, n * 2 + 1, 0)
                });
                Ok(Findings::new().at_most("streams", count, 1024).equal(
                    "backlog",
                    victim.session.sizes().incoming,
                    0,
                ))
            },
        )
        .raised("yamux.rapid_resets"),
        Scenario::new(
            "YX-RAPID-RESET",
            "SYN, then RST, 10^6 times",
            "ends within 1024",
            |run| async move {
                let mut victim = victim(run, &["yamux.rapid_resets=max"])?;
                let count = until_over(&mut victim, 1_000_000, syn_and_rst);
                Ok(Findings::new().at_most("streams", count, 1024))
            },
        )
        .raised("yamux.rapid_resets"),
        Scenario::new(
            "YX-PING-SYN",
            "pings whose answers are not read",
            "at most 32 pending",
            |run| async move {
                let mut victim = victim(run, &["yamux.unsent_pongs_max=max"])?;
                until_over(&mut victim, 900, |n| yamux::header(PING, SYN, 0, n));
                let pending = victim.session.sizes().transmit / 12;
                Ok(Findings::new().at_most("pending", pending, 32))
            },
        )
        .raised("yamux.unsent_pongs_max"),
        Scenario::new(
            "YX-EMPTY-DATA-FLOOD",
            "empty data, 10^6 times",
            "ends at its budget",
            |run| async move {
                let mut victim = victim(run, &["yamux.empty_frames=max"])?;
                victim.feed(yamux::open(1));
                let count = until_over(&mut victim, 1_000_000, |_| yamux::header(DATA, 0, 1, 0));
                Ok(Findings::new().at_most("frames", count, 1024))
            },
        )
        .raised("yamux.empty_frames"),
        Scenario::new(
            "YX-ONE-BYTE-FRAMES",
            "a window full of one-byte frames",
            "memory at most 4 times the bytes",
            |_| async { Ok(one_byte_frames()) },
        ),
        Scenario::new(
            "Y01",
            "each vector that breaks a rule, after honest traffic",
            "goodbye 1 and no panic",
            |run| async move { after_traffic(run) },
        )
        .harmless(),
        Scenario::new(
            "Y02",
            "one byte more than the window, in frames of all sizes",
            "goodbye 1, at most a window held",
            |run| async move { Ok(beyond_the_window(run)) },
        )
        .harmless(),
        Scenario::new(
            "Y06",
            "600 streams that nobody accepts",
            "256 wait, the others are reset",
            |run| async move {
                let mut victim = victim(
                    run,
                    &["yamux.inbound_streams_max=max", "yamux.streams_max=max"],
                )?;
                until_over(&mut victim, 600, |n| yamux::open(n * 2 + 1));
                let refused = victim.frames().iter().filter(|it| it.flags == RST).count();
                Ok(Findings::new()
                    .at_most("waiting", victim.session.sizes().incoming, 256)
                    .equal("reset", refused, 344))
            },
        )
        .raised("yamux.inbound_streams_max"),
        Scenario::new(
            "Y08",
            "a goodbye while 10 streams are active",
            "they finish, and new ones fail at once",
            |run| async move { Ok(goodbye_amid_streams(run)) },
        )
        .harmless(),
        Scenario::new(
            "Y10",
            "credit in single bytes",
            "no frame below 1 KiB",
            |_| async { Ok(credit_drip()) },
        ),
        Scenario::new(
            "Y14",
            "pongs that are held back, so that windows grow",
            "at most 128 MiB granted",
            |run| async move {
                let victim = victim(
                    run,
                    &[
                        "yamux.window_growth_max=max",
                        "yamux.window_growth_shared_max=max",
                    ],
                )?;
                Ok(inflated_windows(victim))
            },
        )
        .raised("yamux.window_growth_max"),
    ]
}

fn one_byte_frames() -> Findings {
    let mut victim = machine::yamux(Config::default());
    victim.feed(yamux::open(1));
    let mut worst = 0.0_f64;
    let chunk = yamux::data(0, 1, b"x").repeat(1024);
    for _ in 0..WINDOW / 1024 {
        victim.feed(chunk.clone());
        let sizes = victim.session.sizes();
        worst = worst.max(sizes.received_capacity as f64 / sizes.received.max(1) as f64);
    }
    Findings::new().holds("alive", victim.is_alive()).at_most(
        "times the bytes",
        (worst * 100.0).round() / 100.0,
        4.0,
    )
}

fn after_traffic(run: Run) -> Result<Findings> {
    let traffic = run.quick_or(64 << 20, 1 << 30);
    let broken = [
        yamux::header(UPDATE, 0, 1, u32::MAX - 65535),
        yamux::header(DATA, 0, 1, WINDOW as u32 + 1),
        yamux::header(UPDATE, SYN, 3, u32::MAX),
        yamux::open(2),
        yamux::open(0),
        yamux::header(7, 0, 0, 0),
    ];
    let mut ended = 0;
    for frame in &broken {
        let mut victim = machine::seasoned_yamux(traffic / broken.len());
        victim.feed(yamux::open(1));
        victim.feed(run.attack_or(frame.clone(), yamux::header(UPDATE, 0, 1, 1)));
        ended += usize::from(victim.said_goodbye().passed());
    }
    Ok(Findings::new().equal("goodbyes", ended, broken.len()))
}

fn beyond_the_window(run: Run) -> Findings {
    let mut found = Findings::new();
    for size in [1, 1000, 64 * 1024, WINDOW] {
        let mut victim = machine::yamux(Config::default());
        victim.feed(yamux::open(1));
        let mut left = WINDOW;
        while left > 0 {
            let len = size.min(left);
            victim.feed(yamux::data(0, 1, &vec![0; len]));
            left -= len;
        }
        let held = victim.session.sizes().received;
        victim.feed(run.attack_or(yamux::data(0, 1, b"x"), yamux::header(PING, SYN, 0, 1)));
        found = victim.said_goodbye().at_most("bytes held", held, WINDOW);
        if !found.passed() {
            break;
        }
    }
    found
}

fn goodbye_amid_streams(run: Run) -> Findings {
    let mut victim = machine::yamux(Config::default());
    for number in 0..10 {
        victim.feed(yamux::open(number * 2 + 1));
    }
    let streams: Vec<_> = std::iter::from_fn(|| victim.session.accept(victim.now)).collect();
    victim.feed(run.attack_or(yamux::goodbye(0), yamux::header(PING, SYN, 0, 1)));
    let refused = matches!(victim.session.open(victim.now), Poll::Ready(Err(_)));
    let mut finished = 0;
    for (number, id) in streams.iter().enumerate() {
        victim.feed(yamux::data(FIN, number as u32 * 2 + 1, b"rest"));
        finished += usize::from(victim.read(*id) == (4, true));
    }
    Findings::new()
        .holds("opening fails", refused)
        .equal("finished", finished, 10)
}

fn credit_drip() -> Findings {
    let mut victim = machine::yamux(Config::default());
    victim.feed(yamux::open(1));
    victim.session.accept(victim.now);
    let all = vec![0; 64 * 1024];
    while victim.write(StreamId(1), &all) > 0 {
        victim.output();
    }
    let mut smallest = usize::MAX;
    for _ in 0..8 * 1024 {
        victim.feed(yamux::header(UPDATE, 0, 1, 1));
        victim.write(StreamId(1), &all);
        let bodies = victim.frames().into_iter().map(|it| it.body.len());
        smallest = bodies.filter(|len| *len > 0).fold(smallest, usize::min);
    }
    Findings::new()
        .holds("alive", victim.is_alive())
        .at_least("smallest frame", smallest, 1024)
}

fn inflated_windows(mut victim: Victim) -> Findings {
    let body = vec![0; 64 * 1024];
    let mut ping = None;
    for stream in 0..4_u32 {
        let id = stream * 2 + 1;
        victim.feed(yamux::open(id));
        victim.session.accept(victim.now);
        let mut credit = WINDOW;
        for _ in 0..2500 {
            if credit >= body.len() {
                victim.feed(yamux::data(0, id, &body));
                credit -= body.len();
            }
            victim.read(StreamId(id.into()));
            for frame in victim.frames() {
                match frame.kind {
                    PING => ping = Some(frame.length),
                    UPDATE if frame.stream == id => credit += frame.length as usize,
                    _ => {}
                }
            }
            if let Some(number) = ping.take() {
                victim.now += Duration::from_secs(9);
                victim.feed(yamux::header(PING, yamux::ACK, 0, number));
            }
        }
    }
    let granted = victim.session.sizes().window_growth >> 20;
    Findings::new()
        .holds("alive", victim.is_alive())
        .at_most("MiB granted", granted, 128)
}

const TOLD_LIMIT: &str = "Disconnected: the remote reached a limit";
const TOLD_BROKEN: &str = "Disconnected: the remote broke the muxer's rules";

fn live_ones() -> Vec<Scenario> {
    let plan = |off, event| Plan {
        off: vec![off],
        event,
        ..Plan::default()
    };
    vec![
        attack(
            "Y02-live",
            "one byte more than the window, on a real connection",
            "goodbye 1",
            Plan {
                event: TOLD_BROKEN,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let bytes = yamux::data(SYN, 1, &vec![0; WINDOW + 1]);
                let ending = storm(stream, patience(target), Reading::All, |n| {
                    (n == 0).then(|| bytes.clone())
                })
                .await;
                Ok(of_ending(&ending))
            },
        ),
        attack(
            "Y04",
            "ping flood, answers read",
            "goodbye after the budget, memory flat",
            plan("yamux.pings=max", TOLD_LIMIT),
            async |target: Target| {
                flood(target, Reading::All, |n| yamux::header(PING, SYN, 0, n)).await
            },
        ),
        attack(
            "Y04-unread",
            "ping flood, answers not read",
            "closed after the budget, memory flat",
            plan("yamux.pings=max", TOLD_LIMIT),
            async |target: Target| {
                let ending =
                    storm_of(target, Reading::Nothing, |n| yamux::header(PING, SYN, 0, n)).await?;
                Ok(Findings::new().holds("closed", ending.closed))
            },
        ),
        attack(
            "Y05",
            "rapid reset: SYN and RST",
            "goodbye after at most 1024 streams",
            plan("yamux.rapid_resets=max", TOLD_LIMIT),
            async |target: Target| flood(target, Reading::All, syn_and_rst).await,
        ),
        attack(
            "Y07",
            "empty data without end",
            "goodbye at its budget",
            plan("yamux.empty_frames=max", TOLD_LIMIT),
            async |target: Target| {
                flood(target, Reading::All, |n| match n {
                    0 => yamux::open(1),
                    _ => yamux::header(DATA, 0, 1, 0),
                })
                .await
            },
        ),
        attack(
            "Y09",
            "100 streams whose 1 MiB is asked for and never taken",
            "a window each at most",
            Plan {
                lanes: 1,
                memory: 48 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let ask = |id| yamux::data(SYN, id, &multistream::proposal(SOURCE));
                let ending = storm(stream, Duration::from_secs(2), Reading::All, |n| {
                    (n < 100).then(|| ask(n as u32 * 2 + 1))
                })
                .await;
                Ok(Findings::new().holds("open", !ending.is_over()).at_most(
                    "MiB sent to it",
                    ending.received >> 20,
                    26,
                ))
            },
        ),
        Scenario::new(
            "Y09-close",
            "closing while a remote grants nothing",
            "within 1 s",
            |_| async { close_without_credit().await },
        )
        .is_live(),
        Scenario::new(
            "Y11 R56",
            "a peer that stops reading its socket",
            "what is written to it fails within 10 s after the last byte went",
            |run| async move { stalled_socket(run).await },
        )
        .raised("driver.write_timeout")
        .is_live(),
    ]
}

/// How long an attacker waits for its end.
fn patience(target: Target) -> Duration {
    target
        .run
        .attack_or(Duration::from_secs(8), Duration::from_millis(1500))
}

/// Frames in chunks of so many.
const CHUNK: u32 = 100;

/// Sends a frame again and again, until the victim has had enough.
async fn storm_of(
    target: Target,
    reading: Reading,
    frame: impl Fn(u32) -> Vec<u8>,
) -> Result<Ending> {
    let stream = dial::muxed(target.addr, YAMUX).await?;
    // Whoever does not read learns of the end by writing.
    let chunks = match reading {
        Reading::All => target.run.quick_or(500, 3000),
        Reading::Nothing => 1_000_000,
    };
    Ok(storm(stream, patience(target), reading, |n| {
        let from = u32::try_from(n).unwrap_or(u32::MAX) * CHUNK;
        (n < chunks).then(|| (from..from + CHUNK).flat_map(&frame).collect())
    })
    .await)
}

async fn flood(
    target: Target,
    reading: Reading,
    frame: impl Fn(u32) -> Vec<u8>,
) -> Result<Findings> {
    Ok(of_ending(&storm_of(target, reading, frame).await?))
}

fn of_ending(ending: &Ending) -> Findings {
    Findings::new()
        .equal("goodbye", ending.goodbye.unwrap_or(99), 1)
        .holds("closed", ending.closed)
}

async fn close_without_credit() -> Result<Findings> {
    let node = Node::start([]).await?;
    let stream = dial::muxed(node.addr, YAMUX).await?;
    let asking = storm(stream, Duration::from_secs(20), Reading::All, |n| {
        (n < 50).then(|| yamux::data(SYN, n as u32 * 2 + 1, &multistream::proposal(SOURCE)))
    });
    let closing = async {
        measure::sleep(Duration::from_millis(500)).await;
        let from = Instant::now();
        node.host.close().await;
        from.elapsed().as_millis()
    };
    let (closing, asking) = (std::pin::pin!(closing), std::pin::pin!(asking));
    let millis = match future::select(closing, asking).await {
        future::Either::Left((millis, _)) => millis,
        future::Either::Right((_, closing)) => closing.await,
    };
    Ok(Findings::new().at_most("ms to close", millis, 1000).holds(
        "no task left",
        measure::until(Duration::from_secs(1), || node.tasks() == 0).await,
    ))
}

async fn stalled_socket(run: Run) -> Result<Findings> {
    let mut changes = run.changes(&[
        "driver.write_timeout=600000",
        "yamux.keep_alive_interval=600000",
    ]);
    if run.quick && changes.is_empty() {
        changes.push("driver.write_timeout=1000");
    }
    let limit = run.quick_or(2500, 11_500);
    let node = Node::start(changes).await?;
    let mut stream = dial::muxed(node.addr, YAMUX).await?;
    for number in 0..8 {
        let id = number * 2 + 1;
        let ask = yamux::data(SYN, id, &multistream::proposal(SOURCE));
        let credit = yamux::header(UPDATE, 0, id, 1 << 24);
        stream.write_all(&[ask, credit].concat()).await?;
    }
    stream.flush().await?;
    let patience = Duration::from_millis(limit);
    let from = Instant::now();
    let told = node
        .happens("Disconnected: the remote did not react", patience)
        .await;
    let took = from.elapsed().as_millis() as u64;
    measure::sleep(Duration::from_millis(100)).await;
    let failed = node
        .writes()
        .iter()
        .filter(|it| !it.ends_with("written"))
        .count();
    Ok(Findings::new()
        .holds("told", told)
        .at_most("ms", took, limit)
        .at_least("writes that failed", failed, 1)
        .equal("writes that hang", 8 - node.writes().len().min(8), 0))
}

fn advisories() -> Vec<Scenario> {
    let family = |id: &str, title: &str, sent: fn(u32) -> Vec<u8>, most: u32| {
        Scenario::new(
            id,
            title,
            "the limit and less is taken, 1 more and the maximum is refused",
            move |run| async move {
                // Off: what is beyond the limit is replaced by what is not.
                let beyond = run.attack_or([most + 1, u32::MAX], [most, 0]);
                let ends = |value| {
                    let mut victim = machine::yamux(Config::default());
                    victim.feed(sent(value));
                    !victim.is_alive()
                };
                let refused = beyond.into_iter().filter(|it| ends(*it)).count();
                let taken = [0, 1, most - 1, most].into_iter().filter(|it| !ends(*it));
                Ok(Findings::new()
                    .equal("taken", taken.count(), 4)
                    .equal("refused", refused, 2))
            },
        )
        .harmless()
    };
    vec![
        family(
            "R07",
            "CVE-2026-31814: credit of an open stream that overflows",
            |credit| [yamux::open(1), yamux::header(UPDATE, 0, 1, credit)].concat(),
            u32::MAX - WINDOW as u32,
        ),
        family(
            "R08",
            "CVE-2026-32314: data with SYN that is longer than the window",
            |len| {
                let body = vec![0; (len as usize).min(2 * WINDOW)];
                [&yamux::header(DATA, SYN, 1, len)[..], &body].concat()
            },
            WINDOW as u32,
        ),
        family(
            "R09",
            "rust-yamux #228: credit with SYN that overflows",
            |credit| yamux::header(UPDATE, SYN, 1, credit),
            u32::MAX - WINDOW as u32,
        ),
        attack(
            "R06",
            "CVE-2024-32984: streams that are refused, whose resets are not read",
            "memory bounded: nothing more is read",
            Plan {
                off: vec![
                    "driver.unread_answers_max=max",
                    "driver.write_timeout=600000",
                ],
                settings: vec!["driver.write_timeout=3000"],
                memory: 12 * 1024,
                event: "Disconnected: the remote did not react",
                lanes: 2,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let ending = storm(stream, Duration::from_secs(14), Reading::Nothing, |n| {
                    let from = u32::try_from(n).unwrap_or(u32::MAX) * CHUNK;
                    let ids = from..from + CHUNK;
                    (n < 40_000).then(|| ids.flat_map(|it| yamux::open(it * 2 + 1)).collect())
                })
                .await;
                Ok(Findings::new().at_least("chunks taken", ending.sent, 1))
            },
        ),
        Scenario::new(
            "R10",
            "rust-yamux #232: halves of a stream in two tasks, 64 KiB blocks both ways",
            "all comes back, nothing hangs",
            |run| async move { split_halves(run.quick_or(200, 1000)).await },
        ),
        Scenario::new(
            "R47",
            "py-libp2p #930: accept while the session ends",
            "returns within 1 s",
            |_| async { accept_at_the_end().await },
        ),
        Scenario::new(
            "R58",
            "streams opened and closed again and again",
            "nothing is left in the tables",
            |run| async move { Ok(open_and_close(run.quick_or(100_000, 1_000_000))) },
        ),
    ]
}

async fn split_halves(blocks: usize) -> Result<Findings> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    let (mut read, mut write) = puppet.stream(ECHO).await?.into_split();
    let block = vec![9; 64 * 1024];
    let writing = async {
        for _ in 0..blocks {
            write.write_all(&block).await?;
        }
        write.close().await
    };
    let reading = async {
        let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match read.read(&mut buffer).await? {
                0 => return std::io::Result::Ok(total),
                count => total += count,
            }
        }
    };
    let both = measure::within(Duration::from_secs(60), future::join(writing, reading)).await;
    let (written, read) = both.context("it hangs")?;
    written?;
    Ok(Findings::new().equal("bytes back", read?, blocks * 64 * 1024))
}

async fn accept_at_the_end() -> Result<Findings> {
    let node = Node::start([]).await?;
    let stream = dial::muxed(node.addr, YAMUX).await?;
    node.happens("Connected", Duration::from_secs(5)).await;
    drop(stream);
    let from = Instant::now();
    let told = node.happens("Disconnected", Duration::from_secs(5)).await;
    Ok(Findings::new()
        .holds("told", told)
        .at_most("ms", from.elapsed().as_millis(), 1000)
        .equal("peers", node.host.peers().len(), 0))
}

fn open_and_close(count: u32) -> Findings {
    let mut victim = machine::yamux(Config::default());
    for number in 0..count {
        let id = number * 2 + 1;
        victim.feed(yamux::data(SYN | FIN, id, b"question"));
        if let Some(stream) = victim.session.accept(victim.now) {
            victim.read(stream);
            victim.write(stream, b"answer");
            // It is open, so that it can be finished.
            let _ = victim.session.finish(stream, victim.now);
            victim.session.forget(stream);
        }
        victim.output();
    }
    let alive = victim.is_alive();
    let sizes = victim.session.sizes();
    victim.session.close(CloseReason::Normal);
    Findings::new()
        .holds("alive", alive)
        .equal("streams", sizes.streams, 0)
        .equal("lingering", sizes.lingering_streams, 0)
        .equal("bytes kept", sizes.received_capacity, 0)
}
