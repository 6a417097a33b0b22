//! A network of real nodes with gossipsub.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{Either, join_all, select},
    stream::FuturesUnordered,
};
use peerkit::{
    DialTarget, Host, HostConfig, HostEvent,
    core::{Runtime, lock, with_deadline},
    gossipsub::{Gossipsub, GossipsubConfig},
};
use peerkit_sim::{HostId, Node, Sim};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::log::{self, Log};
use crate::scenarios::{
    Outcome,
    node::{address, identity, pause},
    trial,
};

/// What every node has joined.
pub(crate) const TOPIC: &str = "news";

/// How a network is put together.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// Whom each node dials, and dials again when the connection is lost; one entry for each node. The nodes are the
    /// first hosts of the simulation; hosts that a scenario adds later come behind them and may be named here.
    pub(crate) dials: Vec<Vec<HostId>>,
    /// Each link between two hosts that are neighbours has a latency of its own between these, in both directions.
    pub(crate) latency: (Duration, Duration),
    /// The most by which a packet is later than that.
    pub(crate) jitter: Duration,
    /// Bits per second of each link, in each direction.
    pub(crate) bandwidth: u64,
    /// Bits per second that each node can send in all.
    pub(crate) uplink: Option<u64>,
    /// Nodes begin to dial at a random moment within this time.
    pub(crate) start_within: Duration,
    /// The configuration of each node, by its place.
    pub(crate) config: Arc<ConfigOf>,
    /// Called with each node before it joins, for validators and scores of the application.
    pub(crate) prepare: Arc<Prepare>,
}

pub(crate) type ConfigOf = dyn Fn(usize) -> GossipsubConfig + Send + Sync;
pub(crate) type Prepare = dyn Fn(usize, &Gossipsub) + Send + Sync;

impl Setup {
    /// Nodes with the defaults of gossipsub in a random graph, over links of 50 to 150 ms.
    pub(crate) fn new(seed: u64, nodes: usize, degree: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            seed,
            dials: random_dials(&mut rng, nodes, degree),
            latency: (ms(50), ms(150)),
            jitter: ms(2),
            bandwidth: BANDWIDTH,
            uplink: None,
            start_within: Duration::from_secs(5),
            config: Arc::new(|_| GossipsubConfig::default()),
            prepare: Arc::new(|_, _| {}),
        }
    }

    /// The same configuration for all nodes.
    pub(crate) fn with_config(self, change: impl Fn(&mut GossipsubConfig)) -> Self {
        let mut config = GossipsubConfig::default();
        change(&mut config);
        let config = Arc::new(move |_| config.clone());
        Self { config, ..self }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("seed", &self.seed)
            .field("nodes", &self.dials.len())
            .finish_non_exhaustive()
    }
}

/// A random graph: each node dials half of `degree` others, and nobody whom it knows already. So a node has
/// `degree` neighbours on average, and at least half of that.
pub(crate) fn random_dials(rng: &mut StdRng, nodes: usize, degree: usize) -> Vec<Vec<HostId>> {
    let mut known = vec![BTreeSet::new(); nodes];
    let mut dials = vec![Vec::new(); nodes];
    let wanted = (degree / 2).max(1);
    for node in 0..nodes {
        // In a small network everybody may know everybody already.
        for _ in 0..wanted * 100 {
            let other = rng.random_range(0..nodes);
            if dials[node].len() < wanted && other != node && known[node].insert(other) {
                known[other].insert(node);
                dials[node].push(host_id(other));
            }
        }
    }
    dials
}

/// Messages that are published one after the other, at equal distances.
#[derive(Clone, Debug)]
pub(crate) struct Publishing {
    /// When the first one is published, since the simulation began.
    pub(crate) from: Duration,
    /// Nodes take turns, by their places.
    pub(crate) publishers: Vec<usize>,
    /// Between two messages, whoever publishes them.
    pub(crate) every: Duration,
    /// How many, of all publishers together.
    pub(crate) count: usize,
    /// Bytes of each; at least 8.
    pub(crate) size: usize,
}

impl Publishing {
    /// When the last one has been published for as long as there is between two.
    pub(crate) fn end(&self) -> Duration {
        self.from + self.every * self.count as u32
    }
}

/// A network that runs.
pub(crate) struct Network {
    /// Where more may happen.
    pub(crate) sim: Sim,
    /// For the decisions of the scenario.
    pub(crate) rng: StdRng,
    /// The nodes.
    pub(crate) hosts: Vec<HostId>,
    shared: Arc<Shared>,
}

/// What nodes and scenario share.
struct Shared {
    setup: Setup,
    log: Mutex<Log>,
    nodes: Mutex<Vec<Option<(Host, Gossipsub)>>>,
}

impl Network {
    /// The nodes begin to run when time does.
    pub(crate) fn new(setup: Setup) -> Self {
        let mut sim = Sim::new(setup.seed);
        let mut rng = StdRng::seed_from_u64(setup.seed.wrapping_add(1));
        let middle = (setup.latency.0 + setup.latency.1) / 2;
        let links = sim.links().latency(middle).jitter(setup.jitter);
        let _ = links.bandwidth(setup.bandwidth);
        for (node, others) in setup.dials.iter().enumerate() {
            for other in others {
                let latency = between(&mut rng, setup.latency);
                let _ = sim.link(host_id(node), *other).latency(latency);
            }
        }
        trial::watch(&mut sim);
        let count = setup.dials.len();
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            nodes: Mutex::new((0..count).map(|_| None).collect()),
            setup,
        });
        let known = shared.clone();
        let hosts = sim.hosts(count, move |node| run(node, known.clone()));
        if let Some(uplink) = shared.setup.uplink {
            hosts.iter().for_each(|host| sim.set_uplink(*host, uplink));
        }
        Self {
            sim,
            rng,
            hosts,
            shared,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Plans messages.
    pub(crate) fn publish(&mut self, plan: &Publishing) {
        for step in 0..plan.count {
            let publisher = plan.publishers[step % plan.publishers.len()];
            let at = plan.from + plan.every * step as u32;
            self.publish_at(at, publisher, plan.size);
        }
    }

    /// Plans one message of a node.
    pub(crate) fn publish_at(&mut self, at: Duration, publisher: usize, size: usize) {
        let shared = self.shared.clone();
        self.sim.at(at, move |sim| {
            let nodes = shared.setup.dials.len();
            let number = lock(&shared.log).publish(publisher, nodes, sim.elapsed());
            let Some((host, gossip)) = shared.node(publisher) else {
                return;
            };
            let known = shared.clone();
            host.spawn(async move {
                let published = gossip.publish(TOPIC, log::data(number, size)).await;
                // What could not be published shows in the log.
                if let Ok(report) = published {
                    lock(&known.log).sent(number, report.peers);
                }
            });
        });
    }

    /// Some nodes, each once, in no order.
    pub(crate) fn draw_nodes(&mut self, count: usize) -> Vec<usize> {
        let nodes = self.len();
        rand::seq::index::sample(&mut self.rng, nodes, count.min(nodes)).into_vec()
    }

    /// The handles of all nodes that are up.
    pub(crate) fn all(&self) -> Vec<Gossipsub> {
        let nodes = lock(&self.shared.nodes);
        let up = nodes.iter().flatten();
        up.map(|(_, gossip)| gossip.clone()).collect()
    }

    /// What was published and has arrived so far.
    pub(crate) fn log(&self) -> Log {
        lock(&self.shared.log).clone()
    }

    /// Closes all nodes; nothing may be left of them after a while. Other hosts must have ended before.
    pub(crate) fn end(mut self) -> Outcome {
        let nodes: Vec<_> = lock(&self.shared.nodes).drain(..).flatten().collect();
        let closing = nodes.iter().map(|(host, _)| host.close());
        self.sim.block_on(join_all(closing));
        drop(nodes);
        trial::outcome(self.sim)
    }
}

impl Shared {
    fn node(&self, place: usize) -> Option<(Host, Gossipsub)> {
        lock(&self.nodes).get(place)?.clone()
    }
}

/// The program of a node.
async fn run(node: Node, shared: Arc<Shared>) {
    let (place, runtime) = (node.index(), node.runtime());
    let mut config = HostConfig::default();
    // Who has lost a neighbour wants it back.
    config.dial.backoff_max = REDIAL;
    let builder = Host::builder()
        .identity(identity(node.id()))
        .listen_on(address(node.id()))
        .runtime(runtime.clone())
        .config(config);
    let host = builder.build().await.expect("the port is free");
    let gossip = Gossipsub::spawn(&host, (shared.setup.config)(place));
    let gossip = gossip.expect("a scenario configures it well");
    (shared.setup.prepare)(place, &gossip);
    let news = gossip.subscribe(TOPIC).await;
    let mut news = news.expect("the topic has a short name");
    lock(&shared.nodes)[place] = Some((host.clone(), gossip));
    let neighbours = shared.setup.dials[place].clone();
    let start = shared.setup.start_within.mul_f64(fraction(&runtime));
    host.spawn(keep(host.clone(), neighbours, start));
    drop(host);
    while let Some(message) = news.next().await {
        let now = runtime.elapsed();
        let mut log = lock(&shared.log);
        match message {
            Ok(message) => log.arrive(&message.data, place, now),
            Err(lagged) => log.lagged += lagged.missed,
        }
    }
}

/// Dials the neighbours, and again whenever one is lost.
async fn keep(host: Host, neighbours: Vec<HostId>, start: Duration) {
    let runtime = host.runtime().clone();
    pause(runtime.as_ref(), start).await;
    let mut events = host.events();
    let targets = neighbours.into_iter().map(|neighbour| {
        let peer = identity(neighbour).public().to_peer_id();
        DialTarget::new(peer, vec![address(neighbour)])
    });
    let targets: Vec<_> = targets.collect();
    let mut dialing: FuturesUnordered<_> = targets.iter().map(|it| reach(&host, it)).collect();
    loop {
        let event = {
            let next = std::pin::pin!(events.next());
            match select(next, dialing.next()).await {
                Either::Left((event, _)) => event,
                Either::Right((Some(()), _)) => continue,
                Either::Right((None, next)) => next.await,
            }
        };
        let Some(event) = event else {
            return;
        };
        let lagged = matches!(event, HostEvent::Lagged { .. });
        let gone = if let HostEvent::Disconnected { peer, .. } = &event {
            Some(*peer)
        } else {
            None
        };
        let may_be_lost =
            |target: &&DialTarget| lagged || (gone.is_some() && target.peer() == gone);
        // Who is there after all is reached at once.
        let lost = targets.iter().filter(may_be_lost);
        dialing.extend(lost.map(|it| reach(&host, it)));
    }
}

/// Dials until it succeeds.
async fn reach(host: &Host, target: &DialTarget) {
    let runtime = host.runtime().as_ref();
    while !host.is_closed() {
        let dial = host.connect(target.clone());
        if let Some(Ok(_)) = with_deadline(runtime, DIAL_TIME, dial).await {
            return;
        }
        pause(runtime, REDIAL).await;
    }
}

/// From nothing to almost one, by the host's own randomness.
fn fraction(runtime: &impl Runtime) -> f64 {
    let [low, high, ..] = runtime.seed();
    f64::from(u16::from_le_bytes([low, high])) / 65536.0
}

fn between(rng: &mut StdRng, (least, most): (Duration, Duration)) -> Duration {
    Duration::from_micros(rng.random_range(least.as_micros() as u64..=most.as_micros() as u64))
}

fn host_id(place: usize) -> HostId {
    HostId::new(u32::try_from(place).expect("there are fewer nodes than numbers"))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 20 Mbit/s.
const BANDWIDTH: u64 = 20_000_000;
/// How long a node waits for a neighbour before it dials anew.
const DIAL_TIME: Duration = Duration::from_secs(2);
const REDIAL: Duration = Duration::from_millis(500);
