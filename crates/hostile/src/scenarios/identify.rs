//! Identify.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::AsyncWriteExt;
use peerkit::{
    Multiaddr, Stream,
    core::PeerRecord,
    identify::{Decoder, IdentifyError, Info, Message},
};

use crate::{
    frames::identify::{AGENT, LISTEN, OBSERVED, PROTOCOL, RECORD, message},
    honest, measure,
    node::{ECHO, Node},
    peer::Puppet,
    report::Findings,
    scenario::{Run, Scenario},
};

const IDENTIFY: &str = "/ipfs/id/1.0.0";
const PUSH: &str = "/ipfs/id/push/1.0.0";

/// Scenarios D01 to D11, and the advisories about what is remembered of peers.
pub fn table() -> Vec<Scenario> {
    [answers_to_questions(), pushes(), observed(), remembered()]
        .into_iter()
        .flatten()
        .collect()
}

/// Lets a puppet answer questions about itself with these bytes.
pub fn answers(puppet: &Puppet, said: Vec<u8>) {
    let said: Arc<[u8]> = said.into();
    puppet
        .host
        .set_stream_handler(IDENTIFY, move |mut stream: Stream| {
            let said = said.clone();
            async move {
                stream.write_all(&said).await?;
                stream.close().await
            }
        });
}

/// What a node learns of a peer that answers with these bytes.
async fn asked(said: Vec<u8>) -> Result<(Node, Puppet, Result<Arc<Info>, IdentifyError>)> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    answers(&puppet, said);
    puppet.meets(&node).await?;
    let info = node
        .host
        .identify()
        .identify(puppet.host.local_peer())
        .await;
    Ok((node, puppet, info))
}

fn honest_answer() -> Vec<u8> {
    message(&[(AGENT, b"honest/1.0"), (PROTOCOL, b"/honest/1.0.0")])
}

/// An answer that is refused, while the connection lives.
fn refused(id: &str, title: &str, said: Vec<u8>) -> Scenario {
    Scenario::new(id, title, "refused, the connection lives", move |run| {
        let said = run.attack_or(said.clone(), honest_answer());
        async move {
            let (node, puppet, info) = asked(said).await?;
            let lives = honest::echo(&puppet.host, &puppet.victim, b"hello").await;
            Ok(Findings::new()
                .holds("refused", info.is_err())
                .holds("connected", lives.is_ok() && node.host.peers().len() == 1))
        }
    })
    .harmless()
}

fn answers_to_questions() -> Vec<Scenario> {
    let eleven = message(&[(AGENT, b"a")]).repeat(11);
    vec![
        refused(
            "ID-4097",
            "a message of 4,097 bytes that does not come",
            vec![0x81, 0x20],
        ),
        refused("ID-8193", "a message of 8,193 bytes", vec![0x81, 0x40]),
        refused("D01", "more messages than 10", eleven),
        refused("D01-garbage", "bytes that are no message", vec![0xff; 64]),
        Scenario::new(
            "D02",
            "10 messages with 200 protocols each",
            "256 are kept, within 10 ms",
            |run| async move { Ok(many_protocols(run)) },
        )
        .harmless(),
        Scenario::new(
            "D03",
            "hundreds of addresses, some of 1 KiB",
            "64 are kept",
            |_| async { many_addresses().await },
        ),
        Scenario::new(
            "D04",
            "escape characters, and a name of 8 KB",
            "kept without them, in 128 bytes",
            |_| async {
                let agent = "\u{1b}[31m".repeat(1500);
                let (_, _, info) = asked(message(&[(AGENT, agent.as_bytes())])).await?;
                let agent = info?.agent_version.clone().unwrap_or_default();
                let strange = agent.chars().filter(|it| it.is_control()).count();
                let (_, puppet, broken) = asked(message(&[(AGENT, &[0xff; 40])])).await?;
                let known = broken.ok().and_then(|it| it.agent_version.clone());
                Ok(Findings::new()
                    .at_most("bytes", agent.len(), 128)
                    .equal("control characters", strange, 0)
                    .at_most(
                        "bytes of what is no text",
                        known.map_or(0, |it| it.len()),
                        128,
                    )
                    .holds("connected", puppet.is_connected()))
            },
        ),
        Scenario::new(
            "D09",
            "a record with a lower number than the known one",
            "the higher one stays",
            |run| async move { lower_number(run).await },
        )
        .harmless(),
        Scenario::new(
            "D10",
            "a question that is never answered",
            "given up within 5.5 s, the connection is of use meanwhile",
            |run| async move { never_answered(run).await },
        )
        .raised("identify.timeout"),
    ]
}

fn many_protocols(run: Run) -> Findings {
    let chunk = |number: usize| {
        let count = run.attack_or(200, 300);
        let names: Vec<_> = (0..count)
            .map(|it| format!("/p/{}/{it}", number % run.attack_or(10, 3)))
            .collect();
        let fields: Vec<_> = names.iter().map(|it| (PROTOCOL, it.as_bytes())).collect();
        message(&fields)
    };
    let bytes: Vec<u8> = (0..run.attack_or(10, 11)).flat_map(chunk).collect();
    let from = Instant::now();
    let mut decoder = Decoder::default();
    let read = decoder.handle_read(&bytes).is_ok();
    let kept = decoder.finish().map_or(usize::MAX, |it| it.protocols.len());
    Findings::new()
        .holds("read", read)
        .at_most("kept", kept, Message::MAX_PROTOCOLS)
        .at_most("us", from.elapsed().as_micros(), 10_000)
}

async fn many_addresses() -> Result<Findings> {
    let addrs: Vec<Multiaddr> = (0..500)
        .map(|it| format!("/ip4/192.0.2.{}/tcp/{}", it % 250, it + 1).parse())
        .collect::<Result<_, _>>()?;
    let long: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(1000)).parse()?;
    let encoded: Vec<_> = addrs.iter().map(Multiaddr::to_vec).collect();
    let long = long.to_vec();
    let mut said = Vec::new();
    for part in encoded.chunks(100) {
        let mut fields: Vec<_> = part.iter().map(|it| (LISTEN, &it[..])).collect();
        fields.push((LISTEN, &long));
        said.extend(message(&fields));
    }
    let (node, puppet, info) = asked(said).await?;
    let known = node.host.known_addresses(&puppet.host.local_peer()).len();
    Ok(Findings::new()
        .at_most("told", info?.listen_addrs.len(), Message::MAX_ADDRESSES)
        .at_most("remembered", known, 64))
}

async fn lower_number(run: Run) -> Result<Findings> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    let me = puppet.host.local_peer();
    let mut told = Vec::new();
    for (seq, port) in [(9, 4001), (run.attack_or(8, 10), 4002)] {
        let addr = format!("/ip4/192.0.2.1/tcp/{port}").parse()?;
        let record = PeerRecord::sign(puppet.host.keypair(), seq, vec![addr])?;
        let said = message(&[(RECORD, record.envelope().encoded())]);
        match told.is_empty() {
            true => {
                answers(&puppet, said);
                puppet.meets(&node).await?;
                let info = node.host.identify().identify(me).await?;
                told.push(info.signed_record.as_ref().map_or(0, PeerRecord::seq));
            }
            false => {
                let mut stream = puppet.sends(PUSH, &said).await?;
                stream.close().await?;
                measure::sleep(Duration::from_millis(300)).await;
                let info = node.host.identify().info(&me);
                let seq = info.and_then(|it| Some(it.signed_record.as_ref()?.seq()));
                told.push(seq.unwrap_or(0));
            }
        }
    }
    Ok(Findings::new()
        .equal("first", told[0], 9)
        .equal("then", told[1], 9))
}

async fn never_answered(run: Run) -> Result<Findings> {
    let mut changes = run.changes(&["identify.timeout=600000"]);
    if run.quick && changes.is_empty() {
        changes.push("identify.timeout=500");
    }
    let limit = Duration::from_millis(run.quick_or(1000, 5500));
    let node = Node::start(changes).await?;
    let puppet = Puppet::new(node.addr)?;
    puppet
        .host
        .set_stream_handler(IDENTIFY, |stream: Stream| async move {
            futures::future::pending::<()>().await;
            drop(stream);
        });
    puppet.meets(&node).await?;
    let from = Instant::now();
    let asking = node.host.identify().identify(puppet.host.local_peer());
    let asking = measure::within(limit, asking);
    let echo = honest::echo(&puppet.host, &puppet.victim, b"meanwhile");
    let (outcome, echoed) = futures::future::join(asking, echo).await;
    Ok(Findings::new()
        .holds("given up", matches!(outcome, Some(Err(_))))
        .at_most("ms", from.elapsed().as_millis(), limit.as_millis())
        .holds("echo meanwhile", echoed.is_ok())
        .holds("connected", puppet.is_connected()))
}

fn pushes() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "D05",
            "200 pushes as fast as can be",
            "10 are taken, the others are reset",
            |run| async move { push_flood(run).await },
        )
        .raised("identify.push_burst"),
        Scenario::new(
            "D06",
            "1,000 changes of this node's protocols",
            "at most one push a second",
            |run| async move { changes(run, |number| format!("/p/{number}")).await },
        )
        .raised("identify.push_debounce"),
        Scenario::new(
            "D11",
            "a protocol that comes and goes 1,000 times",
            "at most one push a second",
            |run| async move { changes(run, |_| "/p".into()).await },
        )
        .raised("identify.push_debounce"),
    ]
}

async fn push_flood(run: Run) -> Result<Findings> {
    let node = Node::start(run.changes(&["identify.push_burst=max"])).await?;
    let puppet = Puppet::new(node.addr)?;
    answers(&puppet, honest_answer());
    puppet.meets(&node).await?;
    let mut taken = 0;
    for number in 0..200 {
        let said = message(&[(AGENT, format!("flood/{number}").as_bytes())]);
        // A reset may come at any point.
        if let Ok(mut stream) = puppet.sends(PUSH, &said).await {
            let closed = stream.close().await.is_ok();
            let mut rest = Vec::new();
            let ended = futures::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
            taken += usize::from(closed && ended.is_ok());
        }
    }
    Ok(Findings::new()
        .at_most("taken", taken, 12)
        .holds("connected", puppet.is_connected()))
}

async fn changes(run: Run, name: fn(usize) -> String) -> Result<Findings> {
    let node = Node::start(run.changes(&["identify.push_debounce=0"])).await?;
    let puppet = Puppet::new(node.addr)?;
    answers(&puppet, message(&[(PROTOCOL, PUSH.as_bytes())]));
    let pushes = Arc::new(AtomicUsize::new(0));
    let counted = pushes.clone();
    puppet
        .host
        .set_stream_handler(PUSH, move |mut stream: Stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                crate::dial::drain(&mut stream).await;
            }
        });
    puppet.meets(&node).await?;
    let me = puppet.host.local_peer();
    node.host.identify().identify(me).await?;
    let from = Instant::now();
    for number in 0..1000 {
        let name = name(number);
        node.host.set_stream_handler(
            peerkit::ProtocolId::try_from(name.as_str())?,
            |_: Stream| async {},
        );
        measure::sleep(Duration::from_millis(1)).await;
        node.host.remove_stream_handler(&name);
    }
    measure::sleep(Duration::from_millis(1100)).await;
    let allowed = from.elapsed().as_secs() as usize + 1;
    Ok(Findings::new().at_most("pushes", pushes.load(Ordering::Relaxed), allowed))
}

fn observed() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "D07",
            "20 peers of one machine who all see this node at 1.2.3.4",
            "not believed",
            |_| async { observations(&["/ip4/1.2.3.4/tcp/4001"; 20]).await },
        ),
        Scenario::new(
            "D08",
            "peers who see this node at loopback, multicast and other places",
            "ignored",
            |_| async {
                observations(&[
                    "/ip4/127.0.0.1/tcp/1",
                    "/ip4/224.0.0.1/tcp/1",
                    "/ip4/0.0.0.0/tcp/1",
                    "/ip4/10.0.0.1/tcp/1",
                    "/ip6/::1/tcp/1",
                    "/dns4/example.com/tcp/1",
                ])
                .await
            },
        ),
    ]
}

async fn observations(seen: &[&str]) -> Result<Findings> {
    let node = Node::start([]).await?;
    let mut puppets = Vec::new();
    for (number, seen) in seen.iter().enumerate() {
        let puppet = Puppet::on_machine(number as u32 % 4, node.addr)?;
        let seen: Multiaddr = seen.parse()?;
        answers(&puppet, message(&[(OBSERVED, &seen.to_vec())]));
        puppet.meets(&node).await?;
        node.host
            .identify()
            .identify(puppet.host.local_peer())
            .await?;
        puppets.push(puppet);
    }
    let believed = node.host.identify().observed_addrs().len();
    let own = node.host.addrs();
    let told = own
        .iter()
        .filter(|it| !it.to_string().contains("127.0.0.1"));
    Ok(Findings::new().equal("believed", believed, 0).equal(
        "own addresses elsewhere",
        told.count(),
        0,
    ))
}

fn remembered() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "R36",
            "CVE-2023-40583: addresses of 20,000 peers that are made up",
            "10,000 peers are remembered",
            |run| async move {
                let node = Node::start(run.changes(&["limits.known_peers_max=max"])).await?;
                let addr: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse()?;
                let peers: Vec<_> = (0..20_000).map(|_| peerkit::PeerId::random()).collect();
                for peer in &peers {
                    node.host.add_address(*peer, addr.clone());
                }
                let known = peers
                    .iter()
                    .filter(|it| !node.host.known_addresses(it).is_empty());
                Ok(Findings::new().at_most("remembered", known.count(), 10_000))
            },
        )
        .raised("limits.known_peers_max"),
        Scenario::new(
            "R38",
            "go #3486: 10,000 addresses of one peer",
            "64 are remembered",
            |run| async move {
                let node = Node::start(run.changes(&["limits.known_addresses_max=max"])).await?;
                let peer = peerkit::PeerId::random();
                for port in 1..=10_000 {
                    let addr = format!("/ip4/192.0.2.1/tcp/{port}").parse()?;
                    node.host.add_address(peer, addr);
                }
                let known = node.host.known_addresses(&peer).len();
                Ok(Findings::new().at_most("remembered", known, 64))
            },
        )
        .raised("limits.known_addresses_max"),
        Scenario::new(
            "D-streams",
            "100 questions at the same time that are not read",
            "8 are answered, the others reset",
            |run| async move {
                let node = Node::start(run.changes(&["identify.streams_per_peer_max=max"])).await?;
                let puppet = Puppet::new(node.addr)?;
                let mut streams = Vec::new();
                for _ in 0..100 {
                    streams.push(puppet.sends(IDENTIFY, &[]).await?);
                }
                let reads = streams.iter_mut().map(|stream| async {
                    let mut answer = Vec::new();
                    let read = futures::AsyncReadExt::read_to_end(stream, &mut answer).await;
                    read.is_ok() && !answer.is_empty()
                });
                let answered = futures::future::join_all(reads).await;
                let answered = answered.into_iter().filter(|it| *it).count();
                let lives = honest::echo(&puppet.host, &puppet.victim, ECHO.as_bytes()).await;
                Ok(Findings::new()
                    .at_most("answered", answered, 99)
                    .holds("connected", lives.is_ok()))
            },
        )
        .raised("identify.streams_per_peer_max"),
    ]
}
