//! A network of gossipsub nodes falls into halves and heals.

use std::time::Duration;

use super::{Figures, Log, Message, Network, Publishing, Setup};
use crate::scenarios::Outcome;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Connections of each node, on average.
    pub(crate) degree: usize,
    /// Messages each second, of random nodes, all the time.
    pub(crate) rate: f64,
    /// Messages each second beside those, in the time that counts.
    pub(crate) rate_healed: f64,
    /// Bytes of a message.
    pub(crate) size: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) log: Log,
    /// Of the messages that were published since the network is whole again.
    pub(crate) healed: Figures,
}

impl Run {
    /// Whether all that was published since the heal was everywhere in time.
    pub(crate) fn is_good(&self) -> bool {
        let last = self.healed.latency(1.0).unwrap_or(Duration::MAX);
        self.healed.is_complete() && last <= DEADLINE
    }
}

/// Both halves publish while they are apart and afterwards.
pub(crate) fn run(plan: Plan) -> Run {
    let network = heal(&plan);
    judge(plan, &network)
}

/// Forty nodes: what is published since the heal is everywhere within three heartbeats.
pub(crate) fn halves(seed: u64) -> Outcome {
    let plan = Plan {
        seed,
        nodes: 40,
        degree: 12,
        rate: 0.2,
        rate_healed: 3.0,
        size: 256,
    };
    let network = heal(&plan);
    let run = judge(plan, &network);
    let (last, expected) = (run.healed.latency(1.0), run.healed.expected);
    assert!(
        run.is_good(),
        "{} of {expected} messages have arrived, the last after {last:?}",
        run.healed.latencies.len()
    );
    network.end()
}

fn heal(plan: &Plan) -> Network {
    let mut network = Network::new(Setup::new(plan.seed, plan.nodes, plan.degree));
    publish(&mut network, plan, WARM_UP, END, plan.rate);
    publish(&mut network, plan, HEAL, END, plan.rate_healed);
    let mut hosts = network.hosts.clone();
    let half = hosts.len() / 2;
    let other = hosts.split_off(half);
    network
        .sim
        .at(APART, move |sim| sim.partition(&hosts, &other));
    network.sim.at(HEAL, |sim| sim.heal());
    network.sim.run_until(END + AFTERMATH);
    network
}

fn publish(network: &mut Network, plan: &Plan, from: Duration, to: Duration, rate: f64) {
    let count = ((to - from).as_secs_f64() * rate) as usize;
    let publishing = Publishing {
        from,
        publishers: (0..count).flat_map(|_| network.draw_nodes(1)).collect(),
        every: Duration::from_secs_f64(1.0 / rate),
        count,
        size: plan.size,
    };
    network.publish(&publishing);
}

fn judge(plan: Plan, network: &Network) -> Run {
    let log = network.log();
    let healed = Figures::of(&log, plan.nodes, |message: &Message| message.at >= HEAL);
    Run { plan, log, healed }
}

const WARM_UP: Duration = Duration::from_secs(20);
/// When the halves lose each other.
pub(crate) const APART: Duration = Duration::from_secs(25);
/// When the network is whole again.
pub(crate) const HEAL: Duration = Duration::from_secs(85);
/// When the last message is published.
pub(crate) const END: Duration = Duration::from_secs(95);
/// Within which a message has to be everywhere: three heartbeats.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);
const AFTERMATH: Duration = Duration::from_secs(10);
