//! `peerkit chat`: the lines of stdin go to everybody in a topic, and theirs come here.

use std::time::Duration;

use futures::{FutureExt, StreamExt, select};
use peerkit::{
    Host, PeerId,
    core::with_deadline,
    pubsub::{PublishError, Received},
};

use crate::{
    arguments::ChatArguments,
    failure::Failure,
    output::{Event, Output},
    protocols::pubsub::{Joined, Pubsub, join},
    stdin,
};

use super::subscribe::membership;

pub(crate) async fn run(
    host: &Host,
    arguments: &ChatArguments,
    output: Output,
) -> Result<(), Failure> {
    let gathering = &arguments.gathering;
    let topics = std::slice::from_ref(&gathering.topic);
    let Joined {
        mut messages,
        mut events,
        pubsub,
    } = join(host, gathering, output).await?;
    if !gathering.connect.is_empty() {
        // What is said before the others know of this side would be lost.
        let others = pubsub.wait_for_peers(&gathering.topic, 1);
        with_deadline(host.runtime().as_ref(), ARRIVAL, others).await;
    }
    let mut lines = stdin::lines().fuse();
    loop {
        select! {
            line = lines.next() => match line {
                Some(Ok(line)) => {
                    say(&pubsub, arguments, &line, output).await?;
                }
                Some(Err(_)) | None => break,
            },
            message = messages.next().fuse() => match message {
                Some(Ok(message)) => show(&message, output)?,
                Some(Err(lagged)) => output.event(&Event::Missed { missed: lagged.missed })?,
                None => return Ok(()),
            },
            event = events.next().fuse() => match event {
                Some(event) => membership(&event, topics, output)?,
                None => return Ok(()),
            },
        }
    }
    pubsub.close().await;
    Ok(())
}

async fn say(
    pubsub: &Pubsub,
    arguments: &ChatArguments,
    line: &str,
    output: Output,
) -> Result<(), Failure> {
    if line.is_empty() {
        return Ok(());
    }
    let said = match &arguments.name {
        Some(name) => format!("{name}: {line}"),
        None => line.to_owned(),
    };
    match pubsub
        .publish(&arguments.gathering.topic, said.as_bytes())
        .await
    {
        Err(PublishError::NoPeers) if output.is_json() => Ok(()),
        Err(PublishError::NoPeers) => output.line("(nobody is here yet)"),
        outcome => Ok(outcome.map(drop)?),
    }
}

fn show(message: &Received, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.event(&Event::Message(message));
    }
    let author = message.from.map_or_else(|| "somebody".into(), short);
    // It could steer the terminal.
    let text = String::from_utf8_lossy(&message.data);
    output.line(&format!("<{author}> {}", text.escape_debug()))
}

/// How long to wait for those who were named.
const ARRIVAL: Duration = Duration::from_secs(3);

/// What tells peers apart at a glance.
fn short(peer: PeerId) -> String {
    let id = peer.to_string();
    id[id.len().saturating_sub(6)..].to_owned()
}
