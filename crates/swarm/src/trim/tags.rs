//! What peers are worth. Pure: no clock, no I/O.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use peerkit_core::PeerId;

/// The name of a tag or of a protection.
pub(crate) type Name = Cow<'static, str>;

/// Tags and protections of peers; bounded.
#[derive(Debug)]
pub(crate) struct Tags {
    peers: BTreeMap<PeerId, OfPeer>,
    peers_max: usize,
}

#[derive(Debug, Default)]
struct OfPeer {
    tags: BTreeMap<Name, Tag>,
    protections: BTreeSet<Name>,
}

/// A weight that may fade away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    pub(crate) weight: i32,
    pub(crate) since: Instant,
    pub(crate) half_life: Option<Duration>,
}

impl Tags {
    pub(crate) fn new(peers_max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            peers_max: peers_max.max(1),
        }
    }

    /// Sets a tag. When a peer has too many, the one that weighs least gives way; when there are too many
    /// peers, the unprotected one that is worth least.
    pub(crate) fn tag(&mut self, peer: PeerId, name: Name, tag: Tag) {
        let now = tag.since;
        self.make_room(&peer, now);
        let tags = &mut self.peers.entry(peer).or_default().tags;
        if tags.len() >= TAGS_MAX && !tags.contains_key(&name) {
            let weakest = tags.iter().min_by_key(|it| it.1.weight_at(now).abs());
            let weakest = weakest.map(|it| it.0.clone());
            weakest.and_then(|name| tags.remove(&name));
        }
        tags.insert(name, tag);
    }

    pub(crate) fn untag(&mut self, peer: &PeerId, name: &str) {
        self.change(peer, |of| _ = of.tags.remove(name));
    }

    pub(crate) fn protect(&mut self, peer: PeerId, name: Name) {
        let of = self.peers.entry(peer).or_default();
        of.protections.insert(name);
    }

    /// True when the peer is still protected under another name.
    pub(crate) fn unprotect(&mut self, peer: &PeerId, name: &str) -> bool {
        self.change(peer, |of| _ = of.protections.remove(name));
        self.is_protected(peer)
    }

    pub(crate) fn is_protected(&self, peer: &PeerId) -> bool {
        let of = self.peers.get(peer);
        of.is_some_and(|of| !of.protections.is_empty())
    }

    /// The sum of the weights.
    pub(crate) fn value(&self, peer: &PeerId, now: Instant) -> i64 {
        self.peers.get(peer).map_or(0, |of| of.value(now))
    }

    fn change(&mut self, peer: &PeerId, change: impl FnOnce(&mut OfPeer)) {
        if let Some(of) = self.peers.get_mut(peer) {
            change(of);
            if of.tags.is_empty() && of.protections.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    fn make_room(&mut self, peer: &PeerId, now: Instant) {
        if self.peers.len() < self.peers_max || self.peers.contains_key(peer) {
            return;
        }
        for of in self.peers.values_mut() {
            of.tags.retain(|_, tag| tag.weight_at(now) != 0);
        }
        self.peers
            .retain(|_, of| !of.tags.is_empty() || !of.protections.is_empty());
        if self.peers.len() < self.peers_max {
            return;
        }
        let unprotected = self.peers.iter().filter(|it| it.1.protections.is_empty());
        let least = unprotected.min_by_key(|it| it.1.value(now)).map(|it| *it.0);
        least.and_then(|least| self.peers.remove(&least));
    }
}

impl OfPeer {
    fn value(&self, now: Instant) -> i64 {
        self.tags.values().map(|tag| tag.weight_at(now)).sum()
    }
}

impl Tag {
    /// Halved in each half-life, evenly in between; whole numbers, so that every machine agrees.
    fn weight_at(&self, now: Instant) -> i64 {
        let weight = i64::from(self.weight);
        let Some(half_life) = self.half_life.filter(|it| !it.is_zero()) else {
            return weight;
        };
        let age = now.saturating_duration_since(self.since).as_nanos();
        let halvings = age / half_life.as_nanos();
        if halvings >= 32 {
            return 0;
        }
        let (from, to) = (weight.abs() >> halvings, weight.abs() >> (halvings + 1));
        // Thousandths are fine enough, and never overflow.
        let part = (age % half_life.as_nanos()).saturating_mul(1000) / half_life.as_nanos();
        let part = i64::try_from(part).unwrap_or(1000);
        weight.signum() * (from - (from - to) * part / 1000)
    }
}

/// Stops a peer's tags from growing when names are made up.
const TAGS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    fn tag(weight: i32, since: Instant) -> Tag {
        Tag {
            weight,
            since,
            half_life: None,
        }
    }

    #[test]
    fn a_peer_is_worth_the_sum_of_its_tags() {
        let (now, peer) = (begin(), PeerId::random());
        let mut tags = Tags::new(10);
        tags.tag(peer, "a".into(), tag(5, now));
        tags.tag(peer, "b".into(), tag(-2, now));
        tags.tag(peer, "a".into(), tag(7, now));
        assert_eq!(tags.value(&peer, now), 5);
        tags.untag(&peer, "a");
        assert_eq!(tags.value(&peer, now), -2);
        tags.untag(&peer, "b");
        assert!(tags.peers.is_empty());
    }

    #[test]
    fn a_tag_with_a_half_life_fades() {
        let now = begin();
        let fading = Tag {
            half_life: Some(Duration::from_secs(10)),
            ..tag(100, now)
        };
        let weights =
            [0, 5, 10, 15, 20, 1000].map(|s| fading.weight_at(now + Duration::from_secs(s)));
        assert_eq!(weights, [100, 75, 50, 38, 25, 0]);
    }

    #[test]
    fn a_peer_is_protected_until_the_last_name_is_gone() {
        let peer = PeerId::random();
        let mut tags = Tags::new(10);
        tags.protect(peer, "a".into());
        tags.protect(peer, "b".into());
        assert!(tags.unprotect(&peer, "a"));
        assert!(!tags.unprotect(&peer, "b"));
        assert!(tags.peers.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_the_protected_stay() {
        let now = begin();
        let mut tags = Tags::new(3);
        let friend = PeerId::random();
        tags.protect(friend, "friend".into());
        let peers: Vec<_> = (0..10).map(|_| PeerId::random()).collect();
        for (weight, peer) in (1..).zip(&peers) {
            tags.tag(*peer, "t".into(), tag(weight, now));
        }
        assert_eq!(tags.peers.len(), 3);
        assert!(tags.is_protected(&friend));
        assert_eq!(tags.value(&peers[9], now), 10);
        for n in 0..1000 {
            tags.tag(friend, format!("made up {n}").into(), tag(n, now));
        }
        assert_eq!(tags.peers[&friend].tags.len(), TAGS_MAX);
    }

    proptest! {
        #[test]
        fn no_tag_ever_grows(weight: i32, half_life: Duration, mut ages: Vec<u32>) {
            let since = begin();
            let tag = Tag { weight, since, half_life: Some(half_life) };
            ages.sort_unstable();
            let weights: Vec<_> = ages
                .iter()
                .map(|age| tag.weight_at(since + Duration::from_millis(u64::from(*age))))
                .collect();
            prop_assert!(weights.is_sorted_by(|a, b| a.abs() >= b.abs()));
            prop_assert!(weights.iter().all(|it| it.signum() * i64::from(weight.signum()) >= 0));
        }
    }
}
