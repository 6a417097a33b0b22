//! Connections, streams, dials and the life of a node.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{AsyncWriteExt, FutureExt, StreamExt, stream};
use peerkit::{DialError, HostEvent, Keypair, Multiaddr, swarm::Resource};

use crate::{
    dial::{self, YAMUX},
    frames::{
        multistream::{HEADER, proposal},
        yamux::{self, DATA, SYN, UPDATE},
    },
    honest,
    live::{Plan, Target},
    measure,
    node::{HOLD, Node},
    peer::{Puppet, Reading, storm},
    report::Findings,
    scenario::{Run, Scenario, attack},
};

/// Scenarios S01 to S10.
pub fn table() -> Vec<Scenario> {
    [limits(), streams(), node()]
        .into_iter()
        .flatten()
        .collect()
}

fn limits() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "S01",
            "30 identities from one machine",
            "8 connections",
            |run| async move { sybils(run).await },
        )
        .raised("limits.connections_per_ip"),
        Scenario::new(
            "S02",
            "20 connections of one peer",
            "8 of them, and the limit is told",
            |run| async move { one_peer(run).await },
        )
        .raised("limits.connections_per_peer_max"),
        Scenario::new(
            "S07",
            "a peer with 500 addresses",
            "32 are dialed, 64 are remembered",
            |run| async move { many_addresses(run).await },
        )
        .raised("dial.addresses_max"),
        Scenario::new(
            "S-memory",
            "connections when little memory may be used",
            "refused before it is spent, and told",
            |run| async move {
                let changes = run.attack_or(
                    [
                        "limits.memory_max=400000",
                        "limits.memory_per_peer_max=400000",
                    ],
                    ["limits.memory_max=max", "limits.memory_per_peer_max=max"],
                );
                let node = Node::start(changes).await?;
                let mut held = Vec::new();
                for _ in 0..12 {
                    held.push(dial::muxed(node.addr, YAMUX).await);
                }
                let told = node
                    .happens("limit: limits.memory_max", Duration::from_secs(2))
                    .await;
                Ok(Findings::new().holds("told", told).at_most(
                    "bytes",
                    node.used(Resource::Memory),
                    400_000,
                ))
            },
        )
        .raised("limits.memory_max"),
    ]
}

async fn sybils(run: Run) -> Result<Findings> {
    let mut changes = vec!["limits.strangers=1"];
    changes.extend(run.changes(&[
        "limits.connections_per_ip=100000",
        "limits.inbound_rate_burst=1000",
    ]));
    let node = Node::start(changes).await?;
    let mut held = Vec::new();
    for _ in 0..30 {
        let tcp = dial::tcp_from(7, node.addr).await?;
        // Refusals are what is to be seen.
        if let Ok(mut stream) = dial::secured_on(tcp, &Keypair::generate_ed25519()).await
            && dial::select(&mut stream, YAMUX).await.is_ok()
        {
            held.push(stream);
        }
    }
    measure::sleep(Duration::from_millis(100)).await;
    let friend = Puppet::on_machine(9, node.addr)?;
    let connected = friend.connect().await.is_ok();
    Ok(Findings::new()
        .at_most("connections", node.used(Resource::Connections), 9)
        .holds("another machine gets in", connected)
        .at_least("told", node.happened("limit: limits.inbound_"), 1))
}

async fn one_peer(run: Run) -> Result<Findings> {
    let node = Node::start(run.changes(&["limits.connections_per_peer_max=max"])).await?;
    let identity = Keypair::generate_ed25519();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = dial::secured(node.addr, &identity).await?;
        // It may be refused behind the handshake.
        let _ = dial::select(&mut stream, YAMUX).await;
        held.push(stream);
    }
    measure::sleep(Duration::from_millis(200)).await;
    Ok(Findings::new()
        .at_most("connections", node.host.connections().len(), 8)
        .at_least(
            "told",
            node.happened("limit: limits.connections_per_peer_max"),
            1,
        ))
}

async fn many_addresses(run: Run) -> Result<Findings> {
    let off = ["dial.addresses_max=max", "limits.known_addresses_max=max"];
    let node = Node::start(run.changes(&off)).await?;
    let peer = peerkit::PeerId::random();
    for number in 0..500 {
        let addr: Multiaddr = match number % 4 {
            0 => format!("/ip4/127.1.{}.1/tcp/{}", number % 200, number + 1),
            1 => format!("/ip4/127.2.0.1/tcp/{}", number + 1),
            2 => format!("/ip6/::1/tcp/{}", number + 1),
            _ => format!("/ip4/127.3.0.1/tcp/{}", number + 1),
        }
        .parse()?;
        node.host.add_address(peer, addr);
    }
    let attempts = match node.host.connect(peer).await {
        Err(DialError::Failed { attempts, .. }) => attempts.len(),
        Err(_) => 0,
        Ok(_) => anyhow::bail!("somebody was there"),
    };
    Ok(Findings::new()
        .at_least("dialed", attempts, 1)
        .at_most("dialed", attempts, 32)
        .at_most("remembered", node.host.known_addresses(&peer).len(), 64))
}

fn streams() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "S03",
            "256 streams that agree on nothing",
            "64 are negotiated at a time",
            |run| async move {
                let node =
                    Node::start(run.changes(&["limits.inbound_negotiations_max=max"])).await?;
                let stream = dial::muxed(node.addr, YAMUX).await?;
                let opening = storm(stream, Duration::from_secs(1), Reading::All, |n| {
                    (n < 250).then(|| yamux::open(n as u32 * 2 + 1))
                });
                let watching = measure::sleep(Duration::from_millis(500));
                let both = futures::future::select(Box::pin(opening), Box::pin(watching));
                let _opening = both.await;
                let busy = node.used(Resource::Negotiations);
                Ok(Findings::new()
                    .at_least("negotiated", busy, 1)
                    .at_most("negotiated", busy, 64))
            },
        )
        .raised("limits.inbound_negotiations_max"),
        attack(
            "S03-live",
            "streams of an unknown protocol without end",
            "refused, honest peers unharmed",
            Plan {
                lanes: 2,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let ask = proposal("/unknown/1.0.0");
                let count = target.run.quick_or(2000, 10_000);
                let ending = storm(stream, Duration::from_secs(2), Reading::All, |n| {
                    (n < count).then(|| yamux::data(SYN | yamux::FIN, n as u32 * 2 + 1, &ask))
                })
                .await;
                Ok(Findings::new().at_least("frames back", ending.frames.len(), 1))
            },
        ),
        attack(
            "R05",
            "RUSTSEC-2022-0084: streams without end, with half a message each",
            "256 at most, memory bounded",
            Plan {
                settings: vec!["negotiation_timeout=3000"],
                memory: 24 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let half = [HEADER, &[100][..], &[b'/'; 50]].concat();
                let ending = storm(stream, Duration::from_secs(2), Reading::All, |n| {
                    (n < 600).then(|| yamux::data(SYN, n as u32 * 2 + 1, &half))
                })
                .await;
                let resets = ending.frames.iter().filter(|it| it.flags & yamux::RST != 0);
                Ok(Findings::new().at_least("reset", resets.count(), 300))
            },
        ),
        attack(
            "S05",
            "data for an application that reads nothing",
            "a window each, memory bounded",
            Plan {
                lanes: 2,
                memory: 48 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let hold = proposal(HOLD);
                let room = yamux::WINDOW - hold.len();
                let ending = storm(stream, Duration::from_millis(1500), Reading::All, |n| {
                    let id = n as u32 * 2 + 1;
                    let first = yamux::data(SYN, id, &hold);
                    (n < 30).then(|| [first, yamux::data(0, id, &vec![0; room])].concat())
                })
                .await;
                let credit = ending
                    .frames
                    .iter()
                    .filter(|it| it.kind == UPDATE && it.length > 1024);
                Ok(Findings::new()
                    .equal("windows opened again", credit.count(), 0)
                    .holds("open", !ending.is_over()))
            },
        ),
        Scenario::new(
            "S-handlers",
            "300 streams for a handler that never ends",
            "256 run for one peer, the others are reset and told",
            |run| async move { many_handlers(run).await },
        )
        .raised("limits.handlers_per_protocol_and_peer_max"),
    ]
}

/// Over several connections, since each has no more than 256 streams.
async fn many_handlers(run: Run) -> Result<Findings> {
    let off = [
        "limits.handlers_per_protocol_and_peer_max=max",
        "limits.inbound_streams_per_peer_max=max",
        "limits.streams_per_peer_max=max",
    ];
    let node = Node::start(run.changes(&off)).await?;
    let identity = Keypair::generate_ed25519();
    let hold = proposal(HOLD);
    let connections = (0..2).map(|_| async {
        let mut stream = dial::secured(node.addr, &identity).await?;
        dial::select(&mut stream, YAMUX).await?;
        let ending = storm(stream, Duration::from_secs(2), Reading::All, |n| {
            (n < 200).then(|| yamux::data(SYN, n as u32 * 2 + 1, &hold))
        });
        let ending = ending.await;
        let held = node.used(Resource::Streams);
        anyhow::Ok((ending, held))
    });
    let all = futures::future::try_join_all(connections).await?;
    let resets = all.iter().flat_map(|it| &it.0.frames);
    let resets = resets.filter(|it| it.flags & yamux::RST != 0).count();
    Ok(Findings::new().at_least("reset", resets, 100).at_least(
        "told",
        node.happened("limit: limits."),
        1,
    ))
}

fn node() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "S04",
            "events without end for a reader that never reads",
            "256 are held, and the reader is told of the others",
            |run| async move { unread_events(run).await },
        )
        .raised("event_capacity"),
        Scenario::new(
            "S06 R20",
            "0 and the maximum in each setting",
            "the node starts, answers, and does not panic",
            |run| async move { extremes(run).await },
        ),
        Scenario::new(
            "S10",
            "closing during 64 handshakes and 200 connections",
            "within 5 s, and no task is left",
            |run| async move { close_amid(run).await },
        ),
        Scenario::new(
            "R-unknown-stream",
            "frames of streams that there never were",
            "the connection lives, nothing is kept",
            |_| async {
                let node = Node::start([]).await?;
                let stream = dial::muxed(node.addr, YAMUX).await?;
                let ending = storm(stream, Duration::from_millis(500), Reading::All, |n| {
                    (n < 500).then(|| yamux::header(DATA, yamux::RST, n as u32 * 2 + 1, 0))
                })
                .await;
                Ok(Findings::new().holds("open", !ending.is_over()).at_most(
                    "streams of identify",
                    node.used(Resource::Streams),
                    2,
                ))
            },
        ),
    ]
}

async fn unread_events(run: Run) -> Result<Findings> {
    let node = Node::start(run.changes(&["event_capacity=100000"])).await?;
    let mut unread = node.host.events();
    let dials = stream::iter(0..2000_u32).map(|number| {
        let host = node.host.clone();
        async move {
            let [_, b, c, d] = (number + 256).to_be_bytes();
            let addr: Multiaddr = format!("/ip4/127.{b}.{c}.{d}/tcp/1").parse()?;
            anyhow::ensure!(host.connect(addr).await.is_err(), "somebody was there");
            Ok(())
        }
    });
    let outcomes: Vec<Result<()>> = dials.buffer_unordered(100).collect().await;
    outcomes.into_iter().collect::<Result<()>>()?;
    let (mut held, mut lagged) = (0, 0);
    while let Some(Some(event)) = unread.next().now_or_never() {
        match event {
            HostEvent::Lagged { missed } => lagged += missed,
            _ => held += 1,
        }
    }
    Ok(Findings::new()
        .at_most("held", held, 256)
        .at_least("told as missed", lagged, 1))
}

/// Settings that are set to nothing and to everything, one after the other.
const SETTINGS: [&str; 44] = [
    "event_capacity",
    "dial.concurrent_max",
    "dial.concurrent_per_peer_max",
    "dial.addresses_max",
    "trim.high_watermark",
    "trim.low_watermark",
    "trim.grace_period",
    "trim.interval",
    "driver.write_min",
    "driver.unread_answers_max",
    "yamux.rapid_resets",
    "yamux.empty_frames",
    "yamux.pings",
    "yamux.unsent_pongs_max",
    "yamux.transmit_buffer_max",
    "yamux.window_growth_max",
    "yamux.window_growth_own",
    "yamux.window_growth_shared_max",
    "yamux.keep_alive_interval",
    "yamux.keep_alive_timeout",
    "mplex.inbound_streams_max",
    "mplex.rapid_reset_burst",
    "mplex.unread_stream_pause",
    "mplex.unread_pause",
    "mplex.unread_max",
    "mplex.stall_timeout",
    "ping.streams_per_peer_max",
    "ping.burst",
    "ping.answers_per_second",
    "ping.idle_timeout",
    "identify.timeout",
    "identify.push_burst",
    "identify.push_interval",
    "identify.push_debounce",
    "identify.observers_min",
    "identify.streams_per_peer_max",
    "pubsub.frame_timeout",
    "pubsub.write_timeout",
    "pubsub.frame_len_max",
    "gossipsub.peer_topics_max",
    "limits.inbound_upgrades_max",
    "limits.known_addresses_max",
    "limits.known_peers_max",
    "limits.memory_max",
];

async fn extremes(run: Run) -> Result<Findings> {
    let (mut started, mut refused, mut answered) = (0, 0, 0);
    for setting in SETTINGS {
        for value in ["0", "max"] {
            let change = format!("{setting}={value}");
            match Node::start([change.as_str()]).await {
                Err(_) => refused += 1,
                Ok(node) => {
                    started += 1;
                    let puppet = Puppet::new(node.addr)?;
                    let echo = honest::echo(&puppet.host, &puppet.victim, b"hello");
                    let patience = Duration::from_millis(run.quick_or(300, 1000));
                    let outcome = measure::within(patience, echo).await;
                    answered += usize::from(matches!(outcome, Some(Ok(()))));
                }
            }
        }
    }
    let all = SETTINGS.len() * 2;
    Ok(Findings::new()
        .equal("started or refused", started + refused, all)
        .at_least("answered", answered, all * 3 / 4))
}

async fn close_amid(run: Run) -> Result<Findings> {
    let node = Node::start(["limits.inbound_upgrades_max=1000"]).await?;
    let mut connected = Vec::new();
    for _ in 0..run.quick_or(50, 200) {
        connected.push(dial::muxed(node.addr, YAMUX).await?);
    }
    let mut half_open = Vec::new();
    for _ in 0..run.quick_or(64, 800) {
        let mut tcp = dial::tcp(node.addr).await?;
        tcp.write_all(&proposal("/noise")).await?;
        half_open.push(tcp);
    }
    let from = Instant::now();
    node.host.close().await;
    let millis = from.elapsed().as_millis();
    let rest = measure::until(Duration::from_secs(2), || node.tasks() == 0).await;
    let again = Puppet::new(node.addr)?;
    let refused = again.connect().await.is_err();
    Ok(Findings::new()
        .at_most("ms", millis, 5000)
        .holds("no task left", rest)
        .holds("nobody listens", refused))
}
