//! Whether a request costs more beside many connections, or after many streams.
//!
//! The process gets ready, then measures one slice for each line on standard input, so that whoever compares
//! several of them lets them take turns. A line holds the number of requests and how many of them at a time; none
//! at all measures one second of rest.

use std::{
    io::{self, BufRead},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, channel::mpsc};
use serde_json::{Value, json};

use crate::{
    Node, Setup,
    cli::{Parameters, say},
    meter::{Meter, latencies},
    workloads::{connect_each, echo, together},
};

pub(crate) async fn growth<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let mut others = Vec::new();
    for _ in 1..parameters.connections {
        others.push(N::start(setup).await?);
    }
    let others = connect_each(setup, others, &parameters.addr).await?;
    let mut client = Client::<N>::connect(setup, parameters).await?;
    client.requests(parameters.streams, PRELOAD).await?;
    say(&json!({ "event": "ready" }))?;
    let mut slices = lines();
    let mut measured = 0;
    while let Some(line) = slices.next().await {
        let slice = Slice::parse(&line)?;
        if parameters.streams == 0 {
            client.reconnect().await?;
        }
        say(&client.measure(&slice).await?)?;
        measured += 1;
    }
    for (node, conn) in &others {
        echo(node, conn).await.context("an idle connection died")?;
    }
    Ok(json!({ "connections": others.len() + 1, "slices": measured }))
}

/// What one line asks for.
struct Slice {
    requests: u64,
    concurrency: u64,
}

impl Slice {
    fn parse(line: &str) -> Result<Self> {
        let (requests, concurrency) = line.split_once(' ').context("two numbers, please")?;
        Ok(Self {
            requests: requests.parse()?,
            concurrency: concurrency.parse()?,
        })
    }
}

/// The node whose requests are measured.
struct Client<'a, N: Node> {
    setup: &'a Setup,
    parameters: &'a Parameters,
    node: Arc<N>,
    conn: Arc<N::Conn>,
}

impl<'a, N: Node> Client<'a, N> {
    async fn connect(setup: &'a Setup, parameters: &'a Parameters) -> Result<Self> {
        let node = Arc::new(N::start(setup).await?);
        let conn = Arc::new(node.connect(&parameters.addr).await?);
        echo(node.as_ref(), &conn).await?;
        Ok(Self {
            setup,
            parameters,
            node,
            conn,
        })
    }

    /// A connection that has had no stream but one; that of before is gone.
    async fn reconnect(&mut self) -> Result<()> {
        *self = Self::connect(self.setup, self.parameters).await?;
        N::sleep(self.setup, Duration::from_millis(50)).await;
        Ok(())
    }

    async fn measure(&self, slice: &Slice) -> Result<Value> {
        let meter = Meter::start(self.parameters.remote)?;
        let times = match slice.requests {
            0 => {
                N::sleep(self.setup, Duration::from_secs(1)).await;
                Vec::new()
            }
            requests => self.requests(requests, slice.concurrency).await?,
        };
        let (_, mut result) = meter.stop()?;
        result["event"] = json!("slice");
        result["operations"] = json!(times.len());
        result["latency_us"] = latencies(times);
        Ok(result)
    }

    /// At least so many requests, so many at a time, each on a stream of its own.
    async fn requests(&self, count: u64, concurrency: u64) -> Result<Vec<Duration>> {
        let workers = (0..concurrency).map(|_| {
            let (node, conn) = (self.node.clone(), self.conn.clone());
            async move {
                let mut times = Vec::new();
                for _ in 0..count.div_ceil(concurrency) {
                    let start = Instant::now();
                    echo(node.as_ref(), &conn).await?;
                    times.push(start.elapsed());
                }
                Ok(times)
            }
        });
        Ok(together::<N, _, _>(self.setup, workers).await?.concat())
    }
}

/// The lines of standard input, read by a thread of their own: the runtime's have connections to keep alive.
fn lines() -> mpsc::Receiver<String> {
    let (mut sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.try_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Streams at a time, of those that a connection has had before anything is measured.
const PRELOAD: u64 = 64;
