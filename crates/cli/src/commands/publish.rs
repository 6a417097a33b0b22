//! `peerkit pubsub publish`: sends messages to those who have joined a topic.

use std::pin::pin;

use futures::{FutureExt, StreamExt, select};
use peerkit::{Host, pubsub::PubsubEvents};

use crate::{
    arguments::PublishArguments,
    failure::Failure,
    output::{Event, Output, PublishedMessage},
    protocols::pubsub::{Pubsub, gather},
    stdin,
};

use super::subscribe::membership;

pub(crate) async fn run(
    host: &Host,
    arguments: &PublishArguments,
    output: Output,
) -> Result<(), Failure> {
    let pubsub = Pubsub::spawn(host, arguments.gathering.routing)?;
    let mut events = pubsub.events();
    gather(host, &arguments.gathering, output).await?;
    let mut session = Session {
        topic: &arguments.gathering.topic,
        pubsub,
        output,
    };
    let enough = |peers| peers >= arguments.peers;
    let is_open = session.wait_until(&mut events, enough).await?;
    if !is_open {
        return Err(Failure::local("the node was closed"));
    }
    session.publish_all(arguments).await?;
    session.pubsub.flush().await;
    if arguments.until_stdin_ends {
        let mut stdin_end = pin!(stdin::end(true).fuse());
        let mut gone = pin!(session.wait_until(&mut events, |peers| peers == 0).fuse());
        select! {
            outcome = gone => drop(outcome?),
            () = stdin_end => {}
        }
    }
    Ok(())
}

struct Session<'a> {
    topic: &'a String,
    pubsub: Pubsub,
    output: Output,
}

impl Session<'_> {
    fn topics(&self) -> &[String] {
        std::slice::from_ref(self.topic)
    }

    /// Prints who comes and goes until their number is as it should be; false when the node was closed.
    async fn wait_until(
        &self,
        events: &mut PubsubEvents,
        is_reached: impl Fn(usize) -> bool,
    ) -> Result<bool, Failure> {
        loop {
            // What has happened already is told before the number is looked at.
            while let Some(event) = events.next().now_or_never() {
                let Some(event) = event else {
                    return Ok(false);
                };
                membership(&event, self.topics(), self.output)?;
            }
            if is_reached(self.pubsub.peers(self.topic).len()) {
                return Ok(true);
            }
            match events.next().await {
                Some(event) => membership(&event, self.topics(), self.output)?,
                None => return Ok(false),
            }
        }
    }

    async fn publish_all(&mut self, arguments: &PublishArguments) -> Result<(), Failure> {
        if arguments.stdin {
            let mut lines = stdin::lines();
            while let Some(line) = lines.next().await {
                let line =
                    line.map_err(|error| Failure::local(format!("stdin can't be read: {error}")))?;
                self.publish(line.as_bytes()).await?;
            }
            return Ok(());
        }
        for number in 1..=arguments.count {
            self.publish(&message(arguments, number)).await?;
        }
        Ok(())
    }

    async fn publish(&self, data: &[u8]) -> Result<(), Failure> {
        let report = self.pubsub.publish(self.topic, data).await?;
        let dropped = report.dropped.iter();
        self.output.event(&Event::Published(&PublishedMessage {
            topic: self.topic.clone(),
            id: report.id.to_string(),
            peers: report.peers,
            dropped: dropped
                .map(|(peer, reason)| (*peer, reason.to_string()))
                .collect(),
        }))
    }
}

/// The data of a message; no two are the same.
fn message(arguments: &PublishArguments, number: u64) -> Vec<u8> {
    if let Some(size) = arguments.size {
        let mut data = number.to_string().into_bytes();
        data.resize(size, b'.');
        return data;
    }
    let text = &arguments.message;
    let text = match arguments.count {
        1 => text.clone(),
        _ => format!("{text} {number}"),
    };
    text.into_bytes()
}
