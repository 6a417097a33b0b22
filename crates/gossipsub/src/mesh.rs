//! Who is in the mesh of a topic: joining, leaving, grafting, pruning, backoff.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use peerkit_pubsub::{Prune, RouterEvent, SubscriptionChange, Topic};
use rand::seq::SliceRandom;

use crate::{
    GossipsubRouter, Version,
    keys::{PeerKey, TopicKey},
};

/// Why a peer is pruned, as far as it matters to the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PruneKind {
    /// There are too many in the mesh: it might like to know others.
    Surplus,
    /// It can't be in the mesh.
    Refused,
    /// This node leaves the topic.
    Leaving,
}

impl GossipsubRouter {
    pub(crate) fn handle_subscriptions(
        &mut self,
        key: PeerKey,
        changes: &[SubscriptionChange],
        now: Instant,
    ) {
        let max = self.config.rpc_subscriptions_max;
        for change in changes.iter().take(max) {
            if change.subscribe {
                self.peer_joined(key, &change.topic, now);
                #[cfg(feature = "partial-messages")]
                self.note_partial(key, change);
            } else if let Some(topic) = self.topics.key(&change.topic) {
                self.peer_left(key, topic);
            }
        }
        self.counts.subscriptions_refused += changes.len().saturating_sub(max) as u64;
    }

    fn peer_joined(&mut self, key: PeerKey, topic: &Topic, now: Instant) {
        if !self.takes_subscription(key, topic) {
            self.counts.subscriptions_refused += 1;
            return;
        }
        let topic_key = self.topic_key(topic);
        let (Some(peer), Some(state)) = (self.peers.get_mut(key), self.topics.get_mut(topic_key))
        else {
            return;
        };
        if !peer.topics.insert(topic_key) {
            return;
        }
        state.peers.insert(key);
        if !peer.can_mesh() {
            state.flooded.insert(key);
        }
        self.events.push_back(RouterEvent::Subscribed {
            peer: peer.id,
            topic: topic.clone(),
        });
        // Not only at the next heartbeat: what is published until then would have to be gossiped.
        let wanted = state.is_joined() && state.mesh_len() < self.config.mesh_low;
        if wanted && self.is_candidate(topic_key, key, now) {
            self.graft(topic_key, key, now);
        }
    }

    /// A topic that this node has joined is always worth remembering; of others there is a limit.
    fn takes_subscription(&self, key: PeerKey, topic: &Topic) -> bool {
        let Some(peer) = self.peers.get(key) else {
            return false;
        };
        let known = self.topics.key(topic);
        if known.is_some_and(|known| peer.topics.contains(&known))
            || self.topics.joined_key(topic).is_some()
        {
            return true;
        }
        peer.topics.len() < self.config.peer_topics_max && self.config.topic_filter.allows(topic)
    }

    /// A peer has left a topic, or is gone.
    pub(crate) fn peer_left(&mut self, key: PeerKey, topic: TopicKey) {
        let (Some(peer), Some(state)) = (self.peers.get_mut(key), self.topics.get_mut(topic))
        else {
            return;
        };
        if !peer.topics.remove(&topic) {
            return;
        }
        #[cfg(feature = "partial-messages")]
        peer.partial.remove(&topic);
        state.peers.remove(&key);
        state.flooded.remove(&key);
        if let Some(fanout) = &mut state.fanout {
            fanout.peers.remove(&key);
        }
        self.events.push_back(RouterEvent::Unsubscribed {
            peer: peer.id,
            topic: state.name.clone(),
        });
        self.drop_from_mesh(topic, key);
        self.collect_topic(topic);
    }

    /// This node has joined: fanout peers first, then others, up to the target.
    pub(crate) fn join_mesh(&mut self, topic: TopicKey, now: Instant) {
        let Some(state) = self.topics.get_mut(topic) else {
            return;
        };
        let fanout = state
            .fanout
            .take()
            .map(|fanout| fanout.peers)
            .unwrap_or_default();
        state.mesh = Some(BTreeSet::new());
        state.scored = true;
        let mut candidates = self.candidates(topic, now);
        candidates.shuffle(&mut self.rng);
        candidates.sort_by_key(|key| !fanout.contains(key));
        for key in candidates.into_iter().take(self.config.mesh_target) {
            self.graft(topic, key, now);
        }
    }

    /// This node leaves: the mesh is told, and not grafted again for a while should it come back.
    pub(crate) fn leave_mesh(&mut self, topic: TopicKey, now: Instant) {
        let members: Vec<_> = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|state| state.mesh_peers())
            .collect();
        for key in members {
            self.prune(topic, key, PruneKind::Leaving, now);
        }
        if let Some(state) = self.topics.get_mut(topic) {
            state.mesh = None;
        }
    }

    /// Puts a peer into the mesh and tells it.
    pub(crate) fn graft(&mut self, topic: TopicKey, key: PeerKey, now: Instant) {
        if self.add_to_mesh(topic, key, now)
            && let Some(state) = self.topics.get(topic)
        {
            self.control
                .entry(key)
                .or_default()
                .graft
                .push(state.name.clone());
        }
    }

    /// Puts a peer into the mesh; false if it was there or this node hasn't joined.
    pub(crate) fn add_to_mesh(&mut self, topic: TopicKey, key: PeerKey, now: Instant) -> bool {
        let Some(state) = self.topics.get_mut(topic) else {
            return false;
        };
        if !state.mesh.as_mut().is_some_and(|mesh| mesh.insert(key)) {
            return false;
        }
        if let (Some(_), Some(peer)) = (&self.config.score, self.peers.get_mut(key)) {
            peer.counters.graft(topic, &state.params, now);
        }
        true
    }

    /// Takes a peer out of the mesh, tells it, and sets the backoff of both.
    pub(crate) fn prune(&mut self, topic: TopicKey, key: PeerKey, kind: PruneKind, now: Instant) {
        self.drop_from_mesh(topic, key);
        self.refuse(topic, key, kind, now);
    }

    /// Takes a peer out of the mesh without a word. A GRAFT that has not been sent yet never will be.
    pub(crate) fn drop_from_mesh(&mut self, topic: TopicKey, key: PeerKey) {
        let Some(state) = self.topics.get_mut(topic) else {
            return;
        };
        if !state.mesh.as_mut().is_some_and(|mesh| mesh.remove(&key)) {
            return;
        }
        if let Some(control) = self.control.get_mut(&key) {
            control.graft.retain(|grafted| *grafted != state.name);
        }
        if let Some(peer) = self.peers.get_mut(key) {
            peer.counters.prune(topic);
        }
    }

    /// Sends a PRUNE and sets the backoff.
    pub(crate) fn refuse(&mut self, topic: TopicKey, key: PeerKey, kind: PruneKind, now: Instant) {
        let backoff = match kind {
            PruneKind::Leaving => self.config.unsubscribe_backoff,
            PruneKind::Surplus | PruneKind::Refused => self.config.prune_backoff,
        };
        self.set_backoff(topic, key, backoff, now);
        let knows_backoff = self
            .peers
            .get(key)
            .and_then(|peer| peer.version())
            .is_some_and(Version::has_backoff);
        let peers = if kind == PruneKind::Surplus && knows_backoff {
            self.recommendations(topic, key)
        } else {
            Vec::new()
        };
        let Some(state) = self.topics.get(topic) else {
            return;
        };
        let prune = Prune {
            topic: state.name.clone(),
            peers,
            backoff: knows_backoff.then(|| whole_seconds(backoff)),
        };
        self.control.entry(key).or_default().prune.push(prune);
    }

    /// Notes that a peer is not grafted for so long; never shortens what was noted before.
    // spec: gossipsub v1.1 "Prune Backoff"; a value from the wire can be anything, hence the limit.
    pub(crate) fn set_backoff(
        &mut self,
        topic: TopicKey,
        key: PeerKey,
        backoff: Duration,
        now: Instant,
    ) {
        let until = now + backoff.min(self.config.backoff_max);
        let Some(state) = self.topics.get_mut(topic) else {
            return;
        };
        let noted = state.backoff.entry(key).or_insert(until);
        *noted = until.max(*noted);
        self.peers
            .note_backoff(key, until + self.config.backoff_slack);
    }

    /// When the backoff of a peer ends, if it is not over.
    pub(crate) fn backoff_end(
        &self,
        topic: TopicKey,
        key: PeerKey,
        now: Instant,
    ) -> Option<Instant> {
        let end = *self.topics.get(topic)?.backoff.get(&key)?;
        (end > now).then_some(end)
    }

    /// Forgets backoffs that are over.
    pub(crate) fn expire_backoffs(&mut self, now: Instant) {
        let slack = self.config.backoff_slack;
        let mut emptied = Vec::new();
        for (key, state) in self.topics.iter_mut() {
            if !state.backoff.is_empty() {
                state.backoff.retain(|_, end| *end + slack > now);
                emptied.push(key);
            }
        }
        emptied.into_iter().for_each(|key| self.collect_topic(key));
    }

    /// All peers that may be grafted now, in the order in which they were first met.
    pub(crate) fn candidates(&mut self, topic: TopicKey, now: Instant) -> Vec<PeerKey> {
        let peers: Vec<_> = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|state| state.peers.iter().copied())
            .collect();
        peers
            .into_iter()
            .filter(|key| self.is_candidate(topic, *key, now))
            .collect()
    }

    fn is_candidate(&mut self, topic: TopicKey, key: PeerKey, now: Instant) -> bool {
        let Some(state) = self.topics.get(topic) else {
            return false;
        };
        let backoff = state
            .backoff
            .get(&key)
            .map(|end| *end + self.config.backoff_slack);
        !state.is_in_mesh(key)
            && backoff.is_none_or(|end| end <= now)
            && self.peers.get(key).is_some_and(|peer| peer.can_mesh())
            && self.score_of(key) >= 0.0
    }
}

/// A backoff as it is sent: rounded up, so that the peer doesn't come back too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
