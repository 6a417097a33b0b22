//! The attack suite: runs the scenarios and prints the scoreboard.

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use peerkit_hostile::{
    child, honest, report,
    report::Row,
    scenario::{ControlRuns, Kind, Scenario},
    scenarios, victim,
};

/// The attack suite of peerkit.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the scenarios and prints the scoreboard.
    All {
        /// Only these; what an id begins with is enough.
        #[arg(long, num_args = 1..)]
        only: Vec<String>,
        /// Small sizes and short waits.
        #[arg(long)]
        quick: bool,
        /// Only those that cost milliseconds.
        #[arg(long)]
        vectors: bool,
        /// Sees live scenarios fail, too, with `--quick`; without it, that is done anyway.
        #[arg(long)]
        defence_off: bool,
        /// A page that gets the table between its markers.
        #[arg(long)]
        markdown: Option<PathBuf>,
    },
    /// Names the scenarios.
    List,
    /// A victim; started by the scenarios.
    #[command(hide = true)]
    Victim { changes: Vec<String> },
    /// Honest peers; started by the scenarios.
    #[command(hide = true)]
    Honest { victim: SocketAddr },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::All {
            only,
            quick,
            vectors,
            defence_off,
            markdown,
        } => {
            let mut chosen = scenarios::all();
            chosen.retain(|it| is_chosen(it, &only) && (!vectors || it.kind == Kind::Vector));
            anyhow::ensure!(!chosen.is_empty(), "there is no such scenario");
            let control = match quick && !defence_off {
                true => ControlRuns::Vectors,
                false => ControlRuns::All,
            };
            let rows = scoreboard(&chosen, quick, control)?;
            markdown.map_or(Ok(()), |page| write_table(&page, &rows))?;
            Ok(rows.iter().all(Row::passed))
        }
        Command::List => {
            for scenario in scenarios::all() {
                println!("{:<24} {}", scenario.id, scenario.title);
            }
            Ok(true)
        }
        Command::Victim { changes } => {
            peerkit::runtime::block_on(victim::run(&changes)).map(|()| true)
        }
        Command::Honest { victim } => {
            peerkit::runtime::block_on(honest::run(victim)).map(|()| true)
        }
    }
}

fn is_chosen(scenario: &Scenario, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|prefix| scenario.id.starts_with(prefix))
}

fn scoreboard(chosen: &[Scenario], quick: bool, control: ControlRuns) -> Result<Vec<Row>> {
    child::prepare();
    // Attackers would be on other machines: they get what the victim and the honest leave of this one.
    rustix::process::nice(10)?;
    let mut rows = Vec::new();
    for scenario in chosen {
        let row = peerkit::runtime::block_on(scenario.row(quick, control));
        println!("{}", row.line());
        rows.push(row);
    }
    println!("{}", summary(&rows));
    Ok(rows)
}

fn summary(rows: &[Row]) -> String {
    let passed = rows.iter().filter(|row| row.passed()).count();
    let seen = rows
        .iter()
        .filter(|row| row.seen_to_fail.starts_with("yes"))
        .count();
    let all = rows.len();
    format!("{passed} of {all} pass; {seen} were seen to fail without their defence")
}

fn write_table(page: &PathBuf, rows: &[Row]) -> Result<()> {
    let old = fs::read_to_string(page)?;
    let text = format!("\n{}.\n\n{}\n", summary(rows), report::markdown(rows));
    let new = report::replaced(&old, "attack scoreboard", &text);
    fs::write(page, new.context("the page has no markers for the table")?)?;
    Ok(())
}
