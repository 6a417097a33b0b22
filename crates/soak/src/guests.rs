//! Those who come, want something, and leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{
    Host, Multiaddr,
    gossipsub::{Gossipsub, GossipsubConfig},
    runtime::Tokio,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::node::{ECHO, TOPIC};

/// Everybody who is there, until they are sent home.
pub(crate) struct Guests {
    over: Arc<AtomicBool>,
    served: Arc<Counters>,
    tasks: JoinSet<()>,
}

/// What guests did.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Visits that have ended.
    pub(crate) visits: u64,
    /// Streams that were echoed.
    pub(crate) echoes: u64,
    /// Pings that were answered.
    pub(crate) pings: u64,
    /// Messages that went out.
    pub(crate) published: u64,
    /// Visits that ended with an error.
    pub(crate) failed: u64,
}

#[derive(Default)]
struct Counters {
    visits: AtomicU64,
    echoes: AtomicU64,
    pings: AtomicU64,
    published: AtomicU64,
    failed: AtomicU64,
}

impl Guests {
    /// One who stays, and so many who come and go.
    pub(crate) fn invite(addr: Multiaddr, count: usize) -> Self {
        let (over, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Counters::default()),
        );
        let mut tasks = JoinSet::new();
        let mut one_after_the_other = |stays: bool| {
            let (addr, over, served) = (addr.clone(), over.clone(), served.clone());
            tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let visit = Visit {
                        addr: &addr,
                        over: &over,
                        served: &served,
                        stays,
                    };
                    if let Err(error) = visit.pay().await {
                        eprintln!("a guest was not served: {error:#}");
                        served.failed.fetch_add(1, Ordering::Relaxed);
                    }
                    served.visits.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        one_after_the_other(true);
        for _ in 0..count {
            one_after_the_other(false);
        }
        Self {
            over,
            served,
            tasks,
        }
    }

    /// Ends all visits.
    pub(crate) async fn send_home(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Served {
            visits: read(&self.served.visits),
            echoes: read(&self.served.echoes),
            pings: read(&self.served.pings),
            published: read(&self.served.published),
            failed: read(&self.served.failed),
        }
    }
}

struct Visit<'a> {
    addr: &'a Multiaddr,
    over: &'a AtomicBool,
    served: &'a Counters,
    stays: bool,
}

impl Visit<'_> {
    async fn pay(&self) -> Result<()> {
        let host = Host::builder().runtime(Tokio::current()).build().await?;
        let node = timeout(PATIENCE, host.connect(self.addr.clone())).await??;
        let gossip = Gossipsub::spawn(&host, GossipsubConfig::default())?;
        // What others say is taken note of, so that it passes the node both ways.
        let mut news = gossip.subscribe(TOPIC).await?;
        let listening = host.spawn(async move { while news.next().await.is_some() {} });
        ensure!(listening, "the host is closed");
        let joined = timeout(PATIENCE, gossip.wait_for_peers(TOPIC, 1)).await?;
        ensure!(joined, "the node does not take part in gossip");
        let mut wishes = if self.stays {
            u64::MAX
        } else {
            rand::random_range(1..60)
        };
        let mut pinger = host.ping().open(node).await?;
        while wishes > 0 && !self.over.load(Ordering::Relaxed) {
            wishes -= 1;
            match rand::random_range(0..3) {
                0 => self.echo(&host).await?,
                1 => {
                    pinger.ping().await?;
                    self.served.pings.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    let size = rand::random_range(1..4096);
                    gossip
                        .publish(TOPIC, rand::random_iter().take(size).collect::<Vec<u8>>())
                        .await?;
                    self.served.published.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(Duration::from_millis(rand::random_range(0..1000))).await;
        }
        // Half of them say goodbye.
        if rand::random() {
            host.close().await;
        }
        Ok(())
    }

    async fn echo(&self, host: &Host) -> Result<()> {
        let size = rand::random_range(1..256 * 1024);
        let sent: Vec<u8> = rand::random_iter().take(size).collect();
        let stream = timeout(PATIENCE, host.open_stream(self.addr.clone(), ECHO)).await??;
        let (mut input, mut output) = (&stream, &stream);
        let send = async {
            output.write_all(&sent).await?;
            output.close().await
        };
        let mut answer = Vec::with_capacity(size);
        timeout(
            PATIENCE,
            futures::future::try_join(send, input.read_to_end(&mut answer)),
        )
        .await??;
        ensure!(answer == sent, "the echo of {size} bytes differs");
        self.served.echoes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// For one thing that a guest wants.
const PATIENCE: Duration = Duration::from_secs(30);
