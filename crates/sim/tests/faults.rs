//! Links that flap, connections that are reset or forgotten, and what the counters say.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::io;

use common::{Pair, accept, connect, listen, ms, secs, sleep};
use futures::{AsyncReadExt, AsyncWriteExt, future::join};
use peerkit_core::{Runtime, with_deadline};
use peerkit_sim::{HostId, Sim};

/// Whether a connect gets through within a tenth of a second, asked every second.
fn ups(sim: &mut Sim, from: HostId, to: HostId, seconds: u64) -> Vec<bool> {
    let runtime = sim.runtime(from);
    let _server = listen(&sim.runtime(to));
    sim.block_on(async {
        let mut ups = Vec::new();
        for second in 0..seconds {
            sleep(&runtime, secs(second) + ms(500) - runtime.elapsed()).await;
            let connecting = with_deadline(&runtime, ms(100), connect(&runtime, to));
            ups.push(connecting.await.is_some());
        }
        ups
    })
}

#[test]
fn a_flapping_link_is_up_and_down_at_its_times_and_up_at_the_end() {
    let mut sim = Sim::new(1);
    let [one, two, three] = [sim.host(), sim.host(), sim.host()];
    sim.flap(&[one], &[two], (secs(3), secs(2)), secs(9));
    let found = ups(&mut sim, one, two, 12);
    let expected = "uuudduuuduuu".chars().map(|state| state == 'u');
    assert_eq!(found, expected.collect::<Vec<_>>());

    let mut sim = Sim::new(1);
    for _ in 0..3 {
        sim.host();
    }
    sim.flap(&[one], &[two], (secs(3), secs(2)), secs(9));
    assert!(ups(&mut sim, one, three, 12).into_iter().all(|up| up));
}

#[test]
fn a_flapping_link_leaves_other_partitions_alone() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.flap(&[one], &[two], (secs(1), secs(1)), secs(10));
    sim.partition_one_way(&[two], &[one]);
    sim.at(secs(6), |sim| sim.heal());
    let found = ups(&mut sim, one, two, 12);
    let expected = "ddddddududuu".chars().map(|state| state == 'u');
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn a_reset_in_mid_flight_is_seen_on_both_sides_at_once() {
    let mut pair = Pair::new(ms(40), |_| {});
    let [one, two] = pair.hosts;
    let runtime = pair.runtimes[0].clone();
    pair.sim.at(secs(1), move |sim| {
        assert_eq!(sim.reset_connections(&[two], &[two]), 0);
        assert_eq!(sim.reset_connections(&[two], &[one]), 1);
        assert_eq!(
            sim.reset_connections(&[two], &[one]),
            1,
            "nobody has dropped it yet"
        );
    });
    pair.sim.block_on(async {
        pair.dialer.write_all(b"in time").await.unwrap();
        sleep(&runtime, ms(970) - runtime.elapsed()).await;
        pair.dialer.write_all(b"in mid-flight").await.unwrap();
        pair.listener.read_exact(&mut [0; 7]).await.unwrap();
        let [mut here, mut there] = [[0]; 2];
        let both = join(pair.dialer.read(&mut here), pair.listener.read(&mut there));
        let (dialer, listener) = both.await;
        for error in [dialer.unwrap_err(), listener.unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        assert_eq!(runtime.elapsed(), secs(1));
    });
    drop((pair.dialer, pair.listener));
    pair.sim.run_for(secs(1));
    assert_eq!(pair.sim.stats().connections, 0);
    let mut listener = listen(&pair.runtimes[1]);
    let again = join(connect(&runtime, two), accept(&mut listener));
    pair.sim.block_on(again).0.unwrap();
}

#[test]
fn a_forgotten_connection_is_half_open_until_the_other_side_sends() {
    let mut pair = Pair::new(ms(40), |_| {});
    let [one, two] = pair.hosts;
    assert_eq!(pair.sim.forget_connections(two, &[one]), 1);
    let runtime = pair.runtimes[0].clone();
    pair.sim.block_on(async {
        let error = pair.listener.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let mut byte = [0];
        let silence = with_deadline(&runtime, secs(600), pair.dialer.read(&mut byte));
        assert!(silence.await.is_none(), "nobody has told it");
        let start = runtime.elapsed();
        pair.dialer.write_all(b"anybody?").await.unwrap();
        let error = pair.dialer.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(runtime.elapsed() - start, ms(80));
    });
    drop((pair.dialer, pair.listener));
    assert_eq!(pair.sim.stats().connections, 0);
}

#[test]
fn the_counters_tell_the_longest_queues() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    sim.links().bandwidth(8_000_000);
    let [here, there] = [one, two].map(|host| sim.runtime(host));
    let mut listener = listen(&there);
    sim.block_on(async {
        let connecting = (0..5).map(|_| connect(&here, two));
        let mut dialed = futures::future::try_join_all(connecting).await.unwrap();
        for _ in 0..5 {
            accept(&mut listener).await;
        }
        // A tenth of a second at a megabyte a second.
        dialed[0].io.write_all(&[0; 100_000]).await.unwrap();
    });
    for _ in 0..7 {
        here.spawn(Box::pin(std::future::ready(())));
    }
    sim.run_for(secs(1));
    let stats = sim.stats();
    assert_eq!((stats.connections_peak, stats.backlog_peak), (5, 5));
    assert_eq!(stats.ready_peak, 7);
    assert_eq!((stats.tasks_peak, stats.tasks_spawned), (7, 7));
    assert!(stats.events_peak >= 5, "{stats:?}");
    assert_eq!(sim.link_stats(one, two).wait_peak, ms(100));
    assert_eq!(sim.link_stats(two, one).wait_peak, ms(0));
}

#[test]
fn while_one_direction_is_cut_the_other_one_delivers() {
    let mut pair = Pair::new(ms(40), |_| {});
    let [one, two] = pair.hosts;
    pair.sim.partition_one_way(&[two], &[one]);
    let runtime = pair.runtimes[0].clone();
    pair.sim.block_on(async {
        pair.dialer.write_all(b"there").await.unwrap();
        pair.listener.read_exact(&mut [0; 5]).await.unwrap();
        pair.listener.write_all(b"back").await.unwrap();
        let mut answer = [0; 4];
        let cut = with_deadline(&runtime, secs(10), pair.dialer.read(&mut answer));
        assert!(cut.await.is_none());
    });
}
