//! The commands, one file each.

mod chat;
mod demo;
mod echo;
mod identify;
mod info;
mod key;
mod listen;
mod perf;
mod ping;
mod publish;
mod subscribe;

use peerkit::Host;

use crate::{
    arguments::{Arguments, Command, Options, PubsubCommand},
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
        Command::Pubsub(PubsubCommand::Subscribe(subscribe)) => {
            let work = async |host: &Host| subscribe::run(host, &subscribe, output).await;
            let outcome = with_node(&options, &mut interrupt, work).await;
            // A signal is how it is told to stop.
            outcome.or_else(Failure::unless_interrupt)
        }
        Command::Pubsub(PubsubCommand::Publish(publish)) => {
            let work = async |host: &Host| publish::run(host, &publish, output).await;
            with_node(&options, &mut interrupt, work).await
        }
        Command::Chat(chat) => {
            let work = async |host: &Host| chat::run(host, &chat, output).await;
            let outcome = with_node(&options, &mut interrupt, work).await;
            // A signal is how it is told to stop.
            outcome.or_else(Failure::unless_interrupt)
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
