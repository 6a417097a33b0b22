//! Hosts behind NAT boxes.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{future::poll_fn, io, net::SocketAddr, time::Duration};

use common::{PORT, accept, addr, connect, listen, ms, secs, sleep};
use futures::{AsyncReadExt, AsyncWriteExt, future::join};
use peerkit_core::{Network, TcpConnection, TcpOptions, UdpSocket, with_deadline};
use peerkit_sim::{HostId, NatBehavior, NatConfig, NatId, Sim, SimRuntime, Unsolicited};

/// Two hosts behind boxes of their own, and a server that everybody reaches.
struct Street {
    sim: Sim,
    hosts: [HostId; 3],
    runtimes: [SimRuntime; 3],
    boxes: [NatId; 2],
}

impl Street {
    fn new(configs: [NatConfig; 2]) -> Self {
        let mut sim = Sim::new(1);
        let hosts = [sim.host(), sim.host(), sim.host()];
        let boxes = configs.map(|config| sim.nat(config));
        sim.behind(boxes[0], &hosts[..1]);
        sim.behind(boxes[1], &hosts[1..2]);
        let runtimes = hosts.map(|host| sim.runtime(host));
        Self {
            sim,
            hosts,
            runtimes,
            boxes,
        }
    }

    fn same(config: NatConfig) -> Self {
        Self::new([config.clone(), config])
    }

    /// A connection from the first host to the server.
    fn connected(&mut self) -> (TcpConnection, TcpConnection) {
        let mut listener = listen(&self.runtimes[2]);
        let connecting = connect(&self.runtimes[0], self.hosts[2]);
        let both = join(connecting, accept(&mut listener));
        let (dialer, accepted) = self.sim.block_on(both);
        (dialer.unwrap(), accepted)
    }
}

async fn connect_from(
    runtime: &SimRuntime,
    bind: SocketAddr,
    to: SocketAddr,
) -> io::Result<TcpConnection> {
    let mut options = TcpOptions::default();
    options.bind = Some(bind);
    options.reuse_port = true;
    runtime.connect_tcp(to, options).await
}

fn listen_shared(runtime: &SimRuntime) -> Box<dyn peerkit_core::TcpListener> {
    let mut options = TcpOptions::default();
    options.reuse_port = true;
    runtime.listen_tcp(addr(runtime.host()), options).unwrap()
}

fn bind(runtime: &SimRuntime) -> Box<dyn UdpSocket> {
    runtime.bind_udp(addr(runtime.host())).unwrap()
}

async fn send(socket: &dyn UdpSocket, to: SocketAddr) {
    let sent = poll_fn(|cx| socket.poll_send_to(cx, b"knock", to)).await;
    assert_eq!(sent.unwrap(), 5);
}

/// Who has sent a datagram, if one comes within a second.
async fn receive(runtime: &SimRuntime, socket: &dyn UdpSocket) -> Option<SocketAddr> {
    let mut buffer = [0; 5];
    let receiving = poll_fn(|cx| socket.poll_recv_from(cx, &mut buffer));
    let (count, source) = with_deadline(runtime, secs(1), receiving).await?.unwrap();
    assert_eq!(count, 5);
    Some(source)
}

#[test]
fn a_server_sees_the_box_and_the_host_sees_itself() {
    let mut street = Street::same(NatConfig::port_restricted_cone());
    let (mut dialer, mut accepted) = street.connected();
    let [one, _, server] = street.hosts;
    assert_eq!(dialer.local_addr.ip(), one.ipv4());
    assert_eq!(dialer.remote_addr, addr(server));
    let mapped = SocketAddr::new(street.boxes[0].ip(), dialer.local_addr.port());
    assert_eq!(accepted.remote_addr, mapped, "the port is preserved");
    assert_eq!(accepted.local_addr, addr(server));
    assert_eq!(street.sim.connections()[0].dialer_seen, mapped);
    let start = street.sim.elapsed();
    street.sim.block_on(async {
        dialer.io.write_all(b"there").await.unwrap();
        accepted.io.read_exact(&mut [0; 5]).await.unwrap();
        accepted.io.write_all(b"back").await.unwrap();
        dialer.io.read_exact(&mut [0; 4]).await.unwrap();
    });
    assert_eq!(street.sim.elapsed() - start, ms(20), "a box takes no time");
    drop((dialer, accepted));
    street.sim.run_for(secs(1));
    assert_eq!(street.sim.stats().connections, 0);
    assert_eq!(street.sim.nat_stats(street.boxes[0]).sessions, 1);
    street.sim.run_for(secs(240));
    assert_eq!(street.sim.nat_stats(street.boxes[0]).sessions, 0);
}

#[test]
fn nobody_connects_from_outside_and_the_box_says_nothing_or_refuses() {
    for unsolicited in [Unsolicited::Drop, Unsolicited::Refuse] {
        let mut config = NatConfig::port_restricted_cone();
        config.unsolicited = unsolicited;
        let mut street = Street::same(config);
        let [one, _, server] = street.runtimes.clone();
        let _listener = listen(&one);
        let private = street.sim.block_on(connect(&server, one.host()));
        assert_eq!(private.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let start = street.sim.elapsed();
        let public = SocketAddr::new(street.boxes[0].ip(), PORT);
        let connecting = server.connect_tcp(public, TcpOptions::default());
        let error = street.sim.block_on(connecting).unwrap_err();
        let expected = match unsolicited {
            Unsolicited::Drop => (io::ErrorKind::TimedOut, secs(127)),
            Unsolicited::Refuse => (io::ErrorKind::ConnectionRefused, ms(20)),
        };
        assert_eq!((error.kind(), street.sim.elapsed() - start), expected);
        assert_eq!(street.sim.stats().connections, 0);
        assert!(street.sim.nat_stats(street.boxes[0]).inbound_unknown > 0);
    }
}

#[test]
fn behind_a_full_cone_the_port_of_a_listener_is_open_once_it_was_dialed_from() {
    let mut street = Street::same(NatConfig::full_cone());
    let [one, two, server] = street.runtimes.clone();
    let mut listener = listen_shared(&one);
    let _public = listen(&server);
    let (dialer, mut accepted) = street.sim.block_on(async {
        let first = connect_from(&one, addr(one.host()), addr(server.host())).await;
        first.unwrap();
        let mapped = SocketAddr::new(street.boxes[0].ip(), PORT);
        let connecting = two.connect_tcp(mapped, TcpOptions::default());
        join(connecting, accept(&mut listener)).await
    });
    let mut dialer = dialer.unwrap();
    assert_eq!(accepted.local_addr, addr(one.host()));
    assert_eq!(accepted.remote_addr.ip(), street.boxes[1].ip());
    street.sim.block_on(async {
        accepted.io.write_all(b"hello").await.unwrap();
        dialer.io.read_exact(&mut [0; 5]).await.unwrap();
    });
}

#[test]
fn hosts_behind_one_box_reach_each_other_directly_and_by_hairpinning_if_there_is_any() {
    for hairpinning in [true, false] {
        let mut sim = Sim::new(1);
        let mut config = NatConfig::full_cone();
        config.hairpinning = hairpinning;
        let nat = sim.nat(config);
        let hosts = [sim.host(), sim.host(), sim.host()];
        sim.behind(nat, &hosts[..2]);
        let [one, two, server] = hosts.map(|host| sim.runtime(host));
        let mut listener = listen_shared(&two);
        let _public = listen(&server);
        sim.block_on(async {
            let direct = join(connect(&one, two.host()), accept(&mut listener)).await;
            assert_eq!(direct.1.remote_addr, direct.0.unwrap().local_addr);
            let first = connect_from(&two, addr(two.host()), addr(server.host())).await;
            first.unwrap();
            let mapped = SocketAddr::new(nat.ip(), PORT);
            let connecting = one.connect_tcp(mapped, TcpOptions::default());
            let connecting = with_deadline(&one, secs(5), connecting);
            if !hairpinning {
                assert!(connecting.await.is_none());
                return;
            }
            let (dialer, mut accepted) = join(connecting, accept(&mut listener)).await;
            let mut dialer = dialer.unwrap().unwrap();
            assert_eq!(accepted.remote_addr.ip(), nat.ip());
            accepted.io.write_all(b"hello").await.unwrap();
            dialer.io.read_exact(&mut [0; 5]).await.unwrap();
        });
    }
}

#[test]
fn a_reboot_leaves_a_half_open_connection_that_is_given_up_or_reset() {
    for (unsolicited, kind) in [
        (Unsolicited::Drop, io::ErrorKind::TimedOut),
        (Unsolicited::Refuse, io::ErrorKind::ConnectionReset),
    ] {
        let mut config = NatConfig::full_cone();
        config.unsolicited = unsolicited;
        let mut street = Street::same(config);
        let (mut dialer, mut accepted) = street.connected();
        street.sim.reboot(street.boxes[0]);
        let start = street.sim.elapsed();
        street.sim.block_on(async {
            accepted.io.write_all(b"anybody?").await.unwrap();
            dialer.io.write_all(b"anybody?").await.unwrap();
            let [mut here, mut there] = [[0]; 2];
            let reading = join(dialer.io.read(&mut here), accepted.io.read(&mut there));
            let (one, two) = reading.await;
            assert_eq!(one.unwrap_err().kind(), kind);
            assert_eq!(two.unwrap_err().kind(), kind);
        });
        let took = street.sim.elapsed() - start;
        assert_eq!(took > secs(900), unsolicited == Unsolicited::Drop);
        let stats = street.sim.nat_stats(street.boxes[0]);
        assert!(stats.outbound_unknown > 0 && stats.inbound_unknown > 0);
        drop((dialer, accepted));
        street.sim.run_for(secs(1));
        assert_eq!(street.sim.stats().connections, 0);
    }
}

#[test]
fn an_idle_connection_is_forgotten_after_the_time_of_the_box() {
    let mut config = NatConfig::port_restricted_cone();
    config.tcp_established_timeout = secs(60);
    let mut street = Street::same(config);
    let (mut dialer, mut accepted) = street.connected();
    let runtime = street.runtimes[0].clone();
    street.sim.block_on(async {
        for _ in 0..5 {
            sleep(&runtime, secs(59)).await;
            dialer.io.write_all(b"x").await.unwrap();
            accepted.io.read_exact(&mut [0]).await.unwrap();
        }
        sleep(&runtime, secs(61)).await;
        dialer.io.write_all(b"x").await.unwrap();
        let mut byte = [0];
        let late = with_deadline(&runtime, secs(60), accepted.io.read(&mut byte)).await;
        assert!(late.is_none(), "nothing gets through any more");
    });
}

#[test]
fn there_is_no_ipv6_beyond_a_box() {
    let mut street = Street::same(NatConfig::full_cone());
    let [one, _, server] = street.runtimes.clone();
    let target = SocketAddr::new(server.host().ipv6(), PORT);
    let _listener = server.listen_tcp(target, TcpOptions::default()).unwrap();
    let connecting = one.connect_tcp(target, TcpOptions::default());
    let error = street.sim.block_on(connecting).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Both hosts ask the server what they look like, and send to each other's answer three times.
/// Whether each of them gets something.
fn punch(configs: [NatConfig; 2]) -> (bool, bool) {
    let mut street = Street::new(configs);
    let [one, two, server] = street.runtimes.clone();
    let [here, there, public] = [&one, &two, &server].map(bind);
    street.sim.block_on(async {
        let mut seen = Vec::new();
        for socket in [&here, &there] {
            send(socket.as_ref(), addr(server.host())).await;
            seen.push(receive(&server, public.as_ref()).await.unwrap());
        }
        assert_eq!(seen[0].ip(), street.boxes[0].ip());
        assert_eq!(seen[1].ip(), street.boxes[1].ip());
        let mut heard = (false, false);
        for _ in 0..3 {
            send(here.as_ref(), seen[1]).await;
            send(there.as_ref(), seen[0]).await;
            let (first, second) =
                join(receive(&one, here.as_ref()), receive(&two, there.as_ref())).await;
            heard = (heard.0 | first.is_some(), heard.1 | second.is_some());
        }
        heard
    })
}

#[test]
fn datagrams_punch_holes_where_the_kinds_of_the_boxes_allow_it() {
    let kinds = [
        NatConfig::full_cone(),
        NatConfig::restricted_cone(),
        NatConfig::port_restricted_cone(),
        NatConfig::symmetric(),
    ];
    let works = |one: usize, two: usize| punch([kinds[one].clone(), kinds[two].clone()]);
    for one in 0..3 {
        for two in 0..3 {
            assert_eq!(works(one, two), (true, true), "{one} and {two}");
        }
    }
    assert_eq!(
        works(0, 3),
        (true, false),
        "it would have to answer to the source"
    );
    assert_eq!(
        works(1, 3),
        (true, false),
        "the address is right, the port is not asked for"
    );
    assert_eq!(works(2, 3), (false, false), "each expects another port");
    assert_eq!(works(3, 3), (false, false));
}

/// Both hosts learn from the server what they look like, and connect to each other from the port
/// of their listener, the second one later. Whether that gives one connection.
fn punch_tcp(configs: [NatConfig; 2], later: Duration) -> bool {
    let mut street = Street::new(configs);
    let [one, two, server] = street.runtimes.clone();
    let mut public = listen(&server);
    let _listeners = [&one, &two].map(listen_shared);
    street.sim.block_on(async {
        let mut seen = Vec::new();
        let mut kept = Vec::new();
        for host in [&one, &two] {
            let asking = connect_from(host, addr(host.host()), addr(server.host()));
            let (asked, accepted) = join(asking, accept(&mut public)).await;
            seen.push(accepted.remote_addr);
            kept.push((asked.unwrap(), accepted));
        }
        let first = connect_from(&one, addr(one.host()), seen[1]);
        let second = async {
            sleep(&two, later).await;
            connect_from(&two, addr(two.host()), seen[0]).await
        };
        let both = with_deadline(&server, secs(30), join(first, second)).await;
        let Some((Ok(mut first), Ok(mut second))) = both else {
            return false;
        };
        assert_eq!([second.remote_addr, first.remote_addr], seen[..]);
        first.io.write_all(b"here").await.unwrap();
        second.io.write_all(b"there").await.unwrap();
        first.io.read_exact(&mut [0; 5]).await.unwrap();
        second.io.read_exact(&mut [0; 4]).await.unwrap();
        first.io.close().await.unwrap();
        assert_eq!(second.io.read(&mut [0]).await.unwrap(), 0);
        true
    })
}

#[test]
fn a_simultaneous_open_punches_a_hole_for_tcp() {
    let works = |one: NatConfig, two: NatConfig, later| punch_tcp([one, two], later);
    for later in [ms(0), ms(5), ms(100), ms(4500)] {
        let restricted = NatConfig::port_restricted_cone();
        assert!(
            works(restricted.clone(), restricted.clone(), later),
            "{later:?}"
        );
        assert!(
            !works(restricted, NatConfig::symmetric(), later),
            "{later:?}"
        );
    }
}

#[test]
fn a_udp_mapping_that_was_idle_for_too_long_lets_nothing_in() {
    for (idle, expected) in [(secs(298), true), (secs(301), false)] {
        let mut street = Street::same(NatConfig::full_cone());
        let [one, _, server] = street.runtimes.clone();
        let [here, public] = [&one, &server].map(bind);
        street.sim.block_on(async {
            send(here.as_ref(), addr(server.host())).await;
            let seen = receive(&server, public.as_ref()).await.unwrap();
            sleep(&server, idle).await;
            send(public.as_ref(), seen).await;
            let arrived = receive(&one, here.as_ref()).await;
            assert_eq!(arrived.is_some(), expected);
        });
        let lost = street.sim.stats().datagrams_lost;
        assert_eq!(lost, u64::from(!expected));
    }
}

#[test]
fn a_box_without_free_mappings_lets_nothing_new_out() {
    let mut config = NatConfig::new(
        NatBehavior::EndpointIndependent,
        NatBehavior::EndpointIndependent,
    );
    config.mappings_max = 2;
    let mut street = Street::same(config);
    let [one, _, server] = street.runtimes.clone();
    let _listener = listen(&server);
    street.sim.block_on(async {
        let _first = connect(&one, server.host()).await.unwrap();
        let _second = connect(&one, server.host()).await.unwrap();
        let third = connect(&one, server.host()).await;
        assert_eq!(third.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
    let stats = street.sim.nat_stats(street.boxes[0]);
    assert_eq!((stats.mappings_peak, stats.exhausted), (2, 7));
}
