//! IHAVE, IWANT and IDONTWANT.

use std::time::Instant;

use peerkit_core::PeerId;
use peerkit_pubsub::{IHave, Message, MessageId, Outgoing, RouterEvent};
use rand::{RngExt, seq::SliceRandom};

use crate::{
    GossipsubRouter, Version,
    idontwant::Refusal,
    keys::{PeerKey, Tag, TopicKey},
};

impl GossipsubRouter {
    /// Asks for what is new, within the peer's allowance, and notes one of it as a promise.
    pub(crate) fn handle_ihave(&mut self, key: PeerKey, offers: &[IHave], now: Instant) {
        if offers.is_empty() || !self.is_trusted(key, self.config.thresholds.gossip) {
            return;
        }
        let Some(mut allowed) = self.ihave_allowance(key) else {
            self.counts.ihave_refused += 1;
            return;
        };
        let mut wanted = self.unseen(offers);
        wanted.shuffle(&mut self.rng);
        allowed = allowed.min(wanted.len());
        wanted.truncate(allowed);
        let Some((promised, _)) = wanted.first() else {
            return;
        };
        self.promises
            .add(*promised, key, now + self.config.iwant_followup);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.meters.ihave_ids += allowed;
        }
        self.counts.iwant_sent += allowed as u64;
        let iwant = &mut self.gossip.entry(key).or_default().iwant;
        iwant.extend(wanted.into_iter().map(|(_, id)| id));
    }

    /// How many ids the peer may still offer in this heartbeat; `None` if it has offered too often.
    fn ihave_allowance(&mut self, key: PeerKey) -> Option<usize> {
        let meters = &mut self.peers.get_mut(key)?.meters;
        meters.ihave_messages += 1;
        if meters.ihave_messages > self.config.ihave_messages_max {
            return None;
        }
        let left = self.config.ihave_ids_max.saturating_sub(meters.ihave_ids);
        (left > 0).then_some(left)
    }

    /// What is offered in topics that this node has joined and was not seen yet. Looks at no more ids than an
    /// honest peer sends.
    fn unseen(&self, offers: &[IHave]) -> Vec<(Tag, MessageId)> {
        let offers = offers
            .iter()
            .filter(|offer| self.topics.joined_key(&offer.topic).is_some());
        let ids = offers
            .flat_map(|offer| &offer.ids)
            .take(self.config.ihave_ids_max);
        let ids = ids.filter(|id| id.as_bytes().len() <= ID_LEN_MAX);
        let mut wanted: Vec<_> = ids
            .map(|id| (self.tagger.tag(id.as_bytes()), id))
            .filter(|(tag, _)| !self.seen.is_settled(*tag))
            .map(|(tag, id)| (tag, id.clone()))
            .collect();
        wanted.sort_unstable_by_key(|(tag, _)| *tag);
        wanted.dedup_by_key(|(tag, _)| *tag);
        wanted
    }

    /// Sends what is asked for, as often as is allowed.
    pub(crate) fn handle_iwant(&mut self, key: PeerKey, ids: &[MessageId]) {
        if ids.is_empty() || !self.is_trusted(key, self.config.thresholds.gossip) {
            return;
        }
        if !self.takes_iwant(key) {
            self.counts.iwant_refused += ids.len() as u64;
            return;
        }
        for id in ids.iter().take(self.config.ihave_ids_max) {
            let tag = self.tagger.tag(id.as_bytes());
            if self.refuses(key, tag) {
                self.counts.unwanted += 1;
                continue;
            }
            match self
                .history
                .request(tag, key, self.config.iwant_retransmissions_max)
            {
                Some((id, message)) => {
                    self.counts.iwant_served += 1;
                    self.send(key, Outgoing::Forward(id, message));
                }
                None => self.counts.iwant_refused += 1,
            }
        }
    }

    fn takes_iwant(&mut self, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get_mut(key) else {
            return false;
        };
        peer.meters.iwant_messages += 1;
        peer.meters.iwant_messages <= self.config.iwant_messages_max
    }

    /// Remembers what the peer doesn't want, within the limits.
    pub(crate) fn handle_idontwant(&mut self, key: PeerKey, ids: &[MessageId]) {
        let Some(peer) = self.peers.get_mut(key).filter(|_| !ids.is_empty()) else {
            return;
        };
        peer.meters.idontwant_messages += 1;
        let over = peer.meters.idontwant_messages > self.config.idontwant_messages_max;
        let mut taken = 0;
        for id in ids.iter().take_while(|_| !over) {
            let tag = self.tagger.tag(id.as_bytes());
            let max = self.config.idontwant_ids_max;
            match peer.refusals.add(tag, self.ticks, max) {
                Refusal::TooMany => break,
                // Each id once, so that a flood does not have queues searched over and over.
                Refusal::New if self.history.contains(tag) => {
                    self.events.push_back(withdrawal(peer.id, id));
                }
                Refusal::New | Refusal::Known => {}
            }
            taken += 1;
        }
        self.counts.idontwant_refused += (ids.len() - taken) as u64;
    }

    /// A copy of a message has come from a peer, for which another copy may be waiting. What has left the history
    /// waits no more.
    pub(crate) fn withdraw(&mut self, key: PeerKey, id: &MessageId, tag: Tag) {
        if let Some(peer) = self.peers.get(key)
            && self.history.contains(tag)
        {
            self.events.push_back(withdrawal(peer.id, id));
        }
    }

    pub(crate) fn refuses(&self, key: PeerKey, tag: Tag) -> bool {
        self.peers
            .get(key)
            .is_some_and(|peer| peer.refusals.contains(tag))
    }

    /// Tells the mesh, and those who were asked for it, not to send a message that is there; `except` has just
    /// sent it.
    // spec: gossipsub v1.2 "the IDONTWANT is sent on the first receipt of a message, before validation".
    pub(crate) fn refuse_copies(
        &mut self,
        topic: TopicKey,
        id: &MessageId,
        tag: Tag,
        except: Option<PeerKey>,
    ) {
        let Some(state) = self.topics.get(topic) else {
            return;
        };
        let asked = self.promises.of(tag).filter(|key| !state.is_in_mesh(*key));
        for key in state.mesh_peers().chain(asked) {
            let version = self.peers.get(key).and_then(|peer| peer.version());
            if Some(key) == except || !version.is_some_and(Version::has_idontwant) {
                continue;
            }
            // It sends parts, if anything.
            #[cfg(feature = "partial-messages")]
            if self.sends_parts(key, topic) {
                continue;
            }
            self.control
                .entry(key)
                .or_default()
                .idontwant
                .push(id.clone());
            self.counts.idontwant_sent += 1;
        }
    }

    /// Whether copies of a message are worth a word.
    pub(crate) fn is_large(&self, message: &Message) -> bool {
        message.data.len() >= self.config.idontwant_size_min
    }

    /// Tells some peers outside the mesh what there is.
    pub(crate) fn emit_gossip(&mut self) {
        for (topic, ids) in self.history.gossip() {
            if !ids.is_empty() {
                self.gossip_about(topic, &ids);
            }
        }
    }

    // spec: gossipsub v1.1 "Adaptive Gossip Dissemination".
    fn gossip_about(&mut self, topic: TopicKey, ids: &[MessageId]) {
        let Some(state) = self
            .topics
            .get(topic)
            .filter(|state| state.is_joined() || state.fanout.is_some())
        else {
            return;
        };
        let name = state.name.clone();
        let mut targets = self.gossip_candidates(topic);
        #[cfg(feature = "partial-messages")]
        targets.retain(|key| !self.gets_parts(*key, topic));
        let share = self.config.gossip_factor * targets.len() as f64;
        let count = self
            .config
            .gossip_min
            .max(share as usize)
            .min(targets.len());
        let (chosen, others) = targets.partial_shuffle(&mut self.rng, count);
        let best = self.best_of(others);
        for key in chosen.iter().chain(&best).copied() {
            let ids = self.sample(ids);
            let offer = IHave {
                topic: name.clone(),
                ids,
            };
            self.gossip.entry(key).or_default().ihave.push(offer);
        }
    }

    fn best_of(&mut self, peers: &[PeerKey]) -> Vec<PeerKey> {
        let scored = peers.iter().map(|key| (self.score_of(*key), *key));
        let mut scored: Vec<_> = scored.filter(|(score, _)| *score > 0.0).collect();
        scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        scored.truncate(self.config.gossip_best);
        scored.into_iter().map(|(_, key)| key).collect()
    }

    /// A peer takes only so many ids: when there are more, each peer is told others.
    fn sample(&mut self, ids: &[MessageId]) -> Vec<MessageId> {
        let max = self.config.ihave_ids_max;
        if ids.len() <= max {
            return ids.to_vec();
        }
        let start = self.rng.random_range(0..ids.len());
        ids.iter().cycle().skip(start).take(max).cloned().collect()
    }

    pub(crate) fn gossip_candidates(&mut self, topic: TopicKey) -> Vec<PeerKey> {
        let Some(state) = self.topics.get(topic) else {
            return Vec::new();
        };
        let outside = |key: &PeerKey| {
            let in_fanout = state
                .fanout
                .as_ref()
                .is_some_and(|fanout| fanout.peers.contains(key));
            !in_fanout && !state.is_in_mesh(*key) && !state.flooded.contains(key)
        };
        let mut peers: Vec<_> = state.peers.iter().copied().filter(outside).collect();
        let threshold = self.config.thresholds.gossip;
        peers.retain(|key| self.score_of(*key) >= threshold);
        peers
    }
}

fn withdrawal(peer: PeerId, id: &MessageId) -> RouterEvent {
    let id = id.clone();
    RouterEvent::Withdraw { peer, id }
}

/// Longer ids are nobody's: they would only cost memory.
const ID_LEN_MAX: usize = 1024;
