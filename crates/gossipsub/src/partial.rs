//! Partial messages: messages in parts, of which each peer gets those that it lacks.
//!
//! What a part is, and how parts and what is said about them (their *metadata*: which a peer has and wants) are
//! encoded, is the application's. The router knows *groups*: all parts of one message, under a name that needs no hash.
//!
//! ```text
//!   publish_partial(group) ----> to each peer of the mesh: the parts that it lacks, and
//!        ^                       this node's metadata, unless it was told the same before
//!        | more parts
//!   application <--------------- parts and metadata of peers, in the mesh or not
//! ```
//!
//! Specification: gossipsub 1.3, *partial messages*; the limits are those of go-libp2p-pubsub.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bytes::Bytes;
use peerkit_core::Fault;
use peerkit_pubsub::{Outgoing, Partial, RouterEvent, SubscriptionChange, Topic};
use rand::seq::SliceRandom;

use crate::{
    GossipsubRouter,
    keys::{PeerKey, TopicKey},
};

/// How this node, or a peer, takes part in the partial messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartialMode {
    /// It sends parts to those who want them, and wants whole messages itself.
    Supports,
    /// It wants parts rather than whole messages, and sends them.
    Requests,
}

/// Partial messages: where, and their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialConfig {
    /// The topics in which there are some. Peers are told when this node joins one of them. None by default, and then the
    /// extension is not announced.
    pub topics: BTreeMap<Topic, PartialMode>,
    /// Heartbeats for which a group is remembered after this node has published something of it, or a peer has named it
    /// first. 5 by default.
    pub group_ttl: u64,
    /// Groups of a topic that peers have begun. 255 by default; more are ignored.
    pub groups_max: usize,
    /// Those that one peer has begun. 8 by default.
    pub groups_per_peer_max: usize,
    /// Groups of a topic that this node has published something of. 255 by default.
    pub own_groups_max: usize,
    /// Bytes of a group's name. 256 by default.
    pub group_len_max: usize,
    /// Bytes of metadata, which are remembered for each peer. 1024 by default, as in rust-libp2p.
    pub metadata_len_max: usize,
    /// Bytes of the metadata of all peers and groups. 16 MiB by default; more is ignored.
    pub metadata_bytes_max: usize,
}

impl Default for PartialConfig {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            group_ttl: 5,
            groups_max: 255,
            groups_per_peer_max: 8,
            own_groups_max: 255,
            group_len_max: 256,
            metadata_len_max: 1024,
            metadata_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// A message of which this node has some parts, or all; the application's.
pub trait PartialMessage {
    /// Which parts this node has and wants.
    fn metadata(&self) -> Bytes;

    /// The parts to send to a peer, given the metadata that it has sent last, or what [`Parts::known`] was for it since.
    /// `None` if it lacks nothing that this node has, or what it says makes no sense.
    ///
    /// With a peer that has said nothing yet, returning parts sends them unasked, which saves a round trip.
    fn parts_for(&self, known: Option<&[u8]>) -> Option<Parts>;
}

/// Parts for one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What it is sent.
    pub encoded: Bytes,
    /// Its metadata once it has these.
    pub known: Bytes,
}

/// Why parts are not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartialRefused {
    /// [`PartialConfig::topics`] does not name the topic.
    #[error("the topic is not configured for partial messages")]
    NotPartial,
    /// No peer in the topic's mesh takes part.
    #[error("no peer of the topic takes part in partial messages")]
    NoPeers,
    /// The group's name or the metadata is too long.
    #[error("{len} bytes of a name or metadata are more than {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// [`PartialConfig::own_groups_max`] is reached.
    #[error("{max} groups of the topic are published at the same time already")]
    TooManyGroups {
        /// The limit.
        max: usize,
    },
}

impl PartialRefused {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoPeers => Fault::Network,
            Self::TooManyGroups { .. } => Fault::Limit,
            Self::NotPartial | Self::TooLong { .. } => Fault::Misuse,
        }
    }
}

/// What is remembered of groups.
#[derive(Default)]
pub(crate) struct Groups {
    table: BTreeMap<(TopicKey, Bytes), Group>,
    bytes: usize,
}

#[derive(Default)]
struct Group {
    /// Who has begun it, until this node publishes something of it.
    initiator: Option<PeerKey>,
    expires: u64,
    /// This node's metadata.
    own: Option<Bytes>,
    peers: BTreeMap<PeerKey, GroupPeer>,
}

/// What a peer knows of a group.
#[derive(Default)]
struct GroupPeer {
    /// Its metadata.
    known: Option<Bytes>,
    /// The metadata of this node that it was sent last.
    told: Option<Bytes>,
}

impl Groups {
    fn of(&self, topic: TopicKey) -> impl Iterator<Item = (&Bytes, &Group)> {
        let first = (topic, Bytes::new());
        let rest = self.table.range(first..);
        let all = rest.take_while(move |((key, _), _)| *key == topic);
        all.map(|((_, name), group)| (name, group))
    }

    /// Forgets what is no longer true of a peer that is gone.
    pub(crate) fn disconnect(&mut self, peer: PeerKey) {
        for group in self.table.values_mut() {
            if let Some(known) = group.peers.remove(&peer).and_then(|peer| peer.known) {
                self.bytes -= known.len();
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(TopicKey, &Group) -> bool) {
        let bytes = &mut self.bytes;
        self.table.retain(|(topic, _), group| {
            let keep = keep(*topic, group);
            if !keep {
                let known = group.peers.values().filter_map(|peer| peer.known.as_ref());
                *bytes -= known.map(Bytes::len).sum::<usize>();
            }
            keep
        });
    }

    /// Notes what a peer has and wants; false if there is no room for it.
    fn learn(&mut self, group: (TopicKey, Bytes), peer: PeerKey, known: Bytes, max: usize) -> bool {
        let Some(group) = self.table.get_mut(&group) else {
            return false;
        };
        let peer = group.peers.entry(peer).or_default();
        let before = peer.known.as_ref().map_or(0, Bytes::len);
        let bytes = self.bytes - before + known.len();
        if bytes > max {
            return false;
        }
        self.bytes = bytes;
        // A copy, so that it does not hold on to the frame in which it came.
        peer.known = Some(Bytes::copy_from_slice(&known));
        true
    }
}

impl GossipsubRouter {
    /// Sends the peers of the mesh, and those that have asked, the parts of a message that they lack, and this node's
    /// metadata. Call it again whenever this node has got more parts, and when a peer has sent new metadata
    /// ([`RouterEvent::Partial`]): nobody is sent the same twice. Says how many peers were sent something.
    ///
    /// # Errors
    ///
    /// See [`PartialRefused`].
    pub fn publish_partial(
        &mut self,
        topic: &Topic,
        group: Bytes,
        message: &dyn PartialMessage,
        now: Instant,
    ) -> Result<usize, PartialRefused> {
        let metadata = message.metadata();
        self.check_partial(topic, &group, &metadata)?;
        let key = self.topics.key(topic).ok_or(PartialRefused::NoPeers)?;
        let mut peers: BTreeSet<_> = self.mesh_or_fanout(key, now).into_iter().collect();
        let id = (key, group.clone());
        if let Some(known) = self.groups.table.get(&id) {
            peers.extend(known.peers.keys());
        }
        peers.retain(|peer| self.takes_part(*peer, key));
        if peers.is_empty() {
            return Err(PartialRefused::NoPeers);
        }
        self.own_group(&id, &metadata)?;
        let mut sent = 0;
        for peer in peers {
            sent += usize::from(self.send_parts(&id, peer, message, &metadata));
        }
        Ok(sent)
    }

    fn check_partial(
        &self,
        topic: &Topic,
        group: &Bytes,
        metadata: &Bytes,
    ) -> Result<(), PartialRefused> {
        let config = &self.config.partial;
        if !config.topics.contains_key(topic) {
            return Err(PartialRefused::NotPartial);
        }
        for (bytes, max) in [
            (group, config.group_len_max),
            (metadata, config.metadata_len_max),
        ] {
            let len = bytes.len();
            if len > max {
                return Err(PartialRefused::TooLong { len, max });
            }
        }
        Ok(())
    }

    fn own_group(
        &mut self,
        id: &(TopicKey, Bytes),
        metadata: &Bytes,
    ) -> Result<(), PartialRefused> {
        let max = self.config.partial.own_groups_max;
        let known = self.groups.table.get(id);
        if known.is_none_or(|group| group.own.is_none()) {
            let own = self.groups.of(id.0).filter(|(_, it)| it.own.is_some());
            if own.count() >= max {
                return Err(PartialRefused::TooManyGroups { max });
            }
        }
        let expires = self.ticks + self.config.partial.group_ttl;
        let group = self.groups.table.entry(id.clone()).or_default();
        group.own = Some(metadata.clone());
        group.initiator = None;
        group.expires = expires;
        Ok(())
    }

    /// Sends one peer what is new to it; false if nothing is.
    fn send_parts(
        &mut self,
        id: &(TopicKey, Bytes),
        key: PeerKey,
        message: &dyn PartialMessage,
        metadata: &Bytes,
    ) -> bool {
        let requests = self.partial_mode(key, id.0) == Some(PartialMode::Requests);
        let Some(group) = self.groups.table.get_mut(id) else {
            return false;
        };
        let peer = group.peers.entry(key).or_default();
        // spec: partial messages, "MUST NOT" send parts to a peer that only supports sending them.
        let parts = requests.then(|| message.parts_for(peer.known.as_deref()));
        let parts = parts.flatten();
        let news = peer.told.as_ref() != Some(metadata);
        if parts.is_none() && !news {
            return false;
        }
        peer.told = Some(metadata.clone());
        let mut encoded = None;
        if let Some(parts) = parts {
            encoded = Some(parts.encoded);
            let max = self.config.partial.metadata_bytes_max;
            self.groups.learn(id.clone(), key, parts.known, max);
        }
        self.send_partial(id, key, encoded, news.then(|| metadata.clone()))
    }

    fn send_partial(
        &mut self,
        (topic, group): &(TopicKey, Bytes),
        key: PeerKey,
        message: Option<Bytes>,
        metadata: Option<Bytes>,
    ) -> bool {
        let Some(state) = self.topics.get(*topic) else {
            return false;
        };
        let partial = Partial {
            topic: state.name.clone(),
            group: group.clone(),
            message,
            metadata,
        };
        self.counts.partials_sent += 1;
        self.send(key, Outgoing::Partial(partial));
        true
    }

    /// What a peer has sent, within the limits, goes to the application.
    pub(crate) fn handle_partial(&mut self, key: PeerKey, partial: Option<Partial>) {
        let Some(partial) = partial else {
            return;
        };
        match self.admit_partial(key, &partial) {
            Some(source) => {
                self.counts.partials_received += 1;
                let event = RouterEvent::Partial { source, partial };
                self.events.push_back(event);
            }
            None => self.counts.partials_refused += 1,
        }
    }

    fn admit_partial(&mut self, key: PeerKey, partial: &Partial) -> Option<peerkit_core::PeerId> {
        let config = &self.config.partial;
        let mode = *config.topics.get(&partial.topic)?;
        let metadata_len = partial.metadata.as_ref().map_or(0, Bytes::len);
        let small =
            partial.group.len() <= config.group_len_max && metadata_len <= config.metadata_len_max;
        // Nobody asked for parts in a topic of which this node wants whole messages.
        let wanted = partial.message.is_none() || mode == PartialMode::Requests;
        let topic = self.topics.key(&partial.topic)?;
        if !small || !wanted || !self.takes_part(key, topic) {
            return None;
        }
        let id = (topic, Bytes::copy_from_slice(&partial.group));
        let joined = self.topics.joined_key(&partial.topic).is_some();
        let known = self.groups.table.contains_key(&id);
        let room = known || (joined && self.begin_group(&id, key));
        if !room {
            return None;
        }
        let max = self.config.partial.metadata_bytes_max;
        if let Some(metadata) = &partial.metadata
            && !self.groups.learn(id, key, metadata.clone(), max)
        {
            return None;
        }
        self.peers.get(key).map(|peer| peer.id)
    }

    /// A peer has named a group first; false if there are too many of those.
    fn begin_group(&mut self, id: &(TopicKey, Bytes), key: PeerKey) -> bool {
        let config = &self.config.partial;
        let begun = self.groups.of(id.0);
        let begun: Vec<_> = begun.filter_map(|(_, group)| group.initiator).collect();
        let by_peer = begun.iter().filter(|it| **it == key).count();
        if begun.len() >= config.groups_max || by_peer >= config.groups_per_peer_max {
            return false;
        }
        let group = Group {
            initiator: Some(key),
            expires: self.ticks + config.group_ttl,
            ..Group::default()
        };
        self.groups.table.insert(id.clone(), group);
        true
    }

    /// What a peer has said of a topic, together with its subscription.
    pub(crate) fn note_partial(&mut self, key: PeerKey, change: &SubscriptionChange) {
        let Some(topic) = self.topics.key(&change.topic) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        // spec: "requesting partial messages implies supporting them".
        let mode = match (change.requests_partial, change.supports_sending_partial) {
            (true, _) => Some(PartialMode::Requests),
            (false, true) => Some(PartialMode::Supports),
            (false, false) => None,
        };
        peer.partial.remove(&topic);
        if let Some(mode) = mode.filter(|_| peer.topics.contains(&topic)) {
            peer.partial.insert(topic, mode);
        }
    }

    /// Whether parts or metadata go to and come from a peer: one of both wants parts, and the other sends them.
    fn takes_part(&self, key: PeerKey, topic: TopicKey) -> bool {
        let own = self.topics.get(topic);
        let own = own.and_then(|state| self.partial_mode_of(&state.name));
        match (own, self.partial_mode(key, topic)) {
            (Some(own), Some(mode)) => PartialMode::Requests == mode.max(own),
            _ => false,
        }
    }

    pub(crate) fn partial_mode_of(&self, topic: &Topic) -> Option<PartialMode> {
        self.config.partial.topics.get(topic).copied()
    }

    /// How many groups are remembered.
    pub fn partial_groups(&self) -> usize {
        self.groups.table.len()
    }

    fn partial_mode(&self, key: PeerKey, topic: TopicKey) -> Option<PartialMode> {
        let peer = self.peers.get(key)?;
        let speaks = peer.link.is_some() && peer.greeting.extensions.partial_messages;
        peer.partial.get(&topic).copied().filter(|_| speaks)
    }

    pub(crate) fn gets_parts(&self, key: PeerKey, topic: TopicKey) -> bool {
        self.partial_mode(key, topic) == Some(PartialMode::Requests) && self.takes_part(key, topic)
    }

    pub(crate) fn sends_parts(&self, key: PeerKey, topic: TopicKey) -> bool {
        let state = self.topics.get(topic);
        let own = state.and_then(|state| self.partial_mode_of(&state.name));
        own == Some(PartialMode::Requests) && self.partial_mode(key, topic).is_some()
    }

    /// Forgets old groups, and tells some peers outside the mesh of the others, instead of IHAVE.
    pub(crate) fn gossip_partials(&mut self) {
        let (ticks, topics) = (self.ticks, &self.topics);
        self.groups
            .retain(|topic, group| group.expires > ticks && topics.get(topic).is_some());
        let own = self.groups.table.iter();
        let own = own.filter(|(_, group)| group.own.is_some());
        let topics: BTreeSet<_> = own.map(|((topic, _), _)| *topic).collect();
        for topic in topics {
            let mut targets = self.gossip_candidates(topic);
            targets.retain(|key| self.gets_parts(*key, topic));
            let share = self.config.gossip_factor * targets.len() as f64;
            let count = self.config.gossip_min.max(share as usize);
            let (chosen, _) = targets.partial_shuffle(&mut self.rng, count);
            for key in chosen.iter().copied() {
                self.offer_groups(topic, key);
            }
        }
    }

    fn offer_groups(&mut self, topic: TopicKey, key: PeerKey) {
        let own = self.groups.of(topic).filter_map(|(name, group)| {
            let told = group.peers.get(&key).and_then(|peer| peer.told.as_ref());
            let metadata = group.own.clone().filter(|own| told != Some(own))?;
            Some((name.clone(), metadata))
        });
        for (name, metadata) in own.collect::<Vec<_>>() {
            let id = (topic, name);
            if let Some(group) = self.groups.table.get_mut(&id) {
                group.peers.entry(key).or_default().told = Some(metadata.clone());
            }
            self.send_partial(&id, key, None, Some(metadata));
        }
    }
}
