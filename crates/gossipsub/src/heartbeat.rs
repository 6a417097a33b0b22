//! What is done once in a while: keeping meshes in shape, gossip, forgetting.

use std::time::Instant;

use peerkit_pubsub::RouterEvent;
use rand::seq::SliceRandom;

use crate::{
    GossipsubRouter,
    keys::{PeerKey, TopicKey},
    mesh::PruneKind,
    peers::Meters,
};

impl GossipsubRouter {
    pub(crate) fn heartbeat(&mut self, now: Instant) {
        self.ticks += 1;
        self.counts.heartbeats += 1;
        self.px_connects = 0;
        self.renew_allowances();
        self.seen.expire(now);
        self.forget_expired(now);
        if self.ticks.is_multiple_of(BACKOFF_SWEEP_TICKS) {
            self.expire_backoffs(now);
        }
        self.punish_broken_promises(now);
        // The first time after one heartbeat, not after all of them.
        if self.ticks % self.config.direct_connect_ticks == 1 % self.config.direct_connect_ticks {
            self.call_direct_peers();
        }
        let joined: Vec<_> = self.topics.joined().map(|(key, _)| key).collect();
        for topic in joined {
            self.maintain_mesh(topic, now);
        }
        self.maintain_fanouts(now);
        self.emit_gossip();
        #[cfg(feature = "partial-messages")]
        self.gossip_partials();
        self.history.shift();
    }

    fn renew_allowances(&mut self) {
        let (ticks, ttl) = (self.ticks, self.config.idontwant_ttl);
        for (_, peer) in self.peers.iter_mut() {
            peer.meters = Meters::default();
            if peer.refusals.len() > 0 {
                peer.refusals.expire(ticks, ttl);
            }
        }
    }

    /// A promise is kept when the message is there, whoever has brought it.
    fn punish_broken_promises(&mut self, now: Instant) {
        while let Some((tag, key)) = self.promises.poll_due(now) {
            if !self.seen.is_settled(tag) {
                self.counts.promises_broken += 1;
                self.punish(key, 1.0);
            }
        }
    }

    fn call_direct_peers(&mut self) {
        for peer in &self.config.direct_peers {
            if self.peers.connected_key(peer).is_none() {
                self.events.push_back(RouterEvent::Connect {
                    peer: *peer,
                    record: None,
                });
            }
        }
    }

    fn maintain_mesh(&mut self, topic: TopicKey, now: Instant) {
        self.prune_bad(topic, now);
        let len = self.mesh_len(topic);
        if len < self.config.mesh_low {
            self.graft_some(topic, self.config.mesh_target - len, now, |_, _| true);
        } else if len > self.config.mesh_high {
            self.prune_surplus(topic, now);
        }
        self.graft_outbound(topic, now);
        if self
            .ticks
            .is_multiple_of(self.config.opportunistic_graft_ticks)
        {
            self.graft_better(topic, now);
        }
    }

    fn prune_bad(&mut self, topic: TopicKey, now: Instant) {
        for key in self.mesh_of(topic) {
            if self.score_of(key) < 0.0 || self.is_stalled(key) {
                self.prune(topic, key, PruneKind::Refused, now);
            }
        }
    }

    fn is_stalled(&self, key: PeerKey) -> bool {
        let (Some(params), Some(peer)) = (&self.config.score, self.peers.get(key)) else {
            return false;
        };
        peer.counters.is_stalled(params)
    }

    fn graft_some(
        &mut self,
        topic: TopicKey,
        count: usize,
        now: Instant,
        chosen: impl Fn(&mut Self, PeerKey) -> bool,
    ) {
        let mut candidates = self.candidates(topic, now);
        candidates.retain(|key| chosen(self, *key));
        let (picked, _) = candidates.partial_shuffle(&mut self.rng, count);
        for key in picked.iter().copied() {
            self.graft(topic, key, now);
        }
    }

    /// Keeps the best, some random ones, and enough that this node has dialed.
    fn prune_surplus(&mut self, topic: TopicKey, now: Instant) {
        let mut members = self.mesh_of(topic);
        members.shuffle(&mut self.rng);
        members.sort_by(|one, other| self.score_of(*other).total_cmp(&self.score_of(*one)));
        members[self.config.mesh_best..].shuffle(&mut self.rng);
        self.keep_outbound(&mut members);
        for key in members.split_off(self.config.mesh_target) {
            self.prune(topic, key, PruneKind::Surplus, now);
        }
    }

    /// Swaps members that this node has dialed among the first, which stay, until they are enough.
    fn keep_outbound(&self, members: &mut [PeerKey]) {
        let target = self.config.mesh_target;
        let is_outbound = |key: PeerKey| self.peers.get(key).is_some_and(|peer| peer.is_outbound());
        let kept = members[..target]
            .iter()
            .filter(|key| is_outbound(**key))
            .count();
        let mut missing = self.config.mesh_outbound.saturating_sub(kept);
        let mut place = target;
        for candidate in target..members.len() {
            if missing == 0 {
                return;
            }
            if !is_outbound(members[candidate]) {
                continue;
            }
            // The last of those that stay and are not outbound themselves.
            let Some(inbound) = members[..place].iter().rposition(|key| !is_outbound(*key)) else {
                return;
            };
            members.swap(inbound, candidate);
            place = inbound;
            missing -= 1;
        }
    }

    // spec: gossipsub v1.1 "Outbound Mesh Quotas".
    fn graft_outbound(&mut self, topic: TopicKey, now: Instant) {
        if self.mesh_len(topic) < self.config.mesh_low {
            return;
        }
        let members = self.mesh_of(topic);
        let outbound = members.iter().filter(|key| self.is_outbound(**key)).count();
        let missing = self.config.mesh_outbound.saturating_sub(outbound);
        if missing > 0 {
            self.graft_some(topic, missing, now, |router, key| router.is_outbound(key));
        }
    }

    // spec: gossipsub v1.1 "Opportunistic Grafting".
    fn graft_better(&mut self, topic: TopicKey, now: Instant) {
        let mut scores: Vec<_> = self
            .mesh_of(topic)
            .into_iter()
            .map(|key| self.score_of(key))
            .collect();
        if scores.len() < 2 {
            return;
        }
        scores.sort_by(f64::total_cmp);
        let median = scores[scores.len() / 2];
        if median < self.config.thresholds.opportunistic_graft {
            let count = self.config.opportunistic_graft_peers;
            self.graft_some(topic, count, now, |router, key| {
                router.score_of(key) > median
            });
        }
    }

    fn maintain_fanouts(&mut self, now: Instant) {
        let ttl = self.config.fanout_ttl;
        let mut old = Vec::new();
        let mut live = Vec::new();
        for (key, state) in self.topics.iter_mut() {
            let Some(fanout) = &state.fanout else {
                continue;
            };
            if now.saturating_duration_since(fanout.published_at) >= ttl {
                state.fanout = None;
                old.push(key);
            } else {
                live.push(key);
            }
        }
        old.into_iter().for_each(|key| self.collect_topic(key));
        live.into_iter().for_each(|key| self.refill_fanout(key));
    }

    fn refill_fanout(&mut self, topic: TopicKey) {
        let Some(fanout) = self
            .topics
            .get_mut(topic)
            .and_then(|state| state.fanout.as_mut())
        else {
            return;
        };
        let mut peers = std::mem::take(&mut fanout.peers);
        let threshold = self.config.thresholds.publish;
        peers.retain(|key| self.score_of(*key) >= threshold);
        self.fill(topic, &mut peers);
        if let Some(fanout) = self
            .topics
            .get_mut(topic)
            .and_then(|state| state.fanout.as_mut())
        {
            fanout.peers = peers;
        }
    }

    fn mesh_len(&self, topic: TopicKey) -> usize {
        self.topics.get(topic).map_or(0, |state| state.mesh_len())
    }

    fn mesh_of(&self, topic: TopicKey) -> Vec<PeerKey> {
        self.topics
            .get(topic)
            .into_iter()
            .flat_map(|state| state.mesh_peers())
            .collect()
    }

    fn is_outbound(&self, key: PeerKey) -> bool {
        self.peers.get(key).is_some_and(|peer| peer.is_outbound())
    }
}

/// Heartbeats between two searches for backoffs that are over.
const BACKOFF_SWEEP_TICKS: u64 = 15;
