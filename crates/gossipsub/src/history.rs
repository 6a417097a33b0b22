//! Messages that can be asked for, and about which to gossip.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use peerkit_pubsub::{Message, MessageId};

use crate::keys::{PeerKey, Tag, TagMap, TopicKey};

/// The messages of the last heartbeats, in one window for each heartbeat.
pub(crate) struct History {
    messages: TagMap<Entry>,
    /// The newest window in front.
    windows: VecDeque<VecDeque<Tag>>,
    bytes: usize,
    limits: HistoryLimits,
}

pub(crate) struct HistoryLimits {
    /// How many windows there are.
    pub(crate) windows: usize,
    /// About how many of them to gossip.
    pub(crate) gossip: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

struct Entry {
    id: MessageId,
    message: Arc<Message>,
    topic: TopicKey,
    /// How often peers got it because they asked for it.
    sent: Vec<(PeerKey, u8)>,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        Self {
            messages: TagMap::default(),
            windows: VecDeque::from([VecDeque::new()]),
            bytes: 0,
            limits,
        }
    }

    /// Takes up a message. The oldest make room for it when there are too many.
    pub(crate) fn put(&mut self, tag: Tag, id: MessageId, message: Arc<Message>, topic: TopicKey) {
        self.bytes += size(&message);
        let entry = Entry {
            id,
            message,
            topic,
            sent: Vec::new(),
        };
        if let Some(old) = self.messages.insert(tag, entry) {
            self.bytes -= size(&old.message);
        } else {
            self.windows[0].push_back(tag);
        }
        while self.is_too_large() && self.drop_oldest() {}
    }

    fn is_too_large(&self) -> bool {
        self.messages.len() > self.limits.messages || self.bytes > self.limits.bytes
    }

    pub(crate) fn contains(&self, tag: Tag) -> bool {
        self.messages.contains_key(&tag)
    }

    /// A message for a peer that asks for it, unless it got it `max` times already.
    pub(crate) fn request(
        &mut self,
        tag: Tag,
        peer: PeerKey,
        max: u8,
    ) -> Option<(MessageId, Arc<Message>)> {
        let entry = self.messages.get_mut(&tag)?;
        let position = entry.sent.iter().position(|(other, _)| *other == peer);
        let position = position.unwrap_or_else(|| {
            entry.sent.push((peer, 0));
            entry.sent.len() - 1
        });
        let sent = &mut entry.sent[position].1;
        if *sent >= max {
            return None;
        }
        *sent += 1;
        Some((entry.id.clone(), Arc::clone(&entry.message)))
    }

    /// What there is to gossip about, by topic, the newest first.
    pub(crate) fn gossip(&self) -> BTreeMap<TopicKey, Vec<MessageId>> {
        let mut topics: BTreeMap<TopicKey, Vec<MessageId>> = BTreeMap::new();
        for tag in self.windows.iter().take(self.limits.gossip).flatten() {
            if let Some(entry) = self.messages.get(tag) {
                topics
                    .entry(entry.topic)
                    .or_default()
                    .push(entry.id.clone());
            }
        }
        topics
    }

    /// A heartbeat is over.
    pub(crate) fn shift(&mut self) {
        if self.windows.len() >= self.limits.windows {
            for tag in self.windows.pop_back().unwrap_or_default() {
                self.remove(tag);
            }
        }
        self.windows.push_front(VecDeque::new());
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// False when there is none.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.windows.iter_mut().rev().find_map(VecDeque::pop_front);
        oldest.map(|oldest| self.remove(oldest)).is_some()
    }

    fn remove(&mut self, tag: Tag) {
        if let Some(entry) = self.messages.remove(&tag) {
            self.bytes -= size(&entry.message);
        }
    }
}

/// What a message takes in memory, more or less.
pub(crate) fn size(message: &Message) -> usize {
    message.encoded.len().max(message.data.len()) + OVERHEAD
}

const OVERHEAD: usize = 256;
