//! GRAFT, PRUNE and extensions, as they come in.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use peerkit_pubsub::{Extensions, Outgoing, Prune, Topic};

use crate::{
    GossipsubRouter,
    keys::{PeerKey, TopicKey},
    mesh::PruneKind,
};

/// What becomes of a GRAFT.
enum Graft {
    Accepted,
    /// Nothing is said.
    Ignored,
    /// PRUNE.
    Refused,
    /// PRUNE, with some others to try.
    Surplus,
    /// PRUNE, and a misdeed, or two.
    TooEarly(f64),
}

impl GossipsubRouter {
    /// One answer for each topic, however often it is named.
    pub(crate) fn handle_graft(&mut self, key: PeerKey, grafts: &[Topic], now: Instant) {
        let mut refused = BTreeSet::new();
        for topic in grafts {
            let Some(topic) = self.topics.joined_key(topic) else {
                continue;
            };
            match self.judge_graft(topic, key, now) {
                Graft::Accepted => {
                    self.add_to_mesh(topic, key, now);
                }
                Graft::Ignored => {}
                Graft::Refused => {
                    self.refuse_graft(topic, key, PruneKind::Refused, &mut refused, now)
                }
                Graft::Surplus => {
                    self.refuse_graft(topic, key, PruneKind::Surplus, &mut refused, now)
                }
                Graft::TooEarly(misdeeds) => {
                    self.counts.grafts_in_backoff += 1;
                    self.punish(key, misdeeds);
                    self.refuse_graft(topic, key, PruneKind::Refused, &mut refused, now);
                }
            }
        }
    }

    fn refuse_graft(
        &mut self,
        topic: TopicKey,
        key: PeerKey,
        kind: PruneKind,
        refused: &mut BTreeSet<TopicKey>,
        now: Instant,
    ) {
        self.counts.grafts_refused += 1;
        if refused.insert(topic) {
            self.refuse(topic, key, kind, now);
        }
    }

    // The order of these checks is that of go-libp2p-pubsub. Neither an unknown topic nor one that the
    // sender has not joined leaves a trace, so that GRAFT can't fill any table.
    fn judge_graft(&mut self, topic: TopicKey, key: PeerKey, now: Instant) -> Graft {
        let (Some(state), Some(peer)) = (self.topics.get(topic), self.peers.get(key)) else {
            return Graft::Ignored;
        };
        if !state.peers.contains(&key) || state.is_in_mesh(key) {
            return Graft::Ignored;
        }
        if !peer.can_mesh() {
            return Graft::Refused;
        }
        let (outbound, full) = (
            peer.is_outbound(),
            state.mesh_len() >= self.config.mesh_high,
        );
        if let Some(end) = self.backoff_end(topic, key, now) {
            return Graft::TooEarly(self.misdeeds(end, now));
        }
        if self.score_of(key) < 0.0 {
            return Graft::Refused;
        }
        if full && !outbound {
            return Graft::Surplus;
        }
        Graft::Accepted
    }

    /// Two when the backoff has hardly begun.
    fn misdeeds(&self, backoff_end: Instant, now: Instant) -> f64 {
        let flood =
            now + self.config.prune_backoff < backoff_end + self.config.graft_flood_threshold;
        if flood { 2.0 } else { 1.0 }
    }

    /// Only of topics that this node has joined, so that PRUNE can't fill any table.
    pub(crate) fn handle_prune(&mut self, key: PeerKey, prunes: Vec<Prune>, now: Instant) {
        for prune in prunes {
            let Some(topic) = self.topics.joined_key(&prune.topic) else {
                continue;
            };
            self.drop_from_mesh(topic, key);
            let backoff = match prune.backoff {
                None | Some(0) => self.config.prune_backoff,
                Some(seconds) => Duration::from_secs(seconds),
            };
            self.set_backoff(topic, key, backoff, now);
            self.follow_recommendations(key, prune.peers);
        }
    }

    // spec: gossipsub v1.3 "MUST be in the first message", "MUST NOT be sent more than once": per stream, of
    // which a peer may begin another one when the former breaks.
    pub(crate) fn handle_extensions(&mut self, key: PeerKey, extensions: Option<Extensions>) {
        let own = self.extensions();
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let first = std::mem::take(&mut peer.greeting.expected);
        let Some(extensions) = extensions else {
            return;
        };
        if !first {
            peer.counters.misbehaved(self.config.extensions_penalty);
            return;
        }
        peer.greeting.extensions = extensions;
        if own.test && extensions.test {
            self.send(key, Outgoing::TestExtension);
        }
    }
}
