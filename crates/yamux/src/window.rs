//! The receive window of one stream, and how it grows.
//!
//! A window is split three ways, always without a rest:
//!
//! ```text
//! |<------------------------------- size ------------------------------>|
//! | credit: the remote may send it | unread: it has sent it | to be granted |
//! ```
//!
//! Bytes move from left to right: `take` when a frame begins, `consume` when the
//! application reads, and back to the left with `grant`. So never more is buffered than
//! the size, whatever the remote does, and only reading makes room.

use std::time::{Duration, Instant};

use crate::{config::INITIAL_WINDOW, limits::Growth};

#[derive(Debug)]
pub(crate) struct Window {
    size: u32,
    credit: u32,
    unread: u32,
    /// When it last opened, which tells how fast the application reads.
    opened: Instant,
}

/// The remote has sent more than it was allowed to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Window {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            size: INITIAL_WINDOW,
            credit: INITIAL_WINDOW,
            unread: 0,
            opened: now,
        }
    }

    /// The remote sends a frame with so many bytes.
    pub(crate) fn take(&mut self, length: u32) -> Result<(), Overrun> {
        self.credit = self.credit.checked_sub(length).ok_or(Overrun)?;
        self.unread += length;
        Ok(())
    }

    /// The application has read so many bytes.
    pub(crate) fn consume(&mut self, length: usize) {
        let length = u32::try_from(length).expect("no more is read than a window holds");
        assert!(length <= self.unread, "more was read than received");
        self.unread -= length;
    }

    /// Whether at least half of the window is to be granted, so that an update is worth a frame.
    pub(crate) fn is_due(&self) -> bool {
        self.to_be_granted() >= self.size / 2
    }

    /// Doubles the window, as far as `max` and `pool` allow, when the application has read half
    /// of it in less than a few round trips: then the window holds the remote back.
    ///
    /// To be called when an update is due.
    pub(crate) fn tune(&mut self, now: Instant, rtt: Duration, max: u32, pool: &mut Growth) {
        let elapsed = now.saturating_duration_since(self.opened);
        self.opened = now;
        if elapsed < rtt.saturating_mul(FAST_ROUND_TRIPS) {
            let wanted = self.size.saturating_mul(2).min(max) - self.size;
            let grown = pool.take_up_to(wanted as usize);
            self.size += u32::try_from(grown).expect("the pool gives no more than wanted");
        }
    }

    /// Opens the window again; the remote has to be told by how much.
    pub(crate) fn grant(&mut self) -> u32 {
        let delta = self.to_be_granted();
        self.credit += delta;
        delta
    }

    /// What was taken from the pool.
    pub(crate) fn growth(&self) -> usize {
        (self.size - INITIAL_WINDOW) as usize
    }

    fn to_be_granted(&self) -> u32 {
        self.size - self.credit - self.unread
    }
}

/// Updates that follow each other within so many round trips show a window that is too small.
const FAST_ROUND_TRIPS: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Config, limits::Reserve, testing::start};

    const MAX: u32 = 16 * 1024 * 1024;
    const RTT: Duration = Duration::from_millis(100);

    fn pool(size: usize) -> Growth {
        let config = Config {
            window_growth_max: size,
            ..Config::default()
        };
        Growth::new(&config, Reserve::new(&config))
    }

    /// Half a window comes and is read, then the update is sent.
    fn read_half(window: &mut Window) {
        let half = window.size / 2;
        window.take(half).unwrap();
        window.consume(half as usize);
        assert!(window.is_due());
    }

    #[test]
    fn data_beyond_the_window_is_an_overrun() {
        let mut window = Window::new(start());
        window.take(INITIAL_WINDOW - 1).unwrap();
        assert_eq!(window.take(2), Err(Overrun));
        window.take(1).unwrap();
        assert_eq!(window.take(1), Err(Overrun));
    }

    #[test]
    fn only_reading_opens_the_window() {
        let mut window = Window::new(start());
        window.take(INITIAL_WINDOW).unwrap();
        assert!(!window.is_due());
        window.consume(INITIAL_WINDOW as usize / 2 - 1);
        assert!(!window.is_due());
        window.consume(1);
        assert!(window.is_due());
        assert_eq!(window.grant(), INITIAL_WINDOW / 2);
        assert!(!window.is_due());
    }

    #[test]
    fn a_fast_reader_gets_a_window_twice_as_large() {
        let now = start();
        let mut pool = pool(MAX as usize);
        let mut window = Window::new(now);
        read_half(&mut window);
        window.tune(now + RTT * 3, RTT, MAX, &mut pool);
        assert_eq!(window.grant(), INITIAL_WINDOW / 2 + INITIAL_WINDOW);
        assert_eq!(pool.used(), INITIAL_WINDOW as usize);
    }

    #[test]
    fn a_slow_reader_keeps_its_window() {
        let now = start();
        let mut pool = pool(MAX as usize);
        let mut window = Window::new(now);
        read_half(&mut window);
        window.tune(now + RTT * 4, RTT, MAX, &mut pool);
        assert_eq!(window.grant(), INITIAL_WINDOW / 2);
    }

    #[test]
    fn growth_ends_at_the_maximum_and_with_the_pool() {
        let now = start();
        let mut pool = pool(5 * INITIAL_WINDOW as usize);
        let mut first = Window::new(now);
        let mut second = Window::new(now);
        for _ in 0..10 {
            read_half(&mut first);
            first.tune(now, RTT, 4 * INITIAL_WINDOW, &mut pool);
            first.grant();
        }
        assert_eq!(first.size, 4 * INITIAL_WINDOW);
        for _ in 0..10 {
            read_half(&mut second);
            second.tune(now, RTT, MAX, &mut pool);
            second.grant();
        }
        assert_eq!(second.size, 3 * INITIAL_WINDOW);
        assert_eq!(first.growth() + second.growth(), pool.used());
    }

    proptest! {
        #[test]
        fn the_remote_never_holds_more_credit_than_there_is_room(
            steps in proptest::collection::vec((0..3_u8, 0..400_000_u32), 1..200),
        ) {
            let now = start();
            let mut pool = pool(1024 * 1024);
            let mut window = Window::new(now);
            for (what, amount) in steps {
                match what {
                    0 => {
                        let allowed = amount <= window.credit;
                        prop_assert_eq!(window.take(amount).is_ok(), allowed);
                    }
                    1 => window.consume(amount.min(window.unread) as usize),
                    _ if window.is_due() => {
                        window.tune(now, RTT, MAX, &mut pool);
                        prop_assert!(window.grant() > 0);
                    }
                    _ => {}
                }
                prop_assert!(window.credit + window.unread <= window.size);
                prop_assert_eq!(window.growth(), pool.used());
            }
        }
    }
}
