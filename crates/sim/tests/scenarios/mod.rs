//! What every back end must do: the files of `peerkit-runtime`, run by a simulation.

#[macro_use]
#[path = "../../../runtime/tests/scenarios/every.rs"]
mod every;
#[path = "../../../runtime/tests/scenarios/tasks.rs"]
pub(crate) mod tasks;
#[path = "../../../runtime/tests/scenarios/tcp.rs"]
pub(crate) mod tcp;
#[path = "../../../runtime/tests/scenarios/timers.rs"]
pub(crate) mod timers;
#[path = "../../../runtime/tests/scenarios/udp_and_names.rs"]
pub(crate) mod udp_and_names;

use std::{cell::RefCell, sync::Arc, time::Duration};

use peerkit_core::{Runtime, with_deadline};
use peerkit_sim::Sim;

type AnyRuntime = Arc<dyn Runtime>;

thread_local! {
    /// Each test has a thread of its own; a scenario knows of its runtime only.
    static SIM: RefCell<Sim> = RefCell::new(Sim::new(1));
}

pub(crate) fn runtime() -> AnyRuntime {
    SIM.with_borrow_mut(|sim| {
        let host = sim.host();
        Arc::new(sim.runtime(host))
    })
}

/// Runs a scenario and ends it when it hangs.
fn run<T>(runtime: &AnyRuntime, scenario: impl Future<Output = T>) -> T {
    let limited = with_deadline(runtime.as_ref(), PATIENCE, scenario);
    SIM.with_borrow_mut(|sim| sim.block_on(limited))
        .expect("the scenario ends in time")
}

const PATIENCE: Duration = Duration::from_secs(30);
