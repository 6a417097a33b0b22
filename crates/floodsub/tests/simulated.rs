#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! The whole node in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use peerkit_floodsub::{Floodsub, FloodsubConfig};
use peerkit_sim::{HostId, Sim};
use peerkit_testkit::simulated::{addr, node, sleep};

const NODES: usize = 12;
const MESSAGES: usize = 20;

/// Everybody publishes in a ring with chords; returns how many messages arrived and the hash of the run.
fn run(seed: u64, cut: bool) -> (usize, u64) {
    let mut sim = Sim::new(seed);
    sim.links()
        .latency(Duration::from_millis(50))
        .jitter(Duration::from_millis(50));
    let delivered = Arc::new(AtomicUsize::new(0));
    let counter = delivered.clone();
    let hosts = sim.hosts(NODES, move |started| {
        let counter = counter.clone();
        async move {
            let (index, runtime) = (started.index(), started.runtime());
            let host = node(&runtime, index).await;
            let flood = Floodsub::spawn(&host, FloodsubConfig::default()).unwrap();
            let mut news = flood.subscribe("news").await.unwrap();
            sleep(&runtime, Duration::from_millis(100)).await;
            for step in [1, 4] {
                let next = HostId::new(((index + step) % NODES) as u32);
                flood.host().connect(addr(next)).await.unwrap();
            }
            sleep(&runtime, Duration::from_secs(10)).await;
            let publishing = flood.clone();
            let clock = runtime.clone();
            flood.host().spawn(async move {
                for number in 0..MESSAGES {
                    let data = format!("{index}/{number}");
                    publishing.publish("news", data).await.unwrap();
                    sleep(&clock, Duration::from_secs(1)).await;
                }
            });
            while let Some(message) = news.next().await {
                assert!(message.unwrap().signed);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    if cut {
        let (left, right) = (hosts[0], hosts[1]);
        sim.at(Duration::from_secs(15), move |sim| {
            sim.partition(&[left], &[right])
        });
    }
    sim.run_until(Duration::from_secs(60));
    assert_eq!(sim.stats().panics, 0);
    assert_eq!(sim.stats().foreign_wake_ups, 0);
    let delivered = delivered.load(Ordering::Relaxed);
    (delivered, sim.trace_hash())
}

#[test]
fn everything_arrives_everywhere_once_and_a_run_replays() {
    let first = run(7, false);
    assert_eq!(first.0, NODES * (NODES - 1) * MESSAGES);
    assert_eq!(run(7, false), first);
}

#[test]
fn a_link_that_is_cut_stops_nothing_while_there_is_another_way() {
    assert_eq!(run(8, true).0, NODES * (NODES - 1) * MESSAGES);
}
