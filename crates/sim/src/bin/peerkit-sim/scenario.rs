//! What happens to the nodes, and what must hold in the end.

use std::{
    cell::RefCell,
    mem::take,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use peerkit::core::lock;
use peerkit_sim::{HostId, Node, Sim};

use crate::{
    node::{self, Neighbour, Shared},
    pictures::Sample,
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

type Samples = Rc<RefCell<Vec<Sample>>>;

impl Scenario {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// When something goes wrong in a run of this length, and what.
    pub(crate) fn trouble(self, time: Duration) -> Option<(Duration, Duration, &'static str)> {
        match self {
            Self::PingMesh => None,
            Self::Partition => Some((time / 4, time / 2, "two halves")),
            Self::Churn => Some((time / 10, time / 40 * 19, "crashes and restarts")),
        }
    }
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
    let mesh = mesh(count, degree);
    let pairs = mesh.iter().map(Vec::len).sum();
    let hosts = sim.hosts(count, move |node: Node| {
        let neighbours = mesh[node.index()].clone();
        node::run(node, neighbours, shared.clone())
    });
    match scenario {
        Scenario::PingMesh => {}
        Scenario::Partition => split(&mut sim, &hosts, time),
        Scenario::Churn => churn(&mut sim, &hosts, time),
    }
    let samples = Rc::default();
    let bar = watch(&mut sim, time, (counts.clone(), Rc::clone(&samples)));
    bar.set_prefix(format!("seed {seed}"));
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
        pairs,
        trace_hash: sim.trace_hash(),
        stats: sim.stats(),
        counts,
        samples: samples.take(),
    }
}

/// The neighbours of all nodes: each has `degree` of them (one less when neither number is even), half of
/// which it dials. The distances to them are spread evenly over the ring of all nodes.
fn mesh(count: usize, degree: usize) -> Vec<Vec<Neighbour>> {
    let degree = degree.min(count - 1);
    let mut mesh = vec![Vec::with_capacity(degree); count];
    let mut join = |from: usize, to: usize| {
        mesh[from].push(neighbour(to, true));
        mesh[to].push(neighbour(from, false));
    };
    let (near, pairs) = ((count - 1) / 2, degree / 2);
    for step in 0..pairs {
        let distance = 1 + step * near / pairs;
        (0..count).for_each(|from| join(from, (from + distance) % count));
    }
    // The one that is left is the opposite one, if there is such a node.
    if degree % 2 == 1 && count.is_multiple_of(2) {
        (0..count / 2).for_each(|from| join(from, from + count / 2));
    }
    mesh
}

fn neighbour(index: usize, dials: bool) -> Neighbour {
    let host = u32::try_from(index).expect("there are fewer nodes than numbers");
    Neighbour {
        host: HostId::new(host),
        dials,
    }
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
fn watch(sim: &mut Sim, time: Duration, (counts, samples): (Shared, Samples)) -> ProgressBar {
    let bar = ProgressBar::new(time.as_secs());
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s, {msg}");
    bar.set_style(style.expect("the template is a valid one"));
    let shown = bar.clone();
    sim.every(time / 200, move |sim| {
        shown.set_position(sim.elapsed().as_secs());
        let connections = sim.stats().connections;
        shown.set_message(format!("{connections} connections"));
        let counts = lock(&counts);
        samples.borrow_mut().push(Sample {
            time: sim.elapsed(),
            connections,
            pings: counts.pings,
            failed: counts.pings_failed + counts.dials_failed,
        });
    });
    bar
}

#[expect(
    clippy::disallowed_methods,
    reason = "it tells how long the simulation itself took"
)]
pub(crate) fn wall_clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_as_many_neighbours_as_were_asked_for_and_they_know_it() {
        for (count, degree, expected) in [
            (2, 1, 1),
            (2, 64, 1),
            (3, 2, 2),
            (5, 3, 2),
            (9, 64, 8),
            (10, 3, 3),
            (64, 64, 63),
            (200, 8, 8),
            (1000, 8, 8),
            (1001, 64, 64),
        ] {
            for (index, neighbours) in mesh(count, degree).iter().enumerate() {
                let mut hosts: Vec<_> = neighbours.iter().map(|it| it.host).collect();
                hosts.sort_unstable();
                hosts.dedup();
                assert_eq!(hosts.len(), expected, "{count} {degree}");
                assert!(!hosts.iter().any(|host| host.index() == index));
                assert_eq!(neighbours.len(), expected);
            }
        }
    }
}
