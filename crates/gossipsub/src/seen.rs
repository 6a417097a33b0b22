//! Messages that were seen.
//!
//! ```text
//!             first copy              accepted
//!   unknown ------------> Validating ----------> Delivered
//!                          |  ^  |     ignored
//!                 rejected |  |  +-------------> Ignored
//!                          v  | another content
//!                        Rejected
//! ```
//!
//! Who rejects a message has judged one content, not the id: the id of an honest author's next message can
//! be guessed, and who sends rubbish under it must not get the real one dropped as a duplicate. So a
//! rejected id stays open for every other content.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use peerkit_pubsub::{Message, MessageId};

use crate::keys::{PeerKey, Tag, TagMap, TopicKey};

/// What became of a message so far.
pub(crate) enum Known {
    /// Somebody has to say whether it is valid.
    Validating(Box<Validating>),
    /// It was valid.
    Delivered { at: Instant, topic: TopicKey },
    /// It was neither valid nor anybody's fault.
    Ignored,
    /// The content with this tag was invalid.
    Rejected(Tag),
}

/// A message that waits for a verdict.
pub(crate) struct Validating {
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
    pub(crate) topic: TopicKey,
    pub(crate) source: PeerKey,
    /// Others who have sent the same since.
    pub(crate) also: Vec<PeerKey>,
    /// Others who have sent something else under the same id since.
    pub(crate) rivals: VecDeque<(PeerKey, Arc<Message>)>,
}

/// All of them, for a time and up to a number.
pub(crate) struct Seen {
    known: TagMap<Entry>,
    order: VecDeque<(Instant, Tag)>,
    ttl: Duration,
    max: usize,
    validating: usize,
    validating_bytes: usize,
}

struct Entry {
    state: Known,
    expires: Instant,
}

impl Validating {
    /// The bytes of all contents that it holds.
    fn bytes(&self) -> usize {
        let rivals = self.rivals.iter().map(|(_, message)| message);
        rivals
            .chain([&self.message])
            .map(|message| crate::history::size(message))
            .sum()
    }
}

impl Seen {
    pub(crate) fn new(ttl: Duration, max: usize) -> Self {
        Self {
            known: TagMap::default(),
            order: VecDeque::new(),
            ttl,
            max,
            validating: 0,
            validating_bytes: 0,
        }
    }

    pub(crate) fn get(&self, tag: Tag) -> Option<&Known> {
        self.known.get(&tag).map(|entry| &entry.state)
    }

    pub(crate) fn get_validating(&mut self, tag: Tag) -> Option<&mut Validating> {
        match &mut self.known.get_mut(&tag)?.state {
            Known::Validating(validating) => Some(validating),
            Known::Delivered { .. } | Known::Ignored | Known::Rejected(_) => None,
        }
    }

    /// Whether there is no need for another copy.
    pub(crate) fn is_settled(&self, tag: Tag) -> bool {
        match self.get(tag) {
            Some(Known::Validating(_) | Known::Delivered { .. } | Known::Ignored) => true,
            Some(Known::Rejected(_)) | None => false,
        }
    }

    /// Sets what became of a message; returns what was there about it. The time for which it is known
    /// counts from the first copy, those left out that were invalid.
    pub(crate) fn set(&mut self, tag: Tag, state: Known, now: Instant) -> Option<Known> {
        self.count(&state, 1);
        let mut expires = now + self.ttl;
        let old = self.known.remove(&tag);
        match &old {
            Some(old) if !matches!(old.state, Known::Rejected(_)) => expires = old.expires,
            _ => self.order.push_back((expires, tag)),
        }
        self.known.insert(tag, Entry { state, expires });
        self.make_room();
        let old = old?.state;
        self.count(&old, -1);
        Some(old)
    }

    /// Takes the message that waits for a verdict, and leaves what became of it.
    pub(crate) fn settle(
        &mut self,
        tag: Tag,
        state: Known,
        now: Instant,
    ) -> Option<Box<Validating>> {
        self.get_validating(tag)?;
        match self.set(tag, state, now)? {
            Known::Validating(validating) => Some(validating),
            Known::Delivered { .. } | Known::Ignored | Known::Rejected(_) => None,
        }
    }

    /// Holds another content while the first is validated.
    pub(crate) fn add_rival(&mut self, tag: Tag, peer: PeerKey, message: Arc<Message>) {
        let bytes = crate::history::size(&message);
        if let Some(validating) = self.get_validating(tag) {
            validating.rivals.push_back((peer, message));
            self.validating_bytes += bytes;
        }
    }

    /// Forgets what is old.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((expires, tag)) = self.order.front().copied() {
            if expires > now {
                return;
            }
            self.order.pop_front();
            self.forget(tag, expires);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn validating(&self) -> usize {
        self.validating
    }

    pub(crate) fn validating_bytes(&self) -> usize {
        self.validating_bytes
    }

    /// The oldest go when there are too many, but not those that wait for a verdict: there are fewer of
    /// them than of all.
    fn make_room(&mut self) {
        let mut tries = self.order.len();
        while self.order.len() > self.max && tries > 0 {
            tries -= 1;
            let Some((expires, tag)) = self.order.pop_front() else {
                return;
            };
            if self.is_waiting(tag, expires) {
                self.order.push_back((expires, tag));
            } else {
                self.forget(tag, expires);
            }
        }
    }

    fn is_waiting(&self, tag: Tag, expires: Instant) -> bool {
        let entry = self
            .known
            .get(&tag)
            .filter(|entry| entry.expires == expires);
        entry.is_some_and(|entry| matches!(entry.state, Known::Validating(_)))
    }

    /// Forgets a message, unless it is known anew since.
    fn forget(&mut self, tag: Tag, expires: Instant) {
        if self
            .known
            .get(&tag)
            .is_some_and(|entry| entry.expires == expires)
            && let Some(entry) = self.known.remove(&tag)
        {
            self.count(&entry.state, -1);
        }
    }

    fn count(&mut self, state: &Known, by: isize) {
        if let Known::Validating(validating) = state {
            self.validating = self.validating.wrapping_add_signed(by);
            let bytes = validating.bytes() as isize * by;
            self.validating_bytes = self.validating_bytes.wrapping_add_signed(bytes);
        }
    }
}
