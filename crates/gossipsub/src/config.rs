//! Configuration of the router.

use std::{fmt, sync::Arc, time::Duration};

use peerkit_core::PeerId;
use peerkit_pubsub::Topic;

use crate::{ConfigError, ScoreParams, Thresholds, Version};

/// How a router behaves, and every limit that it holds.
///
/// Names in brackets are those of the specification. The defaults are the specification's and, where it
/// names none, those that most implementations ship.
#[derive(Clone, Debug)]
pub struct Config {
    /// The versions to speak; offered newest first, whatever their order here. All by default.
    pub versions: Vec<Version>,
    /// What the protocol names start with: `/meshsub` by default. Networks of their own have their own.
    pub prefix: String,

    /// Peers that a mesh should have \[D\]. 6 by default.
    pub mesh_target: usize,
    /// Fewer peers than this, and more are grafted \[D_low\]. 5 by default.
    pub mesh_low: usize,
    /// More peers than this, and some are pruned \[D_high\]. 12 by default.
    pub mesh_high: usize,
    /// The best peers, which are kept when some are pruned \[D_score\]. 4 by default.
    pub mesh_best: usize,
    /// Peers of a mesh that this node has dialed, so that nobody who dials it can surround it \[D_out\]. 2 by default.
    pub mesh_outbound: usize,
    /// The fewest peers to gossip to \[D_lazy\]. 6 by default.
    pub gossip_min: usize,
    /// The part of all peers outside the mesh to gossip to. 0.25 by default.
    pub gossip_factor: f64,
    /// Peers to gossip to beside those: the best outside the mesh, if their score is above 0. They are the ones that
    /// deliver although they are not in the mesh, which is how honest peers find each other when
    /// meshes are full of silent ones. 3 by default; the specification knows nothing of it.
    pub gossip_best: usize,
    /// Heartbeats for which messages can be asked for \[mcache_len\]. 5 by default.
    pub history_len: usize,
    /// Heartbeats for which messages are gossiped about \[mcache_gossip\]. 3 by default.
    pub history_gossip: usize,
    /// Time until the first heartbeat. 100 ms by default.
    pub heartbeat_initial_delay: Duration,
    /// Time between two heartbeats. 1 s by default.
    pub heartbeat_interval: Duration,
    /// For how long the peers of a topic are remembered that is only published to. 60 s by default.
    pub fanout_ttl: Duration,
    /// For how long a message is known as one that was seen. 120 s by default.
    pub seen_ttl: Duration,
    /// Whether messages of this node's own go to all peers of their topic rather than to its mesh. Yes by default.
    pub flood_publish: bool,

    /// For how long pruned peers don't graft each other. 60 s by default.
    pub prune_backoff: Duration,
    /// The same, when a peer leaves the topic. 10 s by default.
    pub unsubscribe_backoff: Duration,
    /// How much longer this node waits before it grafts. 1 s by default.
    pub backoff_slack: Duration,
    /// The longest backoff that is taken from a peer, and that may be configured. 3600 s by default.
    pub backoff_max: Duration,
    /// A GRAFT that comes sooner than this after a PRUNE counts as two misdeeds. 10 s by default.
    pub graft_flood_threshold: Duration,
    /// Heartbeats between two looks at whether better peers should be grafted. 20 by default (others: 60,
    /// which leaves a mesh that was captured at the start without a way out for a minute).
    pub opportunistic_graft_ticks: u64,
    /// How many peers are grafted then. 2 by default.
    pub opportunistic_graft_peers: usize,
    /// Peers that always get everything, are never scored away and never in a mesh. The agreement has to be mutual.
    /// None by default.
    pub direct_peers: Vec<PeerId>,
    /// Heartbeats between two attempts to reach direct peers that are not connected. 300 by default.
    pub direct_connect_ticks: u64,

    /// Peer exchange. Off by default.
    pub peer_exchange: PeerExchange,
    /// Peers that a PRUNE recommends, and that are looked at in one. 16 by default.
    pub px_peers_max: usize,
    /// Recommended peers that are connected to for each heartbeat. 16 by default.
    pub px_connects_max: usize,

    /// RPCs with IHAVE that are taken from a peer for each heartbeat. 10 by default.
    pub ihave_messages_max: usize,
    /// Ids that a peer is asked for, that are sent in an IHAVE, for each heartbeat. 5000 by default.
    pub ihave_ids_max: usize,
    /// RPCs with IWANT that are taken from a peer for each heartbeat. 10 by default.
    pub iwant_messages_max: usize,
    /// Times that a peer gets the same message on request. 3 by default.
    pub iwant_retransmissions_max: u8,
    /// Time in which what a peer has offered and was asked for has to come. 3 s by default.
    pub iwant_followup: Duration,
    /// Messages with at least so many bytes of data are announced with IDONTWANT. 1024 by default.
    pub idontwant_size_min: usize,
    /// Whether messages of this node's own are announced with IDONTWANT too. No by default.
    pub idontwant_on_publish: bool,
    /// RPCs with IDONTWANT that are taken from a peer for each heartbeat. 1000 by default.
    pub idontwant_messages_max: usize,
    /// Ids that a peer can have refused at a time. 10 000 by default.
    pub idontwant_ids_max: usize,
    /// Heartbeats for which a refusal is remembered. 3 by default.
    pub idontwant_ttl: u64,
    /// The test extension of gossipsub 1.3, for tests between implementations. Off by default.
    pub test_extension: bool,
    /// What a second extensions message costs in behaviour. 10 by default.
    pub extensions_penalty: f64,
    /// Partial messages of gossipsub 1.3. In no topic by default.
    #[cfg(feature = "partial-messages")]
    pub partial: crate::PartialConfig,

    /// Topics of a peer that are remembered, beside those that this node has joined. 100 by default.
    pub peer_topics_max: usize,
    /// Topics that are looked at in one RPC. 1000 by default.
    pub rpc_subscriptions_max: usize,
    /// Messages that are looked at in one RPC. 5000 by default.
    pub rpc_messages_max: usize,
    /// Which topics of peers are remembered at all. All by default.
    pub topic_filter: TopicFilter,
    /// Messages that are known as seen. 262 144 by default; the oldest go first.
    pub seen_max: usize,
    /// Messages that wait for a verdict. 8192 by default; more are dropped and counted.
    pub validating_max: usize,
    /// Their bytes. 64 MiB by default.
    pub validating_bytes_max: usize,
    /// Different messages under one id that are held while the first of them is validated. 4 by default.
    pub rivals_max: usize,
    /// Messages that can be asked for. 65 536 by default; the oldest go first.
    pub history_messages_max: usize,
    /// Their bytes. 64 MiB by default.
    pub history_bytes_max: usize,
    /// Peers that are remembered after they have gone, for their bad score or a backoff. 4096 by default.
    pub retained_peers_max: usize,

    /// How peers are scored; `None` for not at all. On by default.
    pub score: Option<ScoreParams>,
    /// What scores mean.
    pub thresholds: Thresholds,
}

/// Whether peers recommend each other.
///
/// A PRUNE may name others who could be grafted instead. Its author may lie, so only recommendations of well
/// scored peers and with a signed record are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerExchange {
    /// Nobody is recommended, and recommendations are not followed.
    #[default]
    Off,
    /// Recommendations are followed.
    Follow,
    /// Recommendations are followed and made. For bootstrap nodes.
    FollowAndRecommend,
}

/// Chooses topics by their name.
#[derive(Clone, Default)]
pub struct TopicFilter(Option<Arc<Predicate>>);

type Predicate = dyn Fn(&Topic) -> bool + Send + Sync;

impl TopicFilter {
    /// Those for which `allows` says yes. It is asked often and has to be quick, and always of the same opinion.
    pub fn new(allows: impl Fn(&Topic) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(allows)))
    }

    /// Whether a topic is among them.
    pub fn allows(&self, topic: &Topic) -> bool {
        self.0.as_ref().is_none_or(|allows| allows(topic))
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "some" } else { "all" })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            versions: Version::ALL.to_vec(),
            prefix: "/meshsub".to_owned(),
            mesh_target: 6,
            mesh_low: 5,
            mesh_high: 12,
            mesh_best: 4,
            mesh_outbound: 2,
            gossip_min: 6,
            gossip_factor: 0.25,
            gossip_best: 3,
            history_len: 5,
            history_gossip: 3,
            heartbeat_initial_delay: Duration::from_millis(100),
            heartbeat_interval: Duration::from_secs(1),
            fanout_ttl: Duration::from_secs(60),
            seen_ttl: Duration::from_secs(120),
            flood_publish: true,
            prune_backoff: Duration::from_secs(60),
            unsubscribe_backoff: Duration::from_secs(10),
            backoff_slack: Duration::from_secs(1),
            backoff_max: Duration::from_secs(3600),
            graft_flood_threshold: Duration::from_secs(10),
            opportunistic_graft_ticks: 20,
            opportunistic_graft_peers: 2,
            direct_peers: Vec::new(),
            direct_connect_ticks: 300,
            peer_exchange: PeerExchange::Off,
            px_peers_max: 16,
            px_connects_max: 16,
            ihave_messages_max: 10,
            ihave_ids_max: 5000,
            iwant_messages_max: 10,
            iwant_retransmissions_max: 3,
            iwant_followup: Duration::from_secs(3),
            idontwant_size_min: 1024,
            idontwant_on_publish: false,
            idontwant_messages_max: 1000,
            idontwant_ids_max: 10_000,
            idontwant_ttl: 3,
            test_extension: false,
            extensions_penalty: 10.0,
            #[cfg(feature = "partial-messages")]
            partial: crate::PartialConfig::default(),
            peer_topics_max: 100,
            rpc_subscriptions_max: 1000,
            rpc_messages_max: 5000,
            topic_filter: TopicFilter::default(),
            seen_max: 262_144,
            validating_max: 8192,
            validating_bytes_max: 64 * 1024 * 1024,
            rivals_max: 4,
            history_messages_max: 65_536,
            history_bytes_max: 64 * 1024 * 1024,
            retained_peers_max: 4096,
            score: Some(ScoreParams::default()),
            thresholds: Thresholds::default(),
        }
    }
}

impl Config {
    /// Whether the numbers fit each other, as the specification demands.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] that is found.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_versions()?;
        self.check_mesh()?;
        self.check_times()?;
        self.check_limits()?;
        self.thresholds.check()?;
        self.score.as_ref().map_or(Ok(()), ScoreParams::check)
    }

    fn check_versions(&self) -> Result<(), ConfigError> {
        if self.versions.is_empty() {
            return Err(ConfigError::NoVersions);
        }
        let named = self
            .versions
            .iter()
            .all(|v| v.protocol(&self.prefix).is_some());
        named.then_some(()).ok_or(ConfigError::Prefix)
    }

    // spec: gossipsub v1.1 "D_out ... MUST be set below D_low, and must not exceed D / 2".
    fn check_mesh(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.mesh_low <= self.mesh_target, "mesh_low <= mesh_target"),
            (
                self.mesh_target <= self.mesh_high,
                "mesh_target <= mesh_high",
            ),
            (
                self.mesh_best <= self.mesh_target,
                "mesh_best <= mesh_target",
            ),
            (
                self.mesh_outbound <= self.mesh_target / 2,
                "mesh_outbound <= mesh_target / 2",
            ),
            (
                self.mesh_outbound < self.mesh_low || self.mesh_outbound == 0,
                "mesh_outbound < mesh_low",
            ),
            (
                self.history_gossip <= self.history_len,
                "history_gossip <= history_len",
            ),
            (
                self.validating_max < self.seen_max,
                "validating_max < seen_max",
            ),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds);
        broken.map_or(Ok(()), |(_, rule)| Err(ConfigError::Order(rule)))
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        if self.heartbeat_interval < Duration::from_millis(10) {
            return Err(ConfigError::TooShort("heartbeat_interval"));
        }
        let times = [
            (self.heartbeat_initial_delay, "heartbeat_initial_delay"),
            (self.heartbeat_interval, "heartbeat_interval"),
            (self.fanout_ttl, "fanout_ttl"),
            (self.seen_ttl, "seen_ttl"),
            (self.backoff_slack, "backoff_slack"),
            (self.backoff_max, "backoff_max"),
            (self.graft_flood_threshold, "graft_flood_threshold"),
            (self.iwant_followup, "iwant_followup"),
        ];
        let scored = self.score.iter().flat_map(|score| {
            [
                (score.decay_interval, "decay_interval"),
                (score.retain, "retain"),
            ]
        });
        let long = times
            .into_iter()
            .chain(scored)
            .find(|(time, _)| *time > YEAR);
        if let Some((_, name)) = long {
            return Err(ConfigError::TooLong(name));
        }
        if self.prune_backoff > self.backoff_max || self.unsubscribe_backoff > self.backoff_max {
            return Err(ConfigError::Order(
                "prune_backoff, unsubscribe_backoff <= backoff_max",
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let zero = [
            (self.mesh_target, "mesh_target"),
            (self.history_len, "history_len"),
            (self.validating_max, "validating_max"),
            (self.validating_bytes_max, "validating_bytes_max"),
            (self.history_messages_max, "history_messages_max"),
            (self.history_bytes_max, "history_bytes_max"),
            (
                usize::from(self.opportunistic_graft_ticks > 0),
                "opportunistic_graft_ticks",
            ),
            (
                usize::from(self.direct_connect_ticks > 0),
                "direct_connect_ticks",
            ),
        ]
        .into_iter()
        .find(|(value, _)| *value == 0);
        if let Some((_, name)) = zero {
            return Err(ConfigError::Zero(name));
        }
        for (name, value) in [
            ("gossip_factor", self.gossip_factor),
            ("extensions_penalty", self.extensions_penalty),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(ConfigError::OutOfRange { name, value });
            }
        }
        if self.gossip_factor > 1.0 {
            return Err(ConfigError::OutOfRange {
                name: "gossip_factor",
                value: self.gossip_factor,
            });
        }
        Ok(())
    }
}

/// Longer times are mistakes; the sum of any two that are shorter fits an `Instant` everywhere.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
