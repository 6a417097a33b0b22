//! The whole node in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use peerkit_gossipsub::{Gossipsub, GossipsubConfig};
use peerkit_sim::{HostId, Sim};
use peerkit_testkit::simulated::{addr, node, sleep};

const NODES: usize = 20;
const MESSAGES: usize = 10;

/// Everybody publishes; returns how many deliveries there were, and the hash of the run.
fn run(seed: u64) -> (usize, u64) {
    let mut sim = Sim::new(seed);
    sim.links()
        .latency(Duration::from_millis(50))
        .jitter(Duration::from_millis(50));
    let delivered = Arc::new(AtomicUsize::new(0));
    let counter = delivered.clone();
    sim.hosts(NODES, move |started| {
        let counter = counter.clone();
        async move {
            let (index, runtime) = (started.index(), started.runtime());
            let host = node(&runtime, index).await;
            let gossip = Gossipsub::spawn(&host, GossipsubConfig::default()).unwrap();
            let mut news = gossip.subscribe("news").await.unwrap();
            sleep(&runtime, Duration::from_millis(100)).await;
            for step in [1, 3, 7, 9] {
                let next = HostId::new(((index + step) % NODES) as u32);
                gossip.host().connect(addr(next)).await.unwrap();
            }
            sleep(&runtime, Duration::from_secs(5)).await;
            let (publishing, clock) = (gossip.clone(), runtime.clone());
            gossip.host().spawn(async move {
                for number in 0..MESSAGES {
                    publishing
                        .publish("news", format!("{index}/{number}"))
                        .await
                        .unwrap();
                    sleep(&clock, Duration::from_secs(1)).await;
                }
            });
            while let Some(message) = news.next().await {
                assert!(message.unwrap().signed);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    sim.run_until(Duration::from_secs(25));
    assert_eq!(sim.stats().panics, 0);
    assert_eq!(sim.stats().foreign_wake_ups, 0);
    (delivered.load(Ordering::Relaxed), sim.trace_hash())
}

#[test]
fn every_message_of_twenty_nodes_arrives_once_everywhere_and_a_run_replays() {
    let (delivered, hash) = run(1);
    assert_eq!(delivered, NODES * (NODES - 1) * MESSAGES);
    assert_eq!(run(1), (delivered, hash));
}
