//! The default back end.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use peerkit_core::{Machine, Network, Runtime, Timer};

use crate::{
    executor,
    reactor::{Reactor, ReactorTimer},
    system,
};

/// Timers and sockets of the async-io reactor, tasks on an executor of peerkit's own.
///
/// The executor has as many threads as the machine has cores, named `peerkit-0`
/// and so on. The first task starts them; all values of this type share them.
/// async-std and smol use the same reactor, so their programs can use this as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncIo(());

impl AsyncIo {
    /// The runtime; costs nothing until the first task is spawned.
    pub fn new() -> Self {
        Self(())
    }
}

impl Runtime for AsyncIo {
    fn now(&self) -> Instant {
        system::now()
    }

    fn unix_time(&self) -> Duration {
        system::unix_time()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        ReactorTimer::boxed(deadline)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        executor::spawn(future);
    }

    fn network(&self) -> &dyn Network {
        &Reactor
    }

    fn seed(&self) -> [u8; 32] {
        system::seed()
    }

    fn machine(&self) -> Machine {
        system::machine()
    }
}

/// Runs a future on this thread until it ends, for a `main` that has no executor of its own.
///
/// Don't call it inside a task: it blocks the thread.
///
/// ```
/// let sum = peerkit_runtime::block_on(async { 1 + 1 });
/// assert_eq!(sum, 2);
/// ```
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    ::async_io::block_on(future)
}
