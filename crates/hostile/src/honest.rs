//! Honest peers, in a process of their own: they ping, ask and publish at a steady pace, and measure it.

use std::{
    io::BufRead,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit::{Host, Multiaddr, core::TaskGroup, gossipsub::Gossipsub};
use serde_json::json;

use crate::{
    child::Process,
    measure::{self, Latencies},
    node::{ECHO, TOPIC, lock},
    victim::say,
};

/// How many peers there are.
pub const PEERS: usize = 3;

/// The honest peers, as the scenarios see them.
#[derive(Debug)]
pub struct Honest {
    process: Process,
}

/// What they got done in a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Things done in a second: echoes, pings and messages that arrived.
    pub per_second: f64,
    /// What 99 of 100 echoes stayed under, from opening the stream to the last byte, in milliseconds.
    pub p99_ms: f64,
    /// What 99 of 100 messages stayed under, from peer through victim to peer, in milliseconds.
    pub message_p99_ms: f64,
    /// Things that failed.
    pub failures: u64,
}

impl Honest {
    /// Starts the peers and waits until they talk to the victim.
    pub async fn start(victim: SocketAddr) -> Result<Self> {
        let arguments = ["honest".to_owned(), victim.to_string()];
        let mut process = Process::start(None, &arguments)?;
        process.line().await?;
        Ok(Self { process })
    }

    /// What they did since the last time.
    pub async fn window(&mut self) -> Result<Window> {
        let answer = self.process.ask("window").await?;
        let number = |name: &str| answer[name].as_f64().unwrap_or(0.0);
        Ok(Window {
            per_second: number("per_second"),
            p99_ms: number("p99_us") / 1000.0,
            message_p99_ms: number("message_p99_us") / 1000.0,
            failures: answer["failures"].as_u64().unwrap_or(0),
        })
    }

    /// They rest, so that the victim can be measured without them.
    pub async fn pause(&mut self) -> Result<()> {
        self.process.ask("pause").await.map(drop)
    }

    /// They go on.
    pub async fn resume(&mut self) -> Result<()> {
        self.process.ask("resume").await.map(drop)
    }
}

#[derive(Debug, Default)]
struct Shared {
    paused: AtomicBool,
    done: AtomicU64,
    failures: AtomicU64,
    echoes: Mutex<Latencies>,
    messages: Mutex<Latencies>,
}

impl Shared {
    fn note(&self, done: bool) {
        let counter = if done { &self.done } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The process itself.
pub async fn run(victim: SocketAddr) -> Result<()> {
    let victim: Multiaddr = format!("/ip4/{}/tcp/{}", victim.ip(), victim.port()).parse()?;
    let shared = Arc::new(Shared::default());
    let tasks = TaskGroup::default();
    let runtime = peerkit::runtime::default();
    let (begin, mut hosts) = (Instant::now(), Vec::new());
    for _ in 0..PEERS {
        let host = Host::builder().build().await?;
        let gossip = Gossipsub::spawn(&host, Default::default())?;
        let mut subscription = gossip.subscribe(TOPIC).await?;
        host.connect(victim.clone()).await?;
        let hearing = shared.clone();
        tasks.spawn(runtime.as_ref(), async move {
            while let Some(Ok(received)) = subscription.next().await {
                if let Ok(sent) = <[u8; 8]>::try_from(&received.data[..]) {
                    let sent = Duration::from_micros(u64::from_be_bytes(sent));
                    lock(&hearing.messages).add(begin.elapsed().saturating_sub(sent));
                    hearing.note(true);
                }
            }
        });
        hosts.push((host, gossip));
    }
    for (host, gossip) in &hosts {
        let (gossip, asking, pinging) = (gossip.clone(), host.clone(), host.clone());
        let (asked, pinged_at) = (victim.clone(), victim.clone());
        tasks.spawn(
            runtime.as_ref(),
            steadily(shared.clone(), Duration::from_millis(100), move |_| {
                published(gossip.clone(), begin)
            }),
        );
        tasks.spawn(
            runtime.as_ref(),
            steadily(shared.clone(), Duration::from_millis(20), move |shared| {
                echoed(asking.clone(), asked.clone(), shared)
            }),
        );
        tasks.spawn(
            runtime.as_ref(),
            steadily(shared.clone(), Duration::from_millis(200), move |_| {
                pinged(pinging.clone(), pinged_at.clone())
            }),
        );
    }
    // The mesh has to form.
    measure::sleep(Duration::from_millis(1300)).await;
    say("ready")?;
    obey(&shared)
}

fn obey(shared: &Shared) -> Result<()> {
    let mut since = Instant::now();
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "pause" => shared.paused.store(true, Ordering::Relaxed),
            "resume" => shared.paused.store(false, Ordering::Relaxed),
            _ => {}
        }
        let done = shared.done.swap(0, Ordering::Relaxed);
        let echoes = std::mem::take(&mut *lock(&shared.echoes));
        let messages = std::mem::take(&mut *lock(&shared.messages));
        let answer = json!({
            "per_second": done as f64 / since.elapsed().as_secs_f64(),
            "p99_us": echoes.p99(),
            "message_p99_us": messages.p99(),
            "failures": shared.failures.swap(0, Ordering::Relaxed),
        });
        since = Instant::now();
        say(&answer.to_string())?;
    }
    Ok(())
}

/// Does something at a pace that does not depend on how long it takes, unless that is longer than the pace.
async fn steadily<Work>(shared: Arc<Shared>, pace: Duration, work: impl Fn(Arc<Shared>) -> Work)
where
    Work: Future<Output = bool>,
{
    let mut next = Instant::now();
    loop {
        if !shared.paused.load(Ordering::Relaxed) {
            let done = measure::within(Duration::from_secs(5), work(shared.clone())).await;
            shared.note(done == Some(true));
        }
        next = (next + pace).max(Instant::now() - pace);
        async_io::Timer::at(next).await;
    }
}

/// One request and its answer, on a stream of its own.
pub async fn echo(host: &peerkit::swarm::Host, victim: &Multiaddr, block: &[u8]) -> Result<()> {
    let target = match host.peers().first() {
        Some(peer) => (*peer).into(),
        None => peerkit::DialTarget::from(victim.clone()),
    };
    let mut stream = host.open_stream(target, ECHO).await?;
    stream.write_all(block).await?;
    stream.close().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(answer == block, "another answer");
    Ok(())
}

async fn echoed(host: Host, victim: Multiaddr, shared: Arc<Shared>) -> bool {
    let from = Instant::now();
    let done = echo(&host, &victim, &[9; 4096]).await.is_ok();
    if done {
        lock(&shared.echoes).add(from.elapsed());
    }
    done
}

async fn pinged(host: Host, victim: Multiaddr) -> bool {
    let target = host.peers().first().copied();
    let target = target.map_or(victim.into(), peerkit::DialTarget::from);
    host.ping().ping(target).await.is_ok()
}

async fn published(gossip: Gossipsub, begin: Instant) -> bool {
    let now = (begin.elapsed().as_micros() as u64).to_be_bytes();
    gossip.publish(TOPIC, now).boxed().await.is_ok()
}
