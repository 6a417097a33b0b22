//! What a peer doesn't want to be sent.

use std::collections::VecDeque;

use crate::keys::{Tag, TagMap};

/// Refusals of one peer, in the order in which they came.
#[derive(Default)]
pub(crate) struct Refusals {
    tags: TagMap<()>,
    order: VecDeque<(u64, Tag)>,
}

/// What became of a refusal.
pub(crate) enum Refusal {
    New,
    Known,
    TooMany,
}

impl Refusals {
    /// Remembers a refusal, unless there are `max` already.
    pub(crate) fn add(&mut self, tag: Tag, tick: u64, max: usize) -> Refusal {
        if self.order.len() >= max {
            return Refusal::TooMany;
        }
        if self.tags.insert(tag, ()).is_some() {
            return Refusal::Known;
        }
        self.order.push_back((tick, tag));
        Refusal::New
    }

    pub(crate) fn contains(&self, tag: Tag) -> bool {
        !self.tags.is_empty() && self.tags.contains_key(&tag)
    }

    /// Forgets those that came `ttl` heartbeats ago or earlier.
    pub(crate) fn expire(&mut self, tick: u64, ttl: u64) {
        while let Some((since, tag)) = self.order.front() {
            if tick.saturating_sub(*since) < ttl {
                return;
            }
            self.tags.remove(tag);
            self.order.pop_front();
        }
        // What a flood has made large does not stay large.
        self.tags = TagMap::default();
        self.order = VecDeque::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
