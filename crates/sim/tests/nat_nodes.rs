//! The real node behind NAT boxes.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::net::IpAddr;

use common::{
    PORT,
    echo::{echo, serve},
    secs, sleep,
};
use peerkit::{Host, Multiaddr, core::multiaddr::Protocol};
use peerkit_core::Runtime;
use peerkit_sim::{HostId, NatConfig, NatId, Sim, SimRuntime, Unsolicited};

async fn node(runtime: SimRuntime) -> Host {
    let listen = multiaddr(runtime.host().ipv4(), PORT);
    let host = Host::builder().runtime(runtime).listen_on(listen);
    let host = host.build().await.unwrap();
    serve(&host);
    host
}

fn multiaddr(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::empty().with(ip.into()).with(Protocol::Tcp(port))
}

/// Two hosts behind boxes of their own, and one that everybody reaches.
fn street(seed: u64, config: &NatConfig) -> (Sim, [HostId; 3], [NatId; 2]) {
    let mut sim = Sim::new(seed);
    let hosts = [sim.host(), sim.host(), sim.host()];
    let boxes = [0, 1].map(|index| {
        let nat = sim.nat(config.clone());
        sim.behind(nat, &[hosts[index]]);
        nat
    });
    (sim, hosts, boxes)
}

#[test]
fn out_of_a_box_everything_works_and_into_it_nothing_does() {
    for unsolicited in [Unsolicited::Drop, Unsolicited::Refuse] {
        let mut config = NatConfig::port_restricted_cone();
        config.unsolicited = unsolicited;
        let (mut sim, hosts, boxes) = street(1, &config);
        let [one, two, public] = hosts.map(|host| sim.runtime(host));
        sim.block_on(async {
            let (one, two, public) = (node(one).await, node(two).await, node(public).await);
            let server = multiaddr(hosts[2].ipv4(), PORT);
            assert!(echo(&one, &server).await && echo(&two, &server).await);
            for (index, nat) in boxes.into_iter().enumerate() {
                let own = multiaddr(hosts[index].ipv4(), PORT);
                let mapped = multiaddr(nat.ip(), PORT);
                for dialer in [&one, &two, &public] {
                    if [&one, &two][index].local_peer() == dialer.local_peer() {
                        continue;
                    }
                    assert!(dialer.connect(&own).await.is_err(), "{own}");
                    assert!(dialer.connect(&mapped).await.is_err(), "{mapped}");
                }
            }
            // By the connection that the host itself has made, streams go both ways.
            let behind = one.local_peer();
            let round_trip = public.ping().ping(behind).await.unwrap();
            assert!(round_trip > secs(0));
        });
        for nat in boxes {
            assert!(sim.nat_stats(nat).inbound_unknown > 0);
        }
    }
}

#[test]
fn identify_tells_a_host_the_address_of_its_box() {
    let (mut sim, hosts, boxes) = street(1, &NatConfig::port_restricted_cone());
    let [one, two, public] = hosts.map(|host| sim.runtime(host));
    sim.block_on(async {
        let (one, two, _public) = (node(one).await, node(two).await, node(public).await);
        let server = multiaddr(hosts[2].ipv4(), PORT);
        for (host, nat) in [(&one, boxes[0]), (&two, boxes[1])] {
            let info = host.identify().identify(&server).await.unwrap();
            let observed = info.observed_addr.clone().unwrap();
            assert_eq!(observed.iter().next(), Some(Protocol::from(nat.ip())));
            let inside = host.addrs();
            assert!(
                !inside
                    .iter()
                    .any(|addr| addr.to_string().contains("44.128."))
            );
        }
    });
    for connection in sim.connections() {
        let nat = boxes[connection.dialer.index()];
        assert_eq!(connection.dialer_seen.ip(), nat.ip());
    }
}

#[test]
fn a_connection_survives_the_idle_time_of_a_box_only_when_it_is_used() {
    let mut config = NatConfig::port_restricted_cone();
    config.tcp_established_timeout = secs(100);
    let (mut sim, hosts, boxes) = street(1, &config);
    let [one, _, public] = hosts.map(|host| sim.runtime(host));
    sim.block_on(async {
        let (host, _server) = (node(one.clone()).await, node(public).await);
        let server = multiaddr(hosts[2].ipv4(), PORT);
        let peer = host.connect(&server).await.unwrap();
        for _ in 0..10 {
            sleep(&one, secs(90)).await;
            host.ping().ping(peer).await.unwrap();
        }
        assert_eq!(host.connections().len(), 1);
    });
    assert_eq!(sim.nat_stats(boxes[0]).mappings_made, 1);
}

#[test]
fn after_a_reboot_of_the_box_a_host_finds_its_way_again() {
    let (mut sim, hosts, boxes) = street(1, &NatConfig::symmetric());
    let [one, _, public] = hosts.map(|host| sim.runtime(host));
    let nat = boxes[0];
    sim.at(secs(65), move |sim| sim.reboot(nat));
    sim.block_on(async {
        let (host, _server) = (node(one.clone()).await, node(public).await);
        let server = multiaddr(hosts[2].ipv4(), PORT);
        let peer = host.connect(&server).await.unwrap();
        sleep(&one, secs(66)).await;
        assert!(host.ping().ping(peer).await.is_err(), "half-open");
        sleep(&one, secs(300)).await;
        assert!(host.connections().is_empty(), "given up");
        assert!(echo(&host, &server).await);
    });
}

/// Ten hosts behind three boxes of different kinds talk to two public ones, and try each other.
fn busy(seed: u64) -> (u64, u64) {
    let mut sim = Sim::new(seed);
    let hosts: Vec<_> = (0..12).map(|_| sim.host()).collect();
    let kinds = [
        NatConfig::symmetric(),
        NatConfig::full_cone(),
        NatConfig::restricted_cone(),
    ];
    let boxes = kinds.map(|config| sim.nat(config));
    for (index, host) in hosts[2..].iter().enumerate() {
        sim.behind(boxes[index % 3], &[*host]);
    }
    for host in &hosts {
        let (runtime, hosts) = (sim.runtime(*host), hosts.clone());
        let clock = runtime.clone();
        runtime.spawn(Box::pin(async move {
            let node = node(clock.clone()).await;
            loop {
                let seed = clock.seed();
                let other = hosts[usize::from(seed[0]) % hosts.len()];
                echo(&node, &multiaddr(other.ipv4(), PORT)).await;
                echo(
                    &node,
                    &multiaddr(hosts[usize::from(seed[1]) % 2].ipv4(), PORT),
                )
                .await;
                sleep(&clock, secs(u64::from(seed[2] % 32))).await;
            }
        }));
    }
    sim.at(secs(70), move |sim| sim.reboot(boxes[0]));
    sim.run_until(secs(180));
    assert_eq!(sim.stats().panics, 0);
    let made = boxes.map(|nat| sim.nat_stats(nat).mappings_made);
    (sim.trace_hash(), made.into_iter().sum())
}

#[test]
fn hosts_behind_boxes_replay_from_their_seed() {
    let first = busy(7);
    assert!(first.1 > 10, "{first:?}");
    assert_eq!(first, busy(7));
    assert_ne!(first.0, busy(8).0);
}
