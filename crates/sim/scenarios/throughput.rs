//! A transfer over a long fat link.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit::{Stream, core::Runtime};
use peerkit_sim::{HostId, Sim};

use super::{
    node::{self, full_address},
    trial::Muxer,
};

/// A link and how long it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Bits per second.
    pub(crate) bandwidth: u64,
    pub(crate) round_trip: Duration,
    pub(crate) time: Duration,
    /// The side that receives.
    pub(crate) download: bool,
}

/// How much of the bandwidth was used, in each step of the time.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) step: Duration,
    pub(crate) shares: Vec<f64>,
}

impl Progress {
    /// The best share of a step.
    pub(crate) fn best(&self) -> f64 {
        self.shares.iter().copied().fold(0.0, f64::max)
    }

    /// When a share was first reached.
    pub(crate) fn reached(&self, share: f64) -> Option<Duration> {
        let step = self.shares.iter().position(|it| *it >= share)?;
        Some(self.step * (step as u32 + 1))
    }
}

/// One stream over yamux, as fast as it goes, from the moment at which the dial begins.
pub(crate) fn run(seed: u64, transfer: Transfer) -> Progress {
    let mut sim = Sim::new(seed);
    sim.links()
        .latency(transfer.round_trip / 2)
        .bandwidth(transfer.bandwidth);
    // As a system that is set up for such links.
    sim.set_tcp_window(1 << 28);
    let ids = [sim.host(), sim.host()];
    let [client, server] = ids.map(|id| sim.runtime(id));
    let read = Arc::new(AtomicU64::new(0));
    let starting = async {
        let client = node::start(client.clone(), Muxer::Yamux).await;
        (client, node::start(server, Muxer::Yamux).await)
    };
    let (host, server) = sim.block_on(starting);
    let counter = read.clone();
    server.set_stream_handler(SINK, move |stream: Stream| drain(stream, counter.clone()));
    server.set_stream_handler(SOURCE, fill);
    let counter = read.clone();
    let (peer, download) = (full_address(HostId::new(1)), transfer.download);
    let work = async move {
        let protocol = if download { SOURCE } else { SINK };
        let stream = host.open_stream(peer, protocol).await.expect("it is there");
        if download {
            drain(stream, counter).await;
        } else {
            fill(stream).await;
        }
    };
    client.spawn(work.boxed());
    watch(&mut sim, &transfer, &read)
}

fn watch(sim: &mut Sim, transfer: &Transfer, read: &AtomicU64) -> Progress {
    let step = transfer.time / STEPS;
    let possible = transfer.bandwidth as f64 / 8.0 * step.as_secs_f64();
    let mut before = 0;
    let mut measure = |_| {
        sim.run_for(step);
        let now = read.load(Ordering::Relaxed);
        let share = (now - before) as f64 / possible;
        before = now;
        share
    };
    Progress {
        step,
        shares: (0..STEPS).map(&mut measure).collect(),
    }
}

async fn drain(mut stream: Stream, read: Arc<AtomicU64>) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        read.fetch_add(count as u64, Ordering::Relaxed);
    }
}

async fn fill(mut stream: Stream) {
    let block = vec![0; 256 * 1024];
    while stream.write_all(&block).await.is_ok() {}
}

const SINK: &str = "/sink/1.0.0";
const SOURCE: &str = "/source/1.0.0";
const STEPS: u32 = 12;
