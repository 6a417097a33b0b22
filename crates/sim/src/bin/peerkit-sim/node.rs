//! The node that every scenario runs: it dials its neighbours and pings them every 15 s.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use peerkit::{
    Host, Keypair, Multiaddr, Runtime,
    core::{Task, lock, sleep_until},
};
use peerkit_sim::{HostId, Node, SimRuntime};

/// What all nodes count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) pings: u64,
    pub(crate) pings_failed: u64,
    pub(crate) dials_failed: u64,
    /// Answered pings since the neighbours were last asked about.
    pub(crate) answered: BTreeMap<(HostId, HostId), u64>,
    /// In microseconds; as many as there were answers.
    pub(crate) round_trips: Vec<u32>,
}

pub(crate) type Shared = Arc<Mutex<Counts>>;

/// The program of a host. `neighbours` are whom it dials.
pub(crate) async fn run(node: Node, neighbours: Vec<HostId>, counts: Shared) {
    let runtime = node.runtime();
    let listen = address(node.id());
    let host = Host::builder()
        .identity(identity(node.id()))
        .runtime(runtime.clone())
        .listen_on(listen)
        .build()
        .await
        .expect("the port of a host that was just started is free");
    // Nobody starts at the same moment as everybody else.
    pause(&runtime, WARM_UP.mul_f64(fraction(&runtime))).await;
    let pinging = neighbours.into_iter().map(|neighbour| {
        let (host, counts, clock) = (host.clone(), counts.clone(), runtime.clone());
        Task::spawn(&runtime, async move {
            ping(host, clock, neighbour, counts).await
        })
    });
    let pinging: Vec<_> = pinging.collect();
    for task in pinging {
        task.join().await;
    }
}

/// Pings a neighbour for ever; dials again when the connection is lost.
async fn ping(host: Host, runtime: SimRuntime, neighbour: HostId, counts: Shared) {
    loop {
        match host.ping().open(&address(neighbour)).await {
            Err(_) => lock(&counts).dials_failed += 1,
            Ok(mut pinger) => {
                while let Ok(time) = pinger.ping().await {
                    lock(&counts).answer((runtime.host(), neighbour), time);
                    pause(&runtime, INTERVAL).await;
                }
                lock(&counts).pings_failed += 1;
            }
        }
        pause(&runtime, RETRY).await;
    }
}

impl Counts {
    fn answer(&mut self, pair: (HostId, HostId), time: Duration) {
        self.pings += 1;
        *self.answered.entry(pair).or_default() += 1;
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.round_trips.push(micros);
    }
}

/// The same after a restart, as if it was stored.
fn identity(host: HostId) -> Keypair {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&(host.index() as u64).to_le_bytes());
    Keypair::ed25519_from_bytes(secret).expect("any 32 bytes are an Ed25519 secret key")
}

fn address(host: HostId) -> Multiaddr {
    Multiaddr::empty()
        .with(host.ipv4().into())
        .with(peerkit::core::multiaddr::Protocol::Tcp(PORT))
}

async fn pause(runtime: &SimRuntime, time: Duration) {
    sleep_until(runtime, runtime.now() + time).await;
}

/// From nothing to almost one, by the host's own randomness.
fn fraction(runtime: &SimRuntime) -> f64 {
    f64::from(runtime.seed()[0]) / 256.0
}

pub(crate) const WARM_UP: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(5);
const PORT: u16 = 4001;
