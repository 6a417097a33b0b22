//! Pings: whether the remote is still there, and how far away it is.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    /// The ping that has no answer yet, and when it was sent.
    unanswered: Option<(u32, Instant)>,
    last_ping: Instant,
    last_heard: Instant,
    /// Bytes that were sent since the last answer.
    sent: usize,
    next_value: u32,
    rtt: Option<Duration>,
}

/// The remote has not answered within this time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Silence(pub(crate) Duration);

impl KeepAlive {
    pub(crate) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            unanswered: None,
            last_ping: now,
            last_heard: now,
            sent: 0,
            next_value: 0,
            rtt: None,
        }
    }

    /// Any byte is a sign of life, so a connection on which something happens needs no pings.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// The measured round trip, queues on the way included.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The value of a ping to send if the round trip is not known yet, or has not been measured for long.
    pub(crate) fn measure(&mut self, now: Instant) -> Option<u32> {
        let since = now.saturating_duration_since(self.last_ping);
        let wanted = self.rtt.is_none() || since >= self.interval;
        (wanted && self.unanswered.is_none()).then(|| self.ping(now))
    }

    /// Takes an answer; false when it answers nothing.
    pub(crate) fn pong(&mut self, value: u32, now: Instant) -> bool {
        let Some((expected, sent)) = self.unanswered else {
            return false;
        };
        if value != expected {
            return false;
        }
        self.unanswered = None;
        self.sent = 0;
        let sample = now.saturating_duration_since(sent);
        // Queues only ever add to a sample, so a small one counts at once and a large one slowly.
        self.rtt = Some(match self.rtt {
            Some(rtt) if rtt < sample => (rtt * 7 + sample) / 8,
            Some(_) | None => sample,
        });
        true
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); never, if that is too far away.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.unanswered {
            Some((_, sent)) => sent.max(self.last_heard).checked_add(self.patience()),
            None => self
                .last_ping
                .max(self.last_heard)
                .checked_add(self.interval),
        }
    }

    /// The value of a ping to send, if it is time for one.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<Option<u32>, Silence> {
        if self.deadline().is_none_or(|at| now < at) {
            return Ok(None);
        }
        if self.unanswered.is_some() {
            return Err(Silence(self.patience()));
        }
        Ok(Some(self.ping(now)))
    }

    fn ping(&mut self, now: Instant) -> u32 {
        let value = self.next_value;
        self.next_value = value.wrapping_add(1);
        self.unanswered = Some((value, now));
        self.last_ping = now;
        value
    }

    fn patience(&self) -> Duration {
        if self.sent > BULK {
            self.timeout.saturating_mul(3)
        } else {
            self.timeout
        }
    }
}

/// More than this takes seconds on a slow link, and a ping waits behind it.
const BULK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn keep_alive(now: Instant) -> KeepAlive {
        KeepAlive::new(INTERVAL, TIMEOUT, now)
    }

    #[test]
    fn a_ping_is_sent_after_an_interval_of_silence_and_more_silence_is_an_error() {
        let now = start();
        let mut pings = keep_alive(now);
        assert_eq!(pings.deadline(), Some(now + INTERVAL));
        assert_eq!(pings.handle_timeout(now + INTERVAL), Ok(Some(0)));
        assert_eq!(pings.deadline(), Some(now + INTERVAL + TIMEOUT));
        let end = now + INTERVAL + TIMEOUT;
        assert_eq!(pings.handle_timeout(end), Err(Silence(TIMEOUT)));
    }

    #[test]
    fn any_byte_gives_more_time() {
        let now = start();
        let mut pings = keep_alive(now);
        pings.handle_timeout(now + INTERVAL).unwrap();
        pings.heard(now + INTERVAL + TIMEOUT / 2);
        assert_eq!(pings.handle_timeout(now + INTERVAL + TIMEOUT), Ok(None));
    }

    #[test]
    fn a_remote_that_is_heard_is_not_pinged() {
        let now = start();
        let mut pings = keep_alive(now);
        pings.heard(now + INTERVAL - TIMEOUT);
        assert_eq!(pings.handle_timeout(now + INTERVAL), Ok(None));
        assert_eq!(pings.deadline(), Some(now + INTERVAL * 2 - TIMEOUT));
    }

    #[test]
    fn a_round_trip_that_is_old_is_measured_again() {
        let now = start();
        let mut pings = keep_alive(now);
        let first = pings.measure(now).unwrap();
        pings.pong(first, now + TIMEOUT / 10);
        assert_eq!(pings.measure(now + INTERVAL - TIMEOUT), None);
        assert_eq!(pings.measure(now + INTERVAL), Some(1));
    }

    #[test]
    fn a_bulk_upload_gives_more_time() {
        let now = start();
        let mut pings = keep_alive(now);
        pings.handle_timeout(now + INTERVAL).unwrap();
        pings.sent(BULK + 1);
        assert_eq!(pings.deadline(), Some(now + INTERVAL + TIMEOUT * 3));
    }

    #[test]
    fn the_round_trip_is_the_smallest_that_was_seen_lately() {
        let now = start();
        let ms = Duration::from_millis;
        let mut pings = keep_alive(now);
        let first = pings.measure(now).unwrap();
        assert_eq!(pings.measure(now), None);
        assert!(pings.pong(first, now + ms(80)));
        let second = pings.handle_timeout(now + INTERVAL).unwrap().unwrap();
        assert!(pings.pong(second, now + INTERVAL + ms(160)));
        assert_eq!(pings.rtt(), Some(ms(90)));
        let third = pings.handle_timeout(now + INTERVAL * 2).unwrap().unwrap();
        assert!(pings.pong(third, now + INTERVAL * 2 + ms(50)));
        assert_eq!(pings.rtt(), Some(ms(50)));
    }

    #[test]
    fn answers_that_nobody_asked_for_are_ignored() {
        let now = start();
        let mut pings = keep_alive(now);
        assert!(!pings.pong(0, now));
        let value = pings.measure(now).unwrap();
        assert!(!pings.pong(value.wrapping_add(1), now));
        assert!(pings.pong(value, now));
        assert!(!pings.pong(value, now));
    }

    #[test]
    fn times_that_are_too_long_mean_never() {
        let pings = KeepAlive::new(Duration::MAX, TIMEOUT, start());
        assert_eq!(pings.deadline(), None);
    }
}
