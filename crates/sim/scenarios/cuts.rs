//! Connections that are cut while they are set up.

use std::time::Duration;

use futures::{
    FutureExt,
    channel::oneshot,
    future::{join, select},
};
use peerkit::{
    Events, Host, HostEvent,
    core::{Runtime, with_deadline},
};
use peerkit_sim::HostId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    node::{self, Failure, exchange, identity},
    relay::{Cut, How, Toward, relay},
    trial::{Muxer, Outcome, Trial},
};

/// Cuts at one byte in so many; which ones depends on the seed.
pub(crate) const SHARES: u64 = 16;

/// Each cut is a run of its own: both sides have to learn of it in time, and dialing again has to work.
pub(crate) fn share(seed: u64) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let (whole, [sent, received]) = run(seed, None);
    let mut all = whole;
    let directions = [(Toward::Listener, sent), (Toward::Dialer, received)];
    for (toward, total) in directions {
        let first = (seed / 2 % SHARES) as usize;
        for after in (first..=total).step_by(SHARES as usize) {
            let how = [How::Drop, How::Kill, How::End, How::Silence][rng.random_range(0..4)];
            let (outcome, _) = run(seed, Some(Cut { toward, after, how }));
            all.virtual_time += outcome.virtual_time;
            all.trace_hash = all.trace_hash.rotate_left(1) ^ outcome.trace_hash;
        }
    }
    all
}

/// Returns how many bytes the dialer sent and received before it had its answer.
fn run(seed: u64, cut: Option<Cut>) -> (Outcome, [usize; 2]) {
    let mut trial = Trial::new(seed);
    let [dialer, listener, middle] = [0; 3].map(|_| trial.sim.host());
    let start = |host: HostId| node::start(trial.sim.runtime(host), trial.muxer);
    let starting = join(start(dialer), start(listener));
    let (from, to) = trial.sim.block_on(starting);
    let mut events = to.events();
    let (outcome, bytes) = attempt(&mut trial, &from, [listener, middle], cut);
    if let Err(failure) = &outcome {
        assert!(cut.is_some() && failure.is_proper(), "{cut:?}: {failure:?}");
        trial.sim.run_for(NOTICED);
        if trial.muxer == Muxer::Mplex {
            // It has no keep-alive: a silent connection ends when the application or the network says so.
            trial.sim.kill(middle);
            trial.sim.run_for(Duration::from_secs(1));
        }
        assert!(
            from.connections().is_empty(),
            "{cut:?}: {:?}",
            from.connections()
        );
        assert!(
            to.connections().is_empty(),
            "{cut:?}: {:?}",
            to.connections()
        );
        assert!(
            was_told(&mut events),
            "{cut:?}: the listener says what happened"
        );
    }
    trial.sim.kill(middle);
    trial.sim.run_for(Duration::from_secs(2));
    let (again, _) = attempt(&mut trial, &from, [listener, middle], None);
    assert!(again.is_ok(), "{cut:?}: dialing again: {again:?}");
    trial.sim.kill(middle);
    (trial.end(vec![from, to]), bytes)
}

fn attempt(
    trial: &mut Trial,
    from: &Host,
    [listener, middle]: [HostId; 2],
    cut: Option<Cut>,
) -> (Result<(), Failure>, [usize; 2]) {
    let (done, cut_now) = oneshot::channel();
    let runtime = trial.sim.runtime(middle);
    let middleman = relay(runtime.clone(), listener, cut, done);
    runtime.spawn(middleman.map(drop).boxed());
    let target = (
        identity(listener).public().to_peer_id(),
        node::address(middle),
    );
    let exchange = exchange(from, target, 100);
    let mut exchange = Box::pin(with_deadline(from.runtime().as_ref(), DEADLINE, exchange));
    if cut.is_some_and(|cut| cut.how == How::Kill) {
        let either = select(&mut exchange, cut_now);
        if let futures::future::Either::Left((outcome, _)) = trial.sim.block_on(either) {
            return (in_time(trial.muxer, outcome), [0; 2]);
        }
        trial.sim.kill(middle);
    }
    let outcome = trial.sim.block_on(exchange);
    let dialed = trial.sim.connections();
    let dialed = dialed.iter().find(|it| it.listener == Some(middle));
    let bytes = dialed.map_or([0; 2], |it| {
        [it.bytes_sent as usize, it.bytes_received as usize]
    });
    (in_time(trial.muxer, outcome), bytes)
}

/// With yamux every exchange ends by itself. With mplex, the application has to have a deadline of its own.
fn in_time(muxer: Muxer, outcome: Option<Result<(), Failure>>) -> Result<(), Failure> {
    match (muxer, outcome) {
        (_, Some(outcome)) => outcome,
        (Muxer::Mplex, None) => Err(Failure::GivenUp),
        (Muxer::Yamux, None) => panic!("the exchange has not ended after {DEADLINE:?}"),
    }
}

fn was_told(events: &mut Events) -> bool {
    let mut seen = std::iter::from_fn(|| events.next().now_or_never().flatten());
    seen.any(|event| {
        matches!(
            event,
            HostEvent::InboundFailed { .. } | HostEvent::Disconnected { .. }
        )
    })
}

/// An upgrade, then silence of a connection that is up already.
const DEADLINE: Duration = Duration::from_secs(75);
/// How much later the other side may notice.
const NOTICED: Duration = Duration::from_secs(60);
