//! Runs peerkit against other libp2p implementations, in both directions.
//! See interop/README.md.

#![expect(
    clippy::disallowed_methods,
    reason = "a program that waits for other processes has clocks and threads of its own"
)]

mod build_cost;
mod install;
mod matrix;
mod memory;
mod peers;
mod process;
mod progress;
mod proxy;
mod pubsub;
mod report;
mod round_trips;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use install::{Installed, Workshop};
use matrix::{Outcome, Pairing};
use peers::{Language, Muxer, Peer, Router, Security, Stack};
use report::Detail;

/// Run peerkit against other libp2p implementations.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    matrix: MatrixArgs,
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Echo a lot of bytes through two processes and see by how much they grow.
    Memory {
        /// Bytes to echo.
        #[arg(long, default_value_t = 1 << 30)]
        transfer: u64,
    },
    /// Only publish/subscribe, which is otherwise part of the whole.
    Pubsub,
    /// Build a small node from nothing, and the same on rust-libp2p; prints what each costs.
    BuildCost,
    /// Count the link round trips from a dial to the first byte of the answer.
    RoundTrips {
        /// One-way delay of the link in milliseconds. Its double must be well
        /// above the time that a listener thinks.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        delay_ms: u64,
        /// Dials of each listener; the fastest counts.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        dials: u32,
    },
}

#[derive(Args)]
struct Common {
    /// Only these implementations, separated by commas.
    #[arg(long, global = true, value_enum, value_delimiter = ',')]
    only: Vec<Language>,
    /// Only these muxers, separated by commas.
    #[arg(long, global = true, value_enum, value_delimiter = ',')]
    muxer: Vec<Muxer>,
    /// Seconds that one dialer may take.
    #[arg(long, global = true, default_value_t = 90)]
    timeout: u64,
    /// Count an implementation that this machine cannot run as a failure, as
    /// is done when the environment has CI=true.
    #[arg(long, global = true)]
    no_skip: bool,
    /// Write the table between its markers in this Markdown file.
    #[arg(long, global = true, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The peerkit command line to test, instead of building it.
    #[arg(long, global = true, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Args)]
struct MatrixArgs {
    /// Only these securities, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    security: Vec<Security>,
    /// Bytes that the echo test sends.
    #[arg(long, default_value_t = 10_000_000)]
    bytes: u64,
    /// Run the other implementations among each other, without peerkit.
    #[arg(long, global = true)]
    foreign_pairs: bool,
    /// Only these publish/subscribe routers, separated by commas.
    #[arg(long, global = true, value_enum, value_delimiter = ',')]
    router: Vec<Router>,
}

impl MatrixArgs {
    fn pairing(&self) -> Pairing {
        if self.foreign_pairs {
            Pairing::Foreign
        } else {
            Pairing::Local
        }
    }
}

/// How many of the tests went how.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let strict = cli.common.no_skip || env::var("CI").is_ok_and(|value| value == "true");
    match run(cli) {
        Ok(Tally {
            passed,
            failed,
            skipped,
        }) => {
            println!("\n{passed} passed, {failed} failed, {skipped} skipped");
            let good = failed == 0 && passed > 0 && !(strict && skipped > 0);
            if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Passed when ours is cheaper, in crates and in CPU time, than the one with the same key types.
fn measure_build_cost(root: &Path) -> Result<Tally> {
    let costs = build_cost::measure(root)?;
    build_cost::print(&costs);
    let (ours, theirs) = (&costs[0], &costs[1]);
    let cheaper = ours.crates < theirs.crates && ours.cpu_seconds < theirs.cpu_seconds;
    Ok(Tally {
        passed: usize::from(cheaper),
        failed: usize::from(!cheaper),
        skipped: 0,
    })
}

/// Passed for each muxer with which both processes stay small.
fn measure_memory(workshop: &Workshop, common: &Common, bytes: u64) -> Result<Tally> {
    let peer = workshop.local(common.binary.clone())?;
    let limit = Duration::from_secs(common.timeout);
    let growths = Muxer::value_variants()
        .iter()
        .map(|&muxer| {
            let security = Security::Noise;
            memory::measure(&peer, Stack { security, muxer }, bytes, limit)
        })
        .collect::<Result<Vec<_>>>()?;
    memory::print(&growths);
    let passed = growths.iter().filter(|growth| growth.is_flat()).count();
    Ok(Tally {
        passed,
        failed: growths.len() - passed,
        skipped: 0,
    })
}

fn run(cli: Cli) -> Result<Tally> {
    let workshop = Workshop::new()?;
    if let Some(Action::BuildCost) = cli.command {
        return measure_build_cost(workshop.repository());
    }
    if let Some(Action::Memory { transfer }) = cli.command {
        return measure_memory(&workshop, &cli.common, transfer);
    }
    let mut tally = Tally::default();
    let mut peers = Vec::new();
    if !cli.matrix.foreign_pairs {
        peers.push(workshop.local(cli.common.binary.clone())?);
    }
    peers.extend(install_foreign(&workshop, &cli.common, &mut tally));
    match cli.command {
        None | Some(Action::BuildCost | Action::Memory { .. }) => {
            run_matrix(&peers, &cli.common, &cli.matrix, &mut tally)?;
            run_pubsub(&peers, &cli.common, &cli.matrix, &mut tally)?;
        }
        Some(Action::Pubsub) => run_pubsub(&peers, &cli.common, &cli.matrix, &mut tally)?,
        Some(Action::RoundTrips { delay_ms, dials }) => {
            let options = round_trips::Options {
                delay: Duration::from_millis(delay_ms),
                dials,
                timeout: Duration::from_secs(cli.common.timeout),
            };
            count_round_trips(&peers, &cli.common, &options, &mut tally)?;
        }
    }
    Ok(tally)
}

/// One that cannot be installed does not keep the others from being tested.
fn install_foreign(workshop: &Workshop, common: &Common, tally: &mut Tally) -> Vec<Peer> {
    let mut peers = Vec::new();
    for &language in all_unless(&common.only) {
        match workshop.foreign(language) {
            Ok(Installed::Ready(peer)) => peers.push(*peer),
            Ok(Installed::Missing(what)) => {
                println!("{language} is skipped: this machine does not have {what}");
                tally.skipped += 1;
            }
            Err(error) => {
                println!("{language} FAILED to install: {error:#}");
                tally.failed += 1;
            }
        }
    }
    peers
}

fn run_matrix(peers: &[Peer], common: &Common, args: &MatrixArgs, tally: &mut Tally) -> Result<()> {
    let options = matrix::Options {
        muxers: all_unless(&common.muxer).to_vec(),
        securities: all_unless(&args.security).to_vec(),
        echo_bytes: args.bytes,
        timeout: Duration::from_secs(common.timeout),
    };
    let rows = matrix::plan(peers, args.pairing(), &options);
    let outcomes = matrix::run(rows, &options);
    tally.passed += outcomes.iter().map(Outcome::passed).sum::<usize>();
    tally.failed += outcomes.iter().map(Outcome::failed).sum::<usize>();
    println!(
        "\n{}\n\n{}",
        titles(peers),
        report::matrix_table(&outcomes, Detail::Measured).text()
    );
    if let Some(file) = &common.markdown {
        let section = if args.foreign_pairs {
            "foreign-pairs"
        } else {
            "interop"
        };
        let table = report::matrix_table(&outcomes, Detail::Verdict).markdown();
        report::write_section(file, section, &format!("{}\n\n{table}", titles(peers)))?;
    }
    Ok(())
}

/// Nothing, when the peers have no router in common.
fn run_pubsub(peers: &[Peer], common: &Common, args: &MatrixArgs, tally: &mut Tally) -> Result<()> {
    let options = pubsub::Options {
        routers: all_unless(&args.router).to_vec(),
        timeout: Duration::from_secs(common.timeout),
    };
    let pairs = matrix::pairs(peers, args.pairing());
    let rows = pubsub::plan(peers, &pairs, &options);
    if rows.is_empty() {
        return Ok(());
    }
    let outcomes = pubsub::run(rows, &options);
    tally.passed += outcomes.iter().map(pubsub::Outcome::passed).sum::<usize>();
    tally.failed += outcomes.iter().map(pubsub::Outcome::failed).sum::<usize>();
    let tables = |detail| {
        [
            pubsub::pairs_table(&outcomes, detail),
            pubsub::chains_table(&outcomes, detail),
        ]
    };
    let text = tables(Detail::Measured).map(|table| table.text());
    println!("\n{}\n\n{}", titles(peers), text.join("\n\n"));
    if let Some(file) = &common.markdown {
        let section = if args.foreign_pairs {
            "foreign-pubsub"
        } else {
            "pubsub"
        };
        let tables = tables(Detail::Verdict).map(|table| table.markdown());
        let content = format!("{}\n\n{}", titles(peers), tables.join("\n\n"));
        report::write_section(file, section, &content)?;
    }
    Ok(())
}

fn count_round_trips(
    peers: &[Peer],
    common: &Common,
    options: &round_trips::Options,
    tally: &mut Tally,
) -> Result<()> {
    // peerkit with every listener, itself too, and each other stack with its
    // own kind, for comparison.
    let dialers = peers.iter().filter(|peer| peer.is_local());
    let mut pairs: Vec<_> = dialers
        .flat_map(|dialer| peers.iter().map(move |peer| (dialer, peer)))
        .collect();
    pairs.extend(
        peers
            .iter()
            .filter(|peer| !peer.is_local())
            .map(|peer| (peer, peer)),
    );
    let security = Security::Noise;
    let stacks: Vec<_> = all_unless(&common.muxer)
        .iter()
        .map(|&muxer| Stack { muxer, security })
        .collect();
    let measurements = round_trips::run(&pairs, &stacks, options);
    for measurement in &measurements {
        if measurement.is_good() {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
    }
    let table = round_trips::table(&measurements);
    println!("\n{}\n\n{}", titles(peers), table.text());
    if let Some(file) = &common.markdown {
        let content = format!("{}\n\n{}", titles(peers), table.markdown());
        report::write_section(file, "round-trips", &content)
            .context("the round trips were counted but not written")?;
    }
    Ok(())
}

fn titles(peers: &[Peer]) -> String {
    let titles: Vec<_> = peers.iter().map(|peer| peer.title.as_str()).collect();
    titles.join(", ")
}

/// What was asked for, or else everything.
fn all_unless<T: ValueEnum>(asked: &[T]) -> &[T] {
    if asked.is_empty() {
        T::value_variants()
    } else {
        asked
    }
}
