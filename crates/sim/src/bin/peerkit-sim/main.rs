//! Runs a scenario with the real node and prints what came of it.
#![forbid(unsafe_code)]

mod node;
mod report;
mod scenario;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use crate::{report::Report, scenario::Scenario};

/// Runs peerkit nodes in virtual time on a simulated network.
#[derive(Debug, Parser)]
#[command(name = "peerkit-sim", version)]
struct Arguments {
    /// What happens to the nodes.
    #[arg(value_enum)]
    scenario: Scenario,
    /// How many nodes; at least two.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// The connections of each node, half of which it dials. It pings all its neighbours.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    degree: u32,
    /// Virtual minutes; nodes need some of them to find each other again.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    minutes: u32,
    /// Runs with this seed; a fresh one by default. The environment variable PEERKIT_SIM_SEED goes before it.
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs: with the seed and those that follow it, or with fresh ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let time = Duration::from_secs(60 * u64::from(arguments.minutes));
    let size = (arguments.nodes as usize, arguments.degree as usize);
    let mut report = Report::new();
    for seed in arguments.seeds() {
        let outcome = scenario::run(arguments.scenario, seed, size, time);
        report.add(outcome);
    }
    report.print();
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
