//! What metrics and tests may know of a router.

use std::{collections::BTreeMap, time::Instant};

use peerkit_core::PeerId;
use peerkit_pubsub::Topic;

use crate::{GossipsubRouter, Version, keys::PeerKey, topics::TopicState};

/// The score of a peer, and what it consists of; all weights are applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// The sum of all others.
    pub total: f64,
    /// All topics together, capped.
    pub topics: f64,
    /// P5: what the application thinks of it.
    pub application: f64,
    /// P6: too many peers at one address.
    pub colocation: f64,
    /// P7: broken promises, GRAFT against a backoff and the like.
    pub behaviour: f64,
    /// Messages that were dropped because it takes them too slowly.
    pub slow: f64,
    /// What each topic adds.
    pub by_topic: BTreeMap<Topic, TopicTerms>,
}

/// What one topic adds to the score of a peer; all weights are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TopicTerms {
    /// P1: time in the mesh.
    pub mesh_time: f64,
    /// P2: messages that it was the first to deliver.
    pub first_deliveries: f64,
    /// P3: too few deliveries.
    pub mesh_deliveries: f64,
    /// P3b: too few deliveries when it left the mesh.
    pub mesh_failures: f64,
    /// P4: invalid messages.
    pub invalid_messages: f64,
}

impl TopicTerms {
    /// All terms together.
    pub fn sum(&self) -> f64 {
        self.mesh_time
            + self.first_deliveries
            + self.mesh_deliveries
            + self.mesh_failures
            + self.invalid_messages
    }
}

/// What happened in a topic since it became known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Messages of this node's own.
    pub published: u64,
    /// Messages of others that were valid.
    pub delivered: u64,
    /// Bytes of data in them.
    pub delivered_bytes: u64,
    /// Copies of messages that were sent on, those of this node's own included.
    pub sent: u64,
    /// Copies of messages that were there already.
    pub duplicates: u64,
    /// Messages that were invalid.
    pub rejected: u64,
    /// Messages that were neither valid nor anybody's fault.
    pub ignored: u64,
}

/// What happened since the router was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages of this node's own.
    pub published: u64,
    /// Messages of others that were valid.
    pub delivered: u64,
    /// Copies of messages that were there already.
    pub duplicates: u64,
    /// Messages that were invalid.
    pub rejected: u64,
    /// Messages that were neither valid nor anybody's fault.
    pub ignored: u64,
    /// Messages of topics that this node has not joined.
    pub off_topic: u64,
    /// Messages that this node was said to have written, but not by itself.
    pub own_returned: u64,
    /// Messages for which there was no room while others were validated.
    pub validation_full: u64,
    /// RPCs of peers whose score is so bad that nothing is taken from them.
    pub graylisted: u64,
    /// Things that the service has dropped for slow peers.
    pub dropped: u64,
    /// Messages that were not sent since the peer doesn't want them.
    pub unwanted: u64,
    /// IHAVE messages of peers that have used up their allowance.
    pub ihave_refused: u64,
    /// Ids that were asked for.
    pub iwant_sent: u64,
    /// Ids of IWANT messages that got nothing for their limits.
    pub iwant_refused: u64,
    /// Messages that were sent since a peer asked for them.
    pub iwant_served: u64,
    /// IDONTWANT ids that were sent.
    pub idontwant_sent: u64,
    /// IDONTWANT ids that were beyond the limits.
    pub idontwant_refused: u64,
    /// Promises that were broken.
    pub promises_broken: u64,
    /// Subscriptions that were beyond the limits or against the filter.
    pub subscriptions_refused: u64,
    /// GRAFT messages that were answered with PRUNE.
    pub grafts_refused: u64,
    /// GRAFT messages that came in spite of a backoff.
    pub grafts_in_backoff: u64,
    /// Recommended peers that were not worth a connection: no valid record, connected, this node itself,
    /// or beyond the limits.
    pub px_refused: u64,
    /// Recommended peers that a connection was asked for.
    pub px_accepted: u64,
    /// Partial messages that were sent; 0 without the feature `partial-messages`, like the next two.
    pub partials_sent: u64,
    /// Partial messages that were received and given to the application.
    pub partials_received: u64,
    /// Partial messages that were beyond the limits, or of a topic or peer that does not take part.
    pub partials_refused: u64,
    /// Heartbeats.
    pub heartbeats: u64,
}

/// How much a router remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Connected peers.
    pub peers: usize,
    /// Peers that are remembered though they are gone.
    pub retained_peers: usize,
    /// Topics.
    pub topics: usize,
    /// Subscriptions of peers.
    pub subscriptions: usize,
    /// Members of all meshes.
    pub mesh: usize,
    /// Members of all fanouts.
    pub fanout: usize,
    /// Backoffs.
    pub backoffs: usize,
    /// Messages that are known as seen.
    pub seen: usize,
    /// Messages that wait for a verdict.
    pub validating: usize,
    /// Their bytes.
    pub validating_bytes: usize,
    /// Messages that can be asked for.
    pub history: usize,
    /// Their bytes.
    pub history_bytes: usize,
    /// Promises that are not kept yet.
    pub promises: usize,
    /// Refusals (IDONTWANT) of all peers.
    pub refusals: usize,
    /// Topics for which something is counted about a peer, for all peers.
    pub scored_topics: usize,
    /// Things to send that wait for the service.
    pub outgoing: usize,
    /// Events that wait for the service.
    pub events: usize,
}

impl GossipsubRouter {
    /// The members of the mesh of a topic; none if this node has not joined.
    pub fn mesh(&self, topic: &Topic) -> Vec<PeerId> {
        let state = self.state(topic);
        self.ids(state.into_iter().flat_map(|state| state.mesh_peers()))
    }

    /// Whom this node publishes to in a topic that it has not joined, without flood publishing.
    pub fn fanout(&self, topic: &Topic) -> Vec<PeerId> {
        let fanout = self.state(topic).and_then(|state| state.fanout.as_ref());
        self.ids(
            fanout
                .into_iter()
                .flat_map(|fanout| fanout.peers.iter().copied()),
        )
    }

    /// The peers that have joined a topic.
    pub fn topic_peers(&self, topic: &Topic) -> Vec<PeerId> {
        let state = self.state(topic);
        self.ids(
            state
                .into_iter()
                .flat_map(|state| state.peers.iter().copied()),
        )
    }

    /// The topics that this node has joined.
    pub fn joined_topics(&self) -> Vec<Topic> {
        self.topics
            .joined()
            .map(|(_, state)| state.name.clone())
            .collect()
    }

    /// The connected peers, and what is spoken with them.
    pub fn peers(&self) -> Vec<(PeerId, Version)> {
        let connected = self.peers.connected();
        connected
            .filter_map(|(_, peer)| Some((peer.id, peer.version()?)))
            .collect()
    }

    /// The score of a peer, connected or remembered; `None` if it is neither, or peers are not scored.
    pub fn score(&self, peer: &PeerId) -> Option<Score> {
        let params = self.config.score.as_ref()?;
        let key = self.peers.key(peer)?;
        let counters = &self.peers.get(key)?.counters;
        let mut score = counters.terms(params, self.peers.colocated(key));
        for (topic, terms) in counters.topic_terms() {
            if let Some(state) = self.topics.get(topic) {
                score.by_topic.insert(state.name.clone(), terms);
            }
        }
        Some(score)
    }

    /// Sets P5, what the application thinks of a peer, which must be known. A number that is not finite changes
    /// nothing. False if nothing was changed.
    pub fn set_application_score(&mut self, peer: &PeerId, score: f64) -> bool {
        let peer = self.peers.key(peer).and_then(|key| self.peers.get_mut(key));
        let Some(peer) = peer.filter(|_| score.is_finite()) else {
            return false;
        };
        peer.counters.set_application(score);
        true
    }

    /// When the backoff of a peer in a topic ends, or has ended if that has not been tidied up.
    pub fn backoff(&self, topic: &Topic, peer: &PeerId) -> Option<Instant> {
        let key = self.peers.key(peer)?;
        self.state(topic)?.backoff.get(&key).copied()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What happened so far in a topic that is known.
    pub fn topic_counts(&self, topic: &Topic) -> Option<TopicCounts> {
        self.state(topic).map(|state| state.counts)
    }

    /// How much is remembered.
    pub fn sizes(&self) -> Sizes {
        let topics = || self.topics.iter().map(|(_, state)| state);
        let peers = || self.peers.iter().map(|(_, peer)| peer);
        Sizes {
            peers: self.peers.connected_count(),
            retained_peers: self.peers.retained_count(),
            topics: self.topics.len(),
            subscriptions: topics().map(|state| state.peers.len()).sum(),
            mesh: topics().map(TopicState::mesh_len).sum(),
            fanout: topics()
                .filter_map(|state| state.fanout.as_ref())
                .map(|fanout| fanout.peers.len())
                .sum(),
            backoffs: topics().map(|state| state.backoff.len()).sum(),
            seen: self.seen.len(),
            validating: self.seen.validating(),
            validating_bytes: self.seen.validating_bytes(),
            history: self.history.len(),
            history_bytes: self.history.bytes(),
            promises: self.promises.len(),
            refusals: peers().map(|peer| peer.refusals.len()).sum(),
            scored_topics: peers().map(|peer| peer.counters.topic_count()).sum(),
            outgoing: self.outgoing.len() + self.control.len() + self.gossip.len(),
            events: self.events.len(),
        }
    }

    fn state(&self, topic: &Topic) -> Option<&TopicState> {
        self.topics.get(self.topics.key(topic)?)
    }

    fn ids(&self, keys: impl Iterator<Item = PeerKey>) -> Vec<PeerId> {
        keys.filter_map(|key| Some(self.peers.get(key)?.id))
            .collect()
    }
}
