//! How much a slow peer may slow down this node's own publishing.

use std::time::{Duration, Instant};

/// A budget of waiting, so that one peer which is slower than the others costs them next to nothing, and
/// a peer that is slow for a moment loses nothing.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    /// What was waited beyond what was left: timers are no exact clocks.
    debt: Duration,
    at: Instant,
}

/// The most that can be saved up.
const SAVED_MAX: Duration = Duration::from_millis(50);
/// Less is not worth a timer.
const USEFUL_MIN: Duration = Duration::from_millis(10);
/// One part in so many of the time comes back.
const SHARE: u32 = 25;

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: SAVED_MAX,
            debt: Duration::ZERO,
            at: now,
        }
    }

    /// How long to wait at most.
    pub(crate) fn left(&mut self, now: Instant) -> Duration {
        self.refill(now);
        if self.left < USEFUL_MIN {
            return Duration::ZERO;
        }
        self.left
    }

    /// So long was waited.
    pub(crate) fn spend(&mut self, waited: Duration, now: Instant) {
        self.refill(now);
        self.debt += waited.saturating_sub(self.left);
        self.left = self.left.saturating_sub(waited);
    }

    fn refill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.at) / SHARE;
        self.at = self.at.max(now);
        let paid = earned.min(self.debt);
        self.debt -= paid;
        self.left = self.left.saturating_add(earned - paid).min(SAVED_MAX);
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
    fn waiting_is_limited_to_a_small_share_of_the_time() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let (mut now, mut waited) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(100) {
            let wait = patience.left(now);
            // Timers fire late.
            let wait = wait + Duration::from_millis(u64::from(!wait.is_zero()));
            now += wait;
            patience.spend(wait, now);
            waited += wait;
            now += Duration::from_millis(10);
        }
        assert!(waited > Duration::from_secs(3), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    }
}
