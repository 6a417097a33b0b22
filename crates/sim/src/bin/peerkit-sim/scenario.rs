//! What happens to the nodes, and what must hold in the end.

use std::{
    mem::take,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use peerkit::core::lock;
use peerkit_sim::{HostId, Node, Sim};

use crate::{
    node::{self, Shared},
    report::Outcome,
};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// Every node pings its neighbours; nothing goes wrong.
    PingMesh,
    /// The network falls into halves from a quarter to a half of the time.
    Partition,
    /// Nodes crash, one after the other, and come back; until three quarters of the time.
    Churn,
}

/// Runs a scenario with `size` nodes and connections of each.
pub(crate) fn run(
    scenario: Scenario,
    seed: u64,
    (count, degree): (usize, usize),
    time: Duration,
) -> Outcome {
    let begin = wall_clock();
    let counts = Shared::default();
    let mut sim = Sim::new(seed);
    let milliseconds = Duration::from_millis;
    let _ = sim
        .links()
        .latency(milliseconds(30))
        .jitter(milliseconds(20));
    let shared = counts.clone();
    let hosts = sim.hosts(count, move |node: Node| {
        let neighbours = neighbours(node.index(), count, degree);
        node::run(node, neighbours, shared.clone())
    });
    match scenario {
        Scenario::PingMesh => {}
        Scenario::Partition => split(&mut sim, &hosts, time),
        Scenario::Churn => churn(&mut sim, &hosts, time),
    }
    let bar = watch(&mut sim, seed, time);
    sim.run_until(time * 3 / 4);
    // From here on nothing goes wrong any more: in the last quarter every neighbour must answer.
    lock(&counts).answered.clear();
    sim.run_until(time);
    bar.finish_and_clear();
    let mut counts = take(&mut *lock(&counts));
    counts.round_trips.sort_unstable();
    Outcome {
        seed,
        virtual_time: sim.elapsed(),
        wall_time: begin.elapsed(),
        pairs: count * degree.min(count - 1),
        trace_hash: sim.trace_hash(),
        stats: sim.stats(),
        counts,
    }
}

/// Whom a node dials: so many others, evenly over the ring of all nodes.
fn neighbours(index: usize, count: usize, degree: usize) -> Vec<HostId> {
    let degree = degree.min(count - 1);
    let others = (0..degree).map(|step| (index + 1 + step * (count - 1) / degree) % count);
    others
        .filter_map(|other| u32::try_from(other).ok().map(HostId::new))
        .collect()
}

fn split(sim: &mut Sim, hosts: &[HostId], time: Duration) {
    let (one, other) = hosts.split_at(hosts.len() / 2);
    let (one, other) = (one.to_vec(), other.to_vec());
    sim.at(time / 4, move |sim| sim.partition(&one, &other));
    sim.at(time / 2, |sim| sim.heal());
}

/// A twentieth of the nodes, but at least one, crashes every twentieth of the time and is back half of that later.
fn churn(sim: &mut Sim, hosts: &[HostId], time: Duration) {
    let (step, share) = (time / 20, hosts.len().div_ceil(20));
    for round in 0..8u32 {
        let begin = time / 10 + step * round;
        let first = round as usize * share;
        let victims: Vec<_> = (first..first + share)
            .map(|index| hosts[index % hosts.len()])
            .collect();
        let back = victims.clone();
        sim.at(begin, move |sim| {
            victims.iter().for_each(|host| sim.crash(*host))
        });
        sim.at(begin + step / 2, move |sim| {
            back.iter().for_each(|host| sim.restart(*host))
        });
    }
}

/// Shows how far it is; draws nothing unless there is a terminal. The ticks are part of the
/// run either way, so that it has the same trace.
fn watch(sim: &mut Sim, seed: u64, time: Duration) -> ProgressBar {
    let bar = ProgressBar::new(time.as_secs());
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s, {msg}");
    bar.set_style(style.expect("the template is a valid one"));
    bar.set_prefix(format!("seed {seed}"));
    let shown = bar.clone();
    sim.every(time / 200, move |sim| {
        shown.set_position(sim.elapsed().as_secs());
        shown.set_message(format!("{} connections", sim.stats().connections));
    });
    bar
}

#[expect(
    clippy::disallowed_methods,
    reason = "it tells how long the simulation itself took"
)]
fn wall_clock() -> Instant {
    Instant::now()
}
