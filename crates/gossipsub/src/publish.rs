//! Messages of this node's own.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use peerkit_pubsub::{Message, Outgoing, PublishRefused, Published};
use rand::seq::SliceRandom;

use crate::{
    GossipsubRouter,
    keys::{PeerKey, TopicKey},
    seen::Known,
    topics::Fanout,
};

impl GossipsubRouter {
    pub(crate) fn publish_message(
        &mut self,
        message: Arc<Message>,
        now: Instant,
    ) -> Result<Published, PublishRefused> {
        let id = self.message_ids.id(&message);
        let tag = self.tagger.tag(id.as_bytes());
        if self.seen.is_settled(tag) {
            return Err(PublishRefused::Duplicate);
        }
        let topic = self
            .topics
            .key(&message.topic)
            .ok_or(PublishRefused::NoPeers)?;
        let recipients = self.recipients(topic, now);
        if recipients.is_empty() {
            return Err(PublishRefused::NoPeers);
        }
        self.seen.set(tag, Known::Delivered { at: now, topic }, now);
        self.history
            .put(tag, id.clone(), Arc::clone(&message), topic);
        if self.config.idontwant_on_publish && self.is_large(&message) {
            self.refuse_copies(topic, &id, tag, None);
        }
        let mut sent = 0;
        for key in recipients {
            #[cfg(feature = "partial-messages")]
            if self.gets_parts(key, topic) {
                continue;
            }
            if self.refuses(key, tag) {
                self.counts.unwanted += 1;
                continue;
            }
            sent += 1;
            self.send(key, Outgoing::Publish(id.clone(), Arc::clone(&message)));
        }
        self.counts.published += 1;
        if let Some(state) = self.topics.get_mut(topic) {
            state.counts.published += 1;
            state.counts.sent += sent as u64;
        }
        Ok(Published { id, peers: sent })
    }

    fn recipients(&mut self, topic: TopicKey, now: Instant) -> Vec<PeerKey> {
        let Some(state) = self.topics.get(topic) else {
            return Vec::new();
        };
        let threshold = self.config.thresholds.publish;
        if self.config.flood_publish {
            let mut all: Vec<_> = state.peers.iter().copied().collect();
            all.retain(|key| self.is_trusted(*key, threshold));
            return all;
        }
        let mut recipients = state.flooded.clone();
        recipients.retain(|key| self.is_trusted(*key, threshold));
        recipients.extend(self.mesh_or_fanout(topic, now));
        recipients.into_iter().collect()
    }

    pub(crate) fn mesh_or_fanout(&mut self, topic: TopicKey, now: Instant) -> BTreeSet<PeerKey> {
        let Some(state) = self.topics.get(topic) else {
            return BTreeSet::new();
        };
        let Some(mesh) = &state.mesh else {
            return self.use_fanout(topic, now);
        };
        let mut mesh = mesh.clone();
        // A mesh that is not there yet must not swallow what is published.
        if mesh.len() < self.config.mesh_low {
            self.fill(topic, &mut mesh);
        }
        mesh
    }

    fn use_fanout(&mut self, topic: TopicKey, now: Instant) -> BTreeSet<PeerKey> {
        let fanout = self
            .topics
            .get_mut(topic)
            .and_then(|state| state.fanout.take());
        let mut peers = fanout.map(|fanout| fanout.peers).unwrap_or_default();
        self.fill(topic, &mut peers);
        if let Some(state) = self.topics.get_mut(topic).filter(|_| !peers.is_empty()) {
            state.fanout = Some(Fanout {
                peers: peers.clone(),
                published_at: now,
            });
        }
        peers
    }

    /// Adds random peers that may get this node's messages, up to the target.
    pub(crate) fn fill(&mut self, topic: TopicKey, chosen: &mut BTreeSet<PeerKey>) {
        let missing = self.config.mesh_target.saturating_sub(chosen.len());
        let Some(state) = self.topics.get(topic).filter(|_| missing > 0) else {
            return;
        };
        let mut others: Vec<_> = state.peers.difference(&state.flooded).copied().collect();
        let threshold = self.config.thresholds.publish;
        others.retain(|key| !chosen.contains(key) && self.score_of(*key) >= threshold);
        let (picked, _) = others.partial_shuffle(&mut self.rng, missing);
        chosen.extend(picked.iter().copied());
    }
}
