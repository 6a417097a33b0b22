//! `peerkit pubsub subscribe`: prints the messages of a topic.

use std::pin::pin;

use futures::{FutureExt, select};
use peerkit::{
    Host, PeerId,
    pubsub::{Lagged, PubsubEvent, Received},
};

use crate::{
    arguments::SubscribeArguments,
    failure::Failure,
    output::{Event, Output},
    protocols::pubsub::join,
    stdin,
};

pub(crate) async fn run(
    host: &Host,
    arguments: &SubscribeArguments,
    output: Output,
) -> Result<(), Failure> {
    let gathering = &arguments.gathering;
    let topics = std::slice::from_ref(&gathering.topic);
    let mut joined = join(host, gathering, output).await?;
    let mut stdin_end = pin!(stdin::end(arguments.until_stdin_ends).fuse());
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 {
        select! {
            message = joined.messages.next().fuse() => match message {
                Some(message) => left -= print(message, output)?,
                None => return Ok(()),
            },
            event = joined.events.next().fuse() => match event {
                Some(event) => membership(&event, topics, output)?,
                None => return Ok(()),
            },
            () = stdin_end => return Ok(()),
        }
    }
    if arguments.leave {
        drop(joined.messages);
        stdin_end.set(stdin::end(true).fuse());
        stdin_end.await;
    }
    Ok(())
}

/// Prints what a subscription has to say, and returns how many messages it is.
pub(crate) fn print(message: Result<Received, Lagged>, output: Output) -> Result<u64, Failure> {
    match message {
        Ok(message) => output.event(&Event::Message(&message)).map(|()| 1),
        Err(Lagged { missed }) => output.event(&Event::Missed { missed }).map(|()| 0),
    }
}

/// Prints who joins and leaves one of these topics.
pub(crate) fn membership(
    event: &PubsubEvent,
    topics: &[String],
    output: Output,
) -> Result<(), Failure> {
    let Some((peer, topic, is_member)) = change(event) else {
        return Ok(());
    };
    if !topics.iter().any(|it| it == topic) {
        return Ok(());
    }
    output.event(&Event::Membership {
        peer,
        topic,
        is_member,
    })
}

/// Who has joined or left which topic.
pub(crate) fn change(event: &PubsubEvent) -> Option<(PeerId, &str, bool)> {
    if let PubsubEvent::Subscribed { peer, topic } = event {
        return Some((*peer, topic.as_str(), true));
    }
    if let PubsubEvent::Unsubscribed { peer, topic } = event {
        return Some((*peer, topic.as_str(), false));
    }
    None
}
