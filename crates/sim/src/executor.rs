//! Tasks, and the order in which they run: first woken, first polled.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
};

use futures::{future::BoxFuture, task::ArcWake};
use peerkit_core::lock;

use crate::HostId;

/// The tasks that were woken, in order.
#[derive(Default)]
pub(crate) struct Ready {
    queue: Mutex<ReadyQueue>,
}

#[derive(Default)]
struct ReadyQueue {
    /// A task is in it at most once, so it is as long as there are tasks.
    tasks: VecDeque<Arc<Task>>,
    owner: Option<ThreadId>,
    peak: usize,
    foreign: u64,
}

impl Ready {
    /// The calling thread runs the simulation from now on.
    pub(crate) fn own(&self) {
        lock(&self.queue).owner = Some(thread::current().id());
    }

    pub(crate) fn push(&self, task: Arc<Task>) {
        let mut queue = lock(&self.queue);
        let here = thread::current().id();
        queue.foreign += u64::from(queue.owner.is_some_and(|owner| owner != here));
        queue.tasks.push_back(task);
        queue.peak = queue.peak.max(queue.tasks.len());
    }

    pub(crate) fn pop(&self) -> Option<Arc<Task>> {
        lock(&self.queue).tasks.pop_front()
    }

    /// The most tasks that were in it at once.
    pub(crate) fn peak(&self) -> usize {
        lock(&self.queue).peak
    }

    /// How often another thread has woken a task: such a run can't be replayed.
    pub(crate) fn foreign(&self) -> u64 {
        lock(&self.queue).foreign
    }

    /// The wakers hold the queue and the queue holds wakers; this takes them apart.
    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut lock(&self.queue).tasks);
        drop(tasks);
    }
}

/// A task, which is its own waker: to wake and to poll it touches one place in memory.
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) host: HostId,
    slot: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
    stage: Mutex<Stage>,
}

enum Stage {
    Waiting(Job),
    Polled,
    Over,
}

impl Task {
    /// For the future that [`Sim::block_on`](crate::Sim::block_on) runs, which has no slot.
    pub(crate) fn root(ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self {
            number: ROOT,
            host: HostId(u32::MAX),
            slot: usize::MAX,
            queued: AtomicBool::new(false),
            ready,
            stage: Mutex::new(Stage::Over),
        })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.number == ROOT
    }

    /// From now on it can be woken again.
    pub(crate) fn begin(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*lock(&self.stage), Stage::Over)
    }

    /// Its future, which is to be polled.
    pub(crate) fn take(&self) -> Option<Job> {
        let mut stage = lock(&self.stage);
        match std::mem::replace(&mut *stage, Stage::Polled) {
            Stage::Waiting(job) => Some(job),
            other @ (Stage::Polled | Stage::Over) => {
                *stage = other;
                None
            }
        }
    }

    /// The future waits again. Gives it back when the task was ended meanwhile.
    pub(crate) fn put_back(&self, job: Job) -> Option<Job> {
        let mut stage = lock(&self.stage);
        if matches!(*stage, Stage::Polled) {
            *stage = Stage::Waiting(job);
            None
        } else {
            Some(job)
        }
    }

    /// Ends it. The caller drops the future without holding the lock of the world.
    fn end(&self) -> Option<Job> {
        match std::mem::replace(&mut *lock(&self.stage), Stage::Over) {
            Stage::Waiting(job) => Some(job),
            Stage::Polled | Stage::Over => None,
        }
    }
}

impl ArcWake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.clone().push(self);
        }
    }

    fn wake_by_ref(task: &Arc<Self>) {
        if !task.queued.swap(true, Ordering::Relaxed) {
            task.ready.push(task.clone());
        }
    }
}

pub(crate) type Job = BoxFuture<'static, ()>;

/// All tasks of all hosts.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Option<Arc<Task>>>,
    free: Vec<usize>,
    spawned: u64,
    running: usize,
    peak: usize,
}

impl Tasks {
    /// A new task, yet to be woken.
    pub(crate) fn add(&mut self, host: HostId, job: Job, ready: &Arc<Ready>) -> Arc<Task> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let task = Arc::new(Task {
            number: self.spawned,
            host,
            slot,
            queued: AtomicBool::new(false),
            ready: ready.clone(),
            stage: Mutex::new(Stage::Waiting(job)),
        });
        self.slots[slot] = Some(task.clone());
        self.spawned += 1;
        self.running += 1;
        self.peak = self.peak.max(self.running);
        task
    }

    /// Takes a task out, which is over. Its future, if it has one, is to be dropped without holding the lock.
    pub(crate) fn remove(&mut self, task: &Task) -> Option<Job> {
        let slot = self.slots.get_mut(task.slot)?;
        if slot.as_ref()?.number != task.number {
            return None;
        }
        *slot = None;
        self.free.push(task.slot);
        self.running -= 1;
        task.end()
    }

    /// Takes out the tasks of a host, or of all. The caller drops them without holding the lock.
    pub(crate) fn evict(&mut self, host: Option<HostId>) -> Vec<Job> {
        let tasks = self.slots.iter().flatten();
        let tasks: Vec<_> = tasks
            .filter(|task| host.is_none_or(|host| task.host == host))
            .cloned()
            .collect();
        tasks.iter().filter_map(|task| self.remove(task)).collect()
    }

    pub(crate) fn count(&self, host: HostId) -> usize {
        let slots = self.slots.iter().flatten();
        slots.filter(|task| task.host == host).count()
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) fn spawned(&self) -> u64 {
        self.spawned
    }
}

/// The number of what is no task.
const ROOT: u64 = u64::MAX;
