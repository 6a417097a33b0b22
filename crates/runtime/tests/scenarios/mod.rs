//! What every back end must do. Each scenario is a function of a runtime.

#[macro_use]
mod every;
pub(crate) mod tasks;
pub(crate) mod tcp;
pub(crate) mod timers;
pub(crate) mod udp_and_names;

use std::{sync::Arc, time::Duration};

use futures::executor::block_on;
use peerkit_core::{Runtime, with_deadline};

type AnyRuntime = Arc<dyn Runtime>;

/// Runs a scenario on this thread, outside of the back end's own, and ends it when it hangs.
fn run<T>(runtime: &AnyRuntime, scenario: impl Future<Output = T>) -> T {
    block_on(with_deadline(runtime.as_ref(), PATIENCE, scenario))
        .expect("the scenario ends in time")
}

const PATIENCE: Duration = Duration::from_secs(30);
