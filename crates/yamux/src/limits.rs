//! Counters that never go beyond a limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{Config, RateLimit};

/// Counts what the remote does too often.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: RateLimit,
    since: Instant,
    used: u32,
}

impl Meter {
    pub(crate) fn new(limit: RateLimit, now: Instant) -> Self {
        Self {
            limit,
            since: now,
            used: 0,
        }
    }

    /// Counts one; false when that is one too many.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= self.limit.per {
            self.since = now;
            self.used = 0;
        }
        let allowed = self.used < self.limit.count;
        self.used = self.used.saturating_add(1);
        allowed
    }
}

/// A supply that streams share.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    free: usize,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, free: size }
    }

    /// Takes `wanted`, or what there is.
    pub(crate) fn take_up_to(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.free);
        self.free -= taken;
        taken
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, count: usize) {
        self.free += count;
        assert!(self.free <= self.size, "more was given back than taken");
    }

    pub(crate) fn used(&self) -> usize {
        self.size - self.free
    }
}

/// By how much the windows of a session may grow: first out of its own, then out of what it
/// shares with other sessions.
#[derive(Debug)]
pub(crate) struct Growth {
    own: Pool,
    /// The most that may be borrowed, and what is.
    borrowed: Pool,
    reserve: Reserve,
}

impl Growth {
    pub(crate) fn new(config: &Config, reserve: Reserve) -> Self {
        let own = config.window_growth_own.min(config.window_growth_max);
        Self {
            own: Pool::new(own),
            borrowed: Pool::new(config.window_growth_max - own),
            reserve,
        }
    }

    /// Takes `wanted`, or what there is.
    pub(crate) fn take_up_to(&mut self, wanted: usize) -> usize {
        let own = self.own.take_up_to(wanted);
        let more = self.borrowed.take_up_to(wanted - own);
        let borrowed = self.reserve.take_up_to(more);
        self.borrowed.give(more - borrowed);
        own + borrowed
    }

    /// Gives back what was taken; what was borrowed first.
    pub(crate) fn give(&mut self, count: usize) {
        let borrowed = count.min(self.borrowed.used());
        self.borrowed.give(borrowed);
        self.reserve.give(borrowed);
        self.own.give(count - borrowed);
    }

    pub(crate) fn used(&self) -> usize {
        self.own.used() + self.borrowed.used()
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.reserve.give(self.borrowed.used());
    }
}

/// What sessions share: bytes that none of them has taken.
#[derive(Clone, Debug)]
pub(crate) struct Reserve(Arc<AtomicUsize>);

impl Reserve {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Arc::new(AtomicUsize::new(config.window_growth_shared_max)))
    }

    fn take_up_to(&self, wanted: usize) -> usize {
        let left = |free: usize| Some(free.saturating_sub(wanted));
        let free = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        free.unwrap_or_default().min(wanted)
    }

    fn give(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::start;

    #[test]
    fn a_meter_allows_its_count_in_each_window_of_time() {
        let now = start();
        let limit = RateLimit {
            count: 2,
            per: Duration::from_secs(1),
        };
        let mut meter = Meter::new(limit, now);
        assert!(meter.spend(now));
        assert!(meter.spend(now));
        assert!(!meter.spend(now + Duration::from_millis(999)));
        assert!(meter.spend(now + Duration::from_secs(1)));
    }

    fn config(own: usize, max: usize, shared: usize) -> Config {
        Config {
            window_growth_own: own,
            window_growth_max: max,
            window_growth_shared_max: shared,
            ..Config::default()
        }
    }

    #[test]
    fn sessions_borrow_what_goes_beyond_their_own_and_give_it_back() {
        let config = config(10, 30, 25);
        let reserve = Reserve::new(&config);
        let mut first = Growth::new(&config, reserve.clone());
        let mut second = Growth::new(&config, reserve.clone());
        assert_eq!(first.take_up_to(100), 30, "the most that one may have");
        assert_eq!(second.take_up_to(100), 15, "its own and what is left");
        assert_eq!(second.take_up_to(1), 0);
        first.give(4);
        assert_eq!((first.used(), second.used()), (26, 15));
        assert_eq!(second.take_up_to(100), 4);
        drop(first);
        assert_eq!(second.take_up_to(100), 11);
        second.give(30);
        drop(second);
        assert_eq!(reserve.take_up_to(100), 25);
    }

    #[test]
    fn a_session_never_has_more_than_it_may_whatever_its_own_is_said_to_be() {
        let config = config(100, 7, 1000);
        let mut growth = Growth::new(&config, Reserve::new(&config));
        assert_eq!(growth.take_up_to(50), 7);
        growth.give(7);
        assert_eq!(growth.used(), 0);
    }

    #[test]
    fn a_pool_gives_what_it_has() {
        let mut pool = Pool::new(10);
        assert_eq!(pool.take_up_to(7), 7);
        assert_eq!(pool.take_up_to(7), 3);
        assert_eq!(pool.take_up_to(7), 0);
        pool.give(10);
        assert_eq!(pool.used(), 0);
    }
}
