//! Faults without an attacker, between real sockets. Those of a link with loss, of clocks and of many nodes are
//! in the simulator.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Result;
use async_io::Async;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future};
use peerkit::Multiaddr;

use crate::{
    dial::{self, YAMUX},
    honest, measure,
    node::Node,
    peer::Puppet,
    report::Findings,
    scenario::{Run, Scenario},
    victim::Victim,
};

/// The faults of section 5 that need sockets or processes.
pub fn table() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "5.2",
            "a link that passes one byte at a time",
            "every byte arrives, in order",
            |run| async move {
                let node = Node::start([]).await?;
                let chopper = Proxy::new(node.addr, usize::MAX, usize::MAX, 1)?;
                let block: Vec<u8> = (0..run.quick_or(20_000_u32, 100_000))
                    .map(|it| it as u8)
                    .collect();
                let puppet = Puppet::new(chopper.addr)?;
                let echo = honest::echo(&puppet.host, &puppet.victim, &block);
                let done = chopper.beside(echo).await;
                Ok(Findings::new().holds("all came back", done.is_ok()))
            },
        ),
        Scenario::new(
            "5.3",
            "a link that is cut in one direction",
            "found by the keep-alive within 3 s here, 40 s by default",
            |run| async move { one_way(run).await },
        )
        .raised("yamux.keep_alive_interval"),
        Scenario::new(
            "5.6",
            "a session that is cut at each byte, in each direction",
            "an error or an answer, and nothing is left",
            |run| async move { crash_points(run.quick_or(37, 5)).await },
        )
        .is_live(),
        Scenario::new(
            "5.7",
            "a peer that falls silent without an end",
            "found by the keep-alive within 40 s",
            |run| async move { silent_peer(run).await },
        )
        .raised("yamux.keep_alive_interval")
        .is_live(),
        Scenario::new(
            "5.8",
            "a victim that is stopped for a while",
            "goes on afterwards, with its connections",
            |run| async move { paused(run.quick_or(1, 8)).await },
        )
        .is_live(),
        Scenario::new(
            "5.9",
            "a victim that is killed and started again, with the same key and port",
            "talks to the same peers again each time",
            |run| async move { killed(run.quick_or(3, 30)).await },
        )
        .is_live(),
        Scenario::new(
            "5.18",
            "a victim that starts again while 100 peers redial",
            "all are back within 10 s",
            |run| async move { herd(run.quick_or(30, 100)).await },
        )
        .is_live(),
    ]
}

/// Somebody between two peers who passes on so many bytes in each direction.
struct Proxy {
    addr: SocketAddr,
    listener: Async<TcpListener>,
    victim: SocketAddr,
    there: usize,
    back: usize,
    piece: usize,
}

impl Proxy {
    fn new(victim: SocketAddr, there: usize, back: usize, piece: usize) -> Result<Self> {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
        Ok(Self {
            addr: listener.get_ref().local_addr()?,
            listener,
            victim,
            there,
            back,
            piece,
        })
    }

    /// Passes on, while something else is done.
    async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let passing = async {
            let mut connections = futures::stream::FuturesUnordered::new();
            loop {
                let next = futures::StreamExt::next(&mut connections);
                futures::select! {
                    accepted = self.listener.accept().fuse() => {
                        if let Ok((tcp, _)) = accepted {
                            connections.push(self.pass(tcp));
                        }
                    }
                    _ = next.fuse() => {}
                    complete => {}
                }
                if connections.is_empty() {
                    measure::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let (work, passing) = (std::pin::pin!(work), std::pin::pin!(passing));
        let passing = passing.map(|never: std::convert::Infallible| match never {});
        match future::select(work, passing).await {
            future::Either::Left((output, _)) | future::Either::Right((output, _)) => output,
        }
    }

    /// One connection, until one of its directions has ended or passed on what it may.
    async fn pass(&self, tcp: Async<TcpStream>) {
        let Ok(other) = dial::tcp(self.victim).await else {
            return;
        };
        let there = copy(&tcp, &other, self.there, self.piece);
        let back = copy(&other, &tcp, self.back, self.piece);
        future::select(Box::pin(there), Box::pin(back)).await;
    }
}

/// Copies so many bytes, in pieces. When it may copy no more, it says nothing and holds the connection, if the
/// number is even; else it ends it.
async fn copy(from: &Async<TcpStream>, to: &Async<TcpStream>, mut most: usize, piece: usize) {
    let (mut from, mut to) = (from, to);
    let mut buffer = vec![0; 16 * 1024];
    while most > 0 {
        let len = buffer.len().min(most);
        let Ok(count) = from.read(&mut buffer[..len]).await else {
            return;
        };
        if count == 0 {
            return;
        }
        most -= count;
        for chunk in buffer[..count].chunks(piece.max(1)) {
            if to.write_all(chunk).await.is_err() {
                return;
            }
        }
    }
}

async fn one_way(run: Run) -> Result<Findings> {
    let node = Node::start(run.attack_or(
        [
            "yamux.keep_alive_interval=500",
            "yamux.keep_alive_timeout=500",
        ],
        [
            "yamux.keep_alive_interval=600000",
            "yamux.keep_alive_timeout=600000",
        ],
    ))
    .await?;
    // What the attacker sends arrives, until it falls silent; nothing that the victim sends is read.
    let mut stream = dial::muxed(node.addr, YAMUX).await?;
    stream.write_all(&crate::frames::yamux::open(1)).await?;
    stream.flush().await?;
    let told = node
        .happens(
            "Disconnected: the remote did not react",
            Duration::from_secs(3),
        )
        .await;
    Ok(Findings::new()
        .holds("told", told)
        .equal("peers", node.host.peers().len(), 0))
}

async fn silent_peer(run: Run) -> Result<Findings> {
    let mut changes = run.changes(&["yamux.keep_alive_interval=600000"]);
    if run.quick && changes.is_empty() {
        changes = vec![
            "yamux.keep_alive_interval=700",
            "yamux.keep_alive_timeout=300",
        ];
    }
    let limit = Duration::from_secs(run.attack_or(run.quick_or(2, 41), run.quick_or(2, 41)));
    let node = Node::start(changes).await?;
    let _stream = dial::muxed(node.addr, YAMUX).await?;
    let from = Instant::now();
    let told = node
        .happens("Disconnected: the remote did not react", limit)
        .await;
    Ok(Findings::new()
        .holds("told", told)
        .at_most("s", from.elapsed().as_secs(), limit.as_secs()))
}

async fn crash_points(step: usize) -> Result<Findings> {
    let node = Node::start([]).await?;
    let (mut answers, mut errors, mut hung) = (0, 0, 0);
    for cut in (0..1200).step_by(step) {
        for (there, back) in [(cut, usize::MAX), (usize::MAX, cut)] {
            let proxy = Proxy::new(node.addr, there, back, usize::MAX)?;
            let puppet = Puppet::new(proxy.addr)?;
            let echo = honest::echo(&puppet.host, &puppet.victim, b"question");
            let outcome = proxy
                .beside(measure::within(Duration::from_secs(12), echo))
                .await;
            match outcome {
                Some(Ok(())) => answers += 1,
                Some(Err(_)) => errors += 1,
                None => hung += 1,
            }
            puppet.host.close().await;
        }
    }
    let rest = measure::until(Duration::from_secs(5), || node.host.peers().is_empty()).await;
    Ok(Findings::new()
        .at_least("errors", errors, 1)
        .at_least("answers", answers, 1)
        .equal("hung", hung, 0)
        .holds("nothing left", rest))
}

async fn paused(seconds: u64) -> Result<Findings> {
    let mut victim = Victim::start(&[]).await?;
    let puppet = Puppet::new(victim.addr)?;
    puppet.connect().await?;
    victim.process.signal("STOP")?;
    measure::sleep(Duration::from_secs(seconds)).await;
    victim.process.signal("CONT")?;
    let from = Instant::now();
    let echo = honest::echo(&puppet.host, &puppet.victim, b"again");
    let again = measure::within(Duration::from_secs(5), echo).await;
    let connections = victim.stats().await?.happened("Connected");
    Ok(Findings::new()
        .holds("talks", matches!(again, Some(Ok(()))))
        .at_most("ms until it did", from.elapsed().as_millis(), 2000)
        .equal("connections made", connections, 1))
}

async fn killed(times: usize) -> Result<Findings> {
    let mut victim = Victim::start(&["key=5:0"]).await?;
    let port = victim.addr.port();
    let puppet = Puppet::new(victim.addr)?;
    let change = format!("key=5:{port}");
    let (mut talked, mut slowest) = (0, 0);
    for _ in 0..times {
        drop(victim);
        victim = Victim::start(&[&change]).await?;
        let from = Instant::now();
        while from.elapsed() < Duration::from_secs(5) {
            let target: Multiaddr = puppet.victim.clone();
            if honest::echo(&puppet.host, &target, b"hello").await.is_ok() {
                talked += 1;
                break;
            }
        }
        slowest = slowest.max(from.elapsed().as_millis());
    }
    Ok(Findings::new()
        .equal("talked", talked, times)
        .at_most("ms at most", slowest, 3000))
}

/// Each dials until it is connected; no more than 64 may be half open at a time.
async fn redial(puppets: &[Puppet]) {
    let dials = puppets.iter().map(|puppet| async {
        while puppet.connect().await.is_err() {
            measure::sleep(Duration::from_millis(rand::random_range(10..200))).await;
        }
    });
    measure::within(Duration::from_secs(15), future::join_all(dials)).await;
}

async fn herd(count: usize) -> Result<Findings> {
    let victim = Victim::start(&["key=6:0"]).await?;
    let change = format!("key=6:{}", victim.addr.port());
    let puppets = (0..count).map(|_| Puppet::new(victim.addr));
    let puppets = puppets.collect::<Result<Vec<_>>>()?;
    redial(&puppets).await;
    drop(victim);
    let gone = || puppets.iter().all(|it| !it.is_connected());
    measure::until(Duration::from_secs(5), gone).await;
    let mut victim = Victim::start(&[&change]).await?;
    let from = Instant::now();
    redial(&puppets).await;
    let back = puppets.iter().filter(|it| it.is_connected()).count();
    let told = victim.stats().await?.number("connections");
    Ok(Findings::new()
        .equal("back", back, count)
        .equal("connections", told, count as u64)
        .at_most("ms", from.elapsed().as_millis(), 10_000))
}
