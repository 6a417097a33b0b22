//! The node that is watched. It answers each line on its standard input with a line about itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use peerkit::{
    Host, Stream,
    gossipsub::{Gossipsub, GossipsubConfig},
    pubsub::Subscription,
    runtime::Tokio,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::RuntimeName;

/// What the node echoes on.
pub(crate) const ECHO: &str = "/soak/echo/1.0.0";
/// What it gossips about.
pub(crate) const TOPIC: &str = "soak";

/// What the node says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Inside {
    /// Open connections.
    pub(crate) connections: usize,
    /// Tasks that live; counted on tokio only.
    pub(crate) tasks: Option<usize>,
    /// Gossip that was delivered so far.
    pub(crate) messages: u64,
}

pub(crate) async fn run(runtime: RuntimeName) -> Result<()> {
    let builder = Host::builder().listen_on("/ip4/127.0.0.1/tcp/0".parse()?);
    let host = match runtime {
        RuntimeName::AsyncIo => builder.build().await?,
        RuntimeName::Tokio => builder.runtime(Tokio::current()).build().await?,
    };
    host.set_stream_handler(ECHO, |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await
    });
    let gossip = Gossipsub::spawn(&host, GossipsubConfig::default())?;
    let messages = Arc::new(AtomicU64::new(0));
    host.spawn(count(gossip.subscribe(TOPIC).await?, messages.clone()));
    println!("{}", host.addrs().remove(0));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while orders.next_line().await?.is_some() {
        let metrics = tokio::runtime::Handle::current().metrics();
        let inside = Inside {
            connections: host.connections().len(),
            tasks: matches!(runtime, RuntimeName::Tokio).then(|| metrics.num_alive_tasks()),
            messages: messages.load(Ordering::Relaxed),
        };
        println!("{}", serde_json::to_string(&inside)?);
    }
    host.close().await;
    Ok(())
}

async fn count(mut news: Subscription, messages: Arc<AtomicU64>) {
    while let Some(item) = news.next().await {
        let count = item.map_or_else(|lagged| lagged.missed, |_| 1);
        messages.fetch_add(count, Ordering::Relaxed);
    }
}
