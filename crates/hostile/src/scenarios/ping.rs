//! Ping.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::Stream;

use crate::{
    live::{Plan, Target},
    measure,
    node::Node,
    peer::{Puppet, ends},
    report::Findings,
    scenario::{Run, Scenario, attack},
};

const PING: &str = "/ipfs/ping/1.0.0";

/// Scenarios P01 to P04.
pub fn table() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "P01",
            "31 of 32 bytes, then the end",
            "no answer, the connection lives",
            |run| async move {
                let node = Node::start([]).await?;
                let puppet = Puppet::new(node.addr)?;
                let len = run.attack_or(31, 32);
                let mut stream = puppet.sends(PING, &[7; 32][..len]).await?;
                stream.close().await?;
                let mut answer = Vec::new();
                // It may be reset.
                let _ = stream.read_to_end(&mut answer).await;
                Ok(Findings::new()
                    .equal("bytes of answer", answer.len(), 0)
                    .holds("connected", puppet.is_connected()))
            },
        )
        .harmless(),
        Scenario::new(
            "P02",
            "an answer with other bytes",
            "a failure, not a round trip",
            |run| async move { wrong_answer(run).await },
        )
        .harmless(),
        attack(
            "P03",
            "pings as fast as can be, on one stream",
            "64 answers, then 20 a second",
            Plan {
                off: vec!["ping.burst=max", "ping.answers_per_second=max"],
                lanes: 3,
                ..Plan::default()
            },
            async |target: Target| ping_flood(target).await,
        ),
        Scenario::new(
            "P04",
            "100 streams of pings",
            "2 are answered",
            |run| async move { many_streams(run).await },
        )
        .raised("ping.streams_per_peer_max"),
        Scenario::new(
            "P-idle",
            "a stream of pings without a ping",
            "reset within its time",
            |run| async move {
                let changes = run.attack_or("ping.idle_timeout=500", "ping.idle_timeout=600000");
                let node = Node::start([changes]).await?;
                let puppet = Puppet::new(node.addr)?;
                let mut stream = puppet.sends(PING, &[7; 32]).await?;
                stream.read_exact(&mut [0; 32]).await?;
                let ended = ends(&mut stream, Duration::from_secs(2)).await;
                Ok(Findings::new()
                    .holds("reset", ended)
                    .holds("connected", puppet.is_connected()))
            },
        )
        .raised("ping.idle_timeout"),
    ]
}

async fn wrong_answer(run: Run) -> Result<Findings> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    let change = run.attack_or(1, 0);
    puppet
        .host
        .set_stream_handler(PING, move |mut stream: Stream| async move {
            let mut ping = [0; 32];
            while stream.read_exact(&mut ping).await.is_ok() {
                ping[31] ^= change;
                stream.write_all(&ping).await?;
                stream.flush().await?;
            }
            std::io::Result::Ok(())
        });
    puppet.meets(&node).await?;
    let outcome = node.host.ping().ping(puppet.host.local_peer()).await;
    Ok(Findings::new()
        .holds("a failure", outcome.is_err())
        .holds("connected", puppet.is_connected()))
}

async fn ping_flood(target: Target) -> Result<Findings> {
    let puppet = Puppet::new(target.addr)?;
    let (mut reader, mut writer) = puppet.stream(PING).await?.into_split();
    let from = Instant::now();
    let time = Duration::from_millis(target.run.quick_or(600, 2000));
    let mut answered = 0;
    let writing = async {
        let pings = vec![7; 32 * 100];
        while from.elapsed() < time && writer.write_all(&pings).await.is_ok() {}
    };
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(count) = reader.read(&mut buffer).await
            && count > 0
        {
            answered += count;
        }
    };
    measure::within(time, futures::future::join(writing, reading)).await;
    let allowed = 64 + 20 * (from.elapsed().as_secs() as usize + 1);
    puppet.host.close().await;
    Ok(Findings::new()
        .at_least("answers", answered / 32, 1)
        .at_most("answers", answered / 32, allowed))
}

async fn many_streams(run: Run) -> Result<Findings> {
    let node = Node::start(run.changes(&["ping.streams_per_peer_max=max"])).await?;
    let puppet = Puppet::new(node.addr)?;
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(puppet.sends(PING, &[7; 32]).await?);
    }
    let mut answered = 0;
    for stream in &mut streams {
        let mut answer = [0; 32];
        let read = measure::within(Duration::from_millis(300), stream.read_exact(&mut answer));
        answered += usize::from(matches!(read.await, Some(Ok(()))));
    }
    Ok(Findings::new()
        .at_most("answered", answered, 2)
        .holds("connected", puppet.is_connected()))
}
