//! Peers that do not understand bytes sent ahead of their agreement. Pure: no clock, no I/O.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use peerkit_core::PeerId;

/// Such peers and when they were confused, the oldest first; bounded, and forgotten after a while, since
/// programs are updated.
#[derive(Debug)]
pub(crate) struct CarefulPeers {
    peers: VecDeque<(PeerId, Instant)>,
    keep: Duration,
}

impl CarefulPeers {
    pub(crate) fn new(keep: Duration) -> Self {
        Self {
            peers: VecDeque::new(),
            keep,
        }
    }

    pub(crate) fn remember(&mut self, peer: PeerId, now: Instant) {
        self.peers.retain(|(known, _)| *known != peer);
        self.peers.push_back((peer, now));
        if self.peers.len() > CAREFUL_MAX {
            self.peers.pop_front();
        }
    }

    pub(crate) fn contains(&self, peer: &PeerId, now: Instant) -> bool {
        let found = self.peers.iter().find(|(known, _)| known == peer);
        found.is_some_and(|(_, since)| now.saturating_duration_since(*since) < self.keep)
    }
}

/// How many careful peers are remembered.
const CAREFUL_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn a_peer_is_given_another_chance_after_a_while() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut careful = CarefulPeers::new(Duration::from_secs(60));
        careful.remember(peer, now);
        assert!(careful.contains(&peer, now + Duration::from_secs(59)));
        assert!(!careful.contains(&peer, now + Duration::from_secs(60)));
        careful.remember(peer, now + Duration::from_secs(60));
        assert!(careful.contains(&peer, now + Duration::from_secs(61)));
        for _ in 0..CAREFUL_MAX {
            careful.remember(PeerId::random(), now);
        }
        assert!(!careful.contains(&peer, now));
        assert_eq!(careful.peers.len(), CAREFUL_MAX);
    }
}
