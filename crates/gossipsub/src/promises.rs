//! What peers were asked for after they had offered it.

use std::{collections::VecDeque, time::Instant};

use crate::keys::{PeerKey, Tag};

/// One message out of each request; it has to come, from anybody, before its time is up.
///
/// Bounded by what limits requests: the IHAVE messages of a peer in the follow-up time.
#[derive(Default)]
pub(crate) struct Promises {
    /// In the order of their times.
    open: VecDeque<(Instant, Tag, PeerKey)>,
}

impl Promises {
    pub(crate) fn add(&mut self, tag: Tag, peer: PeerKey, due: Instant) {
        if !self.open.iter().any(|(_, t, p)| (*t, *p) == (tag, peer)) {
            self.open.push_back((due, tag, peer));
        }
    }

    /// Who has promised a message.
    pub(crate) fn of(&self, tag: Tag) -> impl Iterator<Item = PeerKey> {
        let made = self.open.iter().filter(move |(_, t, _)| *t == tag);
        made.map(|(_, _, peer)| *peer)
    }

    /// A peer was not asked after all.
    pub(crate) fn cancel(&mut self, tag: Tag, peer: PeerKey) {
        self.open.retain(|(_, t, p)| (*t, *p) != (tag, peer));
    }

    /// The next promise whose time is up, kept or broken.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<(Tag, PeerKey)> {
        self.open.front().filter(|(due, ..)| *due <= now)?;
        let (_, tag, peer) = self.open.pop_front()?;
        Some((tag, peer))
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{keys::Tagger, testing::start};

    #[test]
    fn promises_are_due_once_each_in_the_order_of_their_times() {
        let tagger = Tagger::new(&mut StdRng::from_seed([0; 32]));
        let (one, two) = (tagger.tag(b"one"), tagger.tag(b"two"));
        let mut promises = Promises::default();
        let due = start() + Duration::from_secs(3);
        promises.add(one, PeerKey(1), due);
        promises.add(one, PeerKey(1), due + Duration::from_secs(1));
        promises.add(one, PeerKey(2), due);
        promises.add(two, PeerKey(3), due + Duration::from_secs(1));
        promises.cancel(one, PeerKey(2));
        assert_eq!(promises.of(one).collect::<Vec<_>>(), [PeerKey(1)]);
        assert_eq!(promises.poll_due(due - Duration::from_nanos(1)), None);
        assert_eq!(promises.poll_due(due), Some((one, PeerKey(1))));
        assert_eq!(promises.poll_due(due), None);
        assert_eq!(
            promises.poll_due(due + Duration::from_secs(9)),
            Some((two, PeerKey(3)))
        );
        assert_eq!(promises.len(), 0);
    }
}
