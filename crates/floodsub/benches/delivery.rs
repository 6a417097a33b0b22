#![allow(clippy::unwrap_used, reason = "a measurement panics when it fails")]
//! What a delivery costs: one publisher, one subscriber, TCP on loopback, both in this process.
//!
//! `cargo bench -p peerkit-floodsub` prints the CPU time (both sides together) and the rate. CPU times come from
//! `/proc` and are left out elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peerkit_core::{Keypair, sleep_until};
use peerkit_floodsub::{Floodsub, FloodsubConfig};
use peerkit_noise::Noise;
use peerkit_pubsub::SignaturePolicy;
use peerkit_swarm::Host;
use peerkit_tcp::Tcp;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

fn main() {
    println!("policy        size    messages/s   CPU us/delivery   delivered");
    for policy in [SignaturePolicy::StrictNoSign, SignaturePolicy::StrictSign] {
        for (size, count) in [(256, 200_000), (65_536, 20_000)] {
            let seconds = measure(policy, size, count);
            println!("{policy:<12?} {size:>6}  {seconds}");
        }
    }
}

fn measure(policy: SignaturePolicy, size: usize, count: usize) -> String {
    peerkit_runtime::block_on(async {
        let (publisher, subscriber) = (node(policy), node(policy));
        let addr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
        subscriber.host().listen(addr).await.unwrap();
        let mut news = subscriber.subscribe("news").await.unwrap();
        let addr = subscriber.host().addrs().remove(0);
        publisher.host().connect(addr).await.unwrap();
        publisher.wait_for_peers("news", 1).await;
        // The time in which floodsub finds out how the peer reads its streams.
        for number in 0..10_u64 {
            publisher
                .publish("news", number.to_be_bytes())
                .await
                .unwrap();
        }
        let runtime = publisher.host().runtime().clone();
        sleep_until(
            runtime.as_ref(),
            runtime.now() + Duration::from_millis(2500),
        )
        .await;
        for _ in 0..10 {
            news.next().await.unwrap().unwrap();
        }

        let (start, cpu) = (now(), cpu_time());
        let sending = publisher.clone();
        let sender = peerkit_core::Task::spawn(runtime.as_ref(), async move {
            let mut data = vec![7; size];
            for number in 0..count as u64 {
                data[..8].copy_from_slice(&number.to_be_bytes());
                let report = sending.publish("news", &data).await.unwrap();
                assert!(report.dropped.is_empty());
            }
        });
        let mut delivered = 0;
        let mut missed = 0;
        while delivered + missed < count {
            match news.next().await.unwrap() {
                Ok(_) => delivered += 1,
                Err(lagged) => missed += lagged.missed as usize,
            }
        }
        let wall = now() - start;
        let used = cpu_time().zip(cpu).map(|(after, before)| after - before);
        sender.join().await;
        let rate = count as f64 / wall.as_secs_f64();
        let used = used.map_or(f64::NAN, |used| used.as_secs_f64() * 1e6 / count as f64);
        publisher.host().close().await;
        subscriber.host().close().await;
        format!("{rate:>10.0}   {used:>15.2}   {delivered:>9}")
    })
}

fn node(policy: SignaturePolicy) -> Floodsub {
    let (keypair, runtime) = (Keypair::generate_ed25519(), peerkit_runtime::default());
    let upgrader = StandardUpgrader::new(
        runtime.clone(),
        vec![Arc::new(Noise::new(&keypair).unwrap())],
        vec![Arc::new(Yamux::new(peerkit_yamux::Config::default()))],
        UpgradeConfig::default(),
    );
    let tcp = Tcp::new(
        runtime.clone(),
        Arc::new(upgrader),
        peerkit_tcp::Config::default(),
    );
    let host = Host::builder(keypair, runtime).transport(tcp).build();
    let mut config = FloodsubConfig::default();
    config.pubsub.signature_policy = policy;
    Floodsub::spawn(&host, config).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement needs the real clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// User and system time of this process, in hundredths of a second.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}
