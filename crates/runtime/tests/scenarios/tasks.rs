use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{channel::oneshot, future::pending};
use peerkit_core::{Task, TaskGroup, sleep_until};

use super::{AnyRuntime, run};

pub(crate) fn run_at_once_and_are_joined(runtime: AnyRuntime) {
    let group = TaskGroup::default();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..1000 {
        let done = done.clone();
        group.spawn(runtime.as_ref(), async move {
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(run(&runtime, group.join()), 0);
    assert_eq!(done.load(Ordering::Relaxed), 1000);
}

pub(crate) fn are_cancelled_with_their_group(runtime: AnyRuntime) {
    let group = TaskGroup::default();
    let mut dropped = Vec::new();
    for _ in 0..10 {
        let (guard, gone) = oneshot::channel::<()>();
        dropped.push(gone);
        group.spawn(runtime.as_ref(), async move {
            let _guard = guard;
            pending::<()>().await;
        });
    }
    group.cancel();
    assert_eq!(run(&runtime, group.join()), 0);
    for gone in dropped {
        assert!(
            run(&runtime, gone).is_err(),
            "what the task owned is dropped"
        );
    }
    assert!(
        !group.spawn(runtime.as_ref(), async {}),
        "the group is closed"
    );
}

pub(crate) fn end_when_their_handle_is_dropped(runtime: AnyRuntime) {
    let (guard, gone) = oneshot::channel::<()>();
    let task = Task::spawn(runtime.as_ref(), async move {
        let _guard = guard;
        pending::<()>().await;
    });
    drop(task);
    assert!(run(&runtime, gone).is_err());
}

pub(crate) fn that_panic_are_counted_and_harm_nobody(runtime: AnyRuntime) {
    let group = TaskGroup::default();
    for _ in 0..8 {
        group.spawn(runtime.as_ref(), async { panic!("on purpose") });
    }
    assert_eq!(run(&runtime, group.join()), 8);

    let task = Task::spawn(runtime.as_ref(), async {});
    assert!(run(&runtime, task.join()), "tasks still run afterwards");
}

pub(crate) fn spawned_bare_may_panic_too(runtime: AnyRuntime) {
    for _ in 0..8 {
        runtime.spawn(Box::pin(async { panic!("on purpose") }));
    }
    let (sender, receiver) = oneshot::channel();
    runtime.spawn(Box::pin(async {
        sender.send(7).expect("the test waits");
    }));
    assert_eq!(run(&runtime, receiver), Ok(7));
}

pub(crate) fn spawn_others_and_sleep(runtime: AnyRuntime) {
    let (sender, receiver) = oneshot::channel();
    let inner = runtime.clone();
    runtime.spawn(Box::pin(async move {
        sleep_until(inner.as_ref(), inner.now() + Duration::from_millis(10)).await;
        inner.spawn(Box::pin(async {
            sender.send(()).expect("the test waits");
        }));
    }));
    assert_eq!(run(&runtime, receiver), Ok(()));
}

pub(crate) fn get_fresh_seeds(runtime: AnyRuntime) {
    let (first, second) = (runtime.seed(), runtime.seed());
    assert_ne!(first, second);
    assert_ne!(first, [0; 32]);
}
