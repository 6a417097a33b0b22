//! A token bucket that says how long to wait.

use std::time::{Duration, Instant};

/// How fast a [`Bucket`] fills and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// At least one token, and at least one a second.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            burst: burst.max(1),
        }
    }
}

/// Tokens that come back with time. Only the time of being full is kept: each
/// token that is missing moves it one interval away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes a token, on credit if there is none, and tells how long to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Duration {
        self.full_at = self.full_at.max(now) + rate.interval;
        let missing = self.full_at.duration_since(now);
        missing.saturating_sub(rate.interval.saturating_mul(rate.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn a_burst_is_free_and_then_tokens_come_at_their_rate() {
        let start = Instant::now();
        let rate = Rate::new(3, 10);
        let mut bucket = Bucket::full(start);
        let waits: Vec<_> = (0..5)
            .map(|_| bucket.take(rate, start).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        assert!(!bucket.is_full(start));

        let later = start + Duration::from_secs(60);
        assert!(bucket.is_full(later));
        assert_eq!(bucket.take(rate, later), Duration::ZERO);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn extreme_rates_work() {
        let start = Instant::now();
        for (burst, per_second) in [(0, 0), (u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
            let mut bucket = Bucket::full(start);
            let first = bucket.take(Rate::new(burst, per_second), start);
            assert_eq!(first, Duration::ZERO);
        }
    }
}
