//! `peerkit demo`: several nodes in one process, over real TCP.

use std::{collections::BTreeSet, time::Duration};

use peerkit::{
    Host, Multiaddr, PeerId,
    core::with_deadline,
    gossipsub::{Gossipsub, GossipsubConfig},
    pubsub::Subscription,
};

use crate::{
    arguments::{DemoArguments, MuxerName, Options},
    failure::Failure,
    node,
    output::{DemoPeer, Event, Output},
    progress,
    protocols::delivery,
};

/// The first node connects to all others, pings each and sends it a stream; then all gossip.
pub(crate) async fn run(
    arguments: &DemoArguments,
    options: &Options,
    output: Output,
) -> Result<(), Failure> {
    let mut nodes = Nodes::default();
    let outcome = visit_all(&mut nodes, arguments, options, output).await;
    nodes.close().await;
    outcome
}

/// The nodes that run. An interrupt drops them, which closes them, too.
#[derive(Default)]
struct Nodes(Vec<Host>);

impl Nodes {
    async fn close(&self) {
        futures::future::join_all(self.0.iter().map(|host| host.close())).await;
    }
}

async fn visit_all(
    nodes: &mut Nodes,
    arguments: &DemoArguments,
    options: &Options,
    output: Output,
) -> Result<(), Failure> {
    for number in 0..arguments.nodes {
        let host = start(options, number).await?;
        nodes.0.push(host);
    }
    let [first, others @ ..] = nodes.0.as_slice() else {
        return Ok(());
    };
    let mut rows = Vec::new();
    for (at, other) in others.iter().enumerate() {
        let title = format!("stream {} of {}", at + 1, others.len());
        rows.push(visit(first, other, arguments.bytes, title).await?);
    }
    show(&rows, arguments.bytes, output)?;
    gossip(&nodes.0, output).await
}

/// Everybody joins a topic, and each node publishes one message.
async fn gossip(nodes: &[Host], output: Output) -> Result<(), Failure> {
    let [first, ..] = nodes else {
        return Ok(());
    };
    let outcome = with_deadline(first.runtime().as_ref(), GOSSIP_TIMEOUT, exchange(nodes)).await;
    let delivered = outcome.unwrap_or_else(|| Err(Failure::stalled(GOSSIP_TIMEOUT)))?;
    output.event(&Event::DemoGossip {
        published: nodes.len(),
        delivered,
    })
}

/// Returns how many messages arrived.
async fn exchange(nodes: &[Host]) -> Result<usize, Failure> {
    let mut members = Vec::new();
    for host in nodes {
        let gossip = Gossipsub::spawn(host, GossipsubConfig::default())?;
        let messages = gossip.subscribe(TOPIC).await?;
        members.push((gossip, messages));
    }
    let others = nodes.len() - 1;
    // The first node is connected with all others, and they only with it.
    for (at, (gossip, _)) in members.iter().enumerate() {
        let peers = if at == 0 { others } else { 1 };
        gossip.wait_for_peers(TOPIC, peers).await;
    }
    for (host, (gossip, _)) in nodes.iter().zip(&members) {
        gossip.publish(TOPIC, host.local_peer().to_bytes()).await?;
    }
    for (_, messages) in &mut members {
        receive(messages, others).await?;
    }
    Ok(nodes.len() * others)
}

/// Receives so many messages and checks that each one says who has written it.
async fn receive(messages: &mut Subscription, count: usize) -> Result<(), Failure> {
    let mut authors = BTreeSet::new();
    while authors.len() < count {
        let message = messages.next().await.and_then(Result::ok);
        let message = message.ok_or_else(|| Failure::local("a message was lost"))?;
        let author = PeerId::from_bytes(&message.data).ok();
        if author != message.from || !authors.insert(author) {
            return Err(Failure::local("a message is not what was published"));
        }
    }
    Ok(())
}

/// A node on a free port of loopback. Unless the options name a muxer, every third node
/// speaks only mplex, as nodes of older networks do.
async fn start(options: &Options, number: u16) -> Result<Host, Failure> {
    let mut options = options.clone();
    if options.muxer.is_none() && number % 3 == 2 {
        options.muxer = Some(MuxerName::Mplex);
    }
    if number > 0 {
        // One identity is for one node.
        options.key = None;
    }
    let host = node::start(&options).await?;
    delivery::serve(&host);
    let loopback = "/ip4/127.0.0.1/tcp/0".parse();
    host.listen(loopback.expect("a valid address")).await?;
    Ok(host)
}

async fn visit(from: &Host, to: &Host, bytes: u64, title: String) -> Result<DemoPeer, Failure> {
    let addr = to.addrs().first().cloned();
    let addr: Multiaddr = addr.ok_or_else(|| Failure::local("a node stopped listening"))?;
    let peer = from.connect(addr).await?;
    let round_trip = shortest_round_trip(from, peer).await?;
    let stream = from.open_stream(peer, delivery::PROTOCOL).await?;
    let progress = progress::bytes(title, Some(bytes));
    let runtime = from.runtime().as_ref();
    let start = runtime.now();
    delivery::deliver(runtime, &stream, bytes, |count| progress.add(count)).await?;
    let elapsed = runtime.now() - start;
    let (muxer, security) = stack(from, peer);
    Ok(DemoPeer {
        peer,
        muxer,
        security,
        round_trip,
        bytes,
        elapsed,
    })
}

/// Of a few: the first pings wait for code and memory that were not used before.
async fn shortest_round_trip(from: &Host, peer: PeerId) -> Result<Duration, Failure> {
    let mut pinger = from.ping().open(peer).await?;
    let mut shortest = Duration::MAX;
    for _ in 0..PINGS {
        shortest = shortest.min(pinger.ping().await?);
    }
    Ok(shortest)
}

fn stack(from: &Host, peer: PeerId) -> (String, String) {
    let mut connections = from.connections().into_iter();
    let connection = connections.find(|connection| connection.peer == peer);
    connection
        .map(|it| (it.muxer.to_string(), it.security.to_string()))
        .unwrap_or_default()
}

fn show(rows: &[DemoPeer], bytes: u64, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return rows
            .iter()
            .try_for_each(|row| output.event(&Event::DemoPeer(row)));
    }
    output.line(&DemoPeer::header())?;
    for row in rows {
        output.event(&Event::DemoPeer(row))?;
    }
    let peers = match rows.len() {
        1 => "one peer".into(),
        count => format!("each of {count} peers"),
    };
    output.line(&format!(
        "sent {bytes} bytes to {peers}; every SHA-256 is the same at both ends"
    ))
}

const PINGS: u32 = 5;
const TOPIC: &str = "demo";
const GOSSIP_TIMEOUT: Duration = Duration::from_secs(30);
