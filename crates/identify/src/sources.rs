//! Who has pushed how often.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use peerkit_core::{ConnectionInfo, PeerId};

use crate::scope::{prefix, public_ip};

/// Where pushes come from, as coarse as one person's addresses usually are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    V4([u8; 3]),
    V6([u8; 7]),
    /// Near or relayed: many honest peers may share the address.
    Peer(PeerId),
}

impl Source {
    pub(crate) fn of(connection: &ConnectionInfo) -> Self {
        match public_ip(&connection.remote_addr) {
            Some(IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            Some(IpAddr::V6(ip)) => Self::V6(prefix(ip)),
            None => Self::Peer(connection.remote_peer),
        }
    }
}

/// Token buckets of all sources. Of each only the time is kept when it will be full again.
#[derive(Debug)]
pub(crate) struct Sources {
    burst: u32,
    interval: Duration,
    full_at: BTreeMap<Source, Instant>,
    /// Full buckets are looked for once in an interval, since that is slow.
    tidied_at: Option<Instant>,
}

/// Sources whose buckets are not full; when there are more, their pushes are refused.
const SOURCES_MAX: usize = 4096;

impl Sources {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst: burst.max(1),
            interval,
            full_at: BTreeMap::new(),
            tidied_at: None,
        }
    }

    /// Takes a token; false if there is none.
    pub(crate) fn admit(&mut self, source: Source, now: Instant) -> bool {
        self.tidy(now);
        let known = self.full_at.get(&source).copied();
        if known.is_none() && self.full_at.len() >= SOURCES_MAX {
            return false;
        }
        let before = known.unwrap_or(now).max(now);
        // An interval beyond all time never comes to its end.
        let Some(full_at) = before.checked_add(self.interval) else {
            return known.is_none();
        };
        if full_at.duration_since(now) > self.interval.saturating_mul(self.burst) {
            return false;
        }
        self.full_at.insert(source, full_at);
        true
    }

    fn tidy(&mut self, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at) < self.interval;
        if self.full_at.len() >= SOURCES_MAX && !self.tidied_at.is_some_and(recently) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.tidied_at = Some(now);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as a beginning"
)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_pushes_too_often_is_refused_and_others_are_not() {
        let start = Instant::now();
        let mut sources = Sources::new(3, Duration::from_secs(5));
        let (one, two) = (Source::V4([1; 3]), Source::V4([2; 3]));
        let admitted = (0..10).filter(|_| sources.admit(one, start)).count();
        assert_eq!(admitted, 3);
        assert!(sources.admit(two, start));
        assert!(!sources.admit(one, start + Duration::from_secs(4)));
        assert!(sources.admit(one, start + Duration::from_secs(5)));
        assert!(!sources.admit(one, start + Duration::from_secs(5)));
    }

    #[test]
    fn there_is_room_for_a_limited_number_of_sources_and_it_comes_back() {
        let start = Instant::now();
        let mut sources = Sources::new(1, Duration::from_secs(5));
        let source = |it: usize| Source::V4([(it >> 16) as u8, (it >> 8) as u8, it as u8]);
        let admitted = (0..10_000).filter(|it| sources.admit(source(*it), start));
        assert_eq!(admitted.count(), SOURCES_MAX);
        assert_eq!(sources.full_at.len(), SOURCES_MAX);
        assert!(sources.admit(source(9999), start + Duration::from_secs(6)));
        assert_eq!(sources.full_at.len(), 1);
    }

    #[test]
    fn extreme_settings_work() {
        let start = Instant::now();
        for interval in [Duration::ZERO, Duration::MAX] {
            for burst in [0, 1, u32::MAX] {
                let mut sources = Sources::new(burst, interval);
                assert!(sources.admit(Source::V4([1; 3]), start));
            }
        }
    }
}
