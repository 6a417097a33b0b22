//! A connection's task beside the tasks of its streams.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use loom::{future::block_on, thread};
use peerkit_core::{Network, Timer};
use peerkit_mplex::Config;

use crate::{
    Batch, ConnectionError, Runtime, Session as _, StreamId, session::Mplex, shared::Shared,
};

/// An application writes while the task goes to sleep: the task sends it.
pub fn a_write_is_never_left_lying() {
    loom::model(|| {
        let (shared, id) = connection(Config::default());
        let writer = thread::spawn({
            let shared = shared.clone();
            move || {
                let written = shared.write(id, &mut noop(), b"bytes");
                assert!(matches!(written, Poll::Ready(Ok(5))));
            }
        });
        // As the task does it: register, send, look, wait.
        block_on(poll_fn(|cx| {
            shared.register_driver(cx.waker());
            let mut batch = Batch::default();
            if shared.transmit(&mut batch) {
                return Poll::Ready(());
            }
            outlook(&shared);
            Poll::Pending
        }));
        writer.join().expect("the writer has written");
    });
}

/// Bytes arrive while an application begins to wait for them.
pub fn a_reader_is_woken_by_bytes() {
    loom::model(|| {
        let (shared, id) = connection(Config::default());
        let task = thread::spawn({
            let shared = shared.clone();
            move || shared.receive(std::iter::once(arriving(b"x"))).expect("it is a frame")
        });
        let mut buffer = [0; 4];
        let read = block_on(poll_fn(|cx| shared.read(id, cx, &mut buffer)));
        assert!(matches!(read, Ok(1)));
        task.join().expect("the bytes have arrived");
    });
}

/// The connection ends while an application begins to wait for bytes.
pub fn a_reader_is_woken_by_the_end() {
    loom::model(|| {
        let (shared, id) = connection(Config::default());
        let task = thread::spawn({
            let shared = shared.clone();
            move || shared.end(ConnectionError::Truncated, None)
        });
        let mut buffer = [0; 4];
        let read = block_on(poll_fn(|cx| shared.read(id, cx, &mut buffer)));
        assert!(read.is_err());
        task.join().expect("the end is told");
    });
}

/// The task stops reading from the socket while the application takes what made it stop.
pub fn a_paused_driver_goes_on_once_the_application_has_read() {
    loom::model(|| {
        let mut config = Config::default();
        config.unread_stream_pause = 1;
        config.unread_pause = 1;
        let (shared, id) = connection(config);
        shared.receive(std::iter::once(arriving(b"xyz"))).expect("it is a frame");
        let reader = thread::spawn({
            let shared = shared.clone();
            move || {
                let read = shared.read(id, &mut noop(), &mut [0; 4]);
                assert!(matches!(read, Poll::Ready(Ok(3))));
            }
        });
        block_on(poll_fn(|cx| {
            shared.register_driver(cx.waker());
            if outlook(&shared) {
                return Poll::Ready(());
            }
            Poll::Pending
        }));
        reader.join().expect("the reader has read");
    });
}

/// A connection with one stream, whose opening is sent.
fn connection(config: Config) -> (Arc<Shared>, StreamId) {
    let now = Still.now();
    let mut session = Mplex::new(config, now);
    let Poll::Ready(Ok(id)) = session.open(now) else {
        panic!("the first stream can be opened");
    };
    session.poll_transmit(&mut Batch::default());
    let shared = Shared::new(Box::new(session), Arc::new(Still), true);
    (Arc::new(shared), id)
}

/// Whether the task may read.
fn outlook(shared: &Shared) -> bool {
    let outlook = shared.outlook(false, usize::MAX);
    outlook.expect("nobody breaks a rule").may_read
}

/// Bytes of the remote on the first stream, which this side has opened.
fn arriving(bytes: &[u8]) -> Bytes {
    [&[1, bytes.len() as u8], bytes].concat().into()
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A runtime whose time stands still.
#[derive(Debug)]
struct Still;

impl Runtime for Still {
    fn now(&self) -> Instant {
        static NOW: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *NOW
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }

    fn timer(&self, _deadline: Instant) -> Pin<Box<dyn Timer>> {
        unreachable!("nobody waits for a time here")
    }

    fn spawn(&self, _future: BoxFuture<'static, ()>) {
        unreachable!("loom has threads of its own")
    }

    fn network(&self) -> &dyn Network {
        unreachable!("there is no socket here")
    }

    fn seed(&self) -> [u8; 32] {
        [0; 32]
    }
}
