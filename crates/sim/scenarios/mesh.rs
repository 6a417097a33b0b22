//! Nodes that talk to their neighbours all the time, while the network and the nodes fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use peerkit::{
    Host,
    core::{Runtime, Task, lock},
};
use peerkit_sim::{HostId, Node, SimRuntime};
use rand::{RngExt, seq::SliceRandom};

use super::{
    node::{self, ends, exchange, exchange_within, full_address, pause},
    trial::{Muxer, Outcome, Trial},
};

/// The network falls into two parts, in one direction or in both, and is whole again after a while.
pub(crate) fn halves(seed: u64) -> Outcome {
    let mut mesh = Mesh::new(seed);
    for _ in 0..2 {
        let mut hosts = mesh.hosts.clone();
        hosts.shuffle(&mut mesh.trial.rng);
        let size = mesh.trial.rng.random_range(1..hosts.len());
        let (one, other) = hosts.split_at(size);
        let quiet = mesh.trial.between(secs(0), secs(20));
        mesh.trial.sim.run_for(quiet);
        if mesh.trial.rng.random_bool(0.5) {
            mesh.trial.sim.partition(one, other);
        } else {
            mesh.trial.sim.partition_one_way(one, other);
        }
        let apart = mesh.trial.between(secs(1), secs(200));
        mesh.trial.sim.run_for(apart);
        mesh.trial.sim.heal();
        mesh.recovers(apart);
    }
    mesh.end()
}

/// Each link is down for some of the time, in one direction or in both.
pub(crate) fn flapping(seed: u64) -> Outcome {
    let mut mesh = Mesh::new(seed);
    for _ in 0..30 {
        mesh.trial.sim.heal();
        let share = mesh.trial.rng.random_range(0.0..0.5);
        for from in mesh.hosts.clone() {
            for to in mesh.hosts.clone() {
                if from != to && mesh.trial.rng.random_bool(share) {
                    mesh.trial.sim.partition_one_way(&[from], &[to]);
                }
            }
        }
        let step = mesh.trial.between(Duration::from_millis(50), secs(10));
        mesh.trial.sim.run_for(step);
    }
    mesh.trial.sim.heal();
    // A link may have been down many times in a row.
    mesh.recovers(secs(60));
    mesh.end()
}

/// Half of the nodes end, each in its own way, and come back with their identity.
pub(crate) fn restarts(seed: u64) -> Outcome {
    let mut mesh = Mesh::new(seed);
    let before = mesh.trial.between(secs(0), secs(15));
    mesh.trial.sim.run_for(before);
    let mut hosts = mesh.hosts.clone();
    hosts.shuffle(&mut mesh.trial.rng);
    hosts.truncate(hosts.len() / 2);
    for host in hosts {
        let way = mesh.trial.rng.random_range(0..4);
        let away = mesh.trial.between(Duration::from_millis(1), secs(100));
        let sim = &mut mesh.trial.sim;
        let back = sim.elapsed() + away;
        match way {
            0 => sim.crash(host),
            1 => sim.kill(host),
            2 => sim.restart(host),
            _ => sim.pause(host),
        }
        match way {
            0 | 1 => sim.at(back, move |sim| sim.restart(host)),
            2 => {}
            _ => sim.at(back, move |sim| sim.resume(host)),
        }
        if way < 3 && mesh.trial.rng.random_bool(0.3) {
            // Not everybody falls at once.
            mesh.trial.sim.run_for(Duration::from_millis(100));
        }
    }
    mesh.trial.sim.run_for(secs(101));
    mesh.recovers(secs(100));
    mesh.end()
}

/// Connections over which nobody says anything are still there hours later, on both sides, and work.
pub(crate) fn idle(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    trial.sim.set_patience(secs(3600));
    let runtimes = [trial.sim.host(), trial.sim.host()].map(|host| trial.sim.runtime(host));
    let muxer = trial.muxer;
    let hosts = trial
        .sim
        .block_on(join_all(runtimes.map(|it| node::start(it, muxer))));
    let [one, other] = [&hosts[0], &hosts[1]];
    let address = other.addrs()[0].clone();
    let connect = ends(
        one.runtime().as_ref(),
        secs(60),
        "a dial",
        one.connect(&address),
    );
    trial.sim.block_on(connect).expect("both are there");
    for _ in 0..3 {
        let silence = trial.between(secs(1), secs(7200));
        trial.sim.run_for(silence);
        assert_eq!(one.connections().len(), 1, "after {silence:?} of silence");
        assert_eq!(other.connections().len(), 1, "after {silence:?} of silence");
        let still = trial.sim.block_on(exchange(other, one.local_peer(), 10));
        still.expect("it still works");
    }
    trial.end(hosts)
}

/// Some nodes, each with some neighbours.
struct Mesh {
    trial: Trial,
    hosts: Vec<HostId>,
    pairs: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// When an exchange last went well.
    good: Mutex<BTreeMap<(HostId, HostId), Duration>>,
    stop: AtomicBool,
}

impl Mesh {
    fn new(seed: u64) -> Self {
        let mut trial = Trial::new(seed);
        let count = trial.rng.random_range(4..10);
        let degree = trial.rng.random_range(1..4);
        let shared = Arc::<Shared>::default();
        let (known, muxer) = (shared.clone(), trial.muxer);
        let hosts = trial.sim.hosts(count, move |node: Node| {
            let next = |step| HostId::new(((node.index() + step) % count) as u32);
            run(
                node.runtime(),
                (1..=degree).map(next).collect(),
                muxer,
                known.clone(),
            )
        });
        let mut mesh = Self {
            trial,
            hosts,
            pairs: count * degree,
            shared,
        };
        mesh.recovers(secs(0));
        mesh
    }

    /// Runs until nodes have had time to notice that everything is fine again. Then each has to reach
    /// all its neighbours, and no stale connection may be in the way.
    fn recovers(&mut self, trouble: Duration) {
        // What a stream of the operating system sends again comes after up to that time.
        self.trial.sim.run_for(trouble * 2 + RECOVERY);
        let now = self.trial.sim.elapsed();
        let mut good = lock(&self.shared.good).clone();
        good.retain(|_, last| now - *last < FRESH);
        assert_eq!(good.len(), self.pairs, "all reach each other: {good:?}");
    }

    fn end(mut self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.trial.sim.run_for(secs(300));
        self.trial.outcome()
    }
}

/// The program of a node.
async fn run(runtime: SimRuntime, neighbours: Vec<HostId>, muxer: Muxer, shared: Arc<Shared>) {
    let host = node::start(runtime.clone(), muxer).await;
    let talking = neighbours.into_iter().map(|neighbour| {
        let (host, shared, runtime) = (host.clone(), shared.clone(), runtime.clone());
        let spawner = runtime.clone();
        Task::spawn(&spawner, async move {
            talk(&host, &runtime, neighbour, muxer, &shared).await;
        })
    });
    let talking: Vec<_> = talking.collect();
    for task in talking {
        task.join().await;
    }
    ends(&runtime, secs(10), "closing", host.close()).await;
}

async fn talk(host: &Host, runtime: &SimRuntime, neighbour: HostId, muxer: Muxer, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let len = 1 << (runtime.seed()[0] % 14);
        let target = full_address(neighbour);
        let outcome = match muxer {
            // It notices by itself that nobody answers.
            Muxer::Yamux => {
                let exchange = exchange(host, target, len);
                ends(runtime, secs(150), "an exchange", exchange).await
            }
            Muxer::Mplex => exchange_within(secs(60), host, target, len).await,
        };
        match outcome {
            Ok(()) => {
                let pair = (runtime.host(), neighbour);
                lock(&shared.good).insert(pair, runtime.elapsed());
            }
            Err(failure) => assert!(failure.is_proper(), "{failure:?}"),
        }
        let rest = Duration::from_millis(u64::from(runtime.seed()[0]) * 40);
        pause(runtime, rest).await;
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Nodes notice within this time that they reach each other again.
const RECOVERY: Duration = secs(90);
/// How old the last good exchange may be.
const FRESH: Duration = secs(60);
