//! Connections that wait to be accepted.

use std::{
    collections::VecDeque,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use event_listener::{Event, listener};
use peerkit_core::lock;

use crate::Pipe;

/// The listener's end of a connection.
pub(crate) struct Arrival {
    /// The dialer's port.
    pub(crate) from: u64,
    pub(crate) pipe: Pipe,
}

/// A bounded queue between dialers and one listener. When it is full, dialers wait.
pub(crate) struct Backlog {
    state: Mutex<State>,
    room: Event,
    limit: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arrival>,
    acceptor: Option<Waker>,
    closed: bool,
}

/// The listener is gone.
pub(crate) struct Refused;

impl Backlog {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Event::new(),
            limit: limit.max(1),
        }
    }

    /// Queues an arrival, waiting for room.
    pub(crate) async fn push(&self, arrival: Arrival) -> Result<(), Refused> {
        let mut pending = Some(arrival);
        loop {
            listener!(self.room => room);
            if let Poll::Ready(outcome) = self.try_push(&mut pending) {
                return outcome;
            }
            room.await;
        }
    }

    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let mut state = lock(&self.state);
        let Some(arrival) = state.waiting.pop_front() else {
            state.acceptor = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(state);
        // Not one: the dialer that is told may be on its way out.
        self.room.notify(usize::MAX);
        Poll::Ready(arrival)
    }

    /// Refuses those that wait and all that come.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
        self.room.notify(usize::MAX);
    }

    fn try_push(&self, pending: &mut Option<Arrival>) -> Poll<Result<(), Refused>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(Err(Refused));
        }
        if state.waiting.len() >= self.limit {
            return Poll::Pending;
        }
        state.waiting.extend(pending.take());
        let acceptor = state.acceptor.take();
        drop(state);
        if let Some(waker) = acceptor {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}
