//! Runs scenarios with the real node and prints what came of them.
#![forbid(unsafe_code)]

mod attacks;
mod choice;
mod gossip;
mod gossip_pictures;
mod many;
mod node;
mod pictures;
mod plot;
mod report;
mod scenario;
#[path = "../../../scenarios/mod.rs"]
mod scenarios;
mod throughput;

use std::{num::NonZero, path::PathBuf, process::ExitCode, thread, time::Duration};

use clap::Parser;

use crate::{choice::Choice, report::Report, scenarios::ALL};

/// Runs peerkit nodes in virtual time on a simulated network.
#[derive(Debug, Parser)]
#[command(name = "peerkit-sim", version)]
struct Arguments {
    /// What happens to the nodes.
    #[arg(value_parser = Choice::parser(), hide_possible_values = false)]
    scenario: Choice,
    /// How many nodes; at least two. For the large networks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// The connections of each node, half of which it dials: 8, in gossip 20 by default. For the large networks.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    degree: Option<u32>,
    /// Virtual minutes; nodes need some of them to find each other again. For the first three scenarios.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    minutes: u32,
    /// Runs with this seed; a fresh one by default. The environment variable PEERKIT_SIM_SEED goes before it.
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs: with the seed and those that follow it, or with fresh ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Threads, each of which has a run of its own; one for each core by default. For the small scenarios.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Draws the last run into an SVG file. For the large networks.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    gossip: gossip::Options,
    #[command(flatten)]
    attacks: attacks::Options,
}

impl Arguments {
    fn seeds(&self) -> Vec<u64> {
        let count = self.seeds as usize;
        match self.seed {
            Some(first) if std::env::var_os("PEERKIT_SIM_SEED").is_none() => (0..count as u64)
                .map(|step| first.wrapping_add(step))
                .collect(),
            _ => peerkit_sim::seeds(count),
        }
    }

    /// Nodes, and connections of each.
    fn size(&self, degree: u32) -> (usize, usize) {
        let degree = self.degree.unwrap_or(degree);
        (self.nodes as usize, degree as usize)
    }

    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        self.threads.unwrap_or_else(cores).get()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments.seeds();
    let plot = arguments.plot.as_deref();
    let good = match arguments.scenario {
        Choice::Network(scenario) => networks(&arguments, scenario, &seeds),
        Choice::Small(scenario) => many::run(&[scenario], &seeds, arguments.threads()),
        Choice::All => many::run(&ALL, &seeds, arguments.threads()),
        Choice::Gossip => gossip::run(&arguments.gossip, arguments.size(20), &seeds, plot),
        Choice::GossipPartition => {
            gossip::partition(&arguments.gossip, arguments.size(20), &seeds, plot)
        }
        Choice::Attacks => attacks::run(&arguments.attacks, &seeds, arguments.threads()),
        Choice::Throughput => throughput::run(&seeds),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn networks(arguments: &Arguments, scenario: scenario::Scenario, seeds: &[u64]) -> bool {
    let time = Duration::from_secs(60 * u64::from(arguments.minutes));
    let size = arguments.size(8);
    let mut report = Report::new();
    let mut last = None;
    for seed in seeds {
        let outcome = scenario::run(scenario, *seed, size, time);
        report.add(&outcome);
        last = Some(outcome);
    }
    report.print();
    if let (Some(path), Some(outcome)) = (&arguments.plot, &last) {
        if let Err(error) = pictures::draw(path, scenario, size, outcome) {
            eprintln!("could not write {}: {error}", path.display());
            return false;
        }
        println!("drawn into {}", path.display());
    }
    report.is_good()
}
