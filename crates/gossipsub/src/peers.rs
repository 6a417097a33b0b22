//! The peers that the router knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Direction, PeerId};
use peerkit_pubsub::Extensions;

use crate::{
    Version,
    idontwant::Refusals,
    keys::{PeerKey, TopicKey},
    score::Counters,
};

/// Peers that are connected, and those that are remembered for what they did.
#[derive(Default)]
pub(crate) struct Peers {
    ids: BTreeMap<PeerId, PeerKey>,
    table: BTreeMap<PeerKey, Peer>,
    /// Connected peers by the address that they share.
    places: BTreeMap<IpAddr, BTreeSet<PeerKey>>,
    /// Those that are gone, by the time at which they are forgotten.
    retained: BTreeSet<(Instant, PeerKey)>,
    next: u64,
    connected: usize,
}

/// One of them.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    /// `None` once it is gone.
    pub(crate) link: Option<Link>,
    /// It gets everything, by configuration.
    pub(crate) direct: bool,
    pub(crate) topics: BTreeSet<TopicKey>,
    pub(crate) counters: Counters,
    pub(crate) refusals: Refusals,
    pub(crate) meters: Meters,
    pub(crate) greeting: Greeting,
    /// Its part in the partial messages of its topics.
    #[cfg(feature = "partial-messages")]
    pub(crate) partial: BTreeMap<TopicKey, crate::PartialMode>,
    /// The end of its longest backoff.
    pub(crate) backoff_until: Option<Instant>,
    /// Its peer record in a signed envelope, to recommend it with.
    pub(crate) record: Option<Bytes>,
    forgotten_at: Option<Instant>,
}

/// The way to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) version: Version,
    pub(crate) direction: Direction,
    /// The address, or network, that counts as one place; none if it may have any number of peers.
    pub(crate) place: Option<IpAddr>,
}

/// What a peer has used up of its allowance in this heartbeat.
#[derive(Clone, Copy, Default)]
pub(crate) struct Meters {
    pub(crate) ihave_messages: usize,
    pub(crate) ihave_ids: usize,
    pub(crate) iwant_messages: usize,
    pub(crate) idontwant_messages: usize,
}

/// What was said about extensions.
#[derive(Clone, Copy, Default)]
pub(crate) struct Greeting {
    /// A stream has begun, and its first RPC is to come.
    pub(crate) expected: bool,
    /// The peer's extensions, as it named them in the first RPC of its last stream.
    pub(crate) extensions: Extensions,
}

impl Peer {
    fn new(id: PeerId, direct: bool) -> Self {
        Self {
            id,
            link: None,
            direct,
            topics: BTreeSet::new(),
            counters: Counters::default(),
            refusals: Refusals::default(),
            meters: Meters::default(),
            greeting: Greeting::default(),
            #[cfg(feature = "partial-messages")]
            partial: BTreeMap::new(),
            backoff_until: None,
            record: None,
            forgotten_at: None,
        }
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.link.map(|link| link.version)
    }

    /// Whether it may be in a mesh at all.
    pub(crate) fn can_mesh(&self) -> bool {
        !self.direct && self.version().is_some_and(Version::has_mesh)
    }

    pub(crate) fn is_outbound(&self) -> bool {
        self.link
            .is_some_and(|link| link.direction == Direction::Outbound)
    }
}

impl Peers {
    pub(crate) fn key(&self, id: &PeerId) -> Option<PeerKey> {
        self.ids.get(id).copied()
    }

    /// The key of a peer that is connected.
    pub(crate) fn connected_key(&self, id: &PeerId) -> Option<PeerKey> {
        let key = self.key(id)?;
        self.get(key)?.link.map(|_| key)
    }

    pub(crate) fn get(&self, key: PeerKey) -> Option<&Peer> {
        self.table.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.table.get_mut(&key)
    }

    /// All of them, in the order in which they were first met.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.table.iter().map(|(key, peer)| (*key, peer))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut Peer)> {
        self.table.iter_mut().map(|(key, peer)| (*key, peer))
    }

    /// Those that are connected.
    pub(crate) fn connected(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.iter().filter(|(_, peer)| peer.link.is_some())
    }

    pub(crate) fn connected_count(&self) -> usize {
        self.connected
    }

    pub(crate) fn retained_count(&self) -> usize {
        self.retained.len()
    }

    /// Peers at the same place as this one, itself included; 0 if places don't count for it.
    pub(crate) fn colocated(&self, key: PeerKey) -> usize {
        let place = self.get(key).and_then(|peer| peer.link?.place);
        place
            .and_then(|place| self.places.get(&place))
            .map_or(0, BTreeSet::len)
    }

    /// A peer is there, perhaps again.
    pub(crate) fn connect(&mut self, id: PeerId, link: Link, direct: bool) -> PeerKey {
        let key = self.key(&id).unwrap_or_else(|| self.create(id, direct));
        let Some(peer) = self.table.get_mut(&key) else {
            return key;
        };
        if let Some(forgotten_at) = peer.forgotten_at.take() {
            self.retained.remove(&(forgotten_at, key));
        }
        peer.link = Some(link);
        self.connected += 1;
        self.enter_place(link.place, key);
        key
    }

    /// A peer is gone. Its record stays until [`retain`](Self::retain) or [`forget`](Self::forget).
    pub(crate) fn disconnect(&mut self, key: PeerKey) {
        let Some(link) = self.table.get_mut(&key).and_then(|peer| peer.link.take()) else {
            return;
        };
        self.connected -= 1;
        self.leave_place(link.place, key);
        if let Some(peer) = self.table.get_mut(&key) {
            peer.topics.clear();
            peer.refusals = Refusals::default();
            peer.greeting = Greeting::default();
            peer.record = None;
            peer.counters.disconnect();
        }
    }

    /// Remembers a peer that is gone until a time. Returns one that has to be forgotten for it.
    pub(crate) fn retain(&mut self, key: PeerKey, until: Instant, max: usize) -> Option<PeerKey> {
        let peer = self.table.get_mut(&key)?;
        peer.forgotten_at = Some(until);
        self.retained.insert((until, key));
        if self.retained.len() <= max {
            return None;
        }
        self.retained.first().map(|(_, key)| *key)
    }

    /// The next peer whose time is over.
    pub(crate) fn poll_expired(&self, now: Instant) -> Option<PeerKey> {
        self.retained
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, key)| *key)
    }

    /// Forgets a peer that is gone.
    pub(crate) fn forget(&mut self, key: PeerKey) {
        if let Some(peer) = self.table.remove(&key) {
            self.ids.remove(&peer.id);
            if let Some(until) = peer.forgotten_at {
                self.retained.remove(&(until, key));
            }
        }
    }

    /// Notes that nobody grafts this peer until then in some topic.
    pub(crate) fn note_backoff(&mut self, key: PeerKey, until: Instant) {
        if let Some(peer) = self.table.get_mut(&key) {
            peer.backoff_until = peer.backoff_until.max(Some(until));
        }
    }

    fn create(&mut self, id: PeerId, direct: bool) -> PeerKey {
        let key = PeerKey(self.next);
        self.next += 1;
        self.ids.insert(id, key);
        self.table.insert(key, Peer::new(id, direct));
        key
    }

    fn enter_place(&mut self, place: Option<IpAddr>, key: PeerKey) {
        if let Some(place) = place {
            self.places.entry(place).or_default().insert(key);
            self.place_changed(place);
        }
    }

    fn leave_place(&mut self, place: Option<IpAddr>, key: PeerKey) {
        let Some(place) = place else {
            return;
        };
        if let Some(peers) = self.places.get_mut(&place) {
            peers.remove(&key);
        }
        self.place_changed(place);
    }

    fn place_changed(&mut self, place: IpAddr) {
        let Some(peers) = self.places.get(&place) else {
            return;
        };
        for key in peers {
            if let Some(peer) = self.table.get_mut(key) {
                peer.counters.neighbours_changed();
            }
        }
        if peers.is_empty() {
            self.places.remove(&place);
        }
    }
}

/// The place that an address belongs to: itself, or its network of 64 bits, which is what one
/// subscriber gets.
pub(crate) fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Until when a peer that goes now is remembered: while a backoff or a bad score says something about it.
pub(crate) fn remembered_until(
    peer: &Peer,
    score: f64,
    retain: Duration,
    now: Instant,
) -> Option<Instant> {
    let backoff = peer.backoff_until.filter(|until| *until > now);
    let bad = (score < 0.0).then(|| now + retain);
    backoff.max(bad)
}
