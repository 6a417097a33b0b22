//! What a connection's task and its streams share.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use event_listener::Event;
use smallvec::SmallVec;

use crate::{
    Batch, CloseReason, ConnectionError, ResetCode, Runtime, Session, SessionEvent, StreamError,
    StreamId,
    sync::{AtomicWaker, Mutex, lock},
};

pub(super) struct Shared {
    state: Mutex<State>,
    runtime: Arc<dyn Runtime>,
    driver: AtomicWaker,
    /// A stream may be opened again.
    pub(super) openable: Event,
    /// The remote has opened a stream.
    pub(super) incoming: Event,
    /// The connection was confirmed or has ended.
    pub(super) changed: Event,
}

struct State {
    session: Box<dyn Session>,
    wakers: BTreeMap<StreamId, StreamWakers>,
    ended: Option<ConnectionError>,
    confirmed: bool,
    /// The task does not read from the socket until the application has read.
    read_paused: bool,
    /// The socket takes nothing, so the task need not be told that there is more to send.
    write_blocked: bool,
    /// The task was told that there is work, and has not begun with it.
    notified: bool,
}

#[derive(Default)]
struct StreamWakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// What the task has to know before it can wait.
pub(super) struct Outlook {
    pub(super) timeout: Option<Instant>,
    pub(super) may_read: bool,
    /// The machine has seen the time come, and may have something to send.
    pub(super) timed_out: bool,
    pub(super) ended: Option<ConnectionError>,
}

impl Shared {
    pub(super) fn new(
        session: Box<dyn Session>,
        runtime: Arc<dyn Runtime>,
        confirmed: bool,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                session,
                wakers: BTreeMap::new(),
                ended: None,
                confirmed,
                read_paused: false,
                write_blocked: false,
                notified: false,
            }),
            runtime,
            driver: AtomicWaker::new(),
            openable: Event::new(),
            incoming: Event::new(),
            changed: Event::new(),
        }
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    pub(super) fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    /// Whether there is news from the application that the task has not begun with.
    pub(super) fn is_notified(&self) -> bool {
        lock(&self.state).notified
    }

    /// Runs `work` under the lock, then wakes whoever waits for what it changed.
    fn with<T>(&self, work: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = self.runtime.now();
        let (output, wakes, wake_driver) = {
            let mut state = lock(&self.state);
            let output = work(&mut state, now);
            let wakes = state.collect_wakes();
            (output, wakes, state.notify_driver())
        };
        if wake_driver {
            self.driver.wake();
        }
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
        output
    }

    fn wake(&self, wakes: Wakes) {
        if wakes.openable > 0 {
            self.openable.notify_additional(wakes.openable);
        }
        if wakes.incoming > 0 {
            self.incoming.notify_additional(wakes.incoming);
        }
        wakes.streams.into_iter().for_each(Waker::wake);
    }

    pub(super) fn try_open(&self) -> Result<Option<StreamId>, ConnectionError> {
        self.with(|state, now| {
            state.check_open()?;
            match state.session.open(now) {
                Poll::Ready(Ok(id)) => Ok(Some(id)),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => Ok(None),
            }
        })
    }

    pub(super) fn try_accept(&self) -> Result<Option<StreamId>, ConnectionError> {
        self.with(|state, now| {
            state.check_open()?;
            Ok(state.session.accept(now))
        })
    }

    pub(super) fn read(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.with(|state, now| {
            let outcome = state.session.read(id, buffer, now);
            // The machine knows only that it was closed; why is known here.
            if let Poll::Pending | Poll::Ready(Err(StreamError::Connection(_))) = outcome {
                state.check_open()?;
            }
            if outcome.is_pending() {
                remember(&mut state.wakers.entry(id).or_default().read, cx);
            }
            outcome
        })
    }

    pub(super) fn write(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.with(|state, now| {
            state.check_open()?;
            let outcome = state.session.write(id, buffer, now);
            if outcome.is_pending() {
                remember(&mut state.wakers.entry(id).or_default().write, cx);
            }
            outcome
        })
    }

    pub(super) fn finish(&self, id: StreamId) -> Result<(), StreamError> {
        self.with(|state, now| {
            state.check_open()?;
            state.session.finish(id, now)
        })
    }

    pub(super) fn reset(&self, id: StreamId, code: ResetCode) {
        self.with(|state, _| state.session.reset(id, code));
    }

    pub(super) fn forget(&self, id: StreamId) {
        let wakers = self.with(|state, _| {
            state.session.forget(id);
            state.wakers.remove(&id)
        });
        drop(wakers);
    }

    /// Closes from this side; the task sends what is queued and the goodbye.
    pub(super) fn close(&self, reason: CloseReason) {
        self.end(ConnectionError::Closed, Some(reason));
        self.driver.wake();
    }

    /// Records why the connection has ended, once, and tells everybody who waits.
    pub(super) fn end(&self, error: ConnectionError, goodbye: Option<CloseReason>) {
        let wakers = {
            let mut state = lock(&self.state);
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(error);
            if let Some(reason) = goodbye {
                state.session.close(reason);
            }
            std::mem::take(&mut state.wakers)
        };
        for waiting in wakers.into_values() {
            waiting.wake();
        }
        self.openable.notify(usize::MAX);
        self.incoming.notify(usize::MAX);
        self.changed.notify(usize::MAX);
    }

    pub(super) fn ended(&self) -> Option<ConnectionError> {
        lock(&self.state).ended.clone()
    }

    pub(super) fn confirmed(&self) -> Option<Result<(), ConnectionError>> {
        let state = lock(&self.state);
        match (&state.ended, state.confirmed) {
            (_, true) => Some(Ok(())),
            (Some(error), false) => Some(Err(error.clone())),
            (None, false) => None,
        }
    }

    pub(super) fn confirm(&self) {
        lock(&self.state).confirmed = true;
        self.changed.notify(usize::MAX);
    }

    pub(super) fn stream_count(&self) -> usize {
        lock(&self.state).session.stream_count()
    }

    pub(super) fn transmit(&self, batch: &mut Batch) -> bool {
        self.quietly(|state, _| {
            state.write_blocked = false;
            state.notified = false;
            state.session.poll_transmit(batch)
        })
    }

    pub(super) fn receive(
        &self,
        chunks: impl Iterator<Item = bytes::Bytes>,
    ) -> Result<(), ConnectionError> {
        self.quietly(|state, now| {
            for chunk in chunks {
                state.session.handle_read(chunk, now)?;
            }
            Ok(())
        })
    }

    pub(super) fn end_of_input(&self) -> ConnectionError {
        lock(&self.state).session.end_of_input()
    }

    /// Lets the machine see the time and tells what the task may wait for.
    pub(super) fn outlook(
        &self,
        write_blocked: bool,
        unread_answers_max: usize,
    ) -> Result<Outlook, ConnectionError> {
        self.quietly(|state, now| {
            let due = state.session.poll_timeout().is_some_and(|at| at <= now);
            let timed_out = due && state.ended.is_none();
            if timed_out {
                state.session.handle_timeout(now)?;
            }
            let may_read =
                state.session.wants_read() && state.session.transmit_len() <= unread_answers_max;
            state.read_paused = !may_read;
            state.write_blocked = write_blocked;
            state.notified = false;
            Ok(Outlook {
                timeout: state.session.poll_timeout(),
                may_read,
                timed_out,
                ended: state.ended.clone(),
            })
        })
    }

    /// Like [`with`](Self::with), for the task itself, which need not be woken.
    fn quietly<T>(&self, work: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = self.runtime.now();
        let (output, wakes) = {
            let mut state = lock(&self.state);
            let output = work(&mut state, now);
            (output, state.collect_wakes())
        };
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
        output
    }
}

#[derive(Default)]
struct Wakes {
    streams: SmallVec<[Waker; 2]>,
    openable: usize,
    incoming: usize,
}

impl State {
    fn check_open(&self) -> Result<(), ConnectionError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Whether the task has to be woken, which it is once for each time that it begins.
    fn notify_driver(&mut self) -> bool {
        let wake = !self.notified && self.driver_has_work();
        self.notified |= wake;
        wake
    }

    fn driver_has_work(&self) -> bool {
        (self.session.transmit_len() > 0 && !self.write_blocked)
            || (self.read_paused && self.session.wants_read())
    }

    /// Most of the time there is nobody to be woken.
    fn collect_wakes(&mut self) -> Option<Wakes> {
        let mut next = Some(self.session.poll_event()?);
        let mut wakes = Wakes::default();
        while let Some(event) = next {
            let waker = match event {
                SessionEvent::Readable(id) => {
                    self.wakers.get_mut(&id).and_then(|of| of.read.take())
                }
                SessionEvent::Writable(id) => {
                    self.wakers.get_mut(&id).and_then(|of| of.write.take())
                }
                SessionEvent::Openable => {
                    wakes.openable += 1;
                    None
                }
                SessionEvent::Incoming => {
                    wakes.incoming += 1;
                    None
                }
            };
            wakes.streams.extend(waker);
            next = self.session.poll_event();
        }
        Some(wakes)
    }
}

impl StreamWakers {
    fn wake(self) {
        self.read
            .into_iter()
            .chain(self.write)
            .for_each(Waker::wake);
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
