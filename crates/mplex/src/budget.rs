//! An allowance that is used up and grows back.

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    burst: u32,
    per_second: u32,
    counted: Instant,
}

impl Budget {
    pub(crate) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self {
            left: burst,
            burst,
            per_second,
            counted: now,
        }
    }

    /// Takes one; false when none is left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.recover(now);
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }

    fn recover(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_nanos();
        let earned = passed.saturating_mul(u128::from(self.per_second)) / NANOS_PER_SECOND;
        // A part of one is not forgotten: the clock stays until it is whole.
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.counted = now;
        }
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn a_used_up_budget_grows_back_to_its_burst() {
        let start = Instant::now();
        let mut budget = Budget::new(3, 2, start);
        let mut take = |ms| budget.take(start + Duration::from_millis(ms));
        assert_eq!(
            [take(0), take(0), take(0), take(0)],
            [true, true, true, false]
        );
        assert_eq!([take(499), take(500), take(501)], [false, true, false]);
        assert_eq!(
            [take(9000), take(9000), take(9000), take(9000)],
            [true, true, true, false]
        );
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn a_budget_of_nothing_gives_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(0, 0, start);
        assert!(!budget.take(start + Duration::from_secs(1_000_000_000)));
    }
}
