//! What is to happen, by time.

use std::{net::SocketAddr, task::Waker};

use bytes::Bytes;

use crate::{
    HostId,
    tcp::{ConnectionId, Segment, Side},
};

/// An event that waits, or has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    made: u64,
    slot: u32,
}

/// Something that happens at a point in virtual time.
pub(crate) enum Event {
    /// A timer fires, or a link has room again.
    Wake(Waker),
    /// The first packet of a connection arrives.
    Syn(ConnectionId),
    /// The dialer has heard nothing and asks again.
    SynAgain {
        connection: ConnectionId,
        tries: u32,
    },
    /// The listener's agreement arrives.
    SynAck(ConnectionId),
    /// The dialer's knowledge that the listener was connecting itself arrives at the listener; by the
    /// listener's attempt.
    Joined(ConnectionId),
    /// Bytes arrive at this side.
    Segment {
        connection: ConnectionId,
        to: Side,
        segment: Segment,
    },
    /// This side sends again what did not arrive.
    Retransmit {
        connection: ConnectionId,
        from: Side,
    },
    /// This side hears that its bytes were read.
    Credit {
        connection: ConnectionId,
        to: Side,
        bytes: usize,
    },
    /// This side hears that the connection is over.
    Reset { connection: ConnectionId, to: Side },
    /// A box on the way has told this side that it knows no such connection.
    Refused { connection: ConnectionId, to: Side },
    /// Nobody waits any longer for the rest of a closed connection.
    Linger {
        connection: ConnectionId,
        side: Side,
    },
    /// A datagram arrives.
    Datagram {
        from: HostId,
        to: HostId,
        source: SocketAddr,
        target: SocketAddr,
        payload: Bytes,
    },
}

/// Events by time, and at one time in the order in which they were made. Removing one costs as
/// little as adding it, so reset timers leave nothing behind.
#[derive(Default)]
pub(crate) struct Queue {
    /// A heap in which each place has four below it, so that what is compared lies side by side.
    heap: Vec<Entry>,
    /// Where in the heap a slot's entry is; kept apart from the slots, since it changes often.
    places: Vec<u32>,
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
    made: u64,
    peak: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    made: u64,
    slot: u32,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.places.push(0);
            u32::try_from(self.slots.len() - 1).expect("memory ends before the numbers do")
        });
        self.slots[slot as usize] = Some(event);
        let made = self.made;
        self.made += 1;
        self.heap.push(Entry { at, made, slot });
        self.rise(self.heap.len() - 1);
        self.peak = self.peak.max(self.heap.len());
        Key { made, slot }
    }

    /// Takes an event out, unless it has happened.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Event> {
        let place = self.place(key)?;
        self.take(place)
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.take(0)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    pub(crate) fn clear(&mut self) -> Vec<Event> {
        self.heap.clear();
        self.places.clear();
        self.free.clear();
        self.slots.drain(..).flatten().collect()
    }

    /// Where the entry of an event is that still waits.
    fn place(&self, key: Key) -> Option<usize> {
        let place = *self.places.get(key.slot as usize)? as usize;
        let entry = self.heap.get(place)?;
        (entry.slot == key.slot && entry.made == key.made).then_some(place)
    }

    fn take(&mut self, place: usize) -> Option<Event> {
        let last = self.heap.pop()?;
        let taken = if place < self.heap.len() {
            let taken = std::mem::replace(&mut self.heap[place], last);
            let place = self.rise(place);
            self.sink(place);
            taken
        } else {
            last
        };
        self.free.push(taken.slot);
        self.slots[taken.slot as usize].take()
    }

    /// Moves an entry up until it is in order with those above it; returns where it is then.
    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let above = (place - 1) / ARITY;
            if self.heap[above] <= entry {
                break;
            }
            self.put(place, self.heap[above]);
            place = above;
        }
        self.put(place, entry);
        place
    }

    /// Moves an entry down until it is in order with those below it.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while let Some((below, least)) = self.least_below(place) {
            if entry <= least {
                break;
            }
            self.put(place, least);
            place = below;
        }
        self.put(place, entry);
    }

    fn least_below(&self, place: usize) -> Option<(usize, Entry)> {
        let begin = place * ARITY + 1;
        let end = self.heap.len().min(begin + ARITY);
        let below = self.heap.get(begin..end)?.iter().copied();
        (begin..).zip(below).min_by_key(|(_, entry)| *entry)
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.slot as usize] =
            u32::try_from(place).expect("there are no more places than slots");
    }
}

const ARITY: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn event(number: u64) -> Event {
        Event::Syn(number)
    }

    fn number(event: Option<Event>) -> Option<u64> {
        match event {
            Some(Event::Syn(number)) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn a_key_is_worth_nothing_once_its_event_has_happened() {
        let mut queue = Queue::default();
        let first = queue.push(1, event(1));
        assert_eq!(number(queue.pop()), Some(1));
        let second = queue.push(1, event(2));
        assert_eq!(first.slot, second.slot);
        assert!(queue.remove(first).is_none());
        assert_eq!(number(queue.remove(second)), Some(2));
        assert!(queue.remove(second).is_none());
        assert_eq!(queue.next_time(), None);
    }

    proptest! {
        #[test]
        fn events_come_in_the_order_of_an_ordered_map(
            steps in prop::collection::vec((0..4u8, 0..50u64), 0..400),
        ) {
            let (mut queue, mut model, mut keys) = (Queue::default(), BTreeMap::new(), Vec::new());
            for (what, value) in steps {
                match what {
                    0 | 1 => {
                        let made = queue.made();
                        keys.push((value, made, queue.push(value, event(made))));
                        model.insert((value, made), made);
                    }
                    2 if !keys.is_empty() => {
                        let (at, made, key) = keys[value as usize % keys.len()];
                        prop_assert_eq!(number(queue.remove(key)), model.remove(&(at, made)));
                    }
                    _ => {
                        let expected = model.pop_first().map(|(_, made)| made);
                        prop_assert_eq!(number(queue.pop()), expected);
                    }
                }
                let next = model.first_key_value().map(|(key, _)| key.0);
                prop_assert_eq!(queue.next_time(), next);
                prop_assert_eq!(queue.heap.len(), model.len());
            }
            prop_assert_eq!(queue.clear().len(), model.len());
        }
    }
}
