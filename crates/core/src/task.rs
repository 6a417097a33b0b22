//! Tasks that can be cancelled, joined and counted.

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use event_listener::{Event, listener};
use futures::{
    FutureExt,
    future::{AbortHandle, Abortable},
};

use crate::{Runtime, lock};

/// A task that ends when its handle is dropped.
#[derive(Debug)]
pub struct Task {
    group: TaskGroup,
}

impl Task {
    /// Runs `future` until it ends or the handle is dropped.
    pub fn spawn(runtime: &dyn Runtime, future: impl Future<Output = ()> + Send + 'static) -> Self {
        let group = TaskGroup::default();
        group.spawn(runtime, future);
        Self { group }
    }

    /// Waits for the end; false when the task has panicked.
    ///
    /// Cancel safety: dropping the future cancels the task.
    pub async fn join(self) -> bool {
        self.group.join().await == 0
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.group.cancel();
    }
}

/// Tasks that are ended and joined together. Clones are the same group.
///
/// The group itself has no bound on its size: whoever spawns holds a permit of
/// the limit that fits (connections, streams).
#[derive(Clone, Default)]
pub struct TaskGroup {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Event,
}

#[derive(Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, AbortHandle>,
    panics: usize,
    closed: bool,
}

impl TaskGroup {
    /// Runs `future` in this group. After [`cancel`](Self::cancel) it is dropped at once and this returns false.
    pub fn spawn(
        &self,
        runtime: &dyn Runtime,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let (handle, registration) = AbortHandle::new_pair();
        let id = {
            let mut state = lock(&self.inner.state);
            if state.closed {
                return false;
            }
            let id = state.next;
            state.next += 1;
            state.running.insert(id, handle);
            id
        };
        let departure = Departure {
            inner: self.inner.clone(),
            id,
        };
        let guarded = AssertUnwindSafe(Abortable::new(future, registration)).catch_unwind();
        runtime.spawn(
            async move {
                let departure = departure;
                if guarded.await.is_err() {
                    lock(&departure.inner.state).panics += 1;
                }
            }
            .boxed(),
        );
        true
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        lock(&self.inner.state).running.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every task at its next await and takes no more.
    pub fn cancel(&self) {
        let handles: Vec<_> = {
            let mut state = lock(&self.inner.state);
            state.closed = true;
            state.running.values().cloned().collect()
        };
        handles.iter().for_each(AbortHandle::abort);
    }

    /// Waits until no task is left and returns how many have panicked.
    ///
    /// Cancel safety: it may be called any number of times.
    pub async fn join(&self) -> usize {
        loop {
            listener!(self.inner.changed => changed);
            {
                let state = lock(&self.inner.state);
                if state.running.is_empty() {
                    return state.panics;
                }
            }
            changed.await;
        }
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("running", &self.len())
            .finish_non_exhaustive()
    }
}

/// Takes a task off the list when its future ends or is dropped, whatever the reason.
struct Departure {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let handle = lock(&self.inner.state).running.remove(&self.id);
        drop(handle);
        self.inner.changed.notify(usize::MAX);
    }
}
