//! The node that every scenario runs: it reaches its neighbours and pings them every 15 s.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use peerkit::{
    DialTarget, Host, Keypair, Multiaddr, Runtime,
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

/// Whom a node has a connection with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) host: HostId,
    /// Whether this side dials first, so that two neighbours share one connection. The other
    /// one dials as well when there is none after a while.
    pub(crate) dials: bool,
}

/// The program of a host.
pub(crate) async fn run(node: Node, neighbours: Vec<Neighbour>, counts: Shared) {
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
    let start = WARM_UP.mul_f64(fraction(&runtime));
    let pinging = neighbours.into_iter().map(|neighbour| {
        let (host, counts, clock) = (host.clone(), counts.clone(), runtime.clone());
        let patience = if neighbour.dials {
            Duration::ZERO
        } else {
            PATIENCE
        };
        Task::spawn(&runtime, async move {
            pause(&clock, start + patience).await;
            ping(host, clock, neighbour.host, counts).await
        })
    });
    let pinging: Vec<_> = pinging.collect();
    for task in pinging {
        task.join().await;
    }
}

/// Pings a neighbour for ever; dials again when the connection is lost.
async fn ping(host: Host, runtime: SimRuntime, neighbour: HostId, counts: Shared) {
    let peer = identity(neighbour).public().to_peer_id();
    let target = DialTarget::new(peer, vec![address(neighbour)]);
    loop {
        match host.ping().open(target.clone()).await {
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

const WARM_UP: Duration = Duration::from_secs(10);
/// By then whoever dials first has connected.
const PATIENCE: Duration = Duration::from_secs(12);
const INTERVAL: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(5);
const PORT: u16 = 4001;
