//! Ids that were seen lately.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::MessageId;

/// Remembers ids for a while, so that a message is handled once. Bounded: when it is full, the
/// oldest id is forgotten before its time.
#[derive(Clone, Debug)]
pub struct SeenCache {
    ttl: Duration,
    capacity: usize,
    /// When each id was first seen. Only looked up, never iterated over.
    ids: HashMap<MessageId, Instant>,
    /// In the order of their times; those that were removed are still here.
    order: VecDeque<(Instant, MessageId)>,
}

impl SeenCache {
    /// Remembers each id for `ttl`, and at most `capacity` of them (at least one).
    pub fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            ttl,
            capacity: capacity.max(1),
            ids: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Remembers an id; false when it is remembered already. `now` must not go back.
    ///
    /// A repetition does not make it younger.
    pub fn insert(&mut self, id: &MessageId, now: Instant) -> bool {
        self.expire(now);
        if self.ids.contains_key(id) {
            return false;
        }
        while self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        self.ids.insert(id.clone(), now);
        self.order.push_back((now, id.clone()));
        true
    }

    /// Whether an id is remembered.
    pub fn contains(&self, id: &MessageId, now: Instant) -> bool {
        let seen = self.ids.get(id);
        seen.is_some_and(|seen| now.saturating_duration_since(*seen) < self.ttl)
    }

    /// Forgets an id, for example that of a forged message, which must not hide the true one.
    pub fn remove(&mut self, id: &MessageId) -> bool {
        self.ids.remove(id).is_some()
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now: Instant) {
        while let Some((seen, _)) = self.order.front()
            && now.saturating_duration_since(*seen) >= self.ttl
        {
            self.forget_oldest();
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((seen, id)) = self.order.pop_front()
            && self.ids.get(&id) == Some(&seen)
        {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn id(number: u32) -> MessageId {
        MessageId::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn ids_are_new_once_until_their_time_is_over() {
        let (start, ttl) = (start(), Duration::from_secs(120));
        let mut seen = SeenCache::new(ttl, 10);
        assert!(seen.insert(&id(1), start));
        assert!(!seen.insert(&id(1), start + ttl / 2));
        assert!(seen.contains(&id(1), start + ttl / 2));
        assert!(!seen.contains(&id(1), start + ttl));
        assert!(seen.insert(&id(1), start + ttl));
        assert_eq!(seen.len(), 1);
    }

    /// Attack F06.
    #[test]
    fn a_flood_of_ids_stays_within_the_capacity() {
        let start = start();
        let mut seen = SeenCache::new(Duration::from_secs(120), 1000);
        for number in 0..1_000_000 {
            assert!(seen.insert(&id(number), start));
        }
        assert_eq!((seen.len(), seen.order.len()), (1000, 1000));
        assert!(seen.contains(&id(999_000), start));
        assert!(!seen.contains(&id(998_999), start));
    }

    #[test]
    fn what_is_removed_is_new_again_and_leaves_nothing_behind() {
        let start = start();
        let mut seen = SeenCache::new(Duration::from_secs(120), 10);
        for _ in 0..1000 {
            assert!(seen.insert(&id(1), start));
            assert!(seen.remove(&id(1)));
        }
        assert!(seen.order.len() <= 10);
        assert!(seen.insert(&id(1), start));
        seen.expire(start + Duration::from_secs(120));
        assert!(seen.is_empty() && seen.order.is_empty());
    }
}
