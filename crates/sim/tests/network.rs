//! What links do to streams and datagrams, exactly.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{future::poll_fn, io, net::SocketAddr, time::Duration};

use common::{PORT, Pair, accept, addr, connect, listen, ms, secs, sleep};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::join};
use peerkit_core::{Network, TcpConnection, TcpOptions, UdpSocket, with_deadline};
use peerkit_sim::{HostId, Sim, SimRuntime};

#[test]
fn a_connect_takes_one_round_trip_exactly() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.link_one_way(one, two).latency(ms(30));
    sim.link_one_way(two, one).latency(ms(50));
    let _listener = listen(&sim.runtime(two));
    let runtime = sim.runtime(one);
    sim.block_on(connect(&runtime, two)).unwrap();
    assert_eq!(sim.elapsed(), ms(80));
}

#[test]
fn a_port_without_listener_refuses_after_one_round_trip() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.link(one, two).latency(ms(50));
    let runtime = sim.runtime(one);
    let error = sim.block_on(connect(&runtime, two)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(sim.elapsed(), ms(100));
    assert_eq!(sim.stats().connections, 0);
}

#[test]
fn a_byte_arrives_after_the_latency_exactly() {
    let mut pair = Pair::new(ms(40), |_| {});
    let start = pair.sim.elapsed();
    pair.sim.block_on(async {
        pair.dialer.write_all(b"x").await.unwrap();
        pair.listener.read_exact(&mut [0]).await.unwrap();
    });
    assert_eq!(pair.sim.elapsed() - start, ms(40));
}

#[test]
fn a_million_bytes_at_eight_megabits_take_a_second_and_the_latency() {
    let mut pair = Pair::new(ms(40), |sim| {
        sim.links().bandwidth(8_000_000);
    });
    let start = pair.sim.elapsed();
    let took = send_through(&mut pair, 1_000_000);
    assert_eq!(took - start, secs(1) + ms(40));
    let [one, two] = pair.hosts;
    assert_eq!(pair.sim.link_stats(one, two).bytes, 1_000_000);
}

#[test]
fn two_streams_share_a_link() {
    let mut pair = Pair::new(ms(40), |sim| {
        sim.links().bandwidth(8_000_000);
    });
    let [one, two] = pair.runtimes.clone();
    let mut listener = two
        .listen_tcp(
            SocketAddr::new(two.host().ipv4(), 5000),
            TcpOptions::default(),
        )
        .unwrap();
    let target = listener.local_addr().unwrap();
    pair.sim.block_on(async {
        let connecting = one.connect_tcp(target, TcpOptions::default());
        let (dialer, second) = join(connecting, accept(&mut listener)).await;
        let (mut dialer, mut second) = (dialer.unwrap().io, second.io);
        let start = one.elapsed();
        let chunk = vec![1; 500_000];
        let writing = join(pair.dialer.write_all(&chunk), dialer.write_all(&chunk));
        let (mut here, mut there) = (vec![0; 500_000], vec![0; 500_000]);
        let reading = join(
            pair.listener.read_exact(&mut here),
            second.read_exact(&mut there),
        );
        let (written, read) = join(writing, reading).await;
        assert!(written.0.is_ok() && written.1.is_ok() && read.0.is_ok() && read.1.is_ok());
        assert_eq!(one.elapsed() - start, secs(1) + ms(40));
    });
}

#[test]
fn the_window_bounds_what_is_under_way() {
    // A window of 100 kB and a round trip of 100 ms make at most a megabyte per second.
    let mut pair = Pair::new(ms(50), |sim| sim.set_tcp_window(100_000));
    let written = pair.dialer.write(&[0; 200_000]).now_or_never().unwrap();
    assert_eq!(written.unwrap(), 100_000);
    assert!(pair.dialer.write(&[0]).now_or_never().is_none());
    let mut pair = Pair::new(ms(50), |sim| sim.set_tcp_window(100_000));
    let start = pair.sim.elapsed();
    let took = send_through(&mut pair, 1_000_000) - start;
    assert!((ms(950)..ms(1050)).contains(&took), "{took:?}");
}

#[test]
fn a_fat_long_link_is_used_to_its_bandwidth() {
    let mut pair = Pair::new(ms(31), |sim| {
        sim.links().bandwidth(5_000_000_000);
        sim.set_tcp_window(64 * 1024 * 1024);
    });
    let start = pair.sim.elapsed();
    let took = send_through(&mut pair, 625_000_000) - start;
    assert!((ms(1031)..ms(1050)).contains(&took), "{took:?}");
}

#[test]
fn jitter_delays_but_does_not_reorder_a_stream() {
    let mut pair = Pair::new(ms(40), |sim| {
        sim.links().jitter(ms(100));
    });
    let payload: Vec<u8> = (0..=255).collect();
    let runtime = pair.runtimes[0].clone();
    pair.sim.block_on(async {
        let writing = async {
            for byte in &payload {
                pair.dialer.write_all(&[*byte]).await.unwrap();
                sleep(&runtime, ms(1)).await;
            }
        };
        let mut received = vec![0; payload.len()];
        join(writing, pair.listener.read_exact(&mut received))
            .await
            .1
            .unwrap();
        assert_eq!(received, payload);
    });
}

#[test]
fn a_closed_half_is_an_end_and_a_drop_with_unread_bytes_is_a_reset() {
    let mut pair = Pair::new(ms(40), |_| {});
    let runtime = pair.runtimes[0].clone();
    pair.sim.block_on(async {
        pair.dialer.close().await.unwrap();
        assert_eq!(pair.listener.read(&mut [0]).await.unwrap(), 0);
        pair.listener.write_all(b"still open").await.unwrap();
        sleep(&runtime, ms(100)).await;
        drop(pair.dialer);
        let error = pair.listener.read(&mut [0]).await.unwrap_or(0);
        assert_eq!(error, 0);
        sleep(&runtime, ms(100)).await;
        let error = pair.listener.write(b"?").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(pair.listener);
    });
    assert_eq!(pair.sim.stats().connections, 0);
}

#[test]
fn connections_that_were_closed_on_both_sides_are_forgotten() {
    let mut pair = Pair::new(ms(40), |_| {});
    drop((pair.dialer, pair.listener));
    pair.sim.run_for(ms(200));
    assert_eq!(pair.sim.stats().connections, 0);
}

#[test]
fn a_cancelled_connect_leaves_nothing_behind() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    let [runtime, remote] = [one, two].map(|host| sim.runtime(host));
    let mut listener = listen(&remote);
    let limit = with_deadline(&runtime, ms(5), connect(&runtime, two));
    assert!(sim.block_on(limit).is_none());
    let mut accepted = sim.block_on(accept(&mut listener)).io;
    let error = sim.block_on(accepted.read(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(accepted);
    assert_eq!(sim.stats().connections, 0);

    sim.crash(two);
    let limit = with_deadline(&runtime, ms(5), connect(&runtime, two));
    assert!(sim.block_on(limit).is_none());
    sim.run_for(secs(10));
    assert_eq!(sim.stats().connections, 0);
}

#[test]
fn what_a_partition_holds_up_arrives_in_order_after_it() {
    let mut pair = Pair::new(ms(40), |_| {});
    let [one, two] = pair.hosts;
    let runtime = pair.runtimes[0].clone();
    pair.sim
        .at(secs(1), move |sim| sim.partition_one_way(&[one], &[two]));
    pair.sim.at(secs(5), |sim| sim.heal());
    pair.sim.block_on(async {
        let writing = async {
            for number in 0..100u8 {
                pair.dialer.write_all(&[number]).await.unwrap();
                sleep(&runtime, ms(20)).await;
            }
        };
        let reading = async {
            for number in 0..100u8 {
                let mut byte = [0];
                pair.listener.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte[0], number);
            }
        };
        join(writing, reading).await;
    });
    assert!(
        (secs(5)..secs(9)).contains(&pair.sim.elapsed()),
        "{:?}",
        pair.sim.elapsed()
    );
}

#[test]
fn a_partition_that_does_not_end_is_a_time_out() {
    let mut pair = Pair::new(ms(40), |_| {});
    let [one, two] = pair.hosts;
    let runtime = pair.runtimes[0].clone();
    pair.sim.partition(&[one], &[two]);
    pair.sim.block_on(async {
        pair.dialer.write_all(b"anybody?").await.unwrap();
        let error = pair.dialer.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(runtime.elapsed() > secs(900));
        let start = runtime.elapsed();
        let error = connect(&runtime, two).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(runtime.elapsed() - start, secs(127));
    });
}

#[test]
fn a_connect_during_a_partition_succeeds_with_a_retry_after_it() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    let _listener = listen(&sim.runtime(two));
    sim.partition(&[two], &[one]);
    sim.at(secs(2), |sim| sim.heal());
    let runtime = sim.runtime(one);
    sim.block_on(connect(&runtime, two)).unwrap();
    assert_eq!(sim.elapsed(), secs(3) + ms(20));
}

#[test]
fn a_crash_leaves_a_half_open_connection_that_a_restart_resets() {
    let mut pair = Pair::new(ms(40), |_| {});
    let two = pair.hosts[1];
    pair.sim.crash(two);
    let runtime = pair.runtimes[0].clone();
    pair.sim.at(secs(10), move |sim| sim.restart(two));
    pair.sim.block_on(async {
        pair.dialer.write_all(b"anybody?").await.unwrap();
        let error = pair.dialer.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!((secs(10)..secs(30)).contains(&runtime.elapsed()));
    });
    let former = pair.runtimes[1].clone();
    let error = former.listen_tcp(addr(two), TcpOptions::default());
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NetworkDown);
}

#[test]
fn a_connect_to_a_host_that_crashes_and_comes_back_meanwhile_succeeds_with_a_retry() {
    let mut sim = Sim::new(1);
    let client = sim.host();
    let server = sim.hosts(1, |node| async move {
        let mut listener = listen(&node.runtime());
        let _accepted = accept(&mut listener).await;
        std::future::pending().await
    })[0];
    sim.links().latency(ms(40));
    sim.at(ms(20), move |sim| sim.crash(server));
    sim.at(ms(500), move |sim| sim.restart(server));
    let runtime = sim.runtime(client);
    sim.block_on(connect(&runtime, server)).unwrap();
    assert_eq!(sim.elapsed(), secs(1) + ms(80));
}

#[test]
fn a_killed_program_resets_its_connections_at_once() {
    let mut pair = Pair::new(ms(40), |_| {});
    let (two, start) = (pair.hosts[1], pair.sim.elapsed());
    pair.sim.kill(two);
    let error = pair.sim.block_on(pair.dialer.read(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(pair.sim.elapsed() - start, ms(40));
    let runtime = pair.runtimes[0].clone();
    let error = pair.sim.block_on(connect(&runtime, two)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_paused_host_still_takes_bytes_and_answers_when_it_goes_on() {
    let mut sim = Sim::new(1);
    let client = sim.host();
    let server = sim.hosts(1, |node| async move {
        let mut listener = listen(&node.runtime());
        let mut stream = accept(&mut listener).await.io;
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() > 0 {
            stream.write_all(&byte).await.unwrap();
        }
    })[0];
    let runtime = sim.runtime(client);
    sim.at(secs(1), move |sim| sim.pause(server));
    sim.at(secs(60), move |sim| sim.resume(server));
    sim.block_on(async {
        let mut stream = connect(&runtime, server).await.unwrap().io;
        sleep(&runtime, secs(2)).await;
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    });
    assert_eq!(sim.elapsed(), secs(60) + ms(10));
}

#[test]
fn datagrams_are_lost_doubled_and_reordered_as_often_as_was_said() {
    let lost = datagrams(|sim| {
        sim.links().loss(0.25);
    });
    assert!((7200..7800).contains(&lost.len()), "{}", lost.len());
    let doubled = datagrams(|sim| {
        sim.links().duplication(0.25);
    });
    assert!(
        (12_200..12_800).contains(&doubled.len()),
        "{}",
        doubled.len()
    );
    let reordered = datagrams(|sim| {
        sim.links().reordering(0.25);
    });
    assert_eq!(reordered.len(), 10_000);
    assert!(!reordered.is_sorted());
    assert!(datagrams(|_| {}).is_sorted());
}

#[test]
fn datagrams_that_find_no_room_are_lost() {
    // 250 of them each second, and what is in the queue at the end.
    let some = datagrams(|sim| {
        sim.links().bandwidth(8_000).queue(400);
    });
    assert!((2590..2610).contains(&some.len()), "{}", some.len());
    assert!(some.is_sorted());
}

/// Two hosts connect to each other from and to the same ports, the second one later.
fn connect_to_each_other(later: Duration) -> [(TcpConnection, Duration); 2] {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.links().latency(ms(40));
    let connecting = |from: HostId, to: HostId, delay: Duration| {
        let runtime = sim.runtime(from);
        let mut options = TcpOptions::default();
        options.bind = Some(addr(from));
        async move {
            sleep(&runtime, delay).await;
            let connection = runtime.connect_tcp(addr(to), options).await.unwrap();
            (connection, runtime.elapsed())
        }
    };
    let both = join(connecting(one, two, ms(0)), connecting(two, one, later));
    let (mut first, mut second) = sim.block_on(both);
    assert_eq!(sim.stats().connections, 1);
    sim.block_on(async {
        first.0.io.write_all(b"one").await.unwrap();
        second.0.io.write_all(b"other").await.unwrap();
        second.0.io.read_exact(&mut [0; 3]).await.unwrap();
        first.0.io.read_exact(&mut [0; 5]).await.unwrap();
    });
    [first, second]
}

#[test]
fn two_connects_that_cross_are_one_connection() {
    for (later, times) in [(ms(0), [ms(80), ms(80)]), (ms(30), [ms(80), ms(110)])] {
        let [first, second] = connect_to_each_other(later);
        assert_eq!(first.0.local_addr, second.0.remote_addr);
        assert_eq!(first.0.remote_addr, second.0.local_addr);
        assert_eq!([first.1, second.1], times);
    }
}

#[test]
fn an_attempt_that_was_dropped_in_the_middle_of_a_simultaneous_open_ends_the_connection() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.links().latency(ms(40));
    let [here, there] = [one, two].map(|host| sim.runtime(host));
    let connecting = |runtime: SimRuntime, to: HostId| async move {
        let mut options = TcpOptions::default();
        options.bind = Some(addr(runtime.host()));
        runtime.connect_tcp(addr(to), options).await
    };
    sim.block_on(async {
        let dropped = with_deadline(&there, ms(50), connecting(there.clone(), one));
        let (first, dropped) = join(connecting(here.clone(), two), dropped).await;
        assert!(dropped.is_none());
        assert_eq!(first.unwrap().io.read(&mut [0]).await.unwrap(), 0);
    });
    sim.run_for(secs(1));
    assert_eq!(sim.stats().connections, 0);
}

#[test]
fn a_simultaneous_open_that_a_partition_interrupts_goes_on_after_it() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.links().latency(ms(40));
    // The first packets arrive, what follows does not.
    sim.at(ms(50), move |sim| sim.partition(&[one], &[two]));
    sim.at(secs(2), |sim| sim.heal());
    let connecting = |from: HostId, to: HostId| {
        let runtime = sim.runtime(from);
        let mut options = TcpOptions::default();
        options.bind = Some(addr(from));
        async move { runtime.connect_tcp(addr(to), options).await.unwrap() }
    };
    let both = join(connecting(one, two), connecting(two, one));
    let (mut first, mut second) = sim.block_on(both);
    assert_eq!(sim.elapsed(), secs(3) + ms(80));
    sim.block_on(async {
        first.io.write_all(b"x").await.unwrap();
        second.io.read_exact(&mut [0]).await.unwrap();
    });
}

#[test]
fn names_of_hosts_are_resolved() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.set_name(two, "example.org");
    let runtime = sim.runtime(one);
    for name in ["host-1", "example.org"] {
        let found = sim.block_on(runtime.resolve(name)).unwrap();
        assert_eq!(found, [two.ipv4(), two.ipv6()]);
    }
    assert!(runtime.interfaces().unwrap().contains(&one.ipv4()));
}

#[test]
fn hosts_are_reached_by_ipv6_too() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    let wildcard: SocketAddr = "[::]:4001".parse().unwrap();
    let mut listener = sim
        .runtime(two)
        .listen_tcp(wildcard, TcpOptions::default())
        .unwrap();
    let runtime = sim.runtime(one);
    let target = SocketAddr::new(two.ipv6(), PORT);
    let connecting = runtime.connect_tcp(target, TcpOptions::default());
    let (dialer, accepted) = sim.block_on(join(connecting, accept(&mut listener)));
    assert_eq!(dialer.unwrap().local_addr.ip(), one.ipv6());
    assert_eq!(accepted.local_addr, target);
}

/// Writes and reads so many bytes; returns when the last one was read.
fn send_through(pair: &mut Pair, count: usize) -> std::time::Duration {
    let (dialer, listener) = (&mut pair.dialer, &mut pair.listener);
    pair.sim.block_on(async {
        let writing = async {
            let chunk = vec![0; 1_000_000];
            let mut left = count;
            while left > 0 {
                left -= dialer.write(&chunk[..left.min(1_000_000)]).await.unwrap();
            }
        };
        let reading = async {
            let (mut left, mut buffer) = (count, vec![0; 1_000_000]);
            while left > 0 {
                left -= listener.read(&mut buffer).await.unwrap();
            }
        };
        join(writing, reading).await;
    });
    pair.sim.elapsed()
}

/// Sends ten thousand numbered datagrams, one each millisecond, and returns the numbers that arrive.
fn datagrams(setup: impl FnOnce(&mut Sim)) -> Vec<u32> {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    setup(&mut sim);
    let [here, there] = [one, two].map(|host| sim.runtime(host));
    let (from, to) = (bind(&here, one), bind(&there, two));
    let mut received = Vec::new();
    sim.block_on(async {
        let sending = async {
            for number in 0..10_000u32 {
                let (datagram, target) = (number.to_be_bytes(), addr(two));
                let sent = poll_fn(|cx| from.poll_send_to(cx, &datagram, target)).await;
                assert_eq!(sent.unwrap(), 4);
                sleep(&here, ms(1)).await;
            }
            sleep(&here, secs(1)).await;
        };
        let receiving = async {
            let mut buffer = [0; 4];
            loop {
                let receive = poll_fn(|cx| to.poll_recv_from(cx, &mut buffer));
                let limit = secs(5);
                let Some(Ok((4, source))) = with_deadline(&there, limit, receive).await else {
                    break;
                };
                assert_eq!(source, addr(one));
                received.push(u32::from_be_bytes(buffer));
            }
        };
        join(sending, receiving).await;
    });
    received
}

fn bind(runtime: &SimRuntime, host: HostId) -> Box<dyn UdpSocket> {
    runtime.bind_udp(addr(host)).unwrap()
}
