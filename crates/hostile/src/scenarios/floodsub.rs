//! Floodsub, at a node that speaks nothing else.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::AsyncWriteExt;
use peerkit::pubsub::{MessageId, SeenCache};

use crate::{
    frames::pubsub,
    measure,
    node::{Node, PubsubKind, TOPIC},
    peer::{Puppet, ends},
    report::Findings,
    scenario::{Run, Scenario},
};

const FLOODSUB: &str = "/floodsub/1.0.0";

/// Scenarios F01 to F06.
pub fn table() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "F01",
            "a message in a ring of 3 nodes",
            "each hears it once, and it stops",
            |_| async { ring().await },
        ),
        Scenario::new(
            "F02",
            "the same number with other data",
            "delivered once",
            |run| async move { same_number(run).await },
        )
        .harmless(),
        Scenario::new(
            "F03",
            "10 frames with 80,000 subscriptions each",
            "100 are kept, none after it is gone",
            |run| async move { subscriptions(run).await },
        )
        .raised("floodsub.topics_per_peer_max"),
        Scenario::new(
            "F04",
            "a frame of 1 MiB and one byte",
            "the stream is reset and told, the connection lives",
            |run| async move {
                let off = ["router=floodsub", "pubsub.frame_len_max=max"];
                let on = ["router=floodsub", "event_capacity=256"];
                let node = Node::start(run.attack_or(on, off)).await?;
                let puppet = Puppet::new(node.addr)?;
                puppet.hears(FLOODSUB);
                let mut stream = puppet.sends(FLOODSUB, &[0x81, 0x80, 0x40]).await?;
                let ended = ends(&mut stream, Duration::from_secs(1)).await;
                Ok(Findings::new()
                    .holds("reset", ended)
                    .at_least("told", node.happened("BadFrame"), 1)
                    .holds("connected", puppet.is_connected()))
            },
        )
        .raised("pubsub.frame_len_max"),
        Scenario::new(
            "F05",
            "messages in the name of somebody else",
            "rejected and told, none delivered",
            |run| async move { forged(run).await },
        )
        .harmless(),
        Scenario::new(
            "F06",
            "10^6 ids",
            "65,536 are remembered",
            |run| async move {
                let most = run.attack_or(65_536, 2_000_000);
                let mut seen = SeenCache::new(Duration::from_secs(120), most);
                let now = Instant::now();
                for number in 0..1_000_000_u32 {
                    seen.insert(&MessageId::from(number.to_be_bytes().to_vec()), now);
                }
                Ok(Findings::new().at_most("remembered", seen.len(), 65_536))
            },
        )
        .raised("floodsub.seen_max"),
    ]
}

async fn victim() -> Result<Node> {
    Node::start(["router=floodsub"]).await
}

async fn ring() -> Result<Findings> {
    let nodes = [victim().await?, victim().await?, victim().await?];
    let mut heard = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        heard.push(node.router.subscribe().await?);
        let next = &nodes[(at + 1) % 3];
        node.host.connect(next.host.addrs().remove(0)).await?;
    }
    measure::sleep(Duration::from_millis(300)).await;
    nodes[0].router.publish(TOPIC, b"around".to_vec()).await?;
    measure::sleep(Duration::from_millis(500)).await;
    let mut counts = Vec::new();
    for subscription in &mut heard[1..] {
        let mut count = 0;
        let wait = Duration::from_millis(50);
        while measure::within(wait, subscription.next())
            .await
            .flatten()
            .is_some()
        {
            count += 1;
        }
        counts.push(count);
    }
    let rpcs: u64 = nodes.iter().map(|node| node.router.metrics().rpcs).sum();
    measure::sleep(Duration::from_millis(300)).await;
    let later: u64 = nodes.iter().map(|node| node.router.metrics().rpcs).sum();
    Ok(Findings::new()
        .equal("heard by the second", counts[0], 1)
        .equal("heard by the third", counts[1], 1)
        .equal("still on its way", later - rpcs, 0))
}

async fn same_number(run: Run) -> Result<Findings> {
    let node = victim().await?;
    let mut heard = node.router.subscribe().await?;
    let puppet = Puppet::new(node.addr)?;
    puppet.hears(FLOODSUB);
    let mut stream = puppet.stream(FLOODSUB).await?;
    for (data, seqno) in [("one", 7), ("other", run.attack_or(7, 8))] {
        let message = pubsub::honest(puppet.host.keypair(), TOPIC, data.as_bytes(), seqno);
        let frame = pubsub::frame(&[pubsub::publish(&message.encoded)]);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        measure::sleep(Duration::from_millis(100)).await;
    }
    let mut count = 0;
    let wait = Duration::from_millis(200);
    while measure::within(wait, heard.next())
        .await
        .flatten()
        .is_some()
    {
        count += 1;
    }
    Ok(Findings::new().equal("delivered", count, 1))
}

async fn subscriptions(run: Run) -> Result<Findings> {
    let on = ["router=floodsub", "event_capacity=256"];
    let off = ["router=floodsub", "floodsub.topics_per_peer_max=max"];
    let node = Node::start(run.attack_or(on, off)).await?;
    let puppet = Puppet::new(node.addr)?;
    puppet.hears(FLOODSUB);
    let mut stream = puppet.stream(FLOODSUB).await?;
    for round in 0..run.attack_or(10, 1) {
        let all: Vec<_> = (round * 80_000..(round + 1) * 80_000)
            .map(|it| pubsub::subscription(true, &format!("{it:06}")))
            .collect();
        stream.write_all(&pubsub::frame(&all)).await?;
    }
    stream.flush().await?;
    let rounds = run.attack_or(10, 1);
    let read = || node.router.metrics().rpcs >= rounds;
    measure::until(Duration::from_secs(10), read).await;
    let PubsubKind::Floodsub(flood) = &node.router else {
        anyhow::bail!("it speaks floodsub");
    };
    let known = || {
        let topics = (0..1000).map(|it| format!("{it:06}"));
        topics
            .filter(|it| !flood.peers(it.as_str()).is_empty())
            .count()
    };
    let kept = known();
    puppet.host.close().await;
    let gone = measure::until(Duration::from_secs(5), || known() == 0).await;
    Ok(Findings::new()
        .at_least("kept", kept, 1)
        .at_most("kept", kept, 100)
        .holds("none after", gone))
}

async fn forged(run: Run) -> Result<Findings> {
    let node = victim().await?;
    let mut heard = node.router.subscribe().await?;
    let puppet = Puppet::new(node.addr)?;
    puppet.hears(FLOODSUB);
    let other = peerkit::Keypair::generate_ed25519();
    let honest = pubsub::honest(&other, TOPIC, b"truth", 7);
    let mut encoded = honest.encoded.to_vec();
    // The data stands before the signature.
    let at = encoded
        .windows(5)
        .position(|it| it == b"truth")
        .unwrap_or(0);
    encoded[at] ^= run.attack_or(1, 0);
    let frame = pubsub::frame(&[pubsub::publish(&encoded)]);
    let _stream = puppet.sends(FLOODSUB, &frame).await?;
    let next = measure::within(Duration::from_millis(500), heard.next()).await;
    Ok(Findings::new()
        .equal("delivered", usize::from(next.flatten().is_some()), 0)
        .at_least("told", node.happened("Rejected"), 1))
}
