//! A network in which everybody follows the rules and nothing fails.

use std::time::Duration;

use peerkit::gossipsub::Config;
use peerkit_sim::Stats;

use super::{Figures, Log, Network, Publishing, Setup, Traffic};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Connections of each node, on average.
    pub(crate) degree: usize,
    /// Nodes that publish, one message a second each.
    pub(crate) publishers: usize,
    /// For how long they publish.
    pub(crate) time: Duration,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Bits per second that a node can send, to one other node and in all.
    pub(crate) bandwidth: u64,
    pub(crate) idontwant: Idontwant,
}

/// Whether nodes tell which messages they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idontwant {
    /// As it is by default.
    On,
    Off,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) figures: Figures,
    pub(crate) log: Log,
    /// When the first message was published.
    pub(crate) begin: Duration,
    /// Copies that a node has received of each message, on average.
    pub(crate) copies: f64,
    /// Bytes that a node has sent in a second, and so received, on average, while messages were published.
    pub(crate) bytes_per_second: f64,
    /// All of it.
    pub(crate) traffic: Traffic,
    /// Members of the mesh of each node.
    pub(crate) mesh_sizes: Vec<usize>,
    pub(crate) stats: Stats,
}

impl Run {
    /// Members of a mesh, on average.
    pub(crate) fn mesh_mean(&self) -> f64 {
        let sum: usize = self.mesh_sizes.iter().sum();
        sum as f64 / self.mesh_sizes.len().max(1) as f64
    }

    /// Whether it needed fewer copies and fewer bytes than another one.
    pub(crate) fn saves_beside(&self, other: &Self) -> bool {
        self.copies < other.copies && self.bytes_per_second < other.bytes_per_second
    }
}

/// Whether nodes tell others that they have a message with so many bytes, by default.
pub(crate) fn is_announced(size: usize) -> bool {
    size >= Config::default().idontwant_size_min
}

/// Runs it; nodes have [`WARM_UP`] to find each other.
pub(crate) fn run(plan: Plan) -> Run {
    let mut network = Network::new(setup(&plan));
    let publishing = Publishing {
        from: WARM_UP,
        publishers: network.draw_nodes(plan.publishers),
        every: Duration::from_secs(1) / plan.publishers as u32,
        count: plan.publishers * plan.time.as_secs() as usize,
        size: plan.size,
    };
    network.publish(&publishing);
    // As much is under way at the end of this time as at its beginning.
    network.sim.run_until(WARM_UP + SECOND);
    let begin = network.traffic();
    network
        .sim
        .run_until(publishing.end().max(WARM_UP + 2 * SECOND));
    let end = network.traffic();
    let mesh_sizes = network.mesh_sizes();
    network.sim.run_for(AFTERMATH);
    let (traffic, log) = (network.traffic(), network.log());
    let figures = Figures::of(&log, plan.nodes, |_| true);
    let seconds = (end.at - begin.at).as_secs_f64();
    Run {
        plan,
        copies: traffic.copies as f64 / figures.expected.max(1) as f64,
        bytes_per_second: (end.bytes - begin.bytes) as f64 / seconds / plan.nodes as f64,
        figures,
        log,
        begin: WARM_UP,
        traffic,
        mesh_sizes,
        stats: network.sim.stats(),
    }
}

fn setup(plan: &Plan) -> Setup {
    let setup = Setup::new(plan.seed, plan.nodes, plan.degree).with_config(|config| {
        if plan.idontwant == Idontwant::Off {
            // No message is that long.
            config.router.idontwant_size_min = usize::MAX;
        }
    });
    Setup {
        bandwidth: plan.bandwidth,
        uplink: Some(plan.bandwidth),
        ..setup
    }
}

const WARM_UP: Duration = Duration::from_secs(30);
/// Long after a message is everywhere, or will never be.
const AFTERMATH: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
