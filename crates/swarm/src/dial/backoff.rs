//! Leaving peers alone that could not be reached. Pure: no clock, no I/O.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peerkit_core::PeerId;

use crate::{DialAttempt, DialConfig};

/// The back-off of every peer that failed lately; bounded.
#[derive(Debug)]
pub(crate) struct Backoff {
    peers: BTreeMap<PeerId, Pause>,
    min: Duration,
    max: Duration,
}

#[derive(Debug)]
struct Pause {
    since: Instant,
    length: Duration,
    attempts: Arc<[DialAttempt]>,
}

impl Backoff {
    pub(crate) fn new(config: &DialConfig) -> Self {
        Self {
            peers: BTreeMap::new(),
            min: config.backoff_min,
            max: config.backoff_max,
        }
    }

    /// How long the peer is still left alone, and what went wrong the last time.
    pub(crate) fn remaining(
        &self,
        peer: &PeerId,
        now: Instant,
    ) -> Option<(Duration, Arc<[DialAttempt]>)> {
        let pause = self.peers.get(peer)?;
        let left = pause.length.saturating_sub(pause.age(now));
        (!left.is_zero()).then(|| (left, pause.attempts.clone()))
    }

    pub(crate) fn failed(&mut self, peer: PeerId, attempts: Arc<[DialAttempt]>, now: Instant) {
        // A pause counts as the previous one for as long again as it lasted.
        self.peers
            .retain(|_, pause| pause.age(now) < pause.length.saturating_mul(2));
        let previous = self.peers.remove(&peer);
        let length = previous.map_or(self.min, |pause| {
            pause.length.saturating_mul(2).min(self.max)
        });
        self.make_room();
        let pause = Pause {
            since: now,
            length,
            attempts,
        };
        self.peers.insert(peer, pause);
    }

    /// The oldest pause gives way, whoever it is for.
    fn make_room(&mut self) {
        if self.peers.len() < PAUSES_MAX {
            return;
        }
        let oldest = self.peers.iter().min_by_key(|(_, pause)| pause.since);
        if let Some(peer) = oldest.map(|(peer, _)| *peer) {
            self.peers.remove(&peer);
        }
    }

    pub(crate) fn succeeded(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }
}

impl Pause {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// Stops a table that grows with every peer that can't be reached.
const PAUSES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn pauses_double_up_to_the_maximum_and_end_with_a_success() {
        let config = DialConfig {
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(3),
            ..DialConfig::default()
        };
        let mut backoff = Backoff::new(&config);
        let peer = PeerId::random();
        let mut now = Instant::now();
        for expected in [1, 2, 3, 3] {
            backoff.failed(peer, Arc::new([]), now);
            let (left, _) = backoff.remaining(&peer, now).unwrap();
            assert_eq!(left, Duration::from_secs(expected));
            now += left;
            assert!(backoff.remaining(&peer, now).is_none());
        }
        backoff.failed(peer, Arc::new([]), now);
        backoff.succeeded(&peer);
        assert!(backoff.remaining(&peer, now).is_none());
    }
}
