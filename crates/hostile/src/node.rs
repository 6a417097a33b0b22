//! A node under attack: a facade host with a router and a few handlers, and all that can be seen of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{FutureExt, future::BoxFuture};
use peerkit::{
    Host, HostEvent, Keypair, Multiaddr, PeerId, Runtime, Stream,
    core::{Machine, Network, Timer, multiaddr::Protocol},
    floodsub::Floodsub,
    gossipsub::Gossipsub,
    pubsub::{PubsubEvent, PubsubEvents},
    swarm::{Resource, ResourceScope},
};
use serde_json::{Value, json};

use crate::{
    measure,
    settings::{RouterKind, Settings},
};

/// Sends back what it gets.
pub const ECHO: &str = "/echo/1.0.0";
/// Takes streams, reads nothing of them for 5 s, and lets go.
pub const HOLD: &str = "/hold/1.0.0";
/// Writes 1 MiB as fast as the remote takes it.
pub const SOURCE: &str = "/source/1.0.0";
/// What honest peers talk about.
pub const TOPIC: &str = "honest";

/// A node under attack.
#[derive(Debug)]
pub struct Node {
    /// The host.
    pub host: Host,
    /// Its router.
    pub router: PubsubKind,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What has happened, by its text, and how often.
    pub events: Events,
    tasks: Arc<AtomicUsize>,
    writes: Arc<Mutex<Vec<String>>>,
}

/// The router of a node.
#[derive(Clone, Debug)]
pub enum PubsubKind {
    /// Gossipsub.
    Gossipsub(Gossipsub),
    /// Floodsub.
    Floodsub(Floodsub),
}

/// What has happened, by its text.
pub type Events = Arc<Mutex<BTreeMap<String, u64>>>;

impl Node {
    /// Starts a node with changes of its settings.
    pub async fn start<'a>(changes: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::with_key(Keypair::generate_ed25519(), Settings::changed(changes)?, 0).await
    }

    /// Starts a node on a port of loopback, or on any if that is 0.
    pub async fn with_key(keypair: Keypair, settings: Settings, port: u16) -> Result<Self> {
        let runtime = Counting::default();
        let tasks = runtime.tasks.clone();
        let yamux = peerkit::yamux::Yamux::new(settings.yamux.clone());
        let mplex = peerkit::mplex::Mplex::new(settings.mplex.clone());
        let host = Host::builder()
            .identity(keypair)
            .runtime(runtime)
            .config(settings.host.clone())
            .upgrade(settings.upgrade.clone())
            .muxer(yamux.with_driver(settings.driver.clone()))
            .muxer(mplex.with_driver_config(settings.driver.clone()))
            .ping(settings.ping.clone())
            .identify(settings.identify.clone())
            .listen_on(format!("/ip4/127.0.0.1/tcp/{port}").parse()?)
            .build()
            .await?;
        let writes = Arc::default();
        set_handlers(&host, &writes);
        let router = PubsubKind::spawn(&host, &settings)?;
        let mut subscription = router.subscribe().await?;
        let events = Events::default();
        watch(&host, &router, &events);
        host.spawn(async move { while subscription.next().await.is_some() {} });
        let addr = socket_addr(&host.listen_addrs()).context("it listens on TCP")?;
        Ok(Self {
            host,
            router,
            addr,
            events,
            tasks,
            writes,
        })
    }

    /// Its identity.
    pub fn peer(&self) -> PeerId {
        self.host.local_peer()
    }

    /// How often something happened whose text contains this.
    pub fn happened(&self, text: &str) -> u64 {
        let events = lock(&self.events);
        let matching = events.iter().filter(|(event, _)| event.contains(text));
        matching.map(|(_, count)| count).sum()
    }

    /// Waits until something has happened, for a while.
    pub async fn happens(&self, text: &str, patience: Duration) -> bool {
        measure::until(patience, || self.happened(text) > 0).await
    }

    /// Tasks that run.
    pub fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }

    /// How writing to streams of [`SOURCE`] ended.
    pub fn writes(&self) -> Vec<String> {
        lock(&self.writes).clone()
    }

    /// What is in use of a resource of the whole node.
    pub fn used(&self, resource: Resource) -> usize {
        let resources = self.host.resources();
        let scopes = [ResourceScope::System, ResourceScope::Transient];
        let usage = scopes
            .iter()
            .find_map(|scope| resources.usage(scope, resource));
        usage.map_or(0, |usage| usage.used)
    }

    /// All that is measured, for another process.
    pub fn stats(&self) -> Value {
        let sizes = match &self.router {
            PubsubKind::Gossipsub(gossip) => {
                let sizes = gossip.router_metrics().sizes;
                json!({
                    "router_peers": sizes.peers, "topics": sizes.topics,
                    "subscriptions": sizes.subscriptions, "backoffs": sizes.backoffs,
                    "promises": sizes.promises, "refusals": sizes.refusals,
                    "validating": sizes.validating, "outgoing": sizes.outgoing,
                    "history_bytes": sizes.history_bytes,
                    "retained_peers": sizes.retained_peers,
                })
            }
            PubsubKind::Floodsub(flood) => {
                json!({ "router_peers": flood.metrics().peers, "topics": flood.topics().len() })
            }
        };
        json!({
            "rss": measure::rss(), "fds": measure::descriptors(), "tasks": self.tasks(),
            "cpu_ms": measure::cpu_time().as_millis() as u64,
            "connections": self.used(Resource::Connections),
            "half_open": self.used(Resource::HalfOpenConnections),
            "negotiations": self.used(Resource::Negotiations),
            "streams": self.used(Resource::Streams),
            "memory": self.used(Resource::Memory),
            "peers": self.host.peers().len(),
            "writes": self.writes(),
            "router": sizes,
            "events": *lock(&self.events),
        })
    }
}

impl PubsubKind {
    fn spawn(host: &Host, settings: &Settings) -> Result<Self> {
        Ok(match settings.router {
            RouterKind::Gossipsub => {
                Self::Gossipsub(Gossipsub::spawn(host, settings.gossipsub.clone())?)
            }
            RouterKind::Floodsub => {
                Self::Floodsub(Floodsub::spawn(host, settings.floodsub.clone())?)
            }
        })
    }

    /// Joins the topic of the honest.
    pub async fn subscribe(&self) -> Result<peerkit::pubsub::Subscription> {
        Ok(match self {
            Self::Gossipsub(router) => router.subscribe(TOPIC).await?,
            Self::Floodsub(router) => router.subscribe(TOPIC).await?,
        })
    }

    /// Publishes to a topic.
    pub async fn publish(&self, topic: &str, data: Vec<u8>) -> Result<()> {
        match self {
            Self::Gossipsub(router) => router.publish(topic, data).await.map(drop)?,
            Self::Floodsub(router) => router.publish(topic, data).await.map(drop)?,
        }
        Ok(())
    }

    /// What else happens.
    pub fn events(&self) -> PubsubEvents {
        match self {
            Self::Gossipsub(router) => router.events(),
            Self::Floodsub(router) => router.events(),
        }
    }

    /// Counters.
    pub fn metrics(&self) -> peerkit::pubsub::Metrics {
        match self {
            Self::Gossipsub(router) => router.metrics(),
            Self::Floodsub(router) => router.metrics(),
        }
    }

    /// The gossipsub router, which the node must have.
    pub fn gossipsub(&self) -> Result<&Gossipsub> {
        match self {
            Self::Gossipsub(router) => Ok(router),
            Self::Floodsub(_) => anyhow::bail!("this node speaks floodsub"),
        }
    }
}

/// What [`SOURCE`] writes; one for all, so that the memory of a handler is none of what is measured.
static BLOCK: [u8; 1 << 20] = [7; 1 << 20];

fn set_handlers(host: &Host, writes: &Arc<Mutex<Vec<String>>>) {
    host.set_stream_handler(ECHO, |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await?;
        futures::AsyncWriteExt::close(&mut &stream).await
    });
    host.set_stream_handler(HOLD, |stream: Stream| async move {
        measure::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let writes = writes.clone();
    host.set_stream_handler(SOURCE, move |stream: Stream| {
        let writes = writes.clone();
        async move {
            let from = Instant::now();
            let outcome = futures::AsyncWriteExt::write_all(&mut &stream, &BLOCK[..]).await;
            let outcome = outcome.err().map_or("written".into(), |it| it.to_string());
            let mut writes = lock(&writes);
            if writes.len() < 1000 {
                writes.push(format!("{} ms: {outcome}", from.elapsed().as_millis()));
            }
        }
    });
}

/// Texts that are kept; there are fewer, unless a remote could choose them.
const TEXTS_MAX: usize = 200;

fn watch(host: &Host, router: &PubsubKind, events: &Events) {
    let (mut happened, seen) = (host.events(), events.clone());
    host.spawn(async move {
        while let Some(event) = happened.next().await {
            if let Some(text) = describe(&event) {
                count(&seen, text);
            }
        }
    });
    let (mut happened, seen) = (router.events(), events.clone());
    host.spawn(async move {
        while let Some(event) = happened.next().await {
            match event {
                PubsubEvent::BadFrame { error, .. } => count(&seen, format!("BadFrame: {error}")),
                PubsubEvent::Rejected { reason, .. } => count(&seen, format!("Rejected: {reason}")),
                PubsubEvent::Dropped { .. } => count(&seen, "Dropped".into()),
                _ => {}
            }
        }
    });
}

/// The text of an event, without what differs from remote to remote.
fn describe(event: &HostEvent) -> Option<String> {
    if let Some(limit) = event.limit() {
        return Some(format!("limit: {}", limit.setting));
    }
    match event {
        HostEvent::Disconnected { reason, .. } => Some(format!("Disconnected: {reason}")),
        HostEvent::InboundFailed { error, .. } => Some(format!("InboundFailed: {error}")),
        HostEvent::Trimmed { .. } => Some("Trimmed".into()),
        HostEvent::Connected { .. } => Some("Connected".into()),
        _ => None,
    }
}

fn count(events: &Events, text: String) {
    let mut events = lock(events);
    if events.len() < TEXTS_MAX || events.contains_key(&text) {
        *events.entry(text).or_default() += 1;
    }
}

/// The TCP address among those of a host.
pub fn socket_addr(addrs: &[Multiaddr]) -> Option<SocketAddr> {
    addrs.iter().find_map(|addr| {
        let mut parts = addr.iter();
        match (parts.next()?, parts.next()?) {
            (Protocol::Ip4(ip), Protocol::Tcp(port)) => Some((ip, port).into()),
            _ => None,
        }
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The default runtime, which counts its tasks.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Runtime>,
    tasks: Arc<AtomicUsize>,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            inner: peerkit::runtime::default(),
            tasks: Arc::default(),
        }
    }
}

/// One task that runs.
struct Task(Arc<AtomicUsize>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runtime for Counting {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn unix_time(&self) -> Duration {
        self.inner.unix_time()
    }

    fn timer(&self, deadline: Instant) -> std::pin::Pin<Box<dyn Timer>> {
        self.inner.timer(deadline)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        let task = Task(self.tasks.clone());
        self.inner.spawn(
            async move {
                let _task = task;
                future.await;
            }
            .boxed(),
        );
    }

    fn network(&self) -> &dyn Network {
        self.inner.network()
    }

    fn seed(&self) -> [u8; 32] {
        self.inner.seed()
    }

    fn machine(&self) -> Machine {
        self.inner.machine()
    }
}
