//! The router: its state, and the way in and out.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use peerkit_core::{PeerId, ProtocolId};
use peerkit_pubsub::{
    Control, Extensions, Message, MessageId, MessageIdFn, Outgoing, PeerLink, PublishRefused,
    Published, Router, RouterEvent, Rpc, SubscriptionChange, Topic, Verdict,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    Config, ConfigError, Counts, TopicScoreParams, Version,
    history::{History, HistoryLimits},
    keys::{PeerKey, Tagger, TopicKey},
    peers::{self, Link, Peers},
    promises::Promises,
    seen::Seen,
    topics::Topics,
};

/// A gossipsub router: the machine behind the handle.
///
/// It has no clock, no I/O and no randomness but that of its seed: the same inputs at the same times
/// give the same outputs. See [`Router`] for how it is driven.
pub struct GossipsubRouter {
    pub(crate) config: Config,
    pub(crate) local: PeerId,
    pub(crate) message_ids: MessageIdFn,
    pub(crate) tagger: Tagger,
    pub(crate) rng: StdRng,
    pub(crate) peers: Peers,
    pub(crate) topics: Topics,
    pub(crate) seen: Seen,
    pub(crate) history: History,
    pub(crate) promises: Promises,
    #[cfg(feature = "partial-messages")]
    pub(crate) groups: crate::partial::Groups,
    pub(crate) counts: Counts,
    pub(crate) events: VecDeque<RouterEvent>,
    pub(crate) outgoing: VecDeque<(PeerKey, Outgoing)>,
    /// GRAFT, PRUNE and IDONTWANT of this input, gathered by peer.
    pub(crate) control: BTreeMap<PeerKey, Control>,
    /// IHAVE and IWANT of this input, gathered by peer.
    pub(crate) gossip: BTreeMap<PeerKey, Control>,
    pub(crate) ticks: u64,
    /// Recommended peers for which a connection was asked in this heartbeat.
    pub(crate) px_connects: usize,
    /// Whether some topic counts deliveries by mesh members.
    pub(crate) counts_mesh_deliveries: bool,
    pub(crate) next_heartbeat: Instant,
    next_decay: Instant,
    versions: Vec<(ProtocolId, Version)>,
    default_params: Arc<TopicScoreParams>,
}

impl GossipsubRouter {
    /// A router of the peer `local`, whose first heartbeat comes
    /// [`heartbeat_initial_delay`](Config::heartbeat_initial_delay) after `now`.
    ///
    /// All random choices follow from `seed`, which must be secret: who knows it can fill the tables
    /// with ids that collide.
    ///
    /// # Errors
    ///
    /// When the configuration breaks a rule; see [`Config::check`].
    pub fn new(
        local: PeerId,
        config: Config,
        message_ids: MessageIdFn,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = StdRng::from_seed(seed);
        let score = config.score.clone().unwrap_or_default();
        let counts_mesh_deliveries = config.score.is_some() && score.counts_mesh_deliveries();
        Ok(Self {
            local,
            message_ids,
            tagger: Tagger::new(&mut rng),
            rng,
            peers: Peers::default(),
            topics: Topics::default(),
            seen: Seen::new(config.seen_ttl, config.seen_max),
            history: History::new(HistoryLimits::of(&config)),
            promises: Promises::default(),
            #[cfg(feature = "partial-messages")]
            groups: crate::partial::Groups::default(),
            counts: Counts::default(),
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
            control: BTreeMap::new(),
            gossip: BTreeMap::new(),
            ticks: 0,
            px_connects: 0,
            counts_mesh_deliveries,
            next_heartbeat: now + config.heartbeat_initial_delay,
            next_decay: now + score.decay_interval,
            versions: named_versions(&config),
            default_params: Arc::new(score.topic_default),
            config,
        })
    }

    /// The score of a peer that is known; 0 without scoring.
    pub(crate) fn score_of(&mut self, key: PeerKey) -> f64 {
        let Some(params) = &self.config.score else {
            return 0.0;
        };
        if let Some(score) = self.peers.get(key).and_then(|peer| peer.counters.cached()) {
            return score;
        }
        let colocated = self.peers.colocated(key);
        let peer = self.peers.get_mut(key);
        peer.map_or(0.0, |peer| peer.counters.score(params, colocated))
    }

    /// Whether a peer has the rights that come with a score of at least `threshold`. A direct peer always has.
    pub(crate) fn is_trusted(&mut self, key: PeerKey, threshold: f64) -> bool {
        self.peers.get(key).is_some_and(|peer| peer.direct) || self.score_of(key) >= threshold
    }

    /// Notes that a peer has misbehaved, and how much.
    pub(crate) fn punish(&mut self, key: PeerKey, by: f64) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.counters.misbehaved(by);
        }
    }

    pub(crate) fn send(&mut self, key: PeerKey, what: Outgoing) {
        self.outgoing.push_back((key, what));
    }

    /// The key of a topic that becomes known with this.
    pub(crate) fn topic_key(&mut self, topic: &Topic) -> TopicKey {
        let Self {
            topics,
            config,
            default_params,
            ..
        } = self;
        topics.ensure(topic, || {
            let own = config
                .score
                .as_ref()
                .and_then(|score| score.topics.get(topic));
            own.map_or_else(
                || Arc::clone(default_params),
                |params| Arc::new(params.clone()),
            )
        })
    }

    /// Forgets a topic if nobody uses it any more, and what was counted in it.
    pub(crate) fn collect_topic(&mut self, key: TopicKey) {
        if self.topics.collect(key).is_some_and(|topic| topic.scored) {
            for (_, peer) in self.peers.iter_mut() {
                peer.counters.forget_topic(key);
            }
        }
    }

    /// The extensions of this node.
    pub(crate) fn extensions(&self) -> Extensions {
        let own = Extensions {
            partial_messages: false,
            test: self.config.test_extension,
        };
        #[cfg(feature = "partial-messages")]
        let own = Extensions {
            partial_messages: !self.config.partial.topics.is_empty(),
            ..own
        };
        own
    }

    /// What is said about a topic that this node has joined.
    fn joining(&self, topic: &Topic) -> SubscriptionChange {
        #[cfg(feature = "partial-messages")]
        if let Some(mode) = self.partial_mode_of(topic) {
            return SubscriptionChange {
                requests_partial: mode == crate::PartialMode::Requests,
                supports_sending_partial: true,
                ..joined(topic)
            };
        }
        joined(topic)
    }

    fn greet(&mut self, key: PeerKey, version: Version) {
        let topics: Vec<_> = self
            .topics
            .joined()
            .map(|(_, topic)| self.joining(&topic.name))
            .collect();
        let own = self.extensions();
        let extensions = (version.has_extensions() && own != Extensions::default()).then_some(own);
        if !topics.is_empty() || extensions.is_some() {
            self.send(key, Outgoing::Hello(topics, extensions));
        }
    }

    fn version_of(&self, protocol: &ProtocolId) -> Version {
        let found = self.versions.iter().find(|(name, _)| name == protocol);
        found.map_or(Version::Floodsub, |(_, version)| *version)
    }

    /// Forgets who was remembered long enough.
    pub(crate) fn forget_expired(&mut self, now: Instant) {
        while let Some(key) = self.peers.poll_expired(now) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: PeerKey) {
        self.peers.forget(key);
        let mut left = Vec::new();
        for (topic, state) in self.topics.iter_mut() {
            if state.backoff.remove(&key).is_some() {
                left.push(topic);
            }
        }
        left.into_iter().for_each(|topic| self.collect_topic(topic));
    }

    fn announce(&mut self, change: &SubscriptionChange) {
        let keys: Vec<_> = self.peers.connected().map(|(key, _)| key).collect();
        for key in keys {
            self.send(key, Outgoing::Subscriptions(vec![change.clone()]));
        }
    }

    fn decay(&mut self, now: Instant) {
        let Some(params) = &self.config.score else {
            return;
        };
        let times = intervals(self.next_decay, params.decay_interval, now);
        for (_, peer) in self.peers.iter_mut() {
            // The score of a peer that is gone stays as it is, so that going away is no way to mend it.
            if peer.link.is_some() {
                peer.counters.decay(params, times, now);
            }
        }
        self.next_decay = next_time(self.next_decay, params.decay_interval, now);
    }
}

impl Router for GossipsubRouter {
    fn protocols(&self) -> Vec<ProtocolId> {
        self.versions.iter().map(|(name, _)| name.clone()).collect()
    }

    fn handle_connected(&mut self, peer: PeerId, link: PeerLink, now: Instant) {
        if self.peers.connected_key(&peer).is_some() {
            self.handle_disconnected(&peer, now);
        }
        let version = self.version_of(&link.protocol);
        let link = Link {
            version,
            direction: link.direction,
            place: link
                .ip
                .filter(|ip| !self.is_whitelisted(*ip))
                .map(peers::place_of),
        };
        let direct = self.config.direct_peers.contains(&peer);
        let key = self.peers.connect(peer, link, direct);
        self.greet(key, version);
    }

    fn handle_disconnected(&mut self, peer: &PeerId, now: Instant) {
        let Some(key) = self.peers.connected_key(peer) else {
            return;
        };
        let topics: Vec<_> = self
            .peers
            .get(key)
            .map(|peer| peer.topics.iter().copied().collect())
            .unwrap_or_default();
        for topic in topics {
            self.peer_left(key, topic);
        }
        self.control.remove(&key);
        self.gossip.remove(&key);
        #[cfg(feature = "partial-messages")]
        self.groups.disconnect(key);
        self.outgoing.retain(|(to, _)| *to != key);
        self.peers.disconnect(key);
        self.remember(key, now);
    }

    fn handle_stream(&mut self, peer: &PeerId, _now: Instant) {
        let key = self.peers.connected_key(peer);
        if let Some(peer) = key.and_then(|key| self.peers.get_mut(key)) {
            peer.greeting.expected = true;
        }
    }

    fn handle_rpc(&mut self, peer: &PeerId, rpc: Rpc, now: Instant) {
        let Some(key) = self.peers.connected_key(peer) else {
            return;
        };
        if !self.is_trusted(key, self.config.thresholds.graylist) {
            self.counts.graylisted += 1;
            return;
        }
        self.handle_extensions(key, rpc.control.extensions);
        self.handle_subscriptions(key, &rpc.subscriptions, now);
        self.handle_idontwant(key, &rpc.control.idontwant);
        for message in rpc.messages.into_iter().take(self.config.rpc_messages_max) {
            self.receive(key, message, now);
        }
        self.handle_ihave(key, &rpc.control.ihave, now);
        self.handle_iwant(key, &rpc.control.iwant);
        self.handle_graft(key, &rpc.control.graft, now);
        self.handle_prune(key, rpc.control.prune, now);
        #[cfg(feature = "partial-messages")]
        self.handle_partial(key, rpc.partial);
    }

    fn handle_dropped(&mut self, peer: &PeerId, dropped: &Outgoing, _now: Instant) {
        self.counts.dropped += 1;
        let Some(key) = self.peers.connected_key(peer) else {
            return;
        };
        match dropped {
            Outgoing::Publish(..) | Outgoing::Forward(..) => self.note_slow(key),
            // What was not asked for is no promise.
            Outgoing::Gossip(control) => {
                for id in &control.iwant {
                    self.promises.cancel(self.tagger.tag(id.as_bytes()), key);
                }
            }
            Outgoing::Hello(..)
            | Outgoing::Subscriptions(_)
            | Outgoing::Control(_)
            | Outgoing::Partial(_)
            | Outgoing::TestExtension => {}
        }
    }

    fn subscribe(&mut self, topic: &Topic, now: Instant) {
        let key = self.topic_key(topic);
        if self.topics.get(key).is_some_and(|topic| topic.is_joined()) {
            return;
        }
        self.announce(&self.joining(topic));
        self.join_mesh(key, now);
    }

    fn unsubscribe(&mut self, topic: &Topic, now: Instant) {
        let Some(key) = self.topics.joined_key(topic) else {
            return;
        };
        self.announce(&SubscriptionChange {
            subscribe: false,
            ..joined(topic)
        });
        self.leave_mesh(key, now);
        self.collect_topic(key);
    }

    fn publish(
        &mut self,
        message: Arc<Message>,
        now: Instant,
    ) -> Result<Published, PublishRefused> {
        self.publish_message(message, now)
    }

    fn handle_verdict(&mut self, id: &MessageId, verdict: Verdict, now: Instant) {
        self.settle(id, verdict, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_decay {
            self.decay(now);
        }
        if now >= self.next_heartbeat {
            self.heartbeat(now);
            self.next_heartbeat =
                next_time(self.next_heartbeat, self.config.heartbeat_interval, now);
        }
    }

    fn poll_transmit(&mut self) -> Option<(PeerId, Outgoing)> {
        loop {
            let (key, what) = self.next_outgoing()?;
            if let Some(peer) = self.peers.get(key).filter(|peer| peer.link.is_some()) {
                return Some((peer.id, what));
            }
        }
    }

    fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let decay = self.config.score.is_some().then_some(self.next_decay);
        Some(decay.map_or(self.next_heartbeat, |decay| decay.min(self.next_heartbeat)))
    }
}

impl GossipsubRouter {
    fn next_outgoing(&mut self) -> Option<(PeerKey, Outgoing)> {
        if let Some(next) = self.outgoing.pop_front() {
            return Some(next);
        }
        while let Some((key, control)) = self.control.pop_first() {
            if control != Control::default() {
                return Some((key, Outgoing::Control(control)));
            }
        }
        let (key, control) = self.gossip.pop_first()?;
        Some((key, Outgoing::Gossip(control)))
    }

    fn remember(&mut self, key: PeerKey, now: Instant) {
        let score = self.score_of(key);
        let retain = self
            .config
            .score
            .as_ref()
            .map_or(Duration::ZERO, |score| score.retain);
        let until = self
            .peers
            .get(key)
            .and_then(|peer| peers::remembered_until(peer, score, retain, now));
        let forgotten = match until {
            Some(until) => self
                .peers
                .retain(key, until, self.config.retained_peers_max),
            None => Some(key),
        };
        if let Some(key) = forgotten {
            self.forget(key);
        }
    }

    fn is_whitelisted(&self, ip: std::net::IpAddr) -> bool {
        let score = self.config.score.as_ref();
        score.is_none_or(|score| {
            score
                .colocation_whitelist
                .iter()
                .any(|range| range.contains(ip.to_canonical()))
        })
    }

    fn note_slow(&mut self, key: PeerKey) {
        if let (Some(params), Some(peer)) = (&self.config.score, self.peers.get_mut(key)) {
            peer.counters.dropped(params.slow_cap);
        }
    }
}

impl HistoryLimits {
    fn of(config: &Config) -> Self {
        Self {
            windows: config.history_len,
            gossip: config.history_gossip,
            messages: config.history_messages_max,
            bytes: config.history_bytes_max,
        }
    }
}

/// The next time of something regular: times that were missed are not made up for.
pub(crate) fn next_time(last: Instant, interval: Duration, now: Instant) -> Instant {
    let next = last + interval;
    if next > now { next } else { now + interval }
}

/// How many times something regular is due that was due at `due` first.
fn intervals(due: Instant, interval: Duration, now: Instant) -> i32 {
    let late = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    i32::try_from(late.saturating_add(1)).unwrap_or(i32::MAX)
}

fn joined(topic: &Topic) -> SubscriptionChange {
    SubscriptionChange {
        subscribe: true,
        topic: topic.clone(),
        requests_partial: false,
        supports_sending_partial: false,
    }
}

fn named_versions(config: &Config) -> Vec<(ProtocolId, Version)> {
    let mut versions = config.versions.clone();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.dedup();
    let named = versions
        .into_iter()
        .map(|version| Some((version.protocol(&config.prefix)?, version)));
    named.flatten().collect()
}
