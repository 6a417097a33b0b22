//! Messages of others: what becomes of them.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use peerkit_core::PeerId;
use peerkit_pubsub::{Message, MessageId, Outgoing, RouterEvent, Verdict};

use crate::{
    GossipsubRouter, history,
    keys::{PeerKey, Tag, TopicKey},
    seen::{Known, Validating},
};

impl GossipsubRouter {
    /// A copy of a message has come, perhaps not the first.
    pub(crate) fn receive(&mut self, source: PeerKey, message: Arc<Message>, now: Instant) {
        let id = self.message_ids.id(&message);
        let tag = self.tagger.tag(id.as_bytes());
        match self.seen.get(tag) {
            None => self.receive_first(source, id, tag, message, now),
            Some(Known::Delivered { at, topic }) => {
                let (topic, at) = (*topic, *at);
                self.withdraw(source, &id, tag);
                self.receive_late(source, topic, at, now);
            }
            Some(Known::Ignored) => self.counts.duplicates += 1,
            Some(Known::Validating(_)) => self.receive_early(source, tag, message),
            Some(Known::Rejected(content)) => {
                if *content == self.tagger.tag(&message.encoded) {
                    self.receive_rejected(source, &message);
                } else {
                    self.receive_first(source, id, tag, message, now);
                }
            }
        }
    }

    fn receive_first(
        &mut self,
        source: PeerKey,
        id: MessageId,
        tag: Tag,
        message: Arc<Message>,
        now: Instant,
    ) {
        let Some(topic) = self.topics.joined_key(&message.topic) else {
            self.counts.off_topic += 1;
            return;
        };
        if self.is_own(&message) {
            self.counts.own_returned += 1;
            return;
        }
        if !self.has_room_for(&message) {
            self.counts.validation_full += 1;
            return;
        }
        if self.is_large(&message) {
            self.refuse_copies(topic, &id, tag, Some(source));
        }
        self.validate(
            tag,
            Box::new(Validating {
                id,
                message,
                topic,
                source,
                also: Vec::new(),
                rivals: VecDeque::new(),
            }),
            now,
        );
    }

    /// Another copy of a valid message.
    fn receive_late(
        &mut self,
        source: PeerKey,
        topic: TopicKey,
        delivered_at: Instant,
        now: Instant,
    ) {
        self.counts.duplicates += 1;
        let Some(state) = self.topics.get_mut(topic) else {
            return;
        };
        state.counts.duplicates += 1;
        if !self.counts_mesh_deliveries {
            return;
        }
        let near = now.saturating_duration_since(delivered_at) <= state.params.mesh_window;
        if let (true, Some(peer)) = (near, self.peers.get_mut(source)) {
            peer.counters.delivered_again(topic);
        }
    }

    /// Something with the id of a message that is being validated.
    fn receive_early(&mut self, source: PeerKey, tag: Tag, message: Arc<Message>) {
        let room = self.has_room_for(&message);
        let Some(first) = self.seen.get_validating(tag) else {
            return;
        };
        if first.message.encoded == message.encoded {
            self.counts.duplicates += 1;
            if first.source != source && !first.also.contains(&source) {
                first.also.push(source);
            }
            return;
        }
        let once = first.source != source && first.rivals.iter().all(|(rival, _)| *rival != source);
        if once && room && first.rivals.len() < self.config.rivals_max {
            self.seen.add_rival(tag, source, message);
        } else {
            self.counts.validation_full += 1;
        }
    }

    /// The same invalid message once more.
    fn receive_rejected(&mut self, source: PeerKey, message: &Message) {
        self.counts.rejected += 1;
        if let Some(topic) = self.topics.joined_key(&message.topic) {
            self.blame(source, topic);
        }
    }

    fn validate(&mut self, tag: Tag, validating: Box<Validating>, now: Instant) {
        let source = self.peers.get(validating.source).map(|peer| peer.id);
        let event = source.map(|source| RouterEvent::Validate {
            id: validating.id.clone(),
            message: Arc::clone(&validating.message),
            source,
        });
        self.seen.set(tag, Known::Validating(validating), now);
        self.events.extend(event);
    }

    /// The verdict about a message that waits for one.
    pub(crate) fn settle(&mut self, id: &MessageId, verdict: Verdict, now: Instant) {
        let tag = self.tagger.tag(id.as_bytes());
        let Some(waiting) = self.seen.get_validating(tag) else {
            return;
        };
        let topic = waiting.topic;
        let state = match verdict {
            Verdict::Accept => Known::Delivered { at: now, topic },
            Verdict::Reject => Known::Rejected(self.tagger.tag(&waiting.message.encoded)),
            Verdict::Ignore => Known::Ignored,
        };
        let Some(settled) = self.seen.settle(tag, state, now) else {
            return;
        };
        match verdict {
            Verdict::Accept => self.accepted(tag, *settled),
            Verdict::Reject => self.rejected(tag, *settled, now),
            Verdict::Ignore => self.ignored(topic),
        }
    }

    fn accepted(&mut self, tag: Tag, settled: Validating) {
        self.reward(&settled);
        let Some(state) = self
            .topics
            .get_mut(settled.topic)
            .filter(|state| state.is_joined())
        else {
            return;
        };
        state.counts.delivered += 1;
        state.counts.delivered_bytes += settled.message.data.len() as u64;
        self.counts.delivered += 1;
        self.forward(tag, &settled);
        self.history.put(
            tag,
            settled.id.clone(),
            Arc::clone(&settled.message),
            settled.topic,
        );
        // Who has sent it may be gone; the message is no worse for it.
        let source = self
            .peers
            .get(settled.source)
            .map_or(self.local, |peer| peer.id);
        self.events.push_back(RouterEvent::Deliver {
            id: settled.id,
            message: settled.message,
            source,
        });
    }

    fn rejected(&mut self, tag: Tag, settled: Validating, now: Instant) {
        for key in settled.also.iter().chain([&settled.source]) {
            self.counts.rejected += 1;
            self.blame(*key, settled.topic);
        }
        self.validate_rival(tag, settled, now);
    }

    /// What was invalid may have stood in the way of the real message.
    fn validate_rival(&mut self, tag: Tag, settled: Validating, now: Instant) {
        let mut rivals = settled.rivals;
        while let Some((source, message)) = rivals.pop_front() {
            let topic = self.topics.joined_key(&message.topic);
            let Some(topic) = topic.filter(|_| !self.is_own(&message)) else {
                continue;
            };
            let (same, rivals) = rivals
                .into_iter()
                .partition::<VecDeque<_>, _>(|(_, other)| other.encoded == message.encoded);
            let next = Validating {
                id: settled.id,
                message,
                topic,
                source,
                also: same.into_iter().map(|(key, _)| key).collect(),
                rivals,
            };
            self.validate(tag, Box::new(next), now);
            return;
        }
    }

    fn ignored(&mut self, topic: TopicKey) {
        self.counts.ignored += 1;
        if let Some(state) = self.topics.get_mut(topic) {
            state.counts.ignored += 1;
        }
    }

    /// P2 for who was first, P3 for all who were in time.
    fn reward(&mut self, settled: &Validating) {
        let Some(state) = self
            .topics
            .get(settled.topic)
            .filter(|_| self.config.score.is_some())
        else {
            return;
        };
        if let Some(peer) = self
            .peers
            .get_mut(settled.source)
            .filter(|peer| peer.link.is_some())
        {
            peer.counters.delivered_first(settled.topic, &state.params);
        }
        for key in &settled.also {
            if let Some(peer) = self.peers.get_mut(*key) {
                peer.counters.delivered_again(settled.topic);
            }
        }
    }

    /// P4.
    fn blame(&mut self, key: PeerKey, topic: TopicKey) {
        let Some(state) = self.topics.get_mut(topic) else {
            return;
        };
        state.counts.rejected += 1;
        if let (Some(_), Some(peer)) = (&self.config.score, self.peers.get_mut(key)) {
            peer.counters.delivered_invalid(topic, &state.params);
        }
    }

    /// Sends a valid message on: to the mesh and to those who get everything, but not to its author, nor to who
    /// has it or doesn't want it.
    fn forward(&mut self, tag: Tag, settled: &Validating) {
        let author = author(&settled.message).and_then(|author| self.peers.key(&author));
        let mut sent = 0;
        let Some(state) = self.topics.get(settled.topic) else {
            return;
        };
        let publish = self.config.thresholds.publish;
        let flooded = state.flooded.iter().copied();
        let flooded: Vec<_> = flooded.filter(|key| !state.is_in_mesh(*key)).collect();
        for key in state.mesh_peers() {
            if has(settled, author, key) {
                continue;
            }
            #[cfg(feature = "partial-messages")]
            if self.gets_parts(key, settled.topic) {
                continue;
            }
            if self.refuses(key, tag) {
                self.counts.unwanted += 1;
                continue;
            }
            sent += 1;
            let message = Outgoing::Forward(settled.id.clone(), Arc::clone(&settled.message));
            self.outgoing.push_back((key, message));
        }
        for key in flooded {
            if !has(settled, author, key)
                && !self.refuses(key, tag)
                && self.is_trusted(key, publish)
            {
                sent += 1;
                self.send(
                    key,
                    Outgoing::Forward(settled.id.clone(), Arc::clone(&settled.message)),
                );
            }
        }
        if let Some(state) = self.topics.get_mut(settled.topic) {
            state.counts.sent += sent;
        }
    }

    fn has_room_for(&self, message: &Message) -> bool {
        let bytes = self.seen.validating_bytes() + history::size(message);
        self.seen.validating() < self.config.validating_max
            && bytes <= self.config.validating_bytes_max
    }

    /// Whether a message says that this node has written it.
    fn is_own(&self, message: &Message) -> bool {
        author(message) == Some(self.local)
    }
}

fn has(settled: &Validating, author: Option<PeerKey>, key: PeerKey) -> bool {
    key == settled.source || Some(key) == author || settled.also.contains(&key)
}

fn author(message: &Message) -> Option<PeerId> {
    PeerId::from_bytes(message.from.as_ref()?).ok()
}
