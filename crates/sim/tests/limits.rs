//! Hosts with few file descriptors.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{io, net::SocketAddr};

use common::{PORT, accept, addr, connect, listen, ms, secs, sleep};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::join};
use peerkit::{Host, Multiaddr};
use peerkit_core::{Network, TcpOptions};
use peerkit_sim::{HostId, Sim, SimRuntime};

const EMFILE: i32 = 24;

fn hosts(sim: &mut Sim) -> ([HostId; 2], [SimRuntime; 2]) {
    let hosts = [sim.host(), sim.host()];
    (hosts, hosts.map(|host| sim.runtime(host)))
}

#[test]
fn every_kind_of_socket_counts_until_it_is_dropped() {
    let mut sim = Sim::new(1);
    let ([one, two], [here, there]) = hosts(&mut sim);
    let mut server = listen(&there);
    let udp = there.bind_udp(SocketAddr::new(two.ipv4(), PORT)).unwrap();
    let connecting = join(connect(&here, two), accept(&mut server));
    let (dialer, accepted) = sim.block_on(connecting);
    assert_eq!((sim.descriptors(one), sim.descriptors(two)), (1, 3));
    drop((udp, accepted));
    assert_eq!(sim.descriptors(two), 1);
    drop((dialer, server));
    assert_eq!((sim.descriptors(one), sim.descriptors(two)), (0, 0));
    assert_eq!(sim.stats().descriptors_peak, 3);
}

#[test]
fn beyond_the_limit_connecting_listening_and_binding_fail_as_on_linux() {
    let mut sim = Sim::new(1);
    let ([one, two], [here, there]) = hosts(&mut sim);
    let _server = listen(&there);
    sim.limit_descriptors(one, 1);
    let first = sim.block_on(connect(&here, two)).unwrap();
    let connecting = sim.block_on(connect(&here, two)).map(drop).unwrap_err();
    let listening = here.listen_tcp(addr(one), TcpOptions::default());
    let binding = here.bind_udp(addr(one)).map(drop).unwrap_err();
    for error in [connecting, listening.map(drop).unwrap_err(), binding] {
        assert_eq!(error.raw_os_error(), Some(EMFILE), "{error}");
    }
    assert_eq!(sim.stats().descriptors_refused, 3);
    drop(first);
    sim.block_on(connect(&here, two)).unwrap();
}

#[test]
fn a_connect_that_fails_or_is_cancelled_gives_its_descriptor_back() {
    let mut sim = Sim::new(1);
    let ([one, two], [here, _there]) = hosts(&mut sim);
    sim.limit_descriptors(one, 1);
    let refused = sim.block_on(connect(&here, two)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(connect(&here, two).now_or_never().is_none());
    assert_eq!(sim.descriptors(one), 0);
}

#[test]
fn what_cannot_be_accepted_waits_in_the_backlog() {
    let mut sim = Sim::new(1);
    let ([_, two], [here, there]) = hosts(&mut sim);
    let mut server = listen(&there);
    sim.limit_descriptors(two, 2);
    sim.block_on(async {
        let both = join(connect(&here, two), connect(&here, two)).await;
        let (mut one, mut other) = (both.0.unwrap().io, both.1.unwrap().io);
        let mut first = accept(&mut server).await.io;
        let full = std::future::poll_fn(|cx| server.poll_accept(cx)).await;
        assert_eq!(full.unwrap_err().raw_os_error(), Some(EMFILE));
        other.write_all(b"waits").await.unwrap();
        one.write_all(b"x").await.unwrap();
        first.read_exact(&mut [0]).await.unwrap();
        drop(first);
        let mut second = accept(&mut server).await.io;
        second.read_exact(&mut [0; 5]).await.unwrap();
    });
    // Nobody waits: nothing to fail.
    assert!(accept(&mut server).now_or_never().is_none());
}

#[test]
fn a_new_life_begins_without_sockets_whatever_is_dropped_of_the_former_one() {
    let mut sim = Sim::new(1);
    let ([_, two], [_here, there]) = hosts(&mut sim);
    let former = listen(&there);
    sim.limit_descriptors(two, 1);
    sim.crash(two);
    assert_eq!(sim.descriptors(two), 0);
    sim.restart(two);
    let _present = listen(&sim.runtime(two));
    drop(former);
    assert_eq!(sim.descriptors(two), 1);
}

#[test]
fn a_node_that_runs_out_of_descriptors_takes_connections_again_once_some_are_free() {
    let mut sim = Sim::new(1);
    let ([_, two], [here, there]) = hosts(&mut sim);
    sim.limit_descriptors(two, 3);
    let multiaddr: Multiaddr = format!("/ip4/{}/tcp/{PORT}", two.ipv4()).parse().unwrap();
    sim.block_on(async {
        let listening = Host::builder().runtime(there).listen_on(multiaddr.clone());
        let _server = listening.build().await.unwrap();
        // Two connections that say nothing take all that is left.
        let idle = join(connect(&here, two), connect(&here, two)).await;
        let dialer = Host::builder().runtime(here.clone()).build().await.unwrap();
        let connecting = dialer.connect(&multiaddr);
        let freeing = async {
            sleep(&here, secs(2)).await;
            drop(idle);
        };
        let (connected, ()) = join(connecting, freeing).await;
        connected.unwrap();
        assert!(here.elapsed() >= secs(2) + ms(10));
    });
    assert!(sim.stats().descriptors_refused > 0);
}
