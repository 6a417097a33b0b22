//! Nodes are closed in the middle of everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{AsyncWriteExt, FutureExt, future::join_all};
use peerkit::{Host, core::Runtime};
use peerkit_sim::{HostId, SimRuntime};
use rand::RngExt;

use super::{
    node::{self, ECHO, ends, exchange, full_address, pause},
    trial::{Outcome, Trial},
};

/// Every node talks, pings, uploads, dials and fails to dial. Then one after the other is closed, at
/// any moment: nothing of it may be left, and nothing that it or another one did may hang.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    // Uploads use all that there is.
    let bandwidth = trial.rng.random_range(1_000_000..20_000_000);
    let _ = trial.sim.links().bandwidth(bandwidth);
    let count = trial.rng.random_range(2..7);
    let ids: Vec<HostId> = (0..count).map(|_| trial.sim.host()).collect();
    let runtimes: Vec<_> = ids.iter().map(|id| trial.sim.runtime(*id)).collect();
    let muxer = trial.muxer;
    let starting = runtimes.iter().map(|it| node::start(it.clone(), muxer));
    let hosts = trial.sim.block_on(join_all(starting));
    let nobody = trial.sim.host();
    let busy: Vec<_> = runtimes.iter().map(|_| Busy::default()).collect();
    for ((host, runtime), busy) in hosts.iter().zip(&runtimes).zip(&busy) {
        for other in ids.iter().filter(|other| **other != runtime.host()) {
            occupy(host, runtime, *other, busy);
        }
        busy.run(runtime, dial_nobody(host.clone(), nobody));
    }
    let longest = [10, 100, 1000, 4000][trial.rng.random_range(0..4)];
    for ((id, host), busy) in ids.into_iter().zip(hosts).zip(busy) {
        let moment = trial.between(Duration::ZERO, Duration::from_millis(longest));
        trial.sim.run_for(moment);
        close(&mut trial, (id, &host), &busy);
        drop(host);
    }
    trial.outcome()
}

/// The operations of the applications on one node; each is a task outside of it.
#[derive(Clone, Default)]
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn run(&self, runtime: &SimRuntime, operation: impl Future<Output = ()> + Send + 'static) {
        let count = self.0.clone();
        count.fetch_add(1, Ordering::Relaxed);
        let task = async move {
            operation.await;
            count.fetch_sub(1, Ordering::Relaxed);
        };
        runtime.spawn(task.boxed());
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn occupy(host: &Host, runtime: &SimRuntime, other: HostId, busy: &Busy) {
    for _ in 0..2 {
        busy.run(runtime, talk(host.clone(), other));
    }
    busy.run(runtime, ping(host.clone(), other));
    busy.run(runtime, upload(host.clone(), other));
}

fn close(trial: &mut Trial, (id, host): (HostId, &Host), busy: &Busy) {
    let runtime = host.runtime().clone();
    if trial.rng.random_bool(0.3) {
        // Whoever waits for the end gives up; closing goes on.
        let impatience = trial.between(Duration::ZERO, Duration::from_millis(500));
        let close = peerkit::core::with_deadline(runtime.as_ref(), impatience, host.close());
        trial.sim.block_on(close);
    }
    let close = ends(runtime.as_ref(), CLOSED, "closing", host.close());
    trial.sim.block_on(close);
    assert!(host.connections().is_empty());
    let left = trial.sim.task_count(id);
    assert_eq!(left, busy.count(), "only those of applications are left");
    trial.sim.run_for(TOLD);
    assert_eq!(busy.count(), 0, "operations on a closed node end at once");
}

async fn talk(host: Host, other: HostId) {
    let runtime = host.runtime().clone();
    while !host.is_closed() {
        let exchange = exchange(&host, full_address(other), 5000);
        let limit = Duration::from_secs(60);
        let outcome = ends(runtime.as_ref(), limit, "an exchange", exchange).await;
        if let Err(failure) = outcome {
            assert!(failure.is_proper(), "{failure:?}");
            pause(runtime.as_ref(), Duration::from_millis(100)).await;
        }
    }
}

async fn ping(host: Host, other: HostId) {
    let runtime = host.runtime().clone();
    while !host.is_closed() {
        let ping = host.ping().ping(full_address(other));
        let _ = ends(runtime.as_ref(), Duration::from_secs(100), "a ping", ping).await;
        pause(runtime.as_ref(), Duration::from_millis(50)).await;
    }
}

/// Writes without ever reading, so that it is held up by what the other side sends back.
async fn upload(host: Host, other: HostId) {
    let runtime = host.runtime().clone();
    let block = vec![0; 100_000];
    while !host.is_closed() {
        if let Ok(mut stream) = host.open_stream(full_address(other), ECHO).await {
            let write = async { while stream.write_all(&block).await.is_ok() {} };
            let limit = Duration::from_secs(100);
            peerkit::core::with_deadline(runtime.as_ref(), limit, write).await;
        }
        pause(runtime.as_ref(), Duration::from_millis(50)).await;
    }
}

async fn dial_nobody(host: Host, nobody: HostId) {
    let runtime = host.runtime().clone();
    while !host.is_closed() {
        let dial = host.connect(full_address(nobody));
        let outcome = ends(runtime.as_ref(), Duration::from_secs(60), "a dial", dial).await;
        outcome.expect_err("there is nobody");
        pause(runtime.as_ref(), Duration::from_millis(50)).await;
    }
}

/// The deadline of the goodbyes, and a moment.
const CLOSED: Duration = Duration::from_secs(4);
/// The pause of an application, and a moment.
const TOLD: Duration = Duration::from_millis(101);
