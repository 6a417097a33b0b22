//! Tasks, and the order in which they run: first woken, first polled.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
    thread::{self, ThreadId},
};

use futures::future::BoxFuture;
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
    tasks: VecDeque<Arc<TaskWaker>>,
    owner: Option<ThreadId>,
    foreign: u64,
}

impl Ready {
    /// The calling thread runs the simulation from now on.
    pub(crate) fn own(&self) {
        lock(&self.queue).owner = Some(thread::current().id());
    }

    pub(crate) fn push(&self, task: Arc<TaskWaker>) {
        let mut queue = lock(&self.queue);
        let here = thread::current().id();
        queue.foreign += u64::from(queue.owner.is_some_and(|owner| owner != here));
        queue.tasks.push_back(task);
    }

    pub(crate) fn pop(&self) -> Option<Arc<TaskWaker>> {
        lock(&self.queue).tasks.pop_front()
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

/// Wakes one task.
pub(crate) struct TaskWaker {
    slot: usize,
    pub(crate) number: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl TaskWaker {
    /// For the future that [`Sim::block_on`](crate::Sim::block_on) runs, which has no slot.
    pub(crate) fn root(ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self {
            slot: usize::MAX,
            number: u64::MAX,
            queued: AtomicBool::new(false),
            ready,
        })
    }

    /// From now on it can be woken again.
    pub(crate) fn begin(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.clone());
        }
    }
}

type Job = BoxFuture<'static, ()>;

/// All tasks of all hosts.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    spawned: u64,
    running: usize,
    peak: usize,
}

struct Slot {
    number: u64,
    host: HostId,
    waker: Arc<TaskWaker>,
    /// Taken out while it is polled.
    job: Option<Job>,
}

impl Tasks {
    /// A new task, yet to be woken.
    pub(crate) fn add(&mut self, host: HostId, job: Job, ready: &Arc<Ready>) -> Arc<TaskWaker> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let number = self.spawned;
        let waker = Arc::new(TaskWaker {
            slot,
            number,
            queued: AtomicBool::new(false),
            ready: ready.clone(),
        });
        self.slots[slot] = Some(Slot {
            number,
            host,
            waker: waker.clone(),
            job: Some(job),
        });
        self.spawned += 1;
        self.running += 1;
        self.peak = self.peak.max(self.running);
        waker
    }

    /// The host of a task, unless the task has ended.
    pub(crate) fn host(&self, task: &TaskWaker) -> Option<HostId> {
        let slot = self.slots.get(task.slot)?.as_ref()?;
        (slot.number == task.number).then_some(slot.host)
    }

    pub(crate) fn take(&mut self, task: &TaskWaker) -> Option<Job> {
        let slot = self.slots.get_mut(task.slot)?.as_mut()?;
        if slot.number != task.number {
            return None;
        }
        slot.job.take()
    }

    pub(crate) fn put_back(&mut self, task: &TaskWaker, job: Job) {
        if let Some(Some(slot)) = self.slots.get_mut(task.slot)
            && slot.number == task.number
        {
            slot.job = Some(job);
        }
    }

    pub(crate) fn remove(&mut self, task: &TaskWaker) {
        if self.host(task).is_some() {
            self.slots[task.slot] = None;
            self.free.push(task.slot);
            self.running -= 1;
        }
    }

    /// Takes out the tasks of a host, or of all. The caller drops them without holding the lock.
    pub(crate) fn evict(&mut self, host: Option<HostId>) -> Vec<Job> {
        let slots = self.slots.iter().flatten();
        let wakers: Vec<_> = slots
            .filter(|slot| host.is_none_or(|host| slot.host == host))
            .map(|slot| slot.waker.clone())
            .collect();
        let jobs = wakers.iter().filter_map(|task| self.take(task)).collect();
        wakers.iter().for_each(|task| self.remove(task));
        jobs
    }

    pub(crate) fn count(&self, host: HostId) -> usize {
        let slots = self.slots.iter().flatten();
        slots.filter(|slot| slot.host == host).count()
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
