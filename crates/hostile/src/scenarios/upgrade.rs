//! TCP, and what comes before the first frame of a muxer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future, stream};
use peerkit::{Host, Multiaddr, swarm::Resource};

use crate::{
    dial::{self, Handshake},
    frames::{multistream, noise},
    honest,
    live::{Plan, Target},
    measure,
    node::Node,
    peer::Puppet,
    report::Findings,
    scenario::{Run, Scenario, attack},
    victim::Victim,
};

/// Scenarios A01 to A11, and the advisories about connections.
pub fn table() -> Vec<Scenario> {
    [half_open_ones(), floods(), dialing()]
        .into_iter()
        .flatten()
        .collect()
}

const NOISE: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";

fn half_open_ones() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "A01",
            "2,000 connections that say nothing",
            "at most 64 at a time, all closed within 10.5 s, 4 KiB each",
            |run| half_open(run, &[], 4),
        )
        .raised("limits.inbound_upgrades_max")
        .is_live(),
        Scenario::new(
            "A02",
            "2,000 connections that agree on /noise and say no more",
            "at most 64 at a time, all closed within 10.5 s, 12.8 KiB each",
            |run| half_open(run, NOISE, 13),
        )
        .raised("limits.inbound_upgrades_max")
        .is_live(),
        Scenario::new(
            "A03",
            "a byte now and then, through all of the set-up",
            "closed within 10.5 s in all, not for each step",
            |run| async move {
                upgrade_deadline(run, async |addr| {
                    let (mut reader, mut writer) = dial::tcp(addr).await?.split();
                    let pause = Duration::from_millis(run.quick_or(100, 1000));
                    let dripping = async {
                        for byte in [NOISE, &noise::framed(&[0; 32])].concat() {
                            if writer.write_all(&[byte]).await.is_err() {
                                break;
                            }
                            measure::sleep(pause).await;
                        }
                        future::pending::<()>().await;
                    };
                    let (dripping, ending) = (
                        std::pin::pin!(dripping),
                        std::pin::pin!(dial::drain(&mut reader)),
                    );
                    future::select(ending, dripping).await;
                    Ok(())
                })
                .await
            },
        )
        .raised("upgrade.timeout")
        .is_live(),
        Scenario::new(
            "A04",
            "silence after each step of the set-up",
            "each closed within 10.5 s",
            |run| async move { upgrade_deadline(run, async |addr| silence(addr).await).await },
        )
        .raised("upgrade.timeout")
        .is_live(),
        Scenario::new(
            "R31",
            "litep2p #373: silence after message 1 and 3 of Noise",
            "closed within 10.5 s",
            |run| async move {
                upgrade_deadline(run, async |addr| {
                    future::try_join(after_message_1(addr), after_message_3(addr, &[])).await?;
                    Ok(())
                })
                .await
            },
        )
        .raised("upgrade.timeout")
        .is_live(),
    ]
}

/// Connections that send a little and then nothing.
async fn half_open(run: Run, hello: &'static [u8], kib_each: u64) -> Result<Findings> {
    let count = run.quick_or(300, 2000);
    let mut changes = run.changes(&["limits.inbound_upgrades_max=100000"]);
    if run.quick {
        changes.push("upgrade.timeout=1000");
    }
    let deadline = run.quick_or(1.5, 10.5);
    let mut victim = Victim::start(&changes).await?;
    let idle = victim.stats().await?;
    let from = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut tcp = dial::tcp(victim.addr).await?;
        // The victim may have hung up.
        let _ = tcp.write_all(hello).await;
        connections.push(tcp);
    }
    measure::sleep(Duration::from_millis(run.quick_or(300, 1000))).await;
    let busy = victim.stats().await?;
    let held = busy.number("half_open");
    let grown = busy.number("rss").saturating_sub(idle.number("rss"));
    future::join_all(connections.iter_mut().map(dial::drain)).await;
    let took = (from.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    drop(connections);
    let after = victim.stats().await?;
    Ok(Findings::new()
        .at_most("half open", held, 64)
        .at_most("s until all are closed", took, deadline)
        .at_most("KiB more", grown, 64 * kib_each + 2048)
        .at_least(
            "refusals told",
            after.happened("limits.inbound_upgrades"),
            1,
        )
        .equal("half open after", after.number("half_open"), 0)
        .at_most(
            "descriptors after",
            after.number("fds"),
            idle.number("fds") + 2,
        ))
}

/// Has a victim with a deadline, and measures how long it lets an attack live.
async fn upgrade_deadline<Attack>(run: Run, attack: Attack) -> Result<Findings>
where
    Attack: AsyncFn(SocketAddr) -> Result<()>,
{
    let mut changes = run.changes(&["upgrade.timeout=600000"]);
    if run.quick && changes.is_empty() {
        changes.push("upgrade.timeout=1000");
    }
    let limit = Duration::from_millis(run.quick_or(2000, 10_500));
    let node = Node::start(changes).await?;
    let from = Instant::now();
    let outcome = measure::within(limit, attack(node.addr)).await;
    let millis = from.elapsed().as_millis();
    let closed = outcome.transpose()?.is_some();
    // What hung up at the other end may still be about to be counted.
    measure::until(Duration::from_millis(500), || {
        node.used(Resource::HalfOpenConnections) == 0
    })
    .await;
    Ok(Findings::new()
        .holds("all closed", closed)
        .at_most("ms", millis, limit.as_millis() + 100)
        .equal(
            "half open after",
            node.used(Resource::HalfOpenConnections),
            0,
        )
        .at_least("told", node.happened("InboundFailed"), 1))
}

async fn silence(addr: SocketAddr) -> Result<()> {
    let step = async |bytes: &[u8]| {
        let mut tcp = dial::tcp(addr).await?;
        tcp.write_all(bytes).await?;
        dial::drain(&mut tcp).await;
        Ok(())
    };
    let message = [NOISE, &noise::framed(&[9; 32])].concat();
    future::try_join_all([
        future::Either::Left(step(&[])),
        future::Either::Left(step(&NOISE[..7])),
        future::Either::Left(step(multistream::HEADER)),
        future::Either::Left(step(NOISE)),
        future::Either::Left(step(&message[..40])),
        future::Either::Left(step(&message)),
        future::Either::Right(future::Either::Left(after_message_3(addr, &[]))),
        future::Either::Right(future::Either::Right(after_message_3(
            addr,
            multistream::HEADER,
        ))),
    ])
    .await?;
    Ok(())
}

async fn after_message_1(addr: SocketAddr) -> Result<()> {
    let mut tcp = Handshake::begin(addr).await?.tcp;
    dial::drain(&mut tcp).await;
    Ok(())
}

/// Ends the handshake, sends a little of the negotiation of the muxer, and no more.
async fn after_message_3(addr: SocketAddr, bytes: &[u8]) -> Result<()> {
    let identity = peerkit::Keypair::generate_ed25519();
    let handshake = Handshake::begin(addr).await?;
    let payload = noise::honest_payload(&identity, &handshake.static_key.public());
    let (mut tcp, mut records) = handshake.end(&payload).await?;
    if !bytes.is_empty() {
        tcp.write_all(&dial::record(&mut records, bytes)?).await?;
    }
    dial::drain(&mut tcp).await;
    Ok(())
}

fn floods() -> Vec<Scenario> {
    vec![
        attack(
            "A05",
            "connections and hang-ups as fast as can be, from one machine",
            "an honest dial takes less than 1 s",
            Plan {
                settings: vec!["limits.strangers=1"],
                event: "limit: limits.inbound_rate_per_ip",
                ..Plan::default()
            },
            async |target: Target| accept_flood(target, |_| 1).await,
        ),
        attack(
            "A05-256",
            "the same from 256 machines",
            "an honest dial takes less than 1 s",
            Plan {
                settings: vec!["limits.strangers=1"],
                ..Plan::default()
            },
            async |target: Target| accept_flood(target, |n| n % 256 + 10).await,
        ),
        Scenario::new(
            "A06 R48",
            "200 connections when there are 64 descriptors",
            "it accepts again within 1 s, without a busy loop",
            |run| async move { no_descriptors(run).await },
        )
        .is_live(),
        attack(
            "A07",
            "connections that are reset at random points",
            "nothing is left behind",
            Plan {
                event: "InboundFailed",
                ..Plan::default()
            },
            async |target: Target| {
                let whole = [NOISE, &noise::framed(&[9; 32]), &[0; 200]].concat();
                for _ in 0..50 {
                    let mut tcp = dial::tcp(target.addr).await?;
                    dial::abort_on_drop(&tcp)?;
                    let cut = rand::random_range(0..whole.len());
                    // The victim may have hung up.
                    let _ = tcp.write_all(&whole[..cut]).await;
                }
                Ok(Findings::new().equal("rounds of 50", 1, 1))
            },
        ),
        Scenario::new(
            "A11",
            "all places taken by others when an honest peer comes",
            "it is let in, and who is protected stays",
            |run| async move { eviction(run).await },
        )
        .raised("trim.high_watermark")
        .is_live(),
    ]
}

/// The first attacker dials honestly in between.
async fn accept_flood(target: Target, machine: fn(u32) -> u32) -> Result<Findings> {
    for number in 0..100 {
        // Refusals are what is to be seen.
        drop(dial::tcp_from(machine(number), target.addr).await);
    }
    let from = Instant::now();
    let puppet = Puppet::new(target.addr)?;
    let honest = measure::within(Duration::from_secs(5), puppet.connect()).await;
    let millis = from.elapsed().as_millis();
    puppet.host.close().await;
    Ok(Findings::new()
        .holds("connected", matches!(honest, Some(Ok(()))))
        .at_most("ms", millis, 1000)
        .timing())
}

async fn no_descriptors(run: Run) -> Result<Findings> {
    // The limits of the node would refuse before the system does.
    let changes = [
        "limits.descriptors_max=max",
        "limits.connections_max=100000",
        "limits.inbound_connections_max=100000",
        "limits.inbound_upgrades_max=100000",
    ];
    let mut victim = Victim::start_under(Some("ulimit -n 64"), &changes).await?;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(dial::tcp(victim.addr).await?);
    }
    measure::sleep(Duration::from_millis(300)).await;
    let before = victim.stats().await?.number("cpu_ms");
    let busy = run.quick_or(500, 3000);
    measure::sleep(Duration::from_millis(busy)).await;
    let computed = victim.stats().await?.number("cpu_ms") - before;
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", victim.process.id()))?.count();
    drop(held);
    let from = Instant::now();
    let puppet = Puppet::new(victim.addr)?;
    let mut connected = false;
    while !connected && from.elapsed() < Duration::from_secs(5) {
        connected = puppet.connect().await.is_ok();
    }
    Ok(Findings::new()
        .at_least("descriptors", descriptors, 60)
        .at_most("% of a core", 100 * computed / busy, 50)
        .holds("connected", connected)
        .at_most("ms until it was", from.elapsed().as_millis(), 1000)
        .timing())
}

async fn eviction(run: Run) -> Result<Findings> {
    let mut changes = vec![
        "limits.inbound_connections_max=60",
        "trim.grace_period=0",
        "trim.interval=100",
    ];
    changes.extend(run.attack_or(
        ["trim.high_watermark=40", "trim.low_watermark=20"],
        ["trim.high_watermark=max", "trim.low_watermark=max"],
    ));
    let node = Node::start(changes).await?;
    let friend = Puppet::new(node.addr)?;
    friend.connect().await?;
    node.host
        .trimming()
        .protect(friend.host.local_peer(), "friend");
    let sybils: Vec<_> = (0..59)
        .map(|_| Puppet::new(node.addr))
        .collect::<Result<_>>()?;
    for sybil in &sybils {
        // Some are sent away at once.
        let _ = sybil.connect().await;
    }
    measure::sleep(Duration::from_millis(500)).await;
    let newcomer = Puppet::new(node.addr)?;
    let connected = measure::within(Duration::from_secs(3), newcomer.connect()).await;
    Ok(Findings::new()
        .holds("let in", matches!(connected, Some(Ok(()))))
        .holds("the protected one stays", friend.is_connected())
        .at_least("told", node.happened("Trimmed"), 1)
        .at_most("connections", node.used(Resource::Connections), 60))
}

fn dialing() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "A08",
            "two nodes that dial each other at the same time",
            "they talk in both directions in each round",
            |run| async move { both_dial(run.quick_or(30, 300)).await },
        ),
        Scenario::new(
            "A09",
            "a dial into silence beside 100 good ones",
            "99 of 100 good ones take less than 1 s",
            |_| async { black_hole().await },
        ),
        Scenario::new(
            "A10",
            "dials to addresses where nobody is",
            "at most 128 at a time, none is left",
            |run| async move { dial_storm(run, run.quick_or(2000, 20_000)).await },
        )
        .raised("dial.concurrent_max"),
        Scenario::new(
            "R34",
            "litep2p #271: requests that are given up",
            "no stream is left",
            |run| async move { cancelled(run.quick_or(1000, 20_000)).await },
        ),
    ]
}

async fn both_dial(rounds: usize) -> Result<Findings> {
    let (left, right) = future::try_join(Node::start([]), Node::start([])).await?;
    let addr = |node: &Node| -> Result<Multiaddr> {
        Ok(node.host.addrs().first().context("it listens")?.clone())
    };
    let (to_left, to_right) = (addr(&left)?, addr(&right)?);
    let mut good = 0;
    for _ in 0..rounds {
        // One of the dials may end in the connection of the other.
        let both = future::join(
            left.host.connect(to_right.clone()),
            right.host.connect(to_left.clone()),
        );
        let _ = both.await;
        let there = honest::echo(&left.host, &to_right, b"there").await;
        let back = honest::echo(&right.host, &to_left, b"back").await;
        good += usize::from(there.is_ok() && back.is_ok());
        left.host.disconnect(&right.peer());
        right.host.disconnect(&left.peer());
        measure::until(Duration::from_secs(5), || {
            left.host.peers().is_empty() && right.host.peers().is_empty()
        })
        .await;
    }
    Ok(Findings::new().equal("rounds that worked", good, rounds))
}

async fn black_hole() -> Result<Findings> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let hole: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr()?.port()).parse()?;
    let node = Node::start([]).await?;
    let host = Host::builder().build().await?;
    let stuck = host.connect(hole);
    let good = async {
        let mut latencies = measure::Latencies::default();
        let addr = node.host.addrs().remove(0);
        for _ in 0..100 {
            let from = Instant::now();
            host.connect(addr.clone()).await?;
            latencies.add(from.elapsed());
            host.disconnect(&node.peer());
            measure::until(Duration::from_secs(2), || host.peers().is_empty()).await;
        }
        anyhow::Ok(latencies)
    };
    let (stuck, good) = (std::pin::pin!(stuck), std::pin::pin!(good));
    let latencies = match future::select(good, stuck).await {
        future::Either::Left((latencies, _)) => latencies?,
        // Its own time is over.
        future::Either::Right((_, good)) => good.await?,
    };
    Ok(Findings::new()
        .equal("dials", latencies.count(), 100)
        .at_most("p99 ms", latencies.p99() / 1000, 1000))
}

async fn dial_storm(run: Run, count: u32) -> Result<Findings> {
    let node = Node::start(run.changes(&["dial.concurrent_max=max"])).await?;
    let dial = |number: u32| {
        let host = node.host.clone();
        async move {
            let [_, b, c, d] = (number + 256).to_be_bytes();
            let addr: Multiaddr = format!("/ip4/127.{b}.{c}.{d}/tcp/1").parse()?;
            anyhow::ensure!(host.connect(addr).await.is_err(), "somebody was there");
            Ok(())
        }
    };
    // As many at a time as an application may have asked for.
    let dials = stream::iter(0..count).map(dial).buffer_unordered(1000);
    let mut most = 0;
    let mut dials = std::pin::pin!(dials);
    while let Some(outcome) = dials.next().await {
        outcome?;
        most = most.max(node.used(Resource::OutboundConnections));
    }
    measure::until(Duration::from_secs(2), || {
        node.used(Resource::OutboundConnections) == 0
    })
    .await;
    Ok(Findings::new()
        .at_most("at a time", most, 128)
        .equal("left", node.used(Resource::OutboundConnections), 0)
        .equal("connections", node.used(Resource::Connections), 0))
}

async fn cancelled(count: usize) -> Result<Findings> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    puppet.connect().await?;
    for number in 0..count {
        let opening = async {
            let mut stream = puppet.stream(crate::node::ECHO).await?;
            stream.write_all(b"question").await?;
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await?;
            anyhow::Ok(())
        };
        // Dropped after a while that differs: before it is open, while it is written to, or read.
        let polls = number % 4;
        let mut opening = Box::pin(opening);
        for _ in 0..polls {
            if futures::poll!(&mut opening).is_ready() {
                break;
            }
            futures::future::ready(()).await;
        }
    }
    let gone = || node.used(Resource::Streams) == 0;
    let rest = measure::until(Duration::from_secs(15), gone).await;
    Ok(Findings::new().holds("no stream left", rest))
}
