//! The simulation and its loop.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use futures::{
    FutureExt,
    future::BoxFuture,
    task::{ArcWake, waker_ref},
};
use peerkit_core::Runtime;

use crate::{
    ConnectionStats, HostId, LinkSetup, LinkStats, Node, SimRuntime, Stats,
    executor::{Job, Task},
    link::nanos,
    trace::Kind,
    world::{Condition, Shared, Step},
};

/// A simulation: hosts, links, virtual time, and a script of what happens to them.
///
/// Everything runs on the thread that calls [`run_for`](Self::run_for) and its kin, in an order
/// that depends on the seed and the scenario only. When a test panics, the simulation prints
/// the seed, the virtual time and the last events.
pub struct Sim {
    pub(crate) shared: Arc<Shared>,
    seed: u64,
    programs: BTreeMap<HostId, Program>,
    script: BTreeMap<(u64, u64), Action>,
    scripted: u64,
    patience: Duration,
    /// Tasks polled since the clock last moved.
    standstill: u64,
}

type Program = Rc<dyn Fn(Node) -> BoxFuture<'static, ()>>;

enum Action {
    Once(Box<dyn FnOnce(&mut Sim)>),
    Every(u64, Box<dyn FnMut(&mut Sim)>),
}

/// Why the loop has stopped.
enum Stop {
    /// The future of [`Sim::block_on`] was woken.
    Root,
    /// The time is over.
    Horizon,
    /// Nothing will ever happen any more.
    Silence,
}

impl Sim {
    /// An empty simulation. With the same seed and the same scenario, everything happens again.
    pub fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared::new(seed)),
            seed,
            programs: BTreeMap::new(),
            script: BTreeMap::new(),
            scripted: 0,
            patience: Duration::from_secs(60 * 60),
            standstill: 0,
        }
    }

    /// Adds a host without a program.
    pub fn host(&mut self) -> HostId {
        self.shared.with(|world| world.add_host())
    }

    /// Adds hosts that run a program: now, and again after each [restart](Self::restart).
    ///
    /// The program may spawn tasks and end; they go on.
    pub fn hosts<F>(&mut self, count: usize, program: impl Fn(Node) -> F + 'static) -> Vec<HostId>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Rc::new(move |node| program(node).boxed());
        let add = |_| {
            let host = self.host();
            self.programs.insert(host, program.clone());
            self.start(host);
            host
        };
        (0..count).map(add).collect()
    }

    /// Gives a host another name than `host-0`, for [resolving](peerkit_core::Network::resolve) it.
    pub fn set_name(&mut self, host: HostId, name: &str) {
        self.shared.with(|world| world.set_name(host, name));
    }

    /// The runtime of the present life of a host.
    pub fn runtime(&self, host: HostId) -> SimRuntime {
        SimRuntime::new(&self.shared, host)
    }

    /// The link between two hosts, in both directions.
    pub fn link(&mut self, one: HostId, other: HostId) -> LinkSetup {
        LinkSetup::new(&self.shared, vec![(one, other), (other, one)])
    }

    /// One direction of the link between two hosts.
    pub fn link_one_way(&mut self, from: HostId, to: HostId) -> LinkSetup {
        LinkSetup::new(&self.shared, vec![(from, to)])
    }

    /// All links between different hosts that were not set up one by one.
    pub fn links(&mut self) -> LinkSetup {
        LinkSetup::new(&self.shared, Vec::new())
    }

    /// Bits per second that a host sends in all, whatever its links allow; without limit by default. What waits for
    /// it waits on its link, so a link without a bandwidth of its own takes any amount.
    pub fn set_uplink(&mut self, host: HostId, bits_per_second: u64) {
        self.shared
            .with(|world| world.links.set_uplink(host, bits_per_second));
    }

    /// Bytes that a TCP stream may have under way or unread, in each direction; 4 MiB by default.
    /// Concerns connections that are made from now on.
    pub fn set_tcp_window(&mut self, bytes: usize) {
        self.shared.with(|world| world.window = bytes.max(1));
    }

    /// How much virtual time [`block_on`](Self::block_on) gives a future before it panics; an hour by default.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Does something once it is `time` since the beginning; at once when that is past.
    pub fn at(&mut self, time: Duration, action: impl FnOnce(&mut Self) + 'static) {
        self.plan(nanos(time), Action::Once(Box::new(action)));
    }

    /// Does something again and again, for example to check what must always hold.
    ///
    /// # Panics
    ///
    /// If the interval is zero.
    pub fn every(&mut self, interval: Duration, action: impl FnMut(&mut Self) + 'static) {
        assert!(!interval.is_zero(), "time has to pass in between");
        let interval = nanos(interval);
        let first = self.shared.nanos().saturating_add(interval);
        self.plan(first, Action::Every(interval, Box::new(action)));
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.nanos())
    }

    /// Runs for some virtual time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.elapsed().saturating_add(time));
    }

    /// Runs until it is `time` since the beginning.
    pub fn run_until(&mut self, time: Duration) {
        let horizon = nanos(time);
        while !matches!(self.turn(horizon), Stop::Horizon | Stop::Silence) {}
        if self.shared.nanos() < horizon {
            self.shared.set_clock(horizon);
        }
    }

    /// Runs the simulation until a future has ended. It runs on this thread, may borrow, and
    /// acts for a host by the [runtime](Self::runtime) that it uses.
    ///
    /// # Panics
    ///
    /// If nothing can wake the future any more, or after a long virtual time: see
    /// [`set_patience`](Self::set_patience).
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let root = Task::root(self.shared.ready.clone());
        let waker = waker_ref(&root);
        let horizon = nanos(self.elapsed().saturating_add(self.patience));
        self.shared.ready.own();
        ArcWake::wake_by_ref(&root);
        loop {
            match self.turn(horizon) {
                Stop::Root => {
                    root.begin();
                    let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                    if let Poll::Ready(output) = poll {
                        return output;
                    }
                }
                Stop::Horizon => panic!("not done after {:?} of virtual time", self.patience),
                Stop::Silence => panic!("not done, and every task waits for ever"),
            }
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A hash over everything that has happened: polls, timers, packets and their content.
    /// Two runs that differ in anything have different hashes.
    pub fn trace_hash(&self) -> u64 {
        self.shared.with(|world| world.trace.hash())
    }

    /// The last events, in words.
    pub fn last_events(&self) -> Vec<String> {
        self.shared.with(|world| world.trace.last())
    }

    /// What has happened so far, in numbers.
    pub fn stats(&self) -> Stats {
        let foreign = self.shared.ready.foreign();
        let stats = self.shared.with(|world| world.stats(foreign));
        Stats {
            ready_peak: self.shared.ready.peak(),
            ..stats
        }
    }

    /// What one direction of a link has carried.
    pub fn link_stats(&self, from: HostId, to: HostId) -> LinkStats {
        self.shared.with(|world| world.links.stats(from, to))
    }

    /// The TCP connections that are known to at least one side.
    pub fn connections(&self) -> Vec<ConnectionStats> {
        self.shared.with(|world| world.connection_stats())
    }

    /// How many tasks of a host there are.
    pub fn task_count(&self, host: HostId) -> usize {
        self.shared.with(|world| world.tasks.count(host))
    }

    pub(crate) fn start(&mut self, host: HostId) {
        let Some(program) = self.programs.get(&host).cloned() else {
            return;
        };
        let runtime = self.runtime(host);
        let life = self.shared.with(|world| world.host(host).life);
        runtime.spawn(program(Node::new(runtime.clone(), life)));
    }

    fn plan(&mut self, at: u64, action: Action) {
        self.script.insert((at, self.scripted), action);
        self.scripted += 1;
    }

    /// Runs until the root is woken or there is nothing to do before `horizon`.
    fn turn(&mut self, horizon: u64) -> Stop {
        self.shared.ready.own();
        loop {
            if let Some(task) = self.shared.ready.pop() {
                if task.is_root() {
                    return Stop::Root;
                }
                self.poll_task(&task);
                continue;
            }
            let action = self.script.first_key_value().map(|(key, _)| key.0);
            match self.shared.step(horizon, action) {
                Step::Same => {}
                Step::Later => self.standstill = 0,
                Step::Nothing { next } => match action {
                    Some(at) if at <= horizon => {
                        self.advance(at);
                        self.act();
                    }
                    None if next.is_none() => return Stop::Silence,
                    Some(_) | None => return Stop::Horizon,
                },
            }
        }
    }

    fn advance(&mut self, to: u64) {
        if to > self.shared.nanos() {
            self.standstill = 0;
            self.shared.set_clock(to);
        }
    }

    fn act(&mut self) {
        let Some(((at, _), action)) = self.script.pop_first() else {
            return;
        };
        self.shared
            .with(|world| world.record(Kind::Scripted, [0; 3]));
        match action {
            Action::Once(action) => action(self),
            Action::Every(interval, mut action) => {
                action(self);
                self.plan(at.saturating_add(interval), Action::Every(interval, action));
            }
        }
    }

    fn poll_task(&mut self, task: &Arc<Task>) {
        let Some(mut job) = self.begin_poll(task) else {
            return;
        };
        let waker = waker_ref(task);
        let mut cx = Context::from_waker(&waker);
        let outcome = catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(&mut cx)));
        let rest = match outcome {
            Ok(Poll::Pending) => task.put_back(job),
            Ok(Poll::Ready(())) => self.end_task(task, Kind::Ended, job),
            Err(_) => self.end_task(task, Kind::Panicked, job),
        };
        drop(rest);
    }

    /// The future of a task that is to be polled, unless it has ended or its host is paused.
    fn begin_poll(&mut self, task: &Arc<Task>) -> Option<Job> {
        self.standstill += 1;
        assert!(
            self.standstill < STANDSTILL_MAX,
            "tasks run without end while time stands still"
        );
        if task.is_over() {
            return None;
        }
        let runs = self.shared.with(|world| {
            if world.host(task.host).condition == Condition::Paused {
                world.host_mut(task.host).parked.push(task.clone());
                return false;
            }
            task.begin();
            world.stats.wake_ups += 1;
            world.record(Kind::Polled, [task.number, u64::from(task.host.0), 0]);
            true
        });
        if runs { task.take() } else { None }
    }

    /// Returns the future of the task, which has ended, to be dropped.
    fn end_task(&mut self, task: &Task, kind: Kind, job: Job) -> Option<Job> {
        self.shared.with(|world| {
            world.stats.panics += u64::from(matches!(kind, Kind::Panicked));
            world.record(kind, [task.number, u64::from(task.host.0), 0]);
            world.tasks.remove(task);
        });
        Some(job)
    }

    fn report_failure(&self) {
        eprintln!(
            "the simulation with seed {} failed at {:?}",
            self.seed,
            self.elapsed()
        );
        eprintln!("the last events:");
        for event in self.last_events() {
            eprintln!("  {event}");
        }
        eprintln!("run it again with PEERKIT_SIM_SEED={}", self.seed);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if thread::panicking() {
            self.report_failure();
        }
        // Tasks hold the runtime and the runtime holds the tasks.
        let (jobs, events) = self.shared.with(|world| {
            world.ended = true;
            (world.tasks.evict(None), world.queue.clear())
        });
        drop(jobs);
        drop(events);
        let rest = self.shared.with(|world| {
            let hosts = world.hosts.iter_mut();
            hosts
                .flat_map(|host| std::mem::take(&mut host.parked))
                .collect::<Vec<_>>()
        });
        drop(rest);
        self.shared.ready.clear();
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

/// Polls at one instant; far more than a thousand nodes need that start at once.
const STANDSTILL_MAX: u64 = 20_000_000;
