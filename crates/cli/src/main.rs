//! The peerkit command line. README.md has the commands with their outputs.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod interrupt;
mod limits;
mod node;
mod output;
mod progress;
mod protocols;
mod stdin;
mod transfer;

use std::{io::IsTerminal, process::ExitCode};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    arguments::{Arguments, RuntimeName},
    failure::Failure,
    interrupt::Interrupt,
    output::Output,
};

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    start_log();
    let output = Output::new(arguments.options.json);
    match run(arguments, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let runtime = arguments.options.runtime;
    let command = commands::run(arguments, output, interrupt);
    match runtime {
        RuntimeName::AsyncStd => async_std::task::block_on(command),
        RuntimeName::Tokio => on_tokio(command),
    }
}

fn on_tokio(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("tokio could not be started: {error}")))?;
    let outcome = runtime.block_on(command);
    // The node is closed by now; a name lookup that hangs in the system need not be waited for.
    runtime.shutdown_background();
    outcome
}

/// Logs go to stderr; `RUST_LOG` says which.
fn start_log() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
