//! Tasks on async-std's executor.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use peerkit_core::{Machine, Network, Runtime, Timer};

use crate::{
    reactor::{Reactor, ReactorTimer},
    system,
};

/// Timers and sockets of the async-io reactor, tasks on the executor of `async_std::task::spawn`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStd(());

impl AsyncStd {
    /// The runtime; costs nothing until the first task is spawned.
    pub fn new() -> Self {
        Self(())
    }
}

impl Runtime for AsyncStd {
    fn now(&self) -> Instant {
        system::now()
    }

    fn unix_time(&self) -> Duration {
        system::unix_time()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        ReactorTimer::boxed(deadline)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a runtime is where tasks are spawned"
    )]
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(::async_std::task::spawn(future));
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
