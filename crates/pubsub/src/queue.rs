//! What waits to be sent to one peer.
//!
//! ```text
//! router --push--> subscriptions | control | own | forwarded | gossip | partial --fill--> frames
//!                  merged          merged    wait   drop        drop     drop
//!                                            (for room)
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::Waker,
    time::{Duration, Instant},
};

use event_listener::{Event, listener};
use peerkit_core::lock;

use crate::{
    Control, Extensions, Message, MessageId, Outgoing, Partial, QueueLimits, SubscriptionChange,
    codec::{FrameEncoder, WriteBuffer},
    patience::Patience,
};

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

#[derive(Debug)]
struct State {
    closed: bool,
    /// Something is on its way to the stream.
    writing: bool,
    /// Since when the stream takes nothing.
    blocked_since: Option<Instant>,
    /// The topics that the peer is told of on a new stream.
    topics: Vec<SubscriptionChange>,
    extensions: Option<Extensions>,
    extensions_due: bool,
    subscriptions: VecDeque<SubscriptionChange>,
    control: Control,
    own: Lane,
    forwarded: Lane,
    /// Own messages found no room, and there is not much of it yet.
    full: bool,
    patience: Patience,
    gossip: VecDeque<Control>,
    gossip_ids: usize,
    partials: VecDeque<Partial>,
    test_extension: bool,
    writer: Option<Waker>,
}

/// Messages of one kind.
#[derive(Debug)]
struct Lane {
    entries: VecDeque<Entry>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    timeout: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    queued_at: Instant,
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
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

/// Something that was put into a frame and may have to be sent again.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Subscription(SubscriptionChange),
    Own(Entry),
    Forwarded(Entry),
}

impl Sent {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Subscription(change) => change.topic.as_str().len() + 8,
            Self::Own(entry) | Self::Forwarded(entry) => entry.message.encoded.len(),
        }
    }
}

/// How much is taken out of the queue at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    /// Frames for one write.
    Frames {
        /// Bytes after which no more is taken.
        bytes: usize,
    },
    /// One frame, of a length that everybody accepts.
    OneFrame {
        /// Its length, unless one single message is longer.
        len_max: usize,
    },
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

/// Where the next portion goes.
pub(crate) struct Filling<'a> {
    pub(crate) portion: Portion,
    pub(crate) encoder: &'a mut FrameEncoder,
    pub(crate) out: &'a mut WriteBuffer,
    /// What has waited too long.
    pub(crate) lost: &'a mut Vec<Outgoing>,
    /// What was taken, if that is to be known.
    pub(crate) log: Option<&'a mut Vec<Sent>>,
    /// What was taken is to leave ahead of the messages that wait: a refusal that arrives together with a large
    /// message comes too late.
    pub(crate) ahead: bool,
}

impl Filling<'_> {
    fn has_room(&self, len: usize) -> bool {
        match self.portion {
            Portion::Frames { bytes } => self.out.len() + self.encoder.len() < bytes,
            Portion::OneFrame { len_max } => {
                self.encoder.is_empty() || self.encoder.len() + len + FIELD_HEADER_MAX <= len_max
            }
        }
    }

    fn log(&mut self, sent: impl FnOnce() -> Sent) {
        if let Some(log) = &mut self.log {
            log.push(sent());
        }
    }
}

/// Tag and length of a field.
const FIELD_HEADER_MAX: usize = 8;

impl State {
    fn hello(&mut self, topics: Vec<SubscriptionChange>, extensions: Option<Extensions>) {
        self.subscriptions = topics.iter().cloned().collect();
        self.topics = topics;
        self.extensions = extensions;
        self.extensions_due = extensions.is_some();
    }

    /// The last word on a topic counts.
    fn subscription(&mut self, change: SubscriptionChange) {
        self.topics.retain(|it| it.topic != change.topic);
        if change.subscribe {
            self.topics.push(change.clone());
        }
        self.subscriptions.retain(|it| it.topic != change.topic);
        self.subscriptions.push_back(change);
    }

    /// Merged, so that GRAFT and PRUNE, which are never dropped, take no more room than there are topics.
    fn control(&mut self, more: Control, ids_max: usize) -> Option<Control> {
        let own = &mut self.control;
        for topic in more.graft {
            own.prune.retain(|it| it.topic != topic);
            if !own.graft.contains(&topic) {
                own.graft.push(topic);
            }
        }
        for prune in more.prune {
            own.graft.retain(|it| *it != prune.topic);
            own.prune.retain(|it| it.topic != prune.topic);
            own.prune.push(prune);
        }
        own.extensions = more.extensions.or(own.extensions);
        let mut lost = Control {
            idontwant: append(&mut own.idontwant, more.idontwant, ids_max),
            iwant: append(&mut own.iwant, more.iwant, ids_max),
            ..Control::default()
        };
        if own.ihave.len() + more.ihave.len() <= IHAVE_MAX {
            own.ihave.extend(more.ihave);
        } else {
            lost.ihave = more.ihave;
        }
        (lost != Control::default()).then_some(lost)
    }

    fn gossip(&mut self, control: Control, ids_max: usize, lost: &mut Vec<Outgoing>) {
        self.gossip_ids += id_count(&control);
        self.gossip.push_back(control);
        while self.gossip.len() > 1
            && (self.gossip_ids > ids_max || self.gossip.len() > GOSSIP_MAX)
            && let Some(oldest) = self.gossip.pop_front()
        {
            self.gossip_ids -= id_count(&oldest);
            lost.push(Outgoing::Gossip(oldest));
        }
    }

    fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
            && !self.extensions_due
            && self.control == Control::default()
            && self.own.entries.is_empty()
            && self.forwarded.entries.is_empty()
            && self.gossip.is_empty()
            && self.partials.is_empty()
            && !self.test_extension
    }

    fn has_messages(&self) -> bool {
        !self.own.entries.is_empty() || !self.forwarded.entries.is_empty()
    }

    /// Lets own messages in again once half of the room is free.
    fn check_room(&mut self, room: &Event) {
        if self.full && self.own.is_half_empty() {
            self.full = false;
            room.notify(usize::MAX);
        }
    }

    fn fill(&mut self, filling: &mut Filling<'_>) {
        if let Some(extensions) = self.extensions
            && std::mem::take(&mut self.extensions_due)
        {
            filling.encoder.extensions(extensions, filling.out);
        }
        while let Some(change) = self.subscriptions.front()
            && filling.has_room(change.topic.as_str().len() + 8)
            && let Some(change) = self.subscriptions.pop_front()
        {
            filling.encoder.subscription(&change, filling.out);
            filling.log(|| Sent::Subscription(change));
        }
        if self.subscriptions.is_empty() {
            self.fill_behind_subscriptions(filling);
        }
        filling.encoder.finish(filling.out);
    }

    fn fill_behind_subscriptions(&mut self, filling: &mut Filling<'_>) {
        if self.control != Control::default() && filling.has_room(0) {
            let control = std::mem::take(&mut self.control);
            filling.encoder.control(&control, filling.out);
            if !control.idontwant.is_empty() && self.has_messages() {
                filling.ahead = true;
                return;
            }
        }
        self.own.fill(filling, Sent::Own);
        self.forwarded.fill(filling, Sent::Forwarded);
        while filling.has_room(0)
            && let Some(control) = self.gossip.pop_front()
        {
            self.gossip_ids -= id_count(&control);
            filling.encoder.control(&control, filling.out);
        }
        while filling.has_room(0)
            && let Some(partial) = self.partials.pop_front()
        {
            filling.encoder.partial(&partial, filling.out);
        }
        if std::mem::take(&mut self.test_extension) {
            filling.encoder.test_extension(filling.out);
        }
    }
}

impl Lane {
    /// A message that is too large for all lanes fits an empty one.
    fn has_room(&self, len: usize) -> bool {
        self.entries.is_empty()
            || (self.entries.len() < self.messages_max && self.bytes + len <= self.bytes_max)
    }

    fn is_half_empty(&self) -> bool {
        self.entries.len() <= self.messages_max / 2 && self.bytes <= self.bytes_max / 2
    }

    fn push(&mut self, id: MessageId, message: Arc<Message>, now: Instant) {
        self.bytes += message.encoded.len();
        self.entries.push_back(Entry {
            queued_at: now,
            id,
            message,
        });
    }

    fn put_back(&mut self, entry: Entry) {
        self.bytes += entry.message.encoded.len();
        self.entries.push_front(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.message.encoded.len();
        Some(entry)
    }

    fn take(&mut self, id: &MessageId) -> Option<Arc<Message>> {
        let position = self.entries.iter().position(|entry| entry.id == *id)?;
        let entry = self.entries.remove(position)?;
        self.bytes -= entry.message.encoded.len();
        Some(entry.message)
    }

    fn expire(&mut self, now: Instant, mut lost: impl FnMut(Entry)) {
        while let Some(entry) = self.entries.front()
            && now.saturating_duration_since(entry.queued_at) >= self.timeout
            && let Some(entry) = self.pop()
        {
            lost(entry);
        }
    }

    fn fill(&mut self, filling: &mut Filling<'_>, sent: fn(Entry) -> Sent) {
        while let Some(entry) = self.entries.front()
            && filling.has_room(entry.message.encoded.len())
            && let Some(entry) = self.pop()
        {
            filling.encoder.message(&entry.message, filling.out);
            filling.log(|| sent(entry));
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

impl Entry {
    pub(crate) fn own(self) -> Outgoing {
        Outgoing::Publish(self.id, self.message)
    }

    pub(crate) fn forwarded(self) -> Outgoing {
        Outgoing::Forward(self.id, self.message)
    }
}

/// IHAVE entries among urgent control messages, where they are not usual.
const IHAVE_MAX: usize = 1000;
/// Gossip items.
const GOSSIP_MAX: usize = 256;

fn id_count(control: &Control) -> usize {
    let ihave: usize = control.ihave.iter().map(|it| it.ids.len()).sum();
    ihave + control.iwant.len() + control.idontwant.len()
}

/// Appends what fits and returns the rest.
fn append(ids: &mut Vec<MessageId>, mut more: Vec<MessageId>, max: usize) -> Vec<MessageId> {
    let room = max.saturating_sub(ids.len()).min(more.len());
    let rest = more.split_off(room);
    ids.append(&mut more);
    rest
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Prune, Topic};

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn queue(now: Instant) -> PeerQueue {
        PeerQueue::new(
            QueueLimits {
                own_messages_max: 4,
                forwarded_messages_max: 4,
                ids_max: 10,
                partials_max: 2,
                ..QueueLimits::default()
            },
            now,
        )
    }

    fn message(text: &'static str) -> (MessageId, Arc<Message>) {
        let signer = crate::MessageSigner::new(
            &peerkit_core::Keypair::generate_ed25519(),
            crate::SignaturePolicy::StrictNoSign,
            0,
        );
        let message = signer.message(&Topic::from("news"), text.as_bytes());
        (
            MessageId::copy_from_slice(text.as_bytes()),
            Arc::new(message.unwrap()),
        )
    }

    fn own(text: &'static str) -> Outgoing {
        let (id, message) = message(text);
        Outgoing::Publish(id, message)
    }

    fn forward(text: &'static str) -> Outgoing {
        let (id, message) = message(text);
        Outgoing::Forward(id, message)
    }

    fn change(topic: &str, subscribe: bool) -> SubscriptionChange {
        SubscriptionChange {
            subscribe,
            topic: Topic::from(topic),
            requests_partial: false,
            supports_sending_partial: false,
        }
    }

    fn graft(topic: &str) -> Outgoing {
        Outgoing::Control(Control {
            graft: vec![Topic::from(topic)],
            ..Control::default()
        })
    }

    fn prune(topic: &str, backoff: u64) -> Outgoing {
        Outgoing::Control(Control {
            prune: vec![Prune {
                topic: Topic::from(topic),
                peers: Vec::new(),
                backoff: Some(backoff),
            }],
            ..Control::default()
        })
    }

    fn ids(count: u8) -> Control {
        Control {
            idontwant: (0..count)
                .map(|it| MessageId::copy_from_slice(&[it]))
                .collect(),
            ..Control::default()
        }
    }

    /// Adds something; returns what is lost.
    fn push(queue: &PeerQueue, item: Outgoing, now: Instant) -> Vec<Outgoing> {
        let mut lost = Vec::new();
        match queue.push(item, now, &mut lost) {
            Pushed::Taken(_) => {}
            Pushed::Full(id, message) => lost.push(Outgoing::Publish(id, message)),
            Pushed::Dropped(item) => lost.push(item),
        }
        lost
    }

    /// Everything that waits, as the peer gets it, and what has waited too long.
    fn fill(queue: &PeerQueue, now: Instant) -> (Vec<crate::Rpc>, usize) {
        let limits = QueueLimits::default();
        let mut encoder = FrameEncoder::new(limits.frame_len, limits.frame_subscriptions_max);
        let (mut out, mut lost) = (WriteBuffer::default(), Vec::new());
        let mut filling = Filling {
            portion: Portion::Frames { bytes: 1 << 20 },
            encoder: &mut encoder,
            out: &mut out,
            lost: &mut lost,
            log: None,
            ahead: false,
        };
        queue.fill(&mut filling, now, Waker::noop());
        let mut frames = crate::FrameDecoder::new(1 << 20);
        let mut decoder = crate::RpcDecoder::new(crate::DecodeLimits::default());
        let mut rpcs = Vec::new();
        while !out.is_empty() {
            let mut chunk = out.chunk();
            while let Some(frame) = frames.decode(&mut chunk).unwrap() {
                rpcs.push(decoder.decode(&frame).unwrap().rpc);
            }
            out.advance(out.chunk().len());
        }
        (rpcs, lost.len())
    }

    #[test]
    fn the_last_word_on_a_topic_and_a_mesh_counts() {
        let now = start();
        let queue = queue(now);
        let hello = vec![change("a", true), change("b", true)];
        push(&queue, Outgoing::Hello(hello, None), now);
        for _ in 0..1000 {
            push(
                &queue,
                Outgoing::Subscriptions(vec![change("c", true)]),
                now,
            );
            push(
                &queue,
                Outgoing::Subscriptions(vec![change("c", false)]),
                now,
            );
            for item in [
                graft("a"),
                prune("a", 60),
                graft("b"),
                prune("b", 1),
                graft("b"),
            ] {
                assert!(push(&queue, item, now).is_empty());
            }
        }
        let (rpcs, _) = fill(&queue, now);
        let [rpc] = &rpcs[..] else { panic!("{rpcs:?}") };
        let topics: Vec<_> = rpc
            .subscriptions
            .iter()
            .map(|it| (it.topic.as_str(), it.subscribe))
            .collect();
        assert_eq!(topics, [("a", true), ("b", true), ("c", false)]);
        assert_eq!(rpc.control.graft, [Topic::from("b")]);
        let pruned: Vec<_> = rpc
            .control
            .prune
            .iter()
            .map(|it| (it.topic.as_str(), it.backoff))
            .collect();
        assert_eq!(pruned, [("a", Some(60))]);
        // On a new stream the peer is told what holds now.
        queue.restart();
        let topics: Vec<_> = fill(&queue, now).0[0].subscriptions.clone();
        assert_eq!(topics, [change("a", true), change("b", true)]);
    }

    #[test]
    fn a_refusal_leaves_ahead_of_the_messages_that_wait() {
        let now = start();
        let queue = queue(now);
        push(&queue, forward("large"), now);
        push(&queue, Outgoing::Control(ids(1)), now);
        let first = fill(&queue, now).0;
        assert_eq!(first[0].control.idontwant.len(), 1);
        assert!(first[0].messages.is_empty());
        assert_eq!(fill(&queue, now).0[0].messages.len(), 1);
        // Nothing else is held up by control messages.
        push(&queue, forward("large"), now);
        push(&queue, graft("a"), now);
        let both = fill(&queue, now).0;
        assert_eq!(
            (both[0].control.graft.len(), both[0].messages.len()),
            (1, 1)
        );
    }

    #[test]
    fn own_messages_wait_for_half_of_the_room_and_others_are_dropped() {
        let now = start();
        let queue = queue(now);
        for text in ["1", "22", "333", "4444"] {
            assert!(push(&queue, own(text), now).is_empty());
            assert!(push(&queue, forward(text), now).is_empty());
        }
        let mut lost = Vec::new();
        let refused = queue.push(own("5"), now, &mut lost);
        assert!(matches!(refused, Pushed::Full(..)), "{refused:?}");
        assert_eq!(push(&queue, forward("5"), now), [forward("5")]);
        let state = lock(&queue.state);
        assert_eq!((state.own.bytes, state.forwarded.bytes), (42, 42));
    }

    #[test]
    fn what_has_waited_too_long_is_dropped() {
        let now = start();
        let queue = queue(now);
        push(&queue, own("1"), now);
        push(&queue, forward("1"), now);
        let later = now + Duration::from_secs(5);
        assert_eq!(push(&queue, forward("2"), later), [forward("1")]);
        assert_eq!(fill(&queue, later).1, 0);
        push(&queue, forward("3"), later);
        assert_eq!(fill(&queue, later + Duration::from_secs(5)).1, 1);
        push(&queue, own("2"), later);
        assert_eq!(fill(&queue, later + Duration::from_secs(10)).1, 1);
    }

    #[test]
    fn a_forwarded_message_is_withdrawn_and_leaves_its_room() {
        let now = start();
        let queue = queue(now);
        push(&queue, own("1"), now);
        for text in ["1", "2", "3", "4"] {
            push(&queue, forward(text), now);
        }
        let id = |text: &str| MessageId::copy_from_slice(text.as_bytes());
        assert_eq!(queue.withdraw(&id("2")).unwrap().data, "2");
        assert_eq!(queue.withdraw(&id("2")), None);
        assert!(push(&queue, forward("5"), now).is_empty());
        let texts: Vec<_> = fill(&queue, now)
            .0
            .iter()
            .flat_map(|rpc| rpc.messages.iter().map(|it| it.data.clone()))
            .collect();
        // This node's own message stays.
        assert_eq!(texts, ["1", "1", "3", "4", "5"]);
        assert_eq!(lock(&queue.state).forwarded.bytes, 0);
    }

    #[test]
    fn a_queue_that_stands_still_is_not_waited_for() {
        let now = start();
        let queue = queue(now);
        for text in ["1", "2", "3", "4"] {
            push(&queue, own(text), now);
        }
        queue.set_blocked(Some(now));
        let mut lost = Vec::new();
        let soon = queue.push(own("5"), now + Duration::from_secs(4), &mut lost);
        assert!(matches!(soon, Pushed::Full(..)));
        let later = queue.push(own("5"), now + Duration::from_secs(5), &mut lost);
        assert!(matches!(later, Pushed::Dropped(_)));
    }

    #[test]
    fn ids_gossip_and_parts_are_bounded() {
        let now = start();
        let queue = queue(now);
        assert!(push(&queue, Outgoing::Control(ids(8)), now).is_empty());
        let rest = push(&queue, Outgoing::Control(ids(8)), now);
        assert!(matches!(&rest[..], [Outgoing::Control(it)] if it.idontwant.len() == 6));
        let lost: usize = (0..100)
            .map(|_| push(&queue, Outgoing::Gossip(ids(4)), now).len())
            .sum();
        assert_eq!(lost, 98);
        let partial = || {
            Outgoing::Partial(Partial {
                topic: Topic::from("news"),
                group: Bytes::new(),
                message: None,
                metadata: None,
            })
        };
        let lost: usize = (0..100).map(|_| push(&queue, partial(), now).len()).sum();
        assert_eq!(lost, 98);
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let now = start();
        let queue = queue(now);
        push(&queue, own("1"), now);
        queue.close();
        assert_eq!(push(&queue, own("2"), now), [own("2")]);
        assert!(fill(&queue, now).0.is_empty());
    }
}
