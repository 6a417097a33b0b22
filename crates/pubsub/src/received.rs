//! What the user gets.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use event_listener::{Event, listener};
use futures::Stream;
use peerkit_core::{PeerId, Runtime, lock, with_deadline};

use crate::{Message, MessageId, Topic, patience::Patience};

/// A message that has arrived; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Where it was published.
    pub topic: Topic,
    /// What it is about.
    pub data: Bytes,
    /// Its author, if it names one. Anybody may have written it unless it is [`signed`](Self::signed).
    pub from: Option<PeerId>,
    /// Its number among its author's messages, if it has one of 8 bytes at most.
    pub seqno: Option<u64>,
    /// What it is known by.
    pub id: MessageId,
    /// Who has sent it here, which need not be the author.
    pub source: PeerId,
    /// Its author has signed it, and the signature was checked.
    pub signed: bool,
}

impl Received {
    pub(crate) fn new(message: &Message, id: MessageId, source: PeerId) -> Self {
        Self {
            topic: message.topic.clone(),
            data: message.data.clone(),
            from: message.author(),
            seqno: message.number(),
            id,
            source,
            // A signature that does not hold was rejected, and one that is not wanted as well.
            signed: message.signature.is_some(),
        }
    }
}

/// The reader of a [`Subscription`] was too slow: messages were dropped at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missed} messages were dropped because they were not read in time")]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}

/// The messages of a topic, from the moment of subscribing on: a [`Stream`] of messages, and of [`Lagged`]
/// where some were dropped because they were not read in time.
///
/// It ends when the node is closed. When the last one of a topic is dropped, this node leaves the topic.
pub struct Subscription {
    topic: Topic,
    inbox: Arc<Inbox>,
    leave: Arc<dyn Leave>,
}

/// Whoever has to know that a subscription is dropped.
pub(crate) trait Leave: Send + Sync {
    fn leave(&self, topic: &Topic, inbox: &Arc<Inbox>);
}

impl Subscription {
    pub(crate) fn new(topic: Topic, inbox: Arc<Inbox>, leave: Arc<dyn Leave>) -> Self {
        Self {
            topic,
            inbox,
            leave,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The next message, or how many were missed before it; `None` once the node is closed.
    ///
    /// Cancel safety: no message is lost.
    pub async fn next(&mut self) -> Option<Result<Received, Lagged>> {
        futures::StreamExt::next(self).await
    }
}

impl Stream for Subscription {
    type Item = Result<Received, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbox.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave.leave(&self.topic, &self.inbox);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// The messages that wait for one subscription. When it is full, the oldest gives way.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    capacity: usize,
    bytes_max: usize,
    /// Half of it is free again.
    room: Event,
}

#[derive(Debug)]
struct InboxState {
    messages: VecDeque<Received>,
    bytes: usize,
    missed: u64,
    closed: bool,
    reader: Option<Waker>,
    patience: Patience,
}

/// What came of adding a message.
pub(crate) struct Added {
    /// Who is to be woken.
    pub(crate) reader: Option<Waker>,
    /// Older messages that were dropped for it.
    pub(crate) dropped: u64,
    /// There is little room left.
    pub(crate) crowded: bool,
}

impl Inbox {
    pub(crate) fn new(capacity: usize, bytes_max: usize, now: Instant) -> Self {
        Self {
            state: Mutex::new(InboxState {
                messages: VecDeque::new(),
                bytes: 0,
                missed: 0,
                closed: false,
                reader: None,
                patience: Patience::new(now),
            }),
            capacity: capacity.max(1),
            bytes_max,
            room: Event::new(),
        }
    }

    /// Adds a message.
    pub(crate) fn push(&self, message: Received) -> Added {
        let mut state = lock(&self.state);
        state.bytes += message.data.len();
        state.messages.push_back(message);
        let mut dropped = 0;
        while state.messages.len() > 1
            && (state.messages.len() > self.capacity || state.bytes > self.bytes_max)
            && let Some(oldest) = state.messages.pop_front()
        {
            state.bytes -= oldest.data.len();
            dropped += 1;
        }
        state.missed += dropped;
        Added {
            reader: state.reader.take(),
            dropped,
            crowded: state.messages.len() > self.capacity / 4 * 3
                || state.bytes > self.bytes_max / 4 * 3,
        }
    }

    /// Waits until half of the room is free, but not so long that a slow reader would slow down others.
    pub(crate) async fn room(&self, runtime: &dyn Runtime) {
        let start = runtime.now();
        let limit = lock(&self.state).patience.left(start);
        if limit.is_zero() {
            return;
        }
        with_deadline(runtime, limit, self.half_empty()).await;
        let now = runtime.now();
        let waited = now.saturating_duration_since(start);
        lock(&self.state).patience.spend(waited, now);
    }

    async fn half_empty(&self) {
        loop {
            listener!(self.room => room);
            {
                let state = lock(&self.state);
                if state.closed || self.is_half_empty(&state) {
                    return;
                }
            }
            room.await;
        }
    }

    fn is_half_empty(&self, state: &InboxState) -> bool {
        state.messages.len() <= self.capacity / 2 && state.bytes <= self.bytes_max / 2
    }

    /// No more comes; what is there can still be read.
    pub(crate) fn close(&self) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.closed = true;
        self.room.notify(usize::MAX);
        state.reader.take()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Received, Lagged>>> {
        let mut state = lock(&self.state);
        let missed = std::mem::take(&mut state.missed);
        if missed > 0 {
            return Poll::Ready(Some(Err(Lagged { missed })));
        }
        if let Some(message) = state.messages.pop_front() {
            state.bytes -= message.data.len();
            if self.is_half_empty(&state) {
                drop(state);
                self.room.notify(usize::MAX);
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
