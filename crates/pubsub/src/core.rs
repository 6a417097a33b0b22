//! The router and all that is kept beside it, under one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Instant,
};

use peerkit_core::{Multiaddr, PeerId, PeerRecord};
use peerkit_swarm::WeakHost;

use crate::{
    Control, DropReason, Dropped, Message, MessageId, Metrics, Outgoing, PeerLink, PubsubEvent,
    Received, RejectReason, ReplayProtection, Router, RouterEvent, Rpc, Topic, TopicMetrics,
    Validator, Verdict,
    config::AddressScope,
    peer::Peer,
    queue::{PeerQueue, Pushed},
    received::Inbox,
    sign::MessageVerifier,
    validate::Candidate,
};

/// The router, its peers and topics.
pub(crate) struct Core<R> {
    pub(crate) router: R,
    pub(crate) verifier: Arc<MessageVerifier>,
    pub(crate) topics: BTreeMap<Topic, TopicState>,
    pub(crate) peers: BTreeMap<PeerId, PeerEntry>,
    pub(crate) metrics: Metrics,
    /// When the service's timer is to fire.
    pub(crate) armed: Option<Instant>,
    pub(crate) closed: bool,
    replay: Option<Replay>,
    recommended: AddressScope,
    /// Knows the records of its peers.
    host: WeakHost,
    /// Reused.
    lost: Vec<Outgoing>,
}

pub(crate) struct PeerEntry {
    pub(crate) peer: Arc<Peer>,
    /// The router knows it.
    pub(crate) connected: bool,
}

#[derive(Default)]
pub(crate) struct TopicState {
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) validator: Option<Arc<dyn Validator>>,
    pub(crate) peers: BTreeSet<PeerId>,
    /// Kept once this node has had to do with the topic.
    pub(crate) metrics: Option<TopicMetrics>,
}

/// What is left to do once the lock is released.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) events: Vec<PubsubEvent>,
    pub(crate) candidates: VecDeque<Candidate>,
    pub(crate) connects: Vec<(PeerId, Vec<Multiaddr>)>,
    /// Subscriptions that have little room left.
    pub(crate) crowded: Vec<Arc<Inbox>>,
    /// The service's timer has to fire earlier.
    pub(crate) rearm: bool,
    /// Own messages that were taken, find no room yet, or were dropped.
    pub(crate) taken: usize,
    pub(crate) full: Vec<Waiting>,
    pub(crate) dropped: Vec<(PeerId, DropReason)>,
}

/// A message of this node's own that waits for room.
pub(crate) struct Waiting {
    pub(crate) peer: PeerId,
    pub(crate) queue: Arc<PeerQueue>,
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
}

impl<R: Router> Core<R> {
    pub(crate) fn new(
        router: R,
        verifier: Arc<MessageVerifier>,
        host: WeakHost,
        config: &crate::PubsubConfig,
    ) -> Self {
        Self {
            router,
            verifier,
            topics: BTreeMap::new(),
            peers: BTreeMap::new(),
            metrics: Metrics::default(),
            armed: None,
            closed: false,
            replay: Replay::new(config.replay),
            recommended: config.recommended_addresses,
            host,
            lost: Vec::new(),
        }
    }

    /// Takes an RPC. [`drain`](Self::drain) has to follow.
    pub(crate) fn receive(&mut self, peer: &PeerId, rpc: Rpc, skipped: usize, now: Instant) {
        self.metrics.rpcs += 1;
        self.metrics.skipped += skipped as u64;
        for message in &rpc.messages {
            let topic = self.topics.get_mut(message.topic.as_str());
            if let Some(metrics) = topic.and_then(|topic| topic.metrics.as_mut()) {
                metrics.received += 1;
                metrics.received_bytes += message.encoded.len() as u64;
            }
        }
        self.router.handle_rpc(peer, rpc, now);
    }

    /// Whether this is the peer of its name, not one that was here before.
    pub(crate) fn has(&self, peer: &Arc<Peer>) -> bool {
        let entry = self.peers.get(&peer.id);
        entry.is_some_and(|entry| Arc::ptr_eq(&entry.peer, peer))
    }

    /// A peer can be sent to.
    pub(crate) fn connect(&mut self, peer: &Arc<Peer>, link: PeerLink, now: Instant) -> bool {
        let same = |entry: &&mut PeerEntry| Arc::ptr_eq(&entry.peer, peer);
        let Some(entry) = self.peers.get_mut(&peer.id).filter(same) else {
            return false;
        };
        if std::mem::replace(&mut entry.connected, true) {
            return false;
        }
        self.metrics.peers += 1;
        self.router.handle_connected(peer.id, link, now);
        true
    }

    /// A peer is gone. [`drain`](Self::drain) has to follow.
    pub(crate) fn disconnect(&mut self, peer: &PeerId, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.peers.remove(peer) else {
            return;
        };
        entry.peer.leave();
        if entry.connected {
            self.metrics.peers -= 1;
            self.router.handle_disconnected(peer, now);
            effects
                .events
                .push(PubsubEvent::PeerDisconnected { peer: *peer });
        }
    }

    /// Takes everything that the router has to say.
    pub(crate) fn drain(&mut self, now: Instant, effects: &mut Effects) {
        loop {
            let mut idle = true;
            while let Some((peer, outgoing)) = self.router.poll_transmit() {
                idle = false;
                self.send(peer, outgoing, now, effects);
            }
            while let Some(event) = self.router.poll_event() {
                idle = false;
                self.handle_event(event, now, effects);
            }
            if idle {
                break;
            }
        }
        let due = self.router.poll_timeout();
        if due.is_some_and(|due| self.armed.is_none_or(|armed| due < armed)) {
            effects.rearm = true;
        }
    }

    /// Gives the router a verdict. [`drain`](Self::drain) has to follow.
    pub(crate) fn judge(
        &mut self,
        id: &MessageId,
        message: &Message,
        mut verdict: Verdict,
        now: Instant,
    ) {
        let replayed = |replay: &mut Replay| !replay.is_new(message);
        if verdict == Verdict::Accept && self.replay.as_mut().is_some_and(replayed) {
            verdict = Verdict::Ignore;
        }
        if let Some(metrics) = self.topic_metrics(&message.topic) {
            metrics.rejected += u64::from(verdict == Verdict::Reject);
            metrics.ignored += u64::from(verdict == Verdict::Ignore);
        }
        self.metrics.rejected += u64::from(verdict == Verdict::Reject);
        self.router.handle_verdict(id, verdict, now);
    }

    /// Something will not be sent. [`drain`](Self::drain) has to follow.
    pub(crate) fn dropped(
        &mut self,
        peer: PeerId,
        outgoing: &Outgoing,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Dropped {
            own,
            forwarded,
            other,
        } = &mut self.metrics.dropped;
        match outgoing {
            Outgoing::Publish(..) => *own += 1,
            Outgoing::Forward(..) => *forwarded += 1,
            Outgoing::Hello(..)
            | Outgoing::Subscriptions(_)
            | Outgoing::Control(_)
            | Outgoing::Gossip(_)
            | Outgoing::Partial(_)
            | Outgoing::TestExtension => *other += 1,
        }
        if let Outgoing::Publish(id, message) | Outgoing::Forward(id, message) = outgoing {
            if let Some(metrics) = self.topic_metrics(&message.topic) {
                metrics.dropped += 1;
            }
            effects.events.push(PubsubEvent::Dropped {
                peer,
                id: id.clone(),
                topic: message.topic.clone(),
            });
        }
        self.router.handle_dropped(&peer, outgoing, now);
    }

    pub(crate) fn topic_metrics(&mut self, topic: &Topic) -> Option<&mut TopicMetrics> {
        self.topics.get_mut(topic.as_str())?.metrics.as_mut()
    }

    /// Forgets a topic that nobody has to do with.
    pub(crate) fn tidy(&mut self, topic: &Topic) {
        if self
            .topics
            .get(topic.as_str())
            .is_some_and(TopicState::is_unused)
        {
            self.topics.remove(topic.as_str());
        }
    }

    fn send(&mut self, peer: PeerId, mut outgoing: Outgoing, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.peers.get(&peer) else {
            return self.dropped(peer, &outgoing, now, effects);
        };
        let queue = entry.peer.queue.clone();
        self.count_sent(&outgoing);
        if let Outgoing::Control(control) = &mut outgoing {
            self.add_records(control);
        }
        let own = matches!(outgoing, Outgoing::Publish(..));
        let mut lost = std::mem::take(&mut self.lost);
        match queue.push(outgoing, now, &mut lost) {
            Pushed::Taken(waker) => {
                effects.taken += usize::from(own);
                effects.wakers.extend(waker);
            }
            Pushed::Full(id, message) => effects.full.push(Waiting {
                peer,
                queue,
                id,
                message,
            }),
            Pushed::Dropped(outgoing) => {
                if own {
                    effects.dropped.push((peer, DropReason::QueueFull));
                }
                lost.push(outgoing);
            }
        }
        for outgoing in lost.drain(..) {
            self.dropped(peer, &outgoing, now, effects);
        }
        self.lost = lost;
    }

    /// Recommends peers with what they have signed, as far as the host knows it: others follow nothing else.
    fn add_records(&self, control: &mut Control) {
        let recommended = control.prune.iter_mut().flat_map(|prune| &mut prune.peers);
        let mut bare = recommended.filter(|info| info.signed_record.is_none());
        let Some(first) = bare.next() else {
            return;
        };
        let Some(host) = self.host.upgrade() else {
            return;
        };
        let mut room = RECORDS_LEN_MAX;
        for info in std::iter::once(first).chain(bare) {
            let peer = info.peer.as_deref().map(PeerId::from_bytes);
            let Some(Ok(peer)) = peer else { continue };
            let Some(record) = host.peer_record(&peer) else {
                continue;
            };
            let envelope = record.envelope().encoded();
            if let Some(left) = room.checked_sub(envelope.len()) {
                room = left;
                info.signed_record = Some(envelope.clone());
            }
        }
    }

    fn count_sent(&mut self, outgoing: &Outgoing) {
        if let Outgoing::Publish(_, message) | Outgoing::Forward(_, message) = outgoing
            && let Some(metrics) = self.topic_metrics(&message.topic)
        {
            metrics.sent += 1;
            metrics.sent_bytes += message.encoded.len() as u64;
        }
    }

    fn handle_event(&mut self, event: RouterEvent, now: Instant, effects: &mut Effects) {
        match event {
            RouterEvent::Validate {
                id,
                message,
                source,
            } => self.examine(id, message, source, now, effects),
            RouterEvent::Deliver {
                id,
                message,
                source,
            } => self.deliver(id, &message, source, effects),
            RouterEvent::Subscribed { peer, topic } => {
                let state = self.topics.entry(topic.clone()).or_default();
                state.peers.insert(peer);
                effects.events.push(PubsubEvent::Subscribed { peer, topic });
            }
            RouterEvent::Unsubscribed { peer, topic } => {
                if let Some(state) = self.topics.get_mut(topic.as_str()) {
                    state.peers.remove(&peer);
                }
                self.tidy(&topic);
                effects
                    .events
                    .push(PubsubEvent::Unsubscribed { peer, topic });
            }
            RouterEvent::Connect { peer, record } => {
                let addrs = record.map_or_else(Vec::new, |record| self.usable(&record));
                effects.connects.push((peer, addrs));
            }
            RouterEvent::Withdraw { peer, id } => self.withdraw(&peer, &id),
            RouterEvent::Partial { source, partial } => {
                effects
                    .events
                    .push(PubsubEvent::Partial { source, partial });
            }
        }
    }

    /// A peer does not need a message any more that may still wait for it.
    fn withdraw(&mut self, peer: &PeerId, id: &MessageId) {
        let entry = self.peers.get(peer);
        let Some(message) = entry.and_then(|entry| entry.peer.queue.withdraw(id)) else {
            return;
        };
        self.metrics.withdrawn += 1;
        if let Some(metrics) = self.topic_metrics(&message.topic) {
            metrics.withdrawn += 1;
        }
    }

    /// Judges a message at once if that costs next to nothing.
    fn examine(
        &mut self,
        id: MessageId,
        message: Arc<Message>,
        source: PeerId,
        now: Instant,
        effects: &mut Effects,
    ) {
        let topic = self.topics.get_mut(message.topic.as_str());
        let mut validator = None;
        if let Some(topic) = topic {
            validator = topic.validator.clone();
            if let Some(metrics) = &mut topic.metrics {
                metrics.new += 1;
            }
        }
        let form = self.verifier.verify_form(&message);
        match form {
            Some(Err(error)) => {
                effects.reject(&id, &message, source, error.into());
                self.judge(&id, &message, Verdict::Reject, now);
            }
            Some(Ok(())) if validator.is_none() => {
                self.judge(&id, &message, Verdict::Accept, now);
            }
            _ => effects.candidates.push_back(Candidate {
                id,
                message,
                source,
                validator,
                unverified: form.is_none(),
            }),
        }
    }

    fn deliver(&mut self, id: MessageId, message: &Message, source: PeerId, effects: &mut Effects) {
        let Some(topic) = self.topics.get_mut(message.topic.as_str()) else {
            return;
        };
        let Some((last, others)) = topic.inboxes.split_last() else {
            return;
        };
        let received = Received::new(message, id, source);
        let mut lagged = 0;
        let mut push = |inbox: &Arc<Inbox>, received| {
            let added = inbox.push(received);
            effects.wakers.extend(added.reader);
            lagged += added.dropped;
            if added.crowded && !effects.crowded.iter().any(|it| Arc::ptr_eq(it, inbox)) {
                effects.crowded.push(inbox.clone());
            }
        };
        for inbox in others {
            push(inbox, received.clone());
        }
        push(last, received);
        if let Some(metrics) = &mut topic.metrics {
            metrics.delivered += 1;
            metrics.lagged += lagged;
        }
    }

    fn usable(&self, record: &PeerRecord) -> Vec<Multiaddr> {
        let public = |addr: &Multiaddr| {
            self.recommended == AddressScope::Any || crate::scope::is_public(addr)
        };
        record
            .addresses()
            .iter()
            .filter(|addr| public(addr))
            .cloned()
            .collect()
    }
}

impl TopicState {
    fn is_unused(&self) -> bool {
        self.inboxes.is_empty()
            && self.validator.is_none()
            && self.peers.is_empty()
            && self.metrics.is_none()
    }
}

impl Effects {
    pub(crate) fn reject(
        &mut self,
        id: &MessageId,
        message: &Message,
        source: PeerId,
        reason: RejectReason,
    ) {
        self.events.push(PubsubEvent::Rejected {
            id: id.clone(),
            topic: message.topic.clone(),
            source,
            reason,
        });
    }
}

/// Bytes of records in one RPC, of which others may read 64 KiB; 16 usual records have 5.
const RECORDS_LEN_MAX: usize = 16 * 1024;

/// The highest number of each author.
struct Replay {
    authors_max: usize,
    highest: HashMap<PeerId, u64>,
    order: VecDeque<PeerId>,
}

impl Replay {
    fn new(protection: ReplayProtection) -> Option<Self> {
        match protection {
            ReplayProtection::Off => None,
            ReplayProtection::HighestSeqno { authors_max } => Some(Self {
                authors_max: authors_max.max(1),
                highest: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// Whether a message is newer than all of its author's before. Nothing can be said of messages without
    /// author and number.
    fn is_new(&mut self, message: &Message) -> bool {
        let (Some(author), Some(seqno)) = (message.author(), message.number()) else {
            return true;
        };
        if let Some(highest) = self.highest.get_mut(&author) {
            let new = seqno > *highest;
            *highest = seqno.max(*highest);
            return new;
        }
        while self.order.len() >= self.authors_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.highest.remove(&oldest);
        }
        self.order.push_back(author);
        self.highest.insert(author, seqno);
        true
    }
}
