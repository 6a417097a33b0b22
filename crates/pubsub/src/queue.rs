//! What waits to be sent to one peer.
//!
//! ```text
//! router --push--> subscriptions | control | own | forwarded | gossip | partial --fill--> frames
//!                  merged          merged    wait   drop        drop     drop
//!                                            (for room)
//! ```

mod filling;
mod lane;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::Waker,
    time::{Duration, Instant},
};

use event_listener::{Event, listener};
use peerkit_core::lock;

use self::{lane::Lane, state::State};
use crate::{
    Control, Message, MessageId, Outgoing, QueueLimits, SubscriptionChange, patience::Patience,
};

pub(crate) use self::filling::{Filling, Portion, Sent};

/// The queue of one peer. Its lock is held shortly and after all others.
#[derive(Debug)]
pub(crate) struct PeerQueue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// There is room for own messages again, or there will never be.
    room: Event,
    /// All is written.
    drained: Event,
}

/// What became of something that was to wait here.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It waits; whoever writes is to be woken.
    Taken(Option<Waker>),
    /// A message of this node's own, for which there may be room soon.
    Full(MessageId, Arc<Message>),
    /// It is gone.
    Dropped(Outgoing),
}

impl PeerQueue {
    pub(crate) fn new(limits: QueueLimits, now: Instant) -> Self {
        let lane = |messages_max, bytes_max, timeout| Lane {
            entries: VecDeque::new(),
            bytes: 0,
            messages_max,
            bytes_max,
            timeout,
        };
        let own = lane(
            limits.own_messages_max,
            limits.own_bytes_max,
            limits.own_timeout,
        );
        let forwarded = lane(
            limits.forwarded_messages_max,
            limits.forwarded_bytes_max,
            limits.forwarded_timeout,
        );
        Self {
            state: Mutex::new(State {
                closed: false,
                writing: false,
                blocked_since: None,
                topics: Vec::new(),
                extensions: None,
                extensions_due: false,
                subscriptions: VecDeque::new(),
                control: Control::default(),
                own,
                forwarded,
                full: false,
                patience: Patience::new(now),
                gossip: VecDeque::new(),
                gossip_ids: 0,
                partials: VecDeque::new(),
                test_extension: false,
                writer: None,
            }),
            limits,
            room: Event::new(),
            drained: Event::new(),
        }
    }

    /// Adds something; `lost` gets what has to give way for it.
    pub(crate) fn push(&self, item: Outgoing, now: Instant, lost: &mut Vec<Outgoing>) -> Pushed {
        let mut state = lock(&self.state);
        if state.closed {
            return Pushed::Dropped(item);
        }
        match item {
            Outgoing::Hello(topics, extensions) => state.hello(topics, extensions),
            Outgoing::Subscriptions(changes) => {
                changes
                    .into_iter()
                    .for_each(|change| state.subscription(change));
            }
            Outgoing::Control(control) => {
                if let Some(rest) = state.control(control, self.limits.ids_max) {
                    lost.push(Outgoing::Control(rest));
                }
            }
            Outgoing::Publish(id, message) => {
                if let Some(refused) = self.push_own(&mut state, id, message, now, lost) {
                    return refused;
                }
            }
            Outgoing::Forward(id, message) => {
                state
                    .forwarded
                    .expire(now, |entry| lost.push(entry.forwarded()));
                if !state.forwarded.has_room(message.encoded.len()) {
                    return Pushed::Dropped(Outgoing::Forward(id, message));
                }
                state.forwarded.push(id, message, now);
            }
            Outgoing::Gossip(control) => state.gossip(control, self.limits.ids_max, lost),
            Outgoing::Partial(partial) => {
                if state.partials.len() >= self.limits.partials_max {
                    lost.extend(state.partials.pop_front().map(Outgoing::Partial));
                }
                state.partials.push_back(partial);
            }
            Outgoing::TestExtension => state.test_extension = true,
        }
        Pushed::Taken(state.writer.take())
    }

    fn push_own(
        &self,
        state: &mut State,
        id: MessageId,
        message: Arc<Message>,
        now: Instant,
        lost: &mut Vec<Outgoing>,
    ) -> Option<Pushed> {
        if !state.full && state.own.has_room(message.encoded.len()) {
            state.own.push(id, message, now);
            return None;
        }
        state.own.expire(now, |entry| lost.push(entry.own()));
        state.full = true;
        state.check_room(&self.room);
        if !state.full {
            state.own.push(id, message, now);
            return None;
        }
        let blocked = state.blocked_since;
        let patience = self.limits.publish_timeout;
        if blocked.is_some_and(|since| now.saturating_duration_since(since) >= patience) {
            return Some(Pushed::Dropped(Outgoing::Publish(id, message)));
        }
        Some(Pushed::Full(id, message))
    }

    /// Waits until own messages have found no room and then do, or the queue is closed.
    ///
    /// Cancel safety: nothing is lost.
    pub(crate) async fn room(&self) {
        loop {
            listener!(self.room => room);
            {
                let state = lock(&self.state);
                if state.closed || !state.full {
                    return;
                }
            }
            room.await;
        }
    }

    /// How long own messages may wait for this peer while others have room.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        lock(&self.state).patience.left(now)
    }

    /// So long has somebody waited.
    pub(crate) fn waited(&self, waited: Duration, now: Instant) {
        lock(&self.state).patience.spend(waited, now);
    }

    /// Waits until all is written or the queue is closed.
    ///
    /// Cancel safety: nothing is lost.
    pub(crate) async fn drained(&self) {
        loop {
            listener!(self.drained => drained);
            {
                let state = lock(&self.state);
                if state.closed || (!state.writing && state.is_empty()) {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Takes the next portion, the most urgent first; `lost` gets what has waited too long. False, and
    /// the waker is kept, when there is nothing.
    pub(crate) fn fill(&self, filling: &mut Filling<'_>, now: Instant, waker: &Waker) -> bool {
        let mut state = lock(&self.state);
        let lost = &mut *filling.lost;
        state.own.expire(now, |entry| lost.push(entry.own()));
        state
            .forwarded
            .expire(now, |entry| lost.push(entry.forwarded()));
        state.fill(filling);
        state.check_room(&self.room);
        state.writing = !filling.out.is_empty();
        if !state.writing {
            state.blocked_since = None;
            let known = state.writer.as_ref();
            if known.is_none_or(|known| !known.will_wake(waker)) {
                state.writer = Some(waker.clone());
            }
            drop(state);
            self.drained.notify(usize::MAX);
            return false;
        }
        true
    }

    /// Takes out a forwarded message that is not needed any more, if it still waits.
    pub(crate) fn withdraw(&self, id: &MessageId) -> Option<Arc<Message>> {
        lock(&self.state).forwarded.take(id)
    }

    /// Since when the stream takes nothing; `None` when it has taken something.
    pub(crate) fn set_blocked(&self, since: Option<Instant>) {
        lock(&self.state).blocked_since = since;
    }

    /// Begins anew on a new stream: the peer is told all topics again.
    pub(crate) fn restart(&self) {
        let mut state = lock(&self.state);
        state.blocked_since = None;
        state.extensions_due = state.extensions.is_some();
        state.subscriptions = state.topics.iter().cloned().collect();
    }

    /// Puts back what was sent in vain, oldest first.
    pub(crate) fn put_back(&self, sent: Vec<Sent>) {
        let mut state = lock(&self.state);
        for sent in sent.into_iter().rev() {
            match sent {
                Sent::Subscription(change) => {
                    let newer = |it: &SubscriptionChange| it.topic == change.topic;
                    if !state.subscriptions.iter().any(newer) {
                        state.subscriptions.push_front(change);
                    }
                }
                Sent::Own(entry) => state.own.put_back(entry),
                Sent::Forwarded(entry) => state.forwarded.put_back(entry),
            }
        }
    }

    /// Nothing will be sent any more. Returns what is lost, and whoever writes.
    pub(crate) fn close(&self) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.own.clear();
        state.forwarded.clear();
        state.gossip.clear();
        state.partials.clear();
        let writer = state.writer.take();
        drop(state);
        self.room.notify(usize::MAX);
        self.drained.notify(usize::MAX);
        writer
    }

    /// Whoever writes, to be woken for another reason than something to send.
    pub(crate) fn take_writer(&self) -> Option<Waker> {
        lock(&self.state).writer.take()
    }

    /// Whether the peer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}
