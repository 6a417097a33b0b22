//! The commands, one file each.

mod demo;
mod echo;
mod identify;
mod info;
mod key;
mod listen;
mod perf;
mod ping;

use peerkit::Host;

use crate::{
    arguments::{Arguments, Command, Options},
    failure::Failure,
    interrupt::Interrupt,
    node,
    output::Output,
};

/// Runs the command that was asked for.
pub(crate) async fn run(
    Arguments { options, command }: Arguments,
    output: Output,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => interrupt.guard(demo::run(&demo, &options, output)).await,
        Command::Listen(listen) => listen::run(&listen, &options, output, interrupt).await,
        Command::Ping(ping) => {
            let work = async |host: &Host| ping::run(host, &ping, output).await;
            with_node(&options, &mut interrupt, work).await
        }
        Command::Identify(identify) => {
            let work = async |host: &Host| identify::run(host, &identify, output).await;
            with_node(&options, &mut interrupt, work).await
        }
        Command::Echo(echo) => {
            let work = async |host: &Host| echo::run(host, &echo, output).await;
            with_node(&options, &mut interrupt, work).await
        }
        Command::Perf(perf) => {
            let work = async |host: &Host| perf::run(host, &perf, output).await;
            with_node(&options, &mut interrupt, work).await
        }
        Command::Key(command) => key::run(&command, options.key.as_deref(), output),
        Command::Info => info::run(output),
    }
}

/// Starts a node, works with it until the end or an interrupt, and closes it in good order.
async fn with_node(
    options: &Options,
    interrupt: &mut Interrupt,
    work: impl AsyncFnOnce(&Host) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let host = node::start(options).await?;
    let outcome = interrupt.guard(work(&host)).await;
    host.close().await;
    outcome
}
