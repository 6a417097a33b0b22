//! Watches a node for hours while guests come and go.
//!
//! ```text
//! cargo run --release -p peerkit-soak -- --minutes 60 --log soak.csv --plot soak.svg
//! ```
//!
//! The node runs in a process of its own, with default limits. Guests connect, ping, echo, gossip and leave, some
//! with a goodbye and some without; one guest stays all the time. Every ten seconds the node's memory, descriptors,
//! tasks and connections are noted. The command fails when the memory grows by more than one percent an
//! hour once the node is warm, when descriptors or tasks grow, or when a guest was not served.

mod guests;
mod node;
mod plot;
mod report;
mod watch;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::{guests::Guests, report::Report, watch::Watched};

/// An hour in the life of a node.
#[derive(Parser)]
struct Arguments {
    /// For how long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// How many guests are there at a time.
    #[arg(long, default_value_t = 12)]
    guests: usize,
    /// The runtime of the node. On tokio its tasks are counted as well.
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeName,
    /// A file for all samples.
    #[arg(long)]
    log: Option<PathBuf>,
    /// A picture of them.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Be the node that is watched.
    #[arg(long, hide = true)]
    node: bool,
}

/// The runtimes that the node can run on.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum RuntimeName {
    /// The facade's default.
    #[default]
    AsyncIo,
    /// With a count of its tasks.
    Tokio,
}

impl RuntimeName {
    fn as_str(self) -> &'static str {
        match self {
            Self::AsyncIo => "async-io",
            Self::Tokio => "tokio",
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.node {
        node::run(arguments.runtime).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = watch(&arguments).await?;
    println!("{report}");
    if let Some(path) = &arguments.log {
        std::fs::write(path, report.csv())?;
    }
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::draw(&report.samples))?;
    }
    Ok(if report.passes() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn watch(arguments: &Arguments) -> Result<Report> {
    let mut node = Watched::start(arguments.runtime).await?;
    let guests = Guests::invite(node.addr.clone(), arguments.guests);
    let end = Duration::from_secs(arguments.minutes * 60);
    let mut samples = vec![node.sample().await?];
    let mut pause = tokio::time::interval(INTERVAL);
    while samples.last().is_some_and(|last| last.at < end) {
        pause.tick().await;
        samples.push(node.sample().await?);
    }
    let served = guests.send_home().await;
    node.stop().await?;
    Ok(Report { samples, served })
}

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(10);
