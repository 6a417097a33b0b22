//! What every scenario begins and ends with.

use std::{cell::Cell, panic, sync::Once, time::Duration};

use futures::future::join_all;
use peerkit::Host;
use peerkit_sim::{Sim, Stats};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What a run has come to, when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) virtual_time: Duration,
    pub(crate) trace_hash: u64,
    pub(crate) stats: Stats,
}

/// The muxer that all nodes of a run speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Muxer {
    Yamux,
    Mplex,
}

impl Muxer {
    pub(crate) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) {
            Self::Yamux
        } else {
            Self::Mplex
        }
    }
}

/// A run: its simulation, which is checked all the time, and its own randomness.
pub(crate) struct Trial {
    pub(crate) sim: Sim,
    pub(crate) rng: StdRng,
    pub(crate) muxer: Muxer,
}

impl Trial {
    /// Links have some latency, jitter and bandwidth.
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        sim.links()
            .latency(between(
                &mut rng,
                Duration::from_millis(1),
                Duration::from_millis(150),
            ))
            .jitter(between(&mut rng, Duration::ZERO, Duration::from_millis(30)))
            .bandwidth(rng.random_range(2_000_000..1_000_000_000));
        watch(&mut sim);
        Self {
            sim,
            rng,
            muxer: Muxer::of(seed),
        }
    }

    /// Draws a time.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        between(&mut self.rng, least, most)
    }

    /// Closes the nodes that are left. Nothing may remain of them.
    pub(crate) fn end(mut self, hosts: Vec<Host>) -> Outcome {
        let closing = hosts.iter().map(|host| host.close());
        self.sim.block_on(join_all(closing));
        drop(hosts);
        self.outcome()
    }

    /// See [`outcome`].
    pub(crate) fn outcome(self) -> Outcome {
        outcome(self.sim)
    }
}

/// Nothing may remain a few minutes after everything was closed.
pub(crate) fn outcome(mut sim: Sim) -> Outcome {
    sim.run_for(AFTERMATH);
    check(&mut sim);
    let stats = sim.stats();
    assert_eq!(stats.tasks, 0, "no task is left");
    assert_eq!(stats.connections, 0, "no connection is left");
    Outcome {
        virtual_time: sim.elapsed(),
        trace_hash: sim.trace_hash(),
        stats,
    }
}

/// Checks a simulation all the time from now on.
pub(crate) fn watch(sim: &mut Sim) {
    watch_panics();
    sim.every(Duration::from_secs(1), check);
}

/// What must hold at any time.
fn check(sim: &mut Sim) {
    let stats = sim.stats();
    assert_eq!(stats.panics + PANICS.get(), 0, "no task panics");
    assert_eq!(
        stats.foreign_wake_ups, 0,
        "nothing happens on other threads"
    );
}

/// A node catches the panics of its tasks; here they count all the same.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            print(info);
        }));
    });
    PANICS.set(0);
}

fn between(rng: &mut StdRng, least: Duration, most: Duration) -> Duration {
    Duration::from_micros(rng.random_range(least.as_micros() as u64..=most.as_micros() as u64))
}

thread_local! {
    /// Panics on this thread in this run.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// The longest that a closed socket waits for the other side.
const AFTERMATH: Duration = Duration::from_secs(1200);
