//! Everything that a simulation knows, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use peerkit_core::lock;
use rand::{Rng, SeedableRng, rngs::StdRng};
use smallvec::SmallVec;

use crate::{
    HostId, Stats,
    boxes::{NatBox, NatId},
    descriptors::Descriptors,
    executor::{Ready, Task, Tasks},
    link::Links,
    queue::{Event, Key, Queue},
    storage::Disk,
    table::Table,
    tcp::{Connection, ConnectionId, Joined, ListenerState},
    trace::{Kind, Trace, mix},
    udp::UdpState,
};

/// What the simulation and the runtimes of its hosts share.
pub(crate) struct Shared {
    pub(crate) ready: Arc<Ready>,
    /// Virtual time in nanoseconds; a copy outside of the lock, since everybody asks for it.
    clock: AtomicU64,
    /// Virtual time zero. Only differences to it are ever looked at.
    start: Instant,
    world: Mutex<World>,
}

impl Shared {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can't be made otherwise; the runtime counts from it and never asks again"
    )]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ready: Arc::default(),
            clock: AtomicU64::new(0),
            start: Instant::now(),
            world: Mutex::new(World::new(seed)),
        }
    }

    /// Does something under the lock. Wakers are called and dropped after it, since
    /// what they wake or own may come back here.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.world);
        let outcome = act(&mut world);
        if world.wakes.is_empty() && world.retired.is_empty() {
            return outcome;
        }
        let wakes = std::mem::take(&mut world.wakes);
        let retired = std::mem::take(&mut world.retired);
        drop(world);
        wakes.into_iter().for_each(Waker::wake);
        drop(retired);
        outcome
    }

    /// Lets the next event happen, unless it is beyond `horizon` or the script's next `action` comes first.
    pub(crate) fn step(&self, horizon: u64, action: Option<u64>) -> Step {
        self.with(|world| {
            let next = world.queue.next_time();
            let Some(at) =
                next.filter(|at| *at <= horizon && action.is_none_or(|action| *at < action))
            else {
                return Step::Nothing { next };
            };
            let later = at > world.now;
            if later {
                world.now = at;
                self.clock.store(at, Ordering::Relaxed);
            }
            if let Some(event) = world.queue.pop() {
                world.handle(event);
            }
            if later { Step::Later } else { Step::Same }
        })
    }

    pub(crate) fn nanos(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn set_clock(&self, to: u64) {
        self.clock.store(to, Ordering::Relaxed);
        self.with(|world| world.now = to);
    }

    pub(crate) fn now(&self) -> Instant {
        let elapsed = Duration::from_nanos(self.nanos());
        self.start.checked_add(elapsed).unwrap_or(self.start)
    }

    /// An instant as virtual time; `None` when it is too far for the simulation to reach.
    pub(crate) fn virtual_time(&self, instant: Instant) -> Option<u64> {
        let elapsed = instant.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_nanos()).ok()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Duration::from_nanos(self.nanos());
        f.debug_struct("Simulation")
            .field("now", &now)
            .finish_non_exhaustive()
    }
}

/// What [`Shared::step`] has done.
pub(crate) enum Step {
    /// Time has passed, and something has happened.
    Later,
    /// Something else has happened at the same time.
    Same,
    /// Nothing; the next event is at this time, if there is any.
    Nothing { next: Option<u64> },
}

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Up,
    /// Its tasks stand still; its sockets still take what arrives.
    Paused,
    /// It takes no packets.
    Down,
}

/// One host.
pub(crate) struct HostState {
    pub(crate) name: String,
    pub(crate) condition: Condition,
    /// How often it was started. What belongs to a former life does nothing any more.
    pub(crate) life: u32,
    pub(crate) rng: StdRng,
    pub(crate) listeners: BTreeMap<u64, ListenerState>,
    pub(crate) udp: BTreeMap<u64, UdpState>,
    /// Local port and remote address of every connection.
    pub(crate) tuples: BTreeSet<(u16, SocketAddr)>,
    pub(crate) next_port: u16,
    /// The box that it is behind.
    pub(crate) nat: Option<NatId>,
    pub(crate) descriptors: Descriptors,
    pub(crate) disk: Disk,
    /// Tasks that were woken while it was paused.
    pub(crate) parked: Vec<Arc<Task>>,
}

/// Seldom more than one.
type Wakers = SmallVec<[Waker; 2]>;

/// The state of the simulation.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) tasks: Tasks,
    pub(crate) hosts: Vec<HostState>,
    ips: BTreeMap<IpAddr, HostId>,
    names: BTreeMap<String, HostId>,
    pub(crate) links: Links,
    pub(crate) boxes: Vec<NatBox>,
    pub(crate) connections: Table<Connection>,
    /// Attempts to connect that have ended in a connection from the other side.
    pub(crate) joined: BTreeMap<ConnectionId, Joined>,
    pub(crate) window: usize,
    pub(crate) rng: StdRng,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) wakes: Wakers,
    pub(crate) retired: Wakers,
    pub(crate) ended: bool,
    next_id: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            now: 0,
            queue: Queue::default(),
            tasks: Tasks::default(),
            hosts: Vec::new(),
            ips: BTreeMap::new(),
            names: BTreeMap::new(),
            links: Links::new(),
            boxes: Vec::new(),
            connections: Table::default(),
            joined: BTreeMap::new(),
            window: DEFAULT_WINDOW,
            rng: StdRng::seed_from_u64(seed),
            trace: Trace::new(seed),
            stats: Stats::default(),
            wakes: Wakers::new(),
            retired: Wakers::new(),
            ended: false,
            next_id: 0,
        }
    }

    /// A fresh number for a socket or a connection.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn add_host(&mut self) -> HostId {
        let index = u32::try_from(self.hosts.len()).expect("memory ends before the numbers do");
        let id = HostId(index);
        let name = format!("host-{index}");
        for ip in [ipv4(id), ipv6(id)] {
            self.ips.insert(ip, id);
        }
        self.names.insert(name.clone(), id);
        self.hosts.push(HostState {
            name,
            condition: Condition::Up,
            life: 0,
            rng: StdRng::seed_from_u64(mix(mix(self.seed, 1), u64::from(index))),
            listeners: BTreeMap::new(),
            udp: BTreeMap::new(),
            tuples: BTreeSet::new(),
            next_port: FIRST_EPHEMERAL,
            nat: None,
            descriptors: Descriptors::default(),
            disk: Disk::default(),
            parked: Vec::new(),
        });
        id
    }

    pub(crate) fn set_name(&mut self, host: HostId, name: &str) {
        self.names.insert(name.to_owned(), host);
        self.host_mut(host).name = name.to_owned();
    }

    pub(crate) fn host(&self, id: HostId) -> &HostState {
        &self.hosts[id.0 as usize]
    }

    pub(crate) fn host_mut(&mut self, id: HostId) -> &mut HostState {
        &mut self.hosts[id.0 as usize]
    }

    /// Whether this life of a host goes on.
    pub(crate) fn is_alive(&self, host: HostId, life: u32) -> bool {
        let state = self.host(host);
        !self.ended && state.life == life && state.condition != Condition::Down
    }

    /// The host that has an address, seen from another one.
    pub(crate) fn route(&self, from: HostId, to: IpAddr) -> Option<HostId> {
        if to.is_loopback() {
            return Some(from);
        }
        let host = self.host_at(to)?;
        self.sees(from, host, to).then_some(host)
    }

    /// The host that has an address of its own, whoever can reach it.
    pub(crate) fn host_at(&self, ip: IpAddr) -> Option<HostId> {
        self.ips.get(&ip).copied()
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Ok(ip) = name.parse() {
            return Some(vec![ip]);
        }
        if name == "localhost" {
            return Some(LOOPBACK.to_vec());
        }
        let host = *self.names.get(name)?;
        Some(vec![ipv4(host), ipv6(host)])
    }

    pub(crate) fn record(&mut self, kind: Kind, subjects: [u64; 3]) {
        self.trace.record(self.now, kind, subjects);
    }

    pub(crate) fn after(&mut self, nanos: u64, event: Event) -> Key {
        self.queue.push(self.now.saturating_add(nanos), event)
    }

    /// Whether packets get from one host to the other, which must be up.
    pub(crate) fn reaches(&self, from: HostId, to: HostId) -> bool {
        self.links.is_up(from, to) && self.host(to).condition != Condition::Down
    }

    /// Calls a waker once the lock is released.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wakes.extend(waker);
    }

    pub(crate) fn draw_seed(&mut self, host: HostId) -> [u8; 32] {
        let mut seed = [0; 32];
        self.host_mut(host).rng.fill_bytes(&mut seed);
        seed
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(waker) => {
                self.record(Kind::Timer, [0; 3]);
                self.wakes.push(waker);
            }
            Event::Syn(connection) => self.handle_syn(connection),
            Event::SynAgain { connection, tries } => self.handle_syn_again(connection, tries),
            Event::SynAck(connection) => self.handle_syn_ack(connection),
            Event::Segment {
                connection,
                to,
                segment,
            } => {
                self.handle_segment(connection, to, segment);
            }
            Event::Retransmit { connection, from } => self.handle_retransmit(connection, from),
            Event::Credit {
                connection,
                to,
                bytes,
            } => self.handle_credit(connection, to, bytes),
            Event::Reset { connection, to } => self.handle_reset(connection, to),
            Event::Joined(attempt) => self.handle_joined(attempt),
            Event::Refused { connection, to } => self.handle_refused(connection, to),
            Event::Linger { connection, side } => self.handle_linger(connection, side),
            Event::Datagram {
                from,
                to,
                source,
                target,
                payload,
            } => {
                self.handle_datagram((from, source), (to, target), payload);
            }
        }
    }

    pub(crate) fn stats(&self, foreign_wake_ups: u64) -> Stats {
        Stats {
            tasks: self.tasks.running(),
            tasks_peak: self.tasks.peak(),
            tasks_spawned: self.tasks.spawned(),
            events: self.queue.made(),
            events_peak: self.queue.peak(),
            connections: self.connections.len(),
            foreign_wake_ups,
            ..self.stats
        }
    }
}

/// Keeps the waker of the last poll. Returns the one that it replaces, to be dropped outside of the lock.
pub(crate) fn remember(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(known) if known.will_wake(waker) => None,
        _ => place.replace(waker.clone()),
    }
}

/// The addresses of a host, one for each family.
pub(crate) fn ipv4(host: HostId) -> IpAddr {
    let [_, high, middle, low] = (host.0 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, middle, low))
}

pub(crate) fn ipv6(host: HostId) -> IpAddr {
    let number = u128::from(host.0) + 1;
    IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | number))
}

pub(crate) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
pub(crate) const FIRST_EPHEMERAL: u16 = 49152;
/// What Linux lets a stream grow to by default.
const DEFAULT_WINDOW: usize = 4 * 1024 * 1024;
