//! The real node: TCP, Noise, yamux, ping and identify, as users run it.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    echo::{ECHO, echo, serve},
    ms, secs, sleep,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Keypair, Multiaddr, core::lock};
use peerkit_sim::{HostId, Node, Sim, SimRuntime, Stats};

/// A node that listens on port 4001 of its host and echoes.
async fn host(runtime: SimRuntime) -> Host {
    let listen = Host::builder().listen_on(multiaddr(runtime.host()));
    let host = listen.runtime(runtime).build().await.unwrap();
    serve(&host);
    host
}

fn multiaddr(host: HostId) -> Multiaddr {
    format!("/ip4/{}/tcp/4001", host.ipv4()).parse().unwrap()
}

#[test]
fn two_hosts_echo_ping_and_identify() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()].map(|host| sim.runtime(host));
    sim.block_on(async {
        let (dialer, listener) = (host(one).await, host(two.clone()).await);
        let addr = multiaddr(two.host());
        assert!(echo(&dialer, &addr).await);
        let round_trip = dialer.ping().ping(listener.local_peer()).await.unwrap();
        assert_eq!(round_trip, ms(20));
        let info = dialer.identify().identify(&addr).await.unwrap();
        assert!(info.protocols.iter().any(|it| it.as_str() == ECHO));
        dialer.close().await;
        listener.close().await;
    });
    sim.run_for(secs(1));
    assert_eq!(sim.stats().tasks, 0, "no task is left");
    assert_eq!(sim.stats().connections, 0, "no connection is left");
}

#[test]
fn from_the_dial_to_the_first_byte_of_the_answer_it_takes_three_round_trips_exactly() {
    let mut sim = Sim::new(1);
    sim.links().latency(ms(50));
    let [one, two] = [sim.host(), sim.host()].map(|host| sim.runtime(host));
    sim.block_on(async {
        let (dialer, _listener) = (host(one.clone()).await, host(two.clone()).await);
        let start = one.elapsed();
        let addr = multiaddr(two.host());
        let mut stream = dialer.open_stream(&addr, ECHO).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        let [connection] = one.connections()[..] else {
            panic!("one connection");
        };
        assert_eq!(connection.flights, 6);
        assert_eq!(connection.round_trips(), 3);
        assert_eq!(
            one.elapsed() - start,
            ms(300),
            "nothing but the link takes time"
        );
    });
}

/// `count` nodes dial `degree` others each and ping them every 15 s.
fn ping_mesh(seed: u64, count: usize, degree: usize, time: Duration) -> (u64, Stats, Pings) {
    let mut sim = Sim::new(seed);
    sim.links().latency(ms(20)).jitter(ms(30));
    let pings = Arc::new(Mutex::new(Pings::default()));
    let shared = pings.clone();
    let all: Vec<HostId> = (0..count).map(|_| sim.host()).collect();
    for host in &all {
        let nodes = (1..=degree).map(|step| all[(host.index() + step * step) % count]);
        pinger(sim.runtime(*host), nodes.collect(), shared.clone());
    }
    sim.run_for(time);
    let pings = *lock(&pings);
    (sim.trace_hash(), sim.stats(), pings)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pings {
    good: u64,
    bad: u64,
}

/// Starts a node that pings others.
fn pinger(runtime: SimRuntime, others: Vec<HostId>, pings: Arc<Mutex<Pings>>) {
    use peerkit::Runtime;
    let spawner = runtime.clone();
    spawner.spawn(Box::pin(async move {
        let node = host(runtime.clone()).await;
        sleep(&runtime, secs(1)).await;
        for other in others {
            let (node, pings, runtime) = (node.clone(), pings.clone(), runtime.clone());
            let spawner = runtime.clone();
            spawner.spawn(Box::pin(async move {
                let Ok(mut pinger) = node.ping().open(&multiaddr(other)).await else {
                    lock(&pings).bad += 1;
                    return;
                };
                loop {
                    match pinger.ping().await {
                        Ok(_) => lock(&pings).good += 1,
                        Err(_) => lock(&pings).bad += 1,
                    }
                    sleep(&runtime, secs(15)).await;
                }
            }));
        }
    }));
}

#[test]
fn a_hundred_nodes_ping_four_others_for_ten_minutes() {
    let (_, stats, pings) = ping_mesh(3, 100, 4, secs(600));
    assert_eq!(pings.bad, 0);
    assert!((15_000..16_100).contains(&pings.good), "{pings:?}");
    assert_eq!(stats.connections, 400);
    assert_eq!(stats.panics, 0);
    assert_eq!(stats.foreign_wake_ups, 0);
}

#[test]
fn real_nodes_replay_from_their_seed() {
    let first = ping_mesh(5, 20, 4, secs(60));
    assert_eq!(first, ping_mesh(5, 20, 4, secs(60)));
    assert_ne!(first.0, ping_mesh(6, 20, 4, secs(60)).0);
}

/// Three callers take turns to ping one peer, on a machine that is fast or slow.
fn turns(machine_pause: Duration) -> (u64, Vec<usize>) {
    use peerkit::Runtime;
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()].map(|host| sim.runtime(host));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (dialer, listener) = sim.block_on(async { (host(one.clone()).await, host(two).await) });
    let peer = sim.block_on(dialer.connect(&listener.addrs()[0])).unwrap();
    for caller in 0..3 {
        let (dialer, order) = (dialer.clone(), order.clone());
        one.spawn(Box::pin(async move {
            for _ in 0..20 {
                dialer.ping().ping(peer).await.unwrap();
                lock(&order).push(caller);
            }
        }));
    }
    let slow = one.clone();
    one.spawn(Box::pin(async move {
        for _ in 0..100 {
            sleep(&slow, ms(5)).await;
            std::thread::sleep(machine_pause);
        }
    }));
    sim.run_for(secs(60));
    let order = lock(&order).clone();
    (sim.trace_hash(), order)
}

#[test]
fn the_speed_of_the_machine_does_not_show_when_callers_take_turns() {
    let (fast, slow) = (turns(Duration::ZERO), turns(ms(1)));
    assert_eq!(fast.1.len(), 60);
    assert_eq!(fast, slow);
}

#[test]
fn an_idle_connection_stays_open_for_hours() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()].map(|host| sim.runtime(host));
    sim.set_patience(secs(20_000));
    sim.block_on(async {
        let (dialer, listener) = (host(one.clone()).await, host(two.clone()).await);
        dialer.connect(&multiaddr(two.host())).await.unwrap();
        sleep(&one, secs(10_000)).await;
        assert_eq!(dialer.connections().len(), 1);
        assert_eq!(listener.connections().len(), 1);
    });
}

#[test]
fn a_partition_ends_connections_and_after_it_they_can_be_made_again() {
    let mut sim = Sim::new(1);
    let hosts = [sim.host(), sim.host()];
    let [one, two] = hosts.map(|host| sim.runtime(host));
    sim.at(secs(10), move |sim| sim.partition(&hosts[..1], &hosts[1..]));
    sim.at(secs(300), |sim| sim.heal());
    sim.block_on(async {
        let (dialer, listener) = (host(one.clone()).await, host(two.clone()).await);
        let addr = multiaddr(two.host());
        assert!(echo(&dialer, &addr).await);
        sleep(&one, secs(20)).await;
        let ping = dialer.ping().ping(listener.local_peer()).await;
        assert!(ping.is_err(), "{ping:?}");
        sleep(&one, secs(200)).await;
        assert!(dialer.connections().is_empty(), "the dialer gave up");
        assert!(listener.connections().is_empty(), "the listener gave up");
        let error = dialer.connect(&addr).await;
        assert!(error.is_err());
        sleep(&one, secs(200)).await;
        assert!(echo(&dialer, &addr).await, "reached again");
        dialer.close().await;
        listener.close().await;
    });
}

#[test]
fn a_host_that_crashed_is_reached_again_once_it_has_restarted() {
    let mut sim = Sim::new(1);
    let keys = Arc::new(Mutex::new(BTreeMap::new()));
    let stored = keys.clone();
    let server = sim.hosts(1, move |node: Node| {
        let stored = stored.clone();
        async move {
            let runtime = node.runtime();
            // The key is on the disk, which survives.
            let key = lock(&stored).entry(node.id()).or_insert([9; 32]).to_owned();
            let node = Host::builder()
                .identity(Keypair::ed25519_from_bytes(key).unwrap())
                .listen_on(multiaddr(runtime.host()));
            let host = node.runtime(runtime.clone()).build().await.unwrap();
            serve(&host);
            loop {
                sleep(&runtime, secs(3600)).await;
            }
        }
    })[0];
    let client = sim.host();
    let runtime = sim.runtime(client);
    sim.at(secs(10), move |sim| sim.crash(server));
    sim.at(secs(100), move |sim| sim.restart(server));
    sim.block_on(async {
        let dialer = host(runtime.clone()).await;
        let addr = multiaddr(server);
        sleep(&runtime, secs(1)).await;
        let peer = dialer.connect(&addr).await.unwrap();
        assert!(echo(&dialer, &addr).await);
        sleep(&runtime, secs(10)).await;
        assert!(dialer.ping().ping(peer).await.is_err());
        sleep(&runtime, secs(200)).await;
        assert_eq!(dialer.connect(&addr).await.unwrap(), peer, "the same peer");
        assert!(echo(&dialer, &addr).await);
    });
}
