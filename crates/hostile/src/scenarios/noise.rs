//! Noise.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::AsyncWriteExt;
use hex_literal::hex;
use peerkit::{Keypair, PublicKey};

use crate::{
    dial::{self, Handshake, YAMUX},
    frames::{
        keys,
        multistream::proposal,
        noise::{self, framed, payload, signature},
        protobuf,
        yamux::{self, PING, SYN},
    },
    live::{Plan, Target},
    measure,
    node::Node,
    report::Findings,
    scenario::{Run, Scenario, attack},
};

/// Scenarios N01 to N08, the vectors of Noise, and the advisories about it.
pub fn table() -> Vec<Scenario> {
    [frames(), identities(), records()]
        .into_iter()
        .flatten()
        .collect()
}

/// A frame in place of message 1, after which the victim hangs up at once.
fn frame(id: &str, title: &str, bytes: Vec<u8>) -> Scenario {
    Scenario::new(id, title, "closed at once", move |run| {
        let bytes = run.attack_or(bytes.clone(), framed(&[9; 32]));
        async move {
            let node = Node::start([]).await?;
            let flight = [proposal("/noise"), bytes].concat();
            let patience = Duration::from_millis(run.attack_or(2000, 400));
            let (_, closed) = dial::hangs_up(node.addr, &flight, patience).await?;
            let told = node
                .happens("InboundFailed", Duration::from_millis(300))
                .await;
            Ok(Findings::new()
                .holds("closed", closed.is_some())
                .holds("told", told))
        }
    })
    .harmless()
}

/// Points for which the agreed secret is zero.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    hex!("0100000000000000000000000000000000000000000000000000000000000000"),
    hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];

fn frames() -> Vec<Scenario> {
    vec![
        frame("NO-ZERO-FRAME", "an empty message 1", framed(&[])),
        frame("NO-ONE-BYTE", "a message 1 of one byte", framed(&[0])),
        frame("NO-31", "a message 1 of 31 bytes", framed(&[9; 31])),
        frame("NO-65535", "a message 1 of 65,535 bytes", vec![0xff, 0xff]),
        frame("NO-LOWORDER-E", "a message 1 of zeros", framed(&[0; 32])),
        Scenario::new(
            "N01",
            "a long message in place of message 3",
            "closed by its length alone",
            |run| async move {
                let node = Node::start([]).await?;
                let mut handshake = Handshake::begin(node.addr).await?;
                let head = run.attack_or([0xff, 0xff], [0, 100]);
                handshake.tcp.write_all(&head).await?;
                let patience = Duration::from_millis(run.attack_or(2000, 400));
                let closed = measure::within(patience, dial::drain(&mut handshake.tcp)).await;
                Ok(Findings::new().holds("closed", closed.is_some()))
            },
        )
        .harmless(),
        Scenario::new(
            "N02",
            "7 points of low order as the ephemeral key",
            "the handshake fails for each",
            |run| async move {
                let node = Node::start([]).await?;
                let mut closed = 0;
                for point in LOW_ORDER {
                    let point = run.attack_or(point, [9; 32]);
                    let flight = [proposal("/noise"), framed(&point)].concat();
                    let patience = Duration::from_millis(run.attack_or(2000, 100));
                    let (answer, end) = dial::hangs_up(node.addr, &flight, patience).await?;
                    let silent = answer.len() <= proposal("/noise").len();
                    closed += usize::from(end.is_some() && silent);
                }
                Ok(Findings::new().equal("refused", closed, 7))
            },
        )
        .harmless(),
    ]
}

/// A payload for message 3, given the static key that has to be signed.
type Forgery = fn(&Keypair, &[u8; 32]) -> Vec<u8>;

fn public(identity: &Keypair) -> Vec<u8> {
    identity.public().encode_protobuf()
}

const FORGERIES: [(&str, Forgery); 14] = [
    ("nothing", |_, _| Vec::new()),
    ("no signature", |me, _| protobuf::bytes(1, &public(me))),
    ("no key", |me, key| protobuf::bytes(2, &signature(me, key))),
    ("an empty signature", |me, _| payload(&public(me), &[])),
    ("zeros", |me, _| payload(&public(me), &[0; 64])),
    ("random bytes", |me, _| {
        payload(&public(me), &rand::random::<[u8; 64]>())
    }),
    ("another session's", |me, _| {
        payload(&public(me), &signature(me, &[1; 32]))
    }),
    ("another key's", |me, key| {
        payload(&public(me), &signature(&Keypair::generate_ed25519(), key))
    }),
    ("bytes behind it", |me, key| {
        payload(&public(me), &[signature(me, key), vec![0]].concat())
    }),
    ("bytes behind the key", |me, key| {
        payload(&[public(me), vec![0x18, 0]].concat(), &signature(me, key))
    }),
    ("two keys", |me, key| {
        let other = public(&Keypair::generate_ed25519());
        [protobuf::bytes(1, &other), noise::honest_payload(me, key)].concat()
    }),
    ("two signatures", |me, key| {
        [noise::honest_payload(me, key), protobuf::bytes(2, &[0; 64])].concat()
    }),
    ("without its context", |me, key| {
        payload(&public(me), &me.sign(key).unwrap_or_default())
    }),
    ("garbage", |_, _| vec![0xff; 100]),
];

const BAD_KEYS: [(&str, Forgery); 9] = [
    ("an unknown kind", |me, key| {
        payload(&keys::key(9, &[0; 32]), &signature(me, key))
    }),
    ("a short Ed25519 key", |me, key| {
        payload(&keys::key(keys::ED25519, &[0; 31]), &signature(me, key))
    }),
    ("no point of secp256k1", |me, key| {
        let point = [&[2][..], &[0xff; 32]].concat();
        payload(&keys::key(keys::SECP256K1, &point), &signature(me, key))
    }),
    ("another curve for ECDSA", |me, key| {
        payload(&keys::key(keys::ECDSA, &public(me)), &signature(me, key))
    }),
    ("RSA of 512 bits", |_, _| payload(&keys::rsa(512), &[0; 64])),
    ("RSA of 1024 bits", |_, _| {
        payload(&keys::rsa(1024), &[0; 128])
    }),
    ("RSA of 16,384 bits", |_, _| {
        payload(&keys::rsa(16_384), &[0; 2048])
    }),
    ("an empty RSA key", |_, _| {
        payload(&keys::key(keys::RSA, &[]), &[0; 256])
    }),
    ("a point of small order", |_, _| {
        let point = keys::SMALL_ORDER[0];
        payload(
            &keys::key(keys::ED25519, &point),
            &[&point[..], &[0; 32]].concat(),
        )
    }),
];

/// Every forgery has to be refused, before anybody is told of a connection.
async fn forged(run: Run, forgeries: &[(&str, Forgery)]) -> Result<Findings> {
    let node = Node::start([]).await?;
    let mut accepted = Vec::new();
    for (name, forge) in forgeries {
        let identity = Keypair::generate_ed25519();
        let handshake = Handshake::begin(node.addr).await?;
        let key = handshake.static_key.public();
        let said = run.attack_or(*forge, noise::honest_payload)(&identity, &key);
        let (mut tcp, mut records) = handshake.end(&said).await?;
        // Without a muxer nobody would be told of a connection, whoever it is.
        let muxer = dial::record(&mut records, &proposal(YAMUX))?;
        let _ = tcp.write_all(&muxer).await;
        let patience = Duration::from_millis(run.attack_or(2000, 50));
        if measure::within(patience, dial::drain(&mut tcp))
            .await
            .is_none()
        {
            accepted.push(*name);
        }
    }
    measure::sleep(Duration::from_millis(100)).await;
    let names = if accepted.is_empty() {
        "none".into()
    } else {
        accepted.join(", ")
    };
    Ok(Findings::new()
        .equal("accepted", names.as_str(), "none")
        .equal("connections told", node.happened("Connected"), 0)
        .at_least(
            "refusals told",
            node.happened("InboundFailed"),
            forgeries.len() as u64,
        ))
}

fn identities() -> Vec<Scenario> {
    let one = |id: &str, title: &str, at: usize| {
        Scenario::new(
            id,
            title,
            "refused before any event",
            move |run| async move { forged(run, &FORGERIES[at..=at]).await },
        )
        .harmless()
    };
    vec![
        Scenario::new(
            "N03",
            "14 signatures that prove nothing",
            "each refused, no connection is ever told",
            |run| async move { forged(run, &FORGERIES).await },
        )
        .harmless(),
        Scenario::new(
            "N04",
            "9 keys that nobody should have",
            "each refused",
            |run| async move { forged(run, &BAD_KEYS).await },
        )
        .harmless(),
        one("R30", "litep2p #278: a signature by another key", 7),
        one(
            "R01-noise",
            "RUSTSEC-2019-0004: 64 random bytes as a signature",
            5,
        ),
        Scenario::new(
            "R35",
            "CVE-2023-39533: an RSA key of 16,384 bits",
            "refused within 5 ms",
            |run| async move {
                let key = run.attack_or(keys::rsa(16_384), keys::rsa(2048));
                let from = Instant::now();
                let refused = PublicKey::try_decode_protobuf(&key)
                    .map_or(true, |key| !key.verify(b"message", &[0; 2048]));
                let decodes = PublicKey::try_decode_protobuf(&key).is_ok();
                let micros = from.elapsed().as_micros();
                let inline = [vec![0], crate::frames::prefixed(&key)].concat();
                Ok(Findings::new()
                    .holds(
                        "refused",
                        refused && (!decodes || run.attack_or(true, false)),
                    )
                    .at_most("us", micros, 5000)
                    .holds("no peer id", peerkit::PeerId::from_bytes(&inline).is_err()))
            },
        )
        .harmless(),
    ]
}

/// A secured connection in the hands of the attacker, with yamux agreed.
async fn by_hand(node: &Node) -> Result<(dial::Tcp, peerkit::noise::NoiseRecords)> {
    let identity = Keypair::generate_ed25519();
    let handshake = Handshake::begin(node.addr).await?;
    let said = noise::honest_payload(&identity, &handshake.static_key.public());
    let (mut tcp, mut records) = handshake.end(&said).await?;
    tcp.write_all(&dial::record(&mut records, &proposal(YAMUX))?)
        .await?;
    let known = || !node.host.peers().is_empty();
    measure::until(Duration::from_secs(5), known).await;
    Ok((tcp, records))
}

/// What is done with two records that were sealed one after the other.
type Tampering = fn(Vec<u8>, Vec<u8>) -> Vec<u8>;

fn tampered(id: &str, title: &str, tamper: Tampering) -> Scenario {
    Scenario::new(
        id,
        title,
        "the connection ends, with the reason",
        move |run| async move {
            let node = Node::start([]).await?;
            let (mut tcp, mut records) = by_hand(&node).await?;
            let ping = |number| yamux::header(PING, SYN, 0, number);
            let first = dial::record(&mut records, &ping(1))?;
            let second = dial::record(&mut records, &ping(2))?;
            let sent = run.attack_or(tamper, |a, b| [a, b].concat())(first, second);
            tcp.write_all(&sent).await?;
            let patience = Duration::from_millis(run.attack_or(2000, 300));
            let closed = measure::within(patience, dial::drain(&mut tcp)).await;
            let told = node
                .happens("Disconnected: the secured channel failed", patience)
                .await;
            Ok(Findings::new()
                .holds("closed", closed.is_some())
                .holds("told", told))
        },
    )
    .harmless()
}

fn flip_last(mut record: Vec<u8>) -> Vec<u8> {
    if let Some(last) = record.last_mut() {
        *last ^= 1;
    }
    record
}

fn records() -> Vec<Scenario> {
    vec![
        tampered("N05-forged", "a record with a wrong tag", |a, b| {
            [flip_last(a), b].concat()
        }),
        tampered("N05-replayed", "a record twice", |a, _| {
            [a.clone(), a].concat()
        }),
        tampered("N05-reordered", "two records in the other order", |a, b| {
            [b, a].concat()
        }),
        tampered("N05-dropped", "a record left out", |_, b| b),
        tampered(
            "N05-shortened",
            "a record that is too short for its tag",
            |mut a, b| {
                a[..2].copy_from_slice(&4_u16.to_be_bytes());
                a.truncate(6);
                [a, b].concat()
            },
        ),
        tampered(
            "R22",
            "RUSTSEC-2024-0011: a real record behind a forged one",
            |a, b| [framed(&[0; 40]), a, b].concat(),
        ),
        Scenario::new(
            "N08",
            "the end of TCP in the middle of a record and between records",
            "told as a cut, not as a clean end",
            |run| async move {
                let node = Node::start([]).await?;
                for cut in [5, 0] {
                    let (mut tcp, mut records) = by_hand(&node).await?;
                    let goodbye = run.attack_or(Vec::new(), yamux::goodbye(0));
                    let mut sent = dial::record(&mut records, &goodbye)?;
                    let part = dial::record(&mut records, &yamux::header(PING, SYN, 0, 1))?;
                    sent.extend_from_slice(&part[..cut]);
                    tcp.write_all(&sent).await?;
                    // What is unread would turn the end into a reset.
                    tcp.close().await?;
                    measure::within(Duration::from_secs(1), dial::drain(&mut tcp)).await;
                    drop(tcp);
                    measure::until(Duration::from_secs(2), || node.host.peers().is_empty()).await;
                }
                measure::sleep(Duration::from_millis(50)).await;
                let cut = node.happened("Disconnected: the connection was cut");
                let failed = node.happened("Disconnected: the secured channel failed");
                Ok(Findings::new().equal("told as cut", cut + failed, 2))
            },
        )
        .harmless(),
        attack(
            "N07",
            "empty records without end",
            "closed at the budget, honest peers unharmed",
            Plan {
                event: "Disconnected: the secured channel failed",
                ..Plan::default()
            },
            async |target: Target| empty_records(target).await,
        ),
    ]
}

async fn empty_records(target: Target) -> Result<Findings> {
    let identity = Keypair::generate_ed25519();
    let handshake = Handshake::begin(target.addr).await?;
    let said = noise::honest_payload(&identity, &handshake.static_key.public());
    let (mut tcp, mut records) = handshake.end(&said).await?;
    tcp.write_all(&dial::record(&mut records, &proposal(YAMUX))?)
        .await?;
    let (mut sent, from) = (0, Instant::now());
    while from.elapsed() < Duration::from_secs(15) {
        let mut flight = Vec::new();
        for _ in 0..200 {
            flight.extend(dial::record(&mut records, &[])?);
        }
        if tcp.write_all(&flight).await.is_err() {
            break;
        }
        sent += 200;
    }
    Ok(Findings::new()
        .at_least("sent until it was closed", sent, 1024)
        .at_most("s", from.elapsed().as_secs(), 5))
}
