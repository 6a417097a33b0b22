//! What is to happen, by time.

use std::{collections::BTreeMap, net::SocketAddr, task::Waker};

use bytes::Bytes;

use crate::{
    HostId,
    tcp::{ConnectionId, Segment, Side},
};

/// The place of an event: its virtual time in nanoseconds, then the order in which events were made.
pub(crate) type Key = (u64, u64);

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

/// Events by time. Removing one costs as little as adding it, so reset timers leave nothing behind.
#[derive(Default)]
pub(crate) struct Queue {
    events: BTreeMap<Key, Event>,
    made: u64,
    peak: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) -> Key {
        let key = (at, self.made);
        self.made += 1;
        self.events.insert(key, event);
        self.peak = self.peak.max(self.events.len());
        key
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Event> {
        self.events.remove(&key)
    }

    /// The waker of a timer that waits.
    pub(crate) fn waker(&mut self, key: Key) -> Option<&mut Waker> {
        let Some(Event::Wake(waker)) = self.events.get_mut(&key) else {
            return None;
        };
        Some(waker)
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        self.events.first_key_value().map(|(key, _)| key.0)
    }

    pub(crate) fn pop(&mut self) -> Option<(Key, Event)> {
        self.events.pop_first()
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    pub(crate) fn clear(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events).into_values().collect()
    }
}
