//! Counters that never go beyond a limit.

use std::time::Instant;

use crate::RateLimit;

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
