//! The executor of [`AsyncIo`](crate::AsyncIo): one for the whole process.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    thread,
};

use async_executor::Executor;
use futures::future::BoxFuture;

/// Runs `future` on the threads of this executor, which the first call starts.
pub(crate) fn spawn(future: BoxFuture<'static, ()>) {
    executor().spawn(future).detach();
}

fn executor() -> &'static Executor<'static> {
    static EXECUTOR: OnceLock<&'static Executor<'static>> = OnceLock::new();
    EXECUTOR.get_or_init(|| {
        let executor: &'static Executor<'static> = Box::leak(Box::new(Executor::new()));
        start_threads(executor);
        executor
    })
}

/// One thread suffices, so only the first may not fail.
fn start_threads(executor: &'static Executor<'static>) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for number in 0..cores {
        let started = thread::Builder::new()
            .name(format!("peerkit-{number}"))
            .spawn(move || work(executor));
        if number == 0 {
            started.expect("the system has room for one more thread");
        }
    }
}

/// Runs tasks for ever. A task that panics is dropped by the executor; the thread goes on.
fn work(executor: &Executor<'static>) {
    loop {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            ::async_io::block_on(executor.run(pending::<()>()));
        }));
    }
}
