//! A victim in a process of its own.

use std::{
    io::{BufRead, Write},
    net::SocketAddr,
};

use anyhow::{Context, Result};
use peerkit::PeerId;
use serde_json::{Value, json};

use crate::{child::Process, node::Node, settings::Settings};

/// A victim, as attackers see it.
#[derive(Debug)]
pub struct Victim {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Who it is.
    pub peer: PeerId,
}

impl Victim {
    /// Starts a victim with changes of its settings.
    pub async fn start(changes: &[&str]) -> Result<Self> {
        Self::start_under(None, changes).await
    }

    /// The same under limits of the shell, like `ulimit -n 64`.
    pub async fn start_under(shell: Option<&str>, changes: &[&str]) -> Result<Self> {
        let mut arguments = vec!["victim".to_owned()];
        arguments.extend(changes.iter().map(|change| (*change).to_owned()));
        let mut process = Process::start(shell, &arguments)?;
        let hello = process.line().await?;
        let (addr, peer) = hello.split_once(' ').context("it says who it is")?;
        Ok(Self {
            addr: addr.parse()?,
            peer: peer.parse()?,
            process,
        })
    }

    /// What it uses and what has happened, see [`Node::stats`].
    pub async fn stats(&mut self) -> Result<Stats> {
        Ok(Stats(self.process.ask("stats").await?))
    }
}

/// What a victim says of itself.
#[derive(Clone, Debug)]
pub struct Stats(pub Value);

impl Stats {
    /// A number; those of the router have `router/` in front.
    pub fn number(&self, name: &str) -> u64 {
        self.0
            .pointer(&format!("/{name}"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// How often something happened whose text contains this.
    pub fn happened(&self, text: &str) -> u64 {
        let events = self.0.get("events").and_then(Value::as_object);
        let matching = events
            .into_iter()
            .flatten()
            .filter(|(event, _)| event.contains(text));
        matching.filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// The most frequent events that tell why somebody was sent away.
    pub fn reasons(&self) -> String {
        let events = self.0.get("events").and_then(Value::as_object);
        let mut events: Vec<_> = events
            .into_iter()
            .flatten()
            .filter(|(event, _)| *event != "Connected")
            .map(|(event, count)| (count.as_u64().unwrap_or(0), event))
            .collect();
        events.sort_unstable_by(|a, b| b.cmp(a));
        let first = events.first();
        first.map_or("none".into(), |(count, event)| {
            format!("{event:?} x{count}")
        })
    }

    /// What is told of writing to attackers.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.0.get("writes").and_then(Value::as_array);
        let texts = writes.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }
}

/// The process itself: a node that answers lines until its input ends.
pub async fn run(changes: &[String]) -> Result<()> {
    let (key, port) = (changes.iter())
        .find_map(|it| it.strip_prefix("key="))
        .map_or((None, 0), |fixed| {
            let (key, port) = fixed.split_once(':').unwrap_or((fixed, "0"));
            (key.parse::<u8>().ok(), port.parse().unwrap_or(0))
        });
    let changes = changes.iter().map(String::as_str);
    let settings = Settings::changed(changes.filter(|it| !it.starts_with("key=")))?;
    let keypair = match key {
        Some(key) => peerkit::Keypair::ed25519_from_bytes([key; 32])?,
        None => peerkit::Keypair::generate_ed25519(),
    };
    let node = Node::with_key(keypair, settings, port).await?;
    say(&format!("{} {}", node.addr, node.peer()))?;
    for line in std::io::stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("publish", len)) => {
                let data = vec![7; len.parse()?];
                let outcome = node.router.publish(crate::node::TOPIC, data).await;
                say(&json!({ "published": outcome.is_ok() }).to_string())?;
            }
            _ => say(&node.stats().to_string())?,
        }
    }
    node.host.close().await;
    Ok(())
}

pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
