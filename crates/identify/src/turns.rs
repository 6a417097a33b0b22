//! One question to a peer at a time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use async_lock::MutexGuardArc;
use peerkit_core::{PeerId, lock};

use crate::Info;

/// js-libp2p takes one identify stream of a connection at a time and resets others.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Whoever asks or waits for its turn holds the peer's lock.
    locks: Mutex<BTreeMap<PeerId, Weak<LastAnswer>>>,
    clock: AtomicU64,
}

type LastAnswer = async_lock::Mutex<Option<Answer>>;

#[derive(Debug)]
struct Answer {
    asked: Tick,
    info: Arc<Info>,
}

/// A moment; there are no two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// The right to ask a peer. Nobody else asks it until this is dropped.
pub(crate) struct Turn {
    last: MutexGuardArc<Option<Answer>>,
    begun: Tick,
}

impl Turns {
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until nobody else asks the peer.
    pub(crate) async fn take(&self, peer: PeerId) -> Turn {
        let last = self.of(peer).lock_arc().await;
        let begun = self.tick();
        Turn { last, begun }
    }

    fn of(&self, peer: PeerId) -> Arc<LastAnswer> {
        let mut locks = lock(&self.locks);
        if let Some(last) = locks.get(&peer).and_then(Weak::upgrade) {
            return last;
        }
        locks.retain(|_, last| last.strong_count() > 0);
        let last = Arc::default();
        locks.insert(peer, Arc::downgrade(&last));
        last
    }
}

impl Turn {
    /// What the peer has answered while this turn was waited for, to a question put after `since`.
    pub(crate) fn answered_since(&self, since: Tick) -> Option<Arc<Info>> {
        let last = self.last.as_ref().filter(|last| last.asked > since)?;
        Some(last.info.clone())
    }

    /// Leaves the answer to those who wait.
    pub(crate) fn end(mut self, info: Arc<Info>) {
        let asked = self.begun;
        *self.last = Some(Answer { asked, info });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_next_one_of_a_peer_waits_and_others_do_not() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let turns = Turns::default();
        let first = turns.take(one).now_or_never();
        assert!(turns.take(other).now_or_never().is_some());
        assert!(turns.take(one).now_or_never().is_none());
        drop(first);
        assert!(turns.take(one).now_or_never().is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_who_are_done() {
        let turns = Turns::default();
        for _ in 0..100 {
            assert!(turns.take(PeerId::random()).now_or_never().is_some());
        }
        assert_eq!(lock(&turns.locks).len(), 1);
    }
}
