//! Many dials at once.

use std::time::Duration;

use futures::future::{join, join_all};
use peerkit::Host;
use peerkit_sim::{HostId, SimRuntime};
use rand::RngExt;

use super::{
    node::{self, ends, exchange, full_address, pause},
    trial::{Outcome, Trial},
};

/// Many nodes dial one at the same moment, more than it takes at once. In the end all have reached it.
pub(crate) fn storm(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    let count = trial.rng.random_range(10..120);
    let hosts = nodes(&mut trial, count + 1);
    let (target, dialers) = hosts.split_first().expect("there is at least the target");
    let address = target.addrs()[0].clone();
    let calls = trial.rng.random_range(1..4);
    let storm = dialers.iter().map(|dialer| async {
        let reach = join_all((0..calls).map(|_| until_reached(dialer, &address)));
        ends(dialer.runtime().as_ref(), PATIENCE, "the storm", reach).await;
        // By the address alone, and more often than two peers may have connections.
        let bare = node::address(HostId::new(0));
        for _ in 0..10 {
            let again = exchange(dialer, &bare, 100).await;
            again.expect("the address leads to the connection that is there");
        }
        let open = dialer.connections().len();
        assert_eq!(
            open, 1,
            "one dial serves all who wait, and all who come later"
        );
    });
    trial.sim.block_on(join_all(storm));
    assert_eq!(target.connections().len(), count);
    trial.end(hosts)
}

/// One node dials many at the same moment; some of them are not there.
pub(crate) fn many(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    let count = trial.rng.random_range(10..160);
    let hosts = nodes(&mut trial, count);
    let nobody = trial.rng.random_range(0..40);
    let nobody: Vec<_> = (0..nobody).map(|_| trial.sim.host()).collect();
    let (dialer, others) = hosts.split_first().expect("there is at least the dialer");
    let reached = others.iter().map(|other| async {
        let address = other.addrs().remove(0);
        let exchange = exchange(dialer, address, 1000);
        let outcome = ends(dialer.runtime().as_ref(), PATIENCE, "a dial", exchange).await;
        outcome.expect("who is there is reached");
    });
    let missed = nobody.iter().map(|host| async {
        let dial = dialer.connect(full_address(*host));
        let outcome = ends(
            dialer.runtime().as_ref(),
            PATIENCE,
            "a dial to nobody",
            dial,
        )
        .await;
        outcome.expect_err("there is nobody");
    });
    trial
        .sim
        .block_on(join(join_all(reached), join_all(missed)));
    assert_eq!(dialer.connections().len(), others.len());
    trial.end(hosts)
}

/// Two peers dial each other, within about one round trip. Both end with connections that work,
/// and with the same number of them.
pub(crate) fn each_other(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    let hosts = nodes(&mut trial, 2);
    for _ in 0..ROUNDS {
        let calls = trial.rng.random_range(1..4);
        let late = |trial: &mut Trial| trial.between(Duration::ZERO, Duration::from_millis(400));
        let times: Vec<_> = (0..2 * calls).map(|_| late(&mut trial)).collect();
        let at_once = trial.rng.random_bool(0.3);
        let meet = times.iter().enumerate().map(|(call, late)| {
            let (from, to) = (&hosts[call % 2], &hosts[(call + 1) % 2]);
            async move {
                if !at_once {
                    pause(from.runtime().as_ref(), *late).await;
                }
                talk(from, to).await;
            }
        });
        trial.sim.block_on(join_all(meet));
        trial.sim.run_for(Duration::from_secs(1));
        let [one, other] = [&hosts[0], &hosts[1]];
        let open = one.connections().len();
        assert!((1..=2).contains(&open), "{open} connections");
        assert_eq!(open, other.connections().len(), "both know of the same");
        trial.sim.block_on(join(talk(one, other), talk(other, one)));
        one.disconnect(&other.local_peer());
        trial.sim.run_for(Duration::from_secs(5));
        assert!(one.connections().is_empty(), "{:?}", one.connections());
        assert!(other.connections().is_empty(), "{:?}", other.connections());
    }
    trial.end(hosts)
}

async fn talk(from: &Host, to: &Host) {
    let exchange = exchange(from, to.addrs().remove(0), 1000);
    let outcome = ends(from.runtime().as_ref(), PATIENCE, "an exchange", exchange).await;
    outcome.expect("both are there");
}

/// Dials until it works. Whoever is refused is told so, and tries again a little later.
async fn until_reached(dialer: &Host, address: &peerkit::Multiaddr) {
    let runtime = dialer.runtime().clone();
    let runtime = runtime.as_ref();
    let step = Duration::from_millis(300 + u64::from(runtime.seed()[0]) * 10);
    loop {
        match ends(runtime, PATIENCE, "a dial", exchange(dialer, address, 100)).await {
            Ok(()) => return,
            Err(failure) => assert!(failure.is_proper(), "{failure:?}"),
        }
        pause(runtime, step).await;
    }
}

fn nodes(trial: &mut Trial, count: usize) -> Vec<Host> {
    let muxer = trial.muxer;
    let runtimes: Vec<SimRuntime> = (0..count)
        .map(|_| {
            let host = trial.sim.host();
            trial.sim.runtime(host)
        })
        .collect();
    let starting = runtimes
        .into_iter()
        .map(|runtime| node::start(runtime, muxer));
    trial.sim.block_on(join_all(starting))
}

const ROUNDS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(120);
