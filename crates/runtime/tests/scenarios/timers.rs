use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{Either, join3, select},
};
use peerkit_core::{lock, sleep_until, with_deadline};

use super::{AnyRuntime, run};

pub(crate) fn fire_in_order_and_not_early(runtime: AnyRuntime) {
    let start = runtime.now();
    let fired = std::sync::Mutex::new(Vec::new());
    let nap = |ms| {
        let deadline = start + Duration::from_millis(ms);
        let (fired, runtime) = (&fired, &runtime);
        async move {
            sleep_until(runtime.as_ref(), deadline).await;
            assert!(runtime.now() >= deadline, "fired early");
            lock(fired).push(ms);
        }
    };
    run(&runtime, join3(nap(90), nap(30), nap(60)));
    assert_eq!(*lock(&fired), [30, 60, 90]);
}

pub(crate) fn in_the_past_fire_at_once(runtime: AnyRuntime) {
    let start = runtime.now();
    run(&runtime, sleep_until(runtime.as_ref(), start));
    assert!(runtime.now() - start < Duration::from_secs(5));
}

pub(crate) fn can_be_set_earlier_later_and_again(runtime: AnyRuntime) {
    run(&runtime, async {
        let start = runtime.now();
        let mut timer = runtime.timer(start + Duration::from_secs(3600));
        assert!(timer.as_mut().now_or_never().is_none());
        timer.as_mut().reset(start + Duration::from_millis(20));
        timer.as_mut().await;

        let later = runtime.now() + Duration::from_millis(60);
        timer
            .as_mut()
            .reset(runtime.now() + Duration::from_millis(20));
        timer.as_mut().reset(later);
        timer.as_mut().await;
        assert!(runtime.now() >= later);
        assert!(runtime.now() - start < Duration::from_secs(10));
    });
}

pub(crate) fn set_earlier_wake_a_task_that_waits_already(runtime: AnyRuntime) {
    run(&runtime, async {
        let far = runtime.now() + Duration::from_secs(3600);
        let mut timer = runtime.timer(far);
        let near = runtime.now() + Duration::from_millis(30);
        let nudge = pin!(sleep_until(runtime.as_ref(), near));
        let Either::Right(((), _)) = select(timer.as_mut(), nudge).await else {
            panic!("the far timer fired first");
        };
        timer
            .as_mut()
            .reset(runtime.now() + Duration::from_millis(20));
        timer.await;
    });
}

pub(crate) fn can_be_dropped_while_they_wait(runtime: AnyRuntime) {
    run(&runtime, async {
        for _ in 0..100 {
            let mut timer = runtime.timer(runtime.now() + Duration::from_secs(3600));
            assert!(timer.as_mut().now_or_never().is_none());
        }
        sleep_until(runtime.as_ref(), runtime.now() + Duration::from_millis(10)).await;
    });
}

pub(crate) fn at_the_end_of_time_neither_panic_nor_fire(runtime: AnyRuntime) {
    run(&runtime, async {
        let limit = Duration::from_millis(30);
        let forever = sleep_until(runtime.as_ref(), end_of_time(runtime.now()));
        assert_eq!(with_deadline(runtime.as_ref(), limit, forever).await, None);

        let mut timer = runtime.timer(runtime.now() + limit);
        timer.as_mut().reset(end_of_time(runtime.now()));
        assert_eq!(
            with_deadline(runtime.as_ref(), limit * 2, timer).await,
            None
        );
    });
}

/// The last instant that this system can name, within a second.
fn end_of_time(now: Instant) -> Instant {
    let mut last = now;
    for shift in (0..64).rev() {
        let step = Duration::from_secs(1 << shift);
        last = last.checked_add(step).unwrap_or(last);
    }
    last
}

pub(crate) fn follow_one_clock_and_the_calendar(runtime: AnyRuntime) {
    let (first, second) = (runtime.now(), runtime.now());
    assert!(second >= first);
    let year_2025 = Duration::from_secs(1_735_689_600);
    assert!(runtime.unix_time() > year_2025);
}
