//! Gossipsub.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::AsyncWriteExt;
use peerkit::{
    Keypair,
    core::PeerRecord,
    gossipsub::{Config, PeerExchange, Thresholds},
    pubsub::{
        DecodeLimits, FrameDecoder, InvalidMessage, MessageVerifier, Outgoing, Router, RouterEvent,
        RpcDecoder, SignaturePolicy, Topic, Verdict,
    },
};

use crate::{
    frames::{
        from_hex,
        protobuf::bytes,
        pubsub::{self, Proof},
    },
    live::{Plan, Target},
    measure,
    node::{self, Node},
    peer::{Puppet, ends},
    report::Findings,
    rig::{self, Rig, TOPIC, ids, peer},
    scenario::{Run, Scenario, attack},
    settings::Settings,
};

/// What is not optimised takes longer.
const SLOWNESS: u128 = if cfg!(debug_assertions) { 30 } else { 1 };

const MESHSUB: &str = "/meshsub/1.1.0";

/// Scenarios G01 to G18, the vectors of gossipsub, and the advisories about it.
pub fn table() -> Vec<Scenario> {
    [vectors(), floods(), mesh(), messages(), wire(), live_ones()]
        .into_iter()
        .flatten()
        .collect()
}

fn rig(run: Run, off: &[&'static str]) -> Result<Rig> {
    let settings = Settings::changed(run.changes(off))?.gossipsub;
    let rig = Rig::new(settings.router)?;
    Ok(rig.decoding(settings.pubsub.limits))
}

/// A line of the list of vectors against a router with one member.
fn vector(
    id: &'static str,
    title: &str,
    criterion: &str,
    harmless: Vec<u8>,
    check: fn(&mut Rig) -> Findings,
) -> Scenario {
    Scenario::new(id, title, criterion, move |run| {
        let harmless = harmless.clone();
        async move {
            let mut rig = Rig::new(Config::default())?;
            rig.connect(1, None);
            rig.feed(
                1,
                &run.attack_or(Vec::new(), vec![pubsub::subscription(true, TOPIC)]),
            );
            let bytes = listed(id).context("it is in the list")?;
            // The first byte is the frame's length.
            rig.feed_bytes(1, run.attack_or(&bytes[1..], &harmless));
            Ok(check(&mut rig))
        }
    })
    .harmless()
}

/// The bytes of a vector by its id.
fn listed(id: &str) -> Option<Vec<u8>> {
    let all = include_str!("../../vectors.tsv");
    let row = all
        .lines()
        .find(|line| line.split('\t').next() == Some(id))?;
    from_hex(row.split('\t').nth(3)?)
}

fn backoff(rig: &Rig) -> u64 {
    let until = rig.router.backoff(&Topic::from(TOPIC), &peer(1));
    until.map_or(0, |until| {
        until.saturating_duration_since(rig.now).as_secs()
    })
}

fn clamped(rig: &mut Rig) -> Findings {
    let seconds = backoff(rig);
    let entries = rig.sizes().backoffs;
    rig.pass(Duration::from_secs(120));
    Findings::new()
        .equal("entries", entries, 1)
        .at_most("s", seconds, 3601)
        .at_least("heartbeats after it", rig.counts().heartbeats, 100)
}

fn vectors() -> Vec<Scenario> {
    let nothing = Vec::new();
    vec![
        vector(
            "GS-PRUNE-U64MAX",
            "a backoff of u64::MAX",
            "at most 3600 s",
            nothing.clone(),
            clamped,
        ),
        vector(
            "GS-PRUNE-3601",
            "a backoff of 3601 s",
            "at most 3600 s",
            nothing.clone(),
            clamped,
        ),
        vector(
            "GS-PRUNE-0",
            "a backoff of 0",
            "kept as at least a heartbeat or none",
            pubsub::control(&pubsub::prune(TOPIC, Some(9999))),
            |rig| Findings::new().at_most("s", backoff(rig), 61),
        ),
        vector(
            "GS-GRAFT-UNSUB",
            "GRAFT of a peer that has not joined",
            "not in the mesh",
            pubsub::control(&pubsub::graft(TOPIC)),
            |rig| {
                let mesh = rig.router.mesh(&Topic::from(TOPIC)).len();
                Findings::new().equal("mesh", mesh, 0)
            },
        ),
        vector(
            "GS-PRUNE-UNJOINED",
            "PRUNE of a topic that was not joined",
            "nothing stored",
            pubsub::control(&pubsub::prune(TOPIC, Some(60))),
            |rig| Findings::new().equal("backoffs", rig.sizes().backoffs, 0),
        ),
        vector(
            "GS-SUB",
            "a subscription",
            "stored once",
            pubsub::subscription(false, TOPIC),
            |rig| Findings::new().equal("subscriptions", rig.sizes().subscriptions, 1),
        ),
        vector(
            "GS-IHAVE-1",
            "an offer",
            "at most one IWANT",
            [
                pubsub::control(&pubsub::ihave(TOPIC, &ids(0..1))),
                pubsub::control(&pubsub::ihave(TOPIC, &ids(1..2))),
            ]
            .concat(),
            |rig| Findings::new().at_most("asked", rig.counts().iwant_sent, 1),
        ),
        vector(
            "GS-IWANT-1",
            "a question for an unknown id",
            "silence",
            pubsub::control(&pubsub::graft(TOPIC)),
            |rig| {
                let answers = rig
                    .sent
                    .iter()
                    .filter(|it| matches!(it.1, Outgoing::Forward(..)));
                Findings::new().equal("answers", answers.count(), 0).equal(
                    "mesh",
                    rig.router.mesh(&Topic::from(TOPIC)).len(),
                    0,
                )
            },
        ),
        Scenario::new(
            "GS-LEN-OVER",
            "a frame of 1 MiB and one byte",
            "refused by its length",
            |run| async move {
                let bytes = run.attack_or(
                    listed("GS-LEN-OVER").unwrap_or_default(),
                    vec![0x80, 0x80, 0x40],
                );
                let refused = FrameDecoder::new(DecodeLimits::default().frame_len_max)
                    .decode(&mut &bytes[..])
                    .is_err();
                Ok(Findings::new().holds("refused", refused))
            },
        )
        .harmless(),
    ]
}

fn topics(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range
        .map(|number| pubsub::subscription(true, &format!("{number:05}")))
        .collect()
}

fn floods() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "G01",
            "10 frames with 80,000 subscriptions each",
            "100 topics, none after it is gone",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.peer_topics_max=max"])?;
                rig.connect(1, None);
                for round in 0..run.attack_or(10, 2) {
                    rig.feed(1, &topics(round * 80_000..(round + 1) * 80_000));
                }
                let kept = rig.sizes().subscriptions;
                rig.router.handle_disconnected(&peer(1), rig.now);
                Ok(Findings::new()
                    .at_most("subscriptions", kept, 100)
                    .equal("after", rig.sizes().subscriptions, 0)
                    .at_most("topics after", rig.sizes().topics, 1))
            },
        )
        .raised("gossipsub.peer_topics_max"),
        Scenario::new(
            "G02",
            "offers of 100,000 ids, in 20 messages",
            "at most 5,000 are asked for",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.ihave_ids_max=max"])?;
                rig.member(1);
                for round in 0..20 {
                    rig.feed(
                        1,
                        &[pubsub::control(&pubsub::ihave(
                            TOPIC,
                            &ids(round * 5000..(round + 1) * 5000),
                        ))],
                    );
                }
                Ok(Findings::new().at_most("asked", rig.counts().iwant_sent, 5000))
            },
        )
        .raised("gossipsub.ihave_ids_max"),
        Scenario::new(
            "G02-empty R19",
            "1 MiB of empty ids, 10 times",
            "the decoder stops at 5,000",
            |run| async move {
                let limits = Settings::changed(run.changes(&["pubsub.ids_max=max"]))?;
                let frame = Bytes::from(pubsub::control(&pubsub::ihave(
                    TOPIC,
                    &vec![Vec::new(); 500_000],
                )));
                let mut worst = 0;
                let from = Instant::now();
                for _ in 0..10 {
                    let decoded =
                        RpcDecoder::new(limits.gossipsub.pubsub.limits.clone()).decode(&frame)?;
                    let count: usize = decoded
                        .rpc
                        .control
                        .ihave
                        .iter()
                        .map(|it| it.ids.len())
                        .sum();
                    worst = worst.max(count);
                }
                Ok(Findings::new().at_most("ids", worst, 5000).at_most(
                    "ms a MiB",
                    from.elapsed().as_millis() / 10,
                    20 * SLOWNESS,
                ))
            },
        )
        .raised("pubsub.ids_max"),
        Scenario::new(
            "R40",
            "CVE-2026-49866: 10 MiB of ids in offers and questions",
            "less than 100 ms each",
            |run| async move {
                let mut rig = rig(
                    run,
                    &[
                        "gossipsub.ihave_ids_max=max",
                        "gossipsub.iwant_retransmissions_max=max",
                    ],
                )?;
                rig.member(1);
                let mut slowest = 0;
                for round in 0..10 {
                    let some = ids(round * 40_000..(round + 1) * 40_000);
                    let both = [pubsub::ihave(TOPIC, &some), pubsub::iwant(&some)].concat();
                    let from = Instant::now();
                    rig.feed(1, &[pubsub::control(&both)]);
                    slowest = slowest.max(from.elapsed().as_millis());
                }
                Ok(Findings::new().at_most("ms", slowest, 100).at_most(
                    "asked",
                    rig.counts().iwant_sent,
                    5000,
                ))
            },
        )
        .raised("gossipsub.ihave_ids_max"),
        Scenario::new(
            "G04",
            "the same message asked for 10,000 times",
            "sent 3 times",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.iwant_retransmissions_max=max"])?;
                rig.member(1);
                rig.member(2);
                let message = rig::message(2, 1, &[7; 1000]);
                rig.brings(2, &message, Verdict::Accept);
                let known = vec![rig::id(&message).as_bytes().to_vec()];
                rig.sent.clear();
                for _ in 0..10_000 {
                    rig.feed(1, &[pubsub::control(&pubsub::iwant(&known))]);
                }
                let served = rig.counts().iwant_served;
                Ok(Findings::new().at_most("sent", served, 3).at_most(
                    "bytes",
                    rig.sent_bytes(),
                    4 * message.encoded.len(),
                ))
            },
        )
        .raised("gossipsub.iwant_retransmissions_max"),
        Scenario::new(
            "G12",
            "10^6 ids that are not wanted",
            "10,000 are kept, and forgotten",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.idontwant_ids_max=max"])?;
                rig.member(1);
                for round in 0..200 {
                    rig.feed(
                        1,
                        &[pubsub::control(&pubsub::idontwant(&ids(
                            round * 5000..(round + 1) * 5000
                        )))],
                    );
                }
                let kept = rig.sizes().refusals;
                rig.pass(Duration::from_secs(5));
                Ok(Findings::new().at_most("kept", kept, 10_000).equal(
                    "after 5 s",
                    rig.sizes().refusals,
                    0,
                ))
            },
        )
        .raised("gossipsub.idontwant_ids_max"),
        Scenario::new(
            "G13",
            "1 MiB of unknown fields, of nested ones, and of groups",
            "at most 20 ms a MiB, on a busy machine",
            |_| async { control_scan() },
        ),
        Scenario::new(
            "G17",
            "56,000 topics of 560 peers",
            "as quick as others",
            |_| async {
                let from = Instant::now();
                let mut rig = Rig::new(Config::default())?;
                for number in 1..=255 {
                    rig.connect(number, None);
                    let first = u32::from(number) * 220;
                    rig.feed(number, &topics(first..first + 220));
                }
                Ok(Findings::new()
                    .at_most("ms", from.elapsed().as_millis(), 1000 * SLOWNESS)
                    .at_most("subscriptions", rig.sizes().subscriptions, 25_500))
            },
        ),
    ]
}

fn control_scan() -> Result<Findings> {
    let nested = (0..200).fold(Vec::new(), |inner, _| bytes(15, &inner));
    let shapes = [
        [0x78, 0x01].repeat(512 * 1024),
        bytes(3, &bytes(9, &[0; 1000])).repeat(1000),
        nested.repeat((1 << 20) / nested.len().max(1)),
        vec![0x7b; 1 << 20],
    ];
    let mut slowest = 0;
    for shape in shapes {
        let frame = Bytes::from(shape);
        let from = Instant::now();
        // Groups may be refused.
        let decoded = RpcDecoder::new(DecodeLimits::default()).decode(&frame);
        slowest = slowest.max(from.elapsed().as_micros());
        anyhow::ensure!(decoded.is_err() || decoded.is_ok_and(|it| it.rpc.messages.is_empty()));
    }
    Ok(Findings::new().at_most(
        "us",
        slowest,
        if cfg!(debug_assertions) {
            100_000
        } else {
            10_000
        },
    ))
}

fn mesh() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "G03",
            "offers that are never followed by a message",
            "no gossip with it within 14 s",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.score=0"])?;
                rig.member(1);
                for round in 0..10 {
                    rig.feed(
                        1,
                        &[pubsub::control(&pubsub::ihave(
                            TOPIC,
                            &ids(round..round + 1),
                        ))],
                    );
                    rig.pass(Duration::from_secs(1));
                }
                rig.pass(Duration::from_secs(4));
                Ok(Findings::new()
                    .at_least("promises broken", rig.counts().promises_broken, 3)
                    .at_most("score", rig.score(1), Thresholds::default().gossip))
            },
        )
        .raised("gossipsub.score"),
        Scenario::new(
            "G05 R13",
            "GRAFT of 100,000 topics that there are not",
            "no state, not more bytes out than in",
            |run| async move {
                let mut rig = Rig::new(Config::default())?;
                rig.member(1);
                rig.sent.clear();
                let before = rig.sizes().topics;
                let mut heard = 0;
                for round in 0..100 {
                    let grafts: Vec<u8> = (0..1000)
                        .flat_map(|it| pubsub::graft(&format!("{round}/{it}")))
                        .collect();
                    // Off: subscriptions, which are kept.
                    let sent = run.attack_or(
                        pubsub::control(&grafts),
                        pubsub::subscription(true, &format!("{round}")),
                    );
                    heard += sent.len();
                    rig.feed(1, &[sent]);
                }
                Ok(Findings::new()
                    .equal("topics more", rig.sizes().topics - before, 0)
                    .equal("backoffs", rig.sizes().backoffs, 0)
                    .at_most("bytes out", rig.sent_bytes(), heard))
            },
        )
        .harmless(),
        Scenario::new(
            "G06",
            "GRAFT again and again during a backoff",
            "not heard after 10 tries",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.score=0"])?;
                rig.member(1);
                rig.feed(1, &[pubsub::control(&pubsub::prune(TOPIC, Some(60)))]);
                let mut tries = 0;
                while rig.score(1) >= Thresholds::default().graylist && tries < 100 {
                    rig.pass(Duration::from_secs(1));
                    rig.feed(1, &[pubsub::control(&pubsub::graft(TOPIC))]);
                    tries += 1;
                }
                Ok(Findings::new().at_most("tries", tries, 10))
            },
        )
        .raised("gossipsub.score"),
        Scenario::new(
            "G07 R11 R12",
            "backoffs around 2^63 and 2^64, held for 120 s",
            "at most 3600 s, no panic",
            |run| async move {
                let mut longest = 0;
                let edge = i64::MAX as u64;
                for seconds in [
                    0,
                    1,
                    3599,
                    3600,
                    3601,
                    edge - 75,
                    edge - 43,
                    edge,
                    edge + 1,
                    u64::MAX - 1,
                    u64::MAX,
                ] {
                    let mut rig = rig(run, &["gossipsub.backoff_max=100000000"])?;
                    rig.member(1);
                    rig.feed(1, &[pubsub::control(&pubsub::prune(TOPIC, Some(seconds)))]);
                    longest = longest.max(backoff(&rig));
                    rig.pass(Duration::from_secs(120));
                }
                Ok(Findings::new().at_most("s", longest, 3601))
            },
        )
        .raised("gossipsub.backoff_max"),
        Scenario::new(
            "G08 R14",
            "PRUNE of 100,000 topics that were not joined",
            "none stored",
            |run| async move {
                let mut rig = Rig::new(Config::default())?;
                rig.member(1);
                for round in 0..100 {
                    let prunes: Vec<u8> = (0..1000)
                        .flat_map(|it| {
                            let name = format!("{round}/{it}");
                            pubsub::prune(run.attack_or(&name, TOPIC), Some(60))
                        })
                        .collect();
                    rig.feed(1, &[pubsub::control(&prunes)]);
                }
                Ok(Findings::new().equal("backoffs", rig.sizes().backoffs, 0))
            },
        )
        .harmless(),
        Scenario::new(
            "G09",
            "PRUNE that recommends 10,000 peers",
            "not followed by default",
            |_| async {
                let mut rig = Rig::new(Config::default())?;
                rig.member(1);
                for round in 0..100_u8 {
                    let others: Vec<u8> = (0..100)
                        .flat_map(|it| recommended(round ^ it, &[]))
                        .collect();
                    let prune = bytes(4, &[bytes(1, TOPIC.as_bytes()), others].concat());
                    rig.feed(1, &[pubsub::control(&prune)]);
                }
                Ok(Findings::new().equal("dials", calls(&rig), 0))
            },
        ),
        Scenario::new(
            "G09-followed",
            "the same from a trusted peer, with forged records",
            "none is dialed",
            |run| async move {
                let mut rig = Rig::new(Config {
                    peer_exchange: PeerExchange::Follow,
                    ..Config::default()
                })?;
                rig.member(1);
                rig.router.set_application_score(&peer(1), 2.0);
                let addr = "/ip4/192.0.2.1/tcp/4001".parse()?;
                let record = PeerRecord::sign(&rig::identity(30), 1, vec![addr])?;
                let record = record.envelope().encoded();
                let cut = &record[..record.len() - 1];
                let others = [
                    recommended(run.attack_or(31, 30), record),
                    recommended(30, run.attack_or(cut, record)),
                    recommended(0, &[]),
                    recommended(1, &[]),
                ];
                let prune = bytes(4, &[bytes(1, TOPIC.as_bytes()), others.concat()].concat());
                rig.feed(1, &[pubsub::control(&prune)]);
                Ok(Findings::new().equal("dials", calls(&rig), 0))
            },
        )
        .harmless(),
        Scenario::new(
            "G15",
            "100 peers of one machine",
            "each has a bad score",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.score=0"])?;
                for number in 1..=100 {
                    rig.connect(number, Some([192, 0, 2, 7].into()));
                }
                rig.pass(Duration::from_secs(2));
                let best = (1..=100).map(|it| rig.score(it)).fold(f64::MIN, f64::max);
                Ok(Findings::new().at_most("the best score", best, -1.0))
            },
        )
        .raised("gossipsub.score"),
        Scenario::new(
            "R50",
            "jvm #472: leaving and joining again at once",
            "no GRAFT before the backoff is over",
            |run| async move {
                let mut rig = Rig::new(Config::default())?;
                for number in 1..=3 {
                    rig.member(number);
                }
                rig.pass(Duration::from_secs(2));
                rig.router.unsubscribe(&Topic::from(TOPIC), rig.now);
                rig.pass(run.attack_or(Duration::from_secs(1), Duration::from_secs(20)));
                rig.sent.clear();
                rig.router.subscribe(&Topic::from(TOPIC), rig.now);
                rig.pass(Duration::from_secs(5));
                let grafts = rig.sent.iter().filter(|(_, what)| {
                matches!(what, Outgoing::Control(control) if !control.graft.is_empty())
            });
                Ok(Findings::new().equal("grafts", grafts.count(), 0))
            },
        )
        .harmless(),
    ]
}

fn recommended(number: u8, record: &[u8]) -> Vec<u8> {
    let id = peer(number).to_bytes();
    bytes(2, &[bytes(1, &id), bytes(2, record)].concat())
}

fn calls(rig: &Rig) -> usize {
    let calls = rig
        .events
        .iter()
        .filter(|it| matches!(it, RouterEvent::Connect { .. }));
    calls.count()
}

/// A message that proves nothing, by how it is made.
type Forgery = fn(&Keypair, &Keypair) -> Vec<u8>;

fn unsigned(from: &Keypair) -> Vec<u8> {
    let from = from.public().to_peer_id().to_bytes();
    pubsub::message(
        &from,
        b"lies",
        &1_u64.to_be_bytes(),
        node::TOPIC,
        &Proof::default(),
    )
}

fn with_signature(message: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    [message, bytes(5, signature)].concat()
}

const FORGERIES: [(&str, Forgery); 6] = [
    ("no signature", |victim, _| unsigned(victim)),
    ("64 zeros", |victim, _| {
        with_signature(unsigned(victim), &[0; 64])
    }),
    ("64 random bytes", |victim, _| {
        with_signature(unsigned(victim), &rand::random::<[u8; 64]>())
    }),
    ("another's signature", |victim, me| {
        let message = unsigned(victim);
        let signature = pubsub::sign(me, &message);
        with_signature(message, &signature)
    }),
    ("another's signature and key", |victim, me| {
        let message = unsigned(victim);
        let signature = pubsub::sign(me, &message);
        [
            with_signature(message, &signature),
            bytes(6, &me.public().encode_protobuf()),
        ]
        .concat()
    }),
    ("another text", |victim, _| {
        let message = unsigned(victim);
        let signature = pubsub::sign(victim, b"something else");
        with_signature(message, &signature)
    }),
];

/// How many of the messages verify.
fn verified(run: Run, forgeries: &[(&str, Forgery)]) -> Result<usize> {
    let (victim, me) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let mut count = 0;
    for (_, forge) in forgeries {
        let honest = unsigned(&victim);
        let signature = pubsub::sign(&victim, &honest);
        let message = run.attack_or(forge(&victim, &me), with_signature(honest, &signature));
        let frame = Bytes::from(pubsub::publish(&message));
        let decoded = RpcDecoder::new(DecodeLimits::default()).decode(&frame)?;
        let message = decoded.rpc.messages.first().context("it is read")?.clone();
        let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
        let outcome: Result<(), InvalidMessage> = verifier.verify(&message);
        count += usize::from(outcome.is_ok());
    }
    Ok(count)
}

fn messages() -> Vec<Scenario> {
    let forged = |id: &str, title: &str, range: std::ops::Range<usize>| {
        Scenario::new(id, title, "refused", move |run| {
            let count = verified(run, &FORGERIES[range.clone()]);
            async move { Ok(Findings::new().equal("verified", count?, 0)) }
        })
        .harmless()
    };
    vec![
        forged(
            "G10-forms",
            "6 messages whose author is somebody else",
            0..6,
        ),
        forged(
            "R01-pubsub",
            "RUSTSEC-2019-0004: 64 bytes that are no signature",
            1..3,
        ),
        forged(
            "R41",
            "CVE-2026-86038: a key that does not belong to the author",
            4..5,
        ),
        Scenario::new(
            "R49",
            "nim CL-2024-14: a topic without weight, and invalid messages",
            "rejected all the same",
            |_| async {
                let mut config = Config::default();
                if let Some(score) = &mut config.score {
                    score.topic_default.weight = 0.0;
                }
                let mut rig = Rig::new(config)?;
                rig.member(1);
                for seqno in 0..50 {
                    rig.brings(1, &rig::message(1, seqno, b"bad"), Verdict::Reject);
                }
                Ok(Findings::new()
                    .at_least("rejected", rig.counts().rejected, 1)
                    .equal("delivered", rig.counts().delivered, 0))
            },
        ),
        Scenario::new(
            "G10-score",
            "invalid messages of one peer",
            "not heard after at most 100",
            |run| async move {
                let mut rig = rig(run, &["gossipsub.score=0"])?;
                rig.member(1);
                let mut count = 0;
                while rig.counts().graylisted == 0 && count < 1000 {
                    rig.brings(1, &rig::message(1, count, b"bad"), Verdict::Reject);
                    count += 1;
                }
                Ok(Findings::new().at_most("messages", count, 100))
            },
        )
        .raised("gossipsub.score"),
    ]
}

fn wire() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "G11",
            "an old message that comes back when it is no longer known",
            "delivered once, with replay protection on",
            |run| async move { replayed(run).await },
        )
        .raised("pubsub.replay"),
        Scenario::new(
            "G16",
            "a frame that begins and does not end",
            "the stream is reset in time",
            |run| async move {
                let change =
                    run.attack_or("pubsub.frame_timeout=500", "pubsub.frame_timeout=600000");
                let node = Node::start([change]).await?;
                let puppet = Puppet::new(node.addr)?;
                puppet.hears(MESHSUB);
                let mut stream = puppet.sends(MESHSUB, &[100, 1, 2]).await?;
                let ended = ends(&mut stream, Duration::from_secs(2)).await;
                Ok(Findings::new()
                    .holds("reset", ended)
                    .holds("connected", puppet.is_connected()))
            },
        )
        .raised("pubsub.frame_timeout"),
        Scenario::new(
            "G16-length",
            "a frame of 4 GiB",
            "the stream is reset at once, and told",
            |run| async move {
                let node = Node::start([]).await?;
                let puppet = Puppet::new(node.addr)?;
                puppet.hears(MESHSUB);
                let length = run.attack_or(vec![0x80, 0x80, 0x80, 0x80, 0x10], vec![100]);
                let mut stream = puppet.sends(MESHSUB, &length).await?;
                let ended = ends(&mut stream, Duration::from_secs(1)).await;
                Ok(Findings::new()
                    .holds("reset", ended)
                    .at_least("told", node.happened("BadFrame"), 1)
                    .holds("connected", puppet.is_connected()))
            },
        )
        .harmless(),
        Scenario::new(
            "R39",
            "CVE-2026-46679: a subscription flood, then the end",
            "100 topics, then none",
            |run| async move {
                let node = Node::start(run.changes(&["gossipsub.peer_topics_max=max"])).await?;
                let puppet = Puppet::new(node.addr)?;
                puppet.hears(MESHSUB);
                let frame = pubsub::frame(&topics(0..80_000));
                let _stream = puppet.sends(MESHSUB, &frame).await?;
                measure::until(Duration::from_secs(3), || node.router.metrics().rpcs > 0).await;
                let router = node.router.gossipsub()?;
                let kept = router.router_metrics().sizes.subscriptions;
                puppet.host.close().await;
                let gone = || router.router_metrics().sizes.subscriptions == 0;
                let rest = measure::until(Duration::from_secs(3), gone).await;
                Ok(Findings::new()
                    .at_least("topics", kept, 1)
                    .at_most("topics", kept, 100)
                    .holds("none after", rest))
            },
        )
        .raised("gossipsub.peer_topics_max"),
        Scenario::new(
            "G18 R21",
            "a peer that starts anew before its old connection has ended",
            "it hears what is published within 3 s",
            |_| async { restarted().await },
        ),
        Scenario::new(
            "G14",
            "a member that never reads",
            "the others get everything, memory bounded",
            |_| async { slow_reader().await },
        ),
    ]
}

async fn replayed(run: Run) -> Result<Findings> {
    let mut changes = vec!["gossipsub.seen_ttl=200"];
    changes.extend(run.attack_or(Some("pubsub.replay=100"), None));
    let node = Node::start(changes).await?;
    let mut heard = node.router.subscribe().await?;
    let puppet = Puppet::new(node.addr)?;
    puppet.hears(MESHSUB);
    let message = pubsub::honest(puppet.host.keypair(), node::TOPIC, b"once", 5);
    let frame = pubsub::frame(&[pubsub::publish(&message.encoded)]);
    let mut stream = puppet.stream(MESHSUB).await?;
    for _ in 0..3 {
        stream.write_all(&frame).await?;
        stream.flush().await?;
        // Longer than a heartbeat, in which what is old is forgotten.
        measure::sleep(Duration::from_millis(1500)).await;
    }
    let mut count = 0;
    while measure::within(Duration::from_millis(100), heard.next())
        .await
        .flatten()
        .is_some()
    {
        count += 1;
    }
    Ok(Findings::new().equal("delivered", count, 1))
}

async fn restarted() -> Result<Findings> {
    let node = Node::start([]).await?;
    let secret = [77; 32];
    let addr = node.host.addrs().remove(0);
    let start = || async {
        let keypair = Keypair::ed25519_from_bytes(secret)?;
        let again = Node::with_key(keypair, Settings::default(), 0).await?;
        let heard = again.router.subscribe().await?;
        again.host.connect(addr.clone()).await?;
        anyhow::Ok((again, heard))
    };
    let (old, _) = start().await?;
    measure::sleep(Duration::from_millis(300)).await;
    let (new, mut heard) = start().await?;
    measure::sleep(Duration::from_millis(100)).await;
    old.host.close().await;
    let from = Instant::now();
    let mut delivered = false;
    while !delivered && from.elapsed() < Duration::from_secs(5) {
        node.router
            .publish(
                node::TOPIC,
                from.elapsed().as_nanos().to_be_bytes().to_vec(),
            )
            .await
            .ok();
        let next = measure::within(Duration::from_millis(100), heard.next()).await;
        delivered = matches!(next, Some(Some(Ok(_))));
    }
    drop(new);
    Ok(Findings::new().holds("delivered", delivered).at_most(
        "ms",
        from.elapsed().as_millis(),
        3000,
    ))
}

async fn slow_reader() -> Result<Findings> {
    let node = Node::start([]).await?;
    let honest = Node::start([]).await?;
    let mut heard = honest.router.subscribe().await?;
    honest.host.connect(node.host.addrs().remove(0)).await?;
    let puppet = Puppet::new(node.addr)?;
    // It takes the victim's stream and reads nothing of it.
    puppet
        .host
        .set_stream_handler(MESHSUB, |stream: peerkit::Stream| async move {
            futures::future::pending::<()>().await;
            drop(stream);
        });
    let join = pubsub::frame(&[
        pubsub::subscription(true, node::TOPIC),
        pubsub::control(&pubsub::graft(node::TOPIC)),
    ]);
    let _stream = puppet.sends(MESHSUB, &join).await?;
    measure::sleep(Duration::from_millis(1500)).await;
    let before = measure::rss();
    let publishing = async {
        for number in 0..300_u32 {
            let data = [&number.to_be_bytes()[..], &[7; 60_000]].concat();
            // A slow peer may hold up its author for a while, not for ever.
            let _ = node.router.publish(node::TOPIC, data).await;
        }
    };
    let hearing = async {
        let mut count = 0;
        while count < 300
            && let Some(Some(Ok(_))) = measure::within(Duration::from_secs(15), heard.next()).await
        {
            count += 1;
        }
        count
    };
    let ((), received) = futures::future::join(publishing, hearing).await;
    let grown = measure::rss().saturating_sub(before);
    Ok(Findings::new()
        .equal("received by the other", received, 300)
        .at_most("KiB more, of all three", grown, 80 * 1024))
}

fn live_ones() -> Vec<Scenario> {
    vec![
        attack(
            "G10",
            "messages with signatures that are not valid, as fast as can be",
            "rejected, honest peers unharmed",
            Plan {
                event: "Rejected",
                lanes: 2,
                memory: 24 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let puppet = Puppet::new(target.addr)?;
                puppet.hears(MESHSUB);
                let victim = Keypair::generate_ed25519();
                let bad = with_signature(unsigned(&victim), &[1; 64]);
                let frame = pubsub::frame(&[pubsub::publish(&bad)]).repeat(50);
                let mut stream = puppet.stream(MESHSUB).await?;
                for _ in 0..target.run.quick_or(20, 200) {
                    if stream.write_all(&frame).await.is_err() {
                        break;
                    }
                }
                let connected = puppet.is_connected();
                puppet.host.close().await;
                Ok(Findings::new().holds("connected", connected))
            },
        ),
        attack(
            "G01-live",
            "subscriptions without end",
            "100 topics, memory bounded, all forgotten",
            Plan {
                off: vec!["gossipsub.peer_topics_max=max"],
                lanes: 2,
                memory: 12 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let puppet = Puppet::new(target.addr)?;
                puppet.hears(MESHSUB);
                let mut stream = puppet.stream(MESHSUB).await?;
                for round in 0..4 {
                    let frame = pubsub::frame(&topics(round * 80_000..(round + 1) * 80_000));
                    stream.write_all(&frame).await?;
                }
                stream.close().await?;
                measure::sleep(Duration::from_millis(300)).await;
                puppet.host.close().await;
                Ok(Findings::new().equal("frames", 4, 4))
            },
        ),
    ]
}
