//! Messages that wait in a row, with a bound.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::filling::{Filling, Sent};
use crate::{Message, MessageId, Outgoing};

/// Messages of one kind.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) entries: VecDeque<Entry>,
    pub(super) bytes: usize,
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
    pub(super) timeout: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    queued_at: Instant,
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
}

impl Lane {
    /// A message that is too large for all lanes fits an empty one.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.entries.is_empty()
            || (self.entries.len() < self.messages_max && self.bytes + len <= self.bytes_max)
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.entries.len() <= self.messages_max / 2 && self.bytes <= self.bytes_max / 2
    }

    pub(super) fn push(&mut self, id: MessageId, message: Arc<Message>, now: Instant) {
        self.bytes += message.encoded.len();
        self.entries.push_back(Entry {
            queued_at: now,
            id,
            message,
        });
    }

    pub(super) fn put_back(&mut self, entry: Entry) {
        self.bytes += entry.message.encoded.len();
        self.entries.push_front(entry);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.message.encoded.len();
        Some(entry)
    }

    pub(super) fn take(&mut self, id: &MessageId) -> Option<Arc<Message>> {
        let position = self.entries.iter().position(|entry| entry.id == *id)?;
        let entry = self.entries.remove(position)?;
        self.bytes -= entry.message.encoded.len();
        Some(entry.message)
    }

    pub(super) fn expire(&mut self, now: Instant, mut lost: impl FnMut(Entry)) {
        while let Some(entry) = self.entries.front()
            && now.saturating_duration_since(entry.queued_at) >= self.timeout
            && let Some(entry) = self.pop()
        {
            lost(entry);
        }
    }

    pub(super) fn fill(&mut self, filling: &mut Filling<'_>, sent: fn(Entry) -> Sent) {
        while let Some(entry) = self.entries.front()
            && filling.has_room(entry.message.encoded.len())
            && let Some(entry) = self.pop()
        {
            filling.encoder.message(&entry.message, filling.out);
            filling.log(|| sent(entry));
        }
    }

    pub(super) fn clear(&mut self) {
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
