//! The same seed, the same run; and the loop that makes it so.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{accept, connect, listen, ms, secs, sleep};
use futures::{AsyncReadExt, AsyncWriteExt, channel::oneshot, future::pending};
use peerkit_core::Runtime;
use peerkit_sim::{Sim, Stats, seeds};

/// Twenty hosts talk over a bad network, some of them with interruptions.
fn busy(seed: u64) -> (u64, Stats) {
    let mut sim = Sim::new(seed);
    sim.links().jitter(ms(20)).bandwidth(1_000_000);
    let all = Rc::new(RefCell::new(Vec::new()));
    let hosts = sim.hosts(20, |node| async move {
        let runtime = node.runtime();
        let mut listener = listen(&runtime);
        let spawner = runtime.clone();
        runtime.spawn(Box::pin(async move {
            loop {
                let mut stream = accept(&mut listener).await.io;
                spawner.spawn(Box::pin(async move {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                }));
            }
        }));
        while let Ok(connection) = connect(&runtime, node.id()).await {
            let mut stream = connection.io;
            let seed = runtime.seed();
            stream.write_all(&seed).await.unwrap();
            let mut echo = [0; 32];
            stream.read_exact(&mut echo).await.unwrap();
            assert_eq!(echo, seed);
            sleep(&runtime, ms(u64::from(seed[0]) + 1)).await;
        }
    });
    all.borrow_mut().extend(hosts.clone());
    for pair in hosts.windows(2) {
        let [from, to] = [pair[0], pair[1]];
        let runtime = sim.runtime(from);
        let talk = runtime.clone();
        runtime.spawn(Box::pin(async move {
            while let Ok(mut connection) = connect(&talk, to).await {
                let _ = connection.io.write_all(&talk.seed()).await;
                let _ = connection.io.read(&mut [0; 32]).await;
                sleep(&talk, ms(100)).await;
            }
        }));
    }
    let (one, other) = (hosts[..10].to_vec(), hosts[10..].to_vec());
    sim.at(secs(5), move |sim| sim.partition(&one, &other));
    sim.at(secs(9), |sim| sim.heal());
    let victim = hosts[3];
    sim.at(secs(11), move |sim| sim.crash(victim));
    sim.at(secs(15), move |sim| sim.restart(victim));
    sim.run_for(secs(30));
    (sim.trace_hash(), sim.stats())
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another_one() {
    let (first, second) = (busy(7), busy(7));
    assert_eq!(first, second);
    assert!(first.1.packets > 10_000, "{:?}", first.1);
    assert_eq!(first.1.foreign_wake_ups, 0);
    assert_ne!(busy(8).0, first.0);
}

#[test]
fn a_difference_in_content_alone_shows_in_the_hash() {
    let run = |byte: u8| {
        let mut pair = common::Pair::new(ms(1), |_| {});
        pair.sim.block_on(async {
            pair.dialer.write_all(&[byte; 9]).await.unwrap();
            pair.listener.read_exact(&mut [0; 9]).await.unwrap();
        });
        pair.sim.trace_hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn an_hour_takes_no_time_and_ends_exactly() {
    let mut sim = Sim::new(1);
    let woken = Arc::new(AtomicU64::new(0));
    let counter = woken.clone();
    sim.hosts(10, move |node| {
        let counter = counter.clone();
        async move {
            loop {
                sleep(&node.runtime(), secs(1)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    sim.run_until(Duration::from_secs(3600));
    assert_eq!(sim.elapsed(), Duration::from_secs(3600));
    assert_eq!(woken.load(Ordering::Relaxed), 36_000);
}

#[test]
fn the_script_runs_at_its_times_and_checks_run_in_between() {
    let mut sim = Sim::new(1);
    let seen = Rc::new(RefCell::new(Vec::new()));
    for time in [3, 1, 2] {
        let seen = seen.clone();
        sim.at(secs(time), move |sim| seen.borrow_mut().push(sim.elapsed()));
    }
    let checks = seen.clone();
    sim.every(ms(1500), move |sim| checks.borrow_mut().push(sim.elapsed()));
    sim.run_until(ms(3100));
    let times = [secs(1), ms(1500), secs(2), secs(3), secs(3)];
    assert_eq!(*seen.borrow(), times);
}

#[test]
fn a_program_runs_again_after_a_restart_and_its_tasks_end_with_its_life() {
    let mut sim = Sim::new(1);
    let lives = Arc::new(AtomicU64::new(0));
    let counter = lives.clone();
    let host = sim.hosts(1, move |node| {
        counter.fetch_add(u64::from(node.restarts()) + 1, Ordering::Relaxed);
        pending()
    })[0];
    sim.run_for(secs(1));
    assert_eq!(sim.task_count(host), 1);
    sim.crash(host);
    assert_eq!(sim.task_count(host), 0);
    sim.restart(host);
    sim.restart(host);
    sim.run_for(secs(1));
    assert_eq!(sim.task_count(host), 1);
    assert_eq!(lives.load(Ordering::Relaxed), 1 + 2 + 3);
}

#[test]
fn what_tasks_own_is_dropped_with_the_simulation() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    let (guard, mut gone) = oneshot::channel::<()>();
    let runtime = sim.runtime(host);
    let kept = runtime.clone();
    runtime.spawn(Box::pin(async move {
        let _guard = (guard, kept);
        pending::<()>().await;
    }));
    sim.run_for(secs(1));
    assert!(gone.try_recv().is_ok());
    drop(sim);
    assert!(gone.try_recv().is_err());
}

#[test]
fn a_future_that_nobody_can_wake_is_a_panic_and_not_a_hang() {
    let hang = |patience: Option<Duration>| {
        let mut sim = Sim::new(1);
        if let Some(patience) = patience {
            sim.set_patience(patience);
            sim.every(secs(1), |_| {});
        }
        let hung = AssertUnwindSafe(|| sim.block_on(pending::<()>()));
        catch_unwind(hung).is_err()
    };
    assert!(hang(None));
    assert!(hang(Some(secs(60))));
}

#[test]
fn a_failure_can_tell_the_last_events() {
    let mut pair = common::Pair::new(ms(1), |_| {});
    let two = pair.hosts[1];
    pair.sim.crash(two);
    let last = pair.sim.last_events();
    let [.., connected, crashed] = &last[..] else {
        panic!("{last:?}");
    };
    assert!(
        connected.contains("Connected connection 2, host 0"),
        "{last:?}"
    );
    assert!(crashed.contains("Crashed host 1"), "{last:?}");
}

#[test]
fn a_wake_up_from_another_thread_is_seen() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    let (sender, receiver) = oneshot::channel::<()>();
    sim.runtime(host).spawn(Box::pin(async {
        let _ = receiver.await;
    }));
    sim.run_for(secs(1));
    std::thread::scope(|scope| scope.spawn(|| sender.send(())).join().unwrap()).unwrap();
    assert_eq!(sim.stats().foreign_wake_ups, 1);
}

#[test]
fn fresh_seeds_differ() {
    // With PEERKIT_SIM_SEED in the environment there is only that one.
    let found = seeds(3);
    assert!(found.len() == 1 || found[0] != found[1]);
}
