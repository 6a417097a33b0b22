//! The parameters of peer scores.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use peerkit_pubsub::Topic;

use crate::ConfigError;

/// How peers are scored. The defaults defend without knowledge of the application.
///
/// The names of the terms (P1 to P7) are those of the specification. Some defaults differ from those of
/// rust-libp2p and js-libp2p. There, P1 fills up with 1800 points within 4 seconds, behind which everything
/// else disappears, and P3 punishes every topic with fewer than 20 messages a second. Here mesh time is worth next
/// to nothing and first deliveries much, so that peers that sit in a mesh and forward nothing fall behind
/// those outside that deliver by gossip, and are replaced by them
/// ([`opportunistic_graft`](Thresholds::opportunistic_graft)). P3 and P3b are off, since what a topic's rate
/// should be is known to the application alone.
///
/// Source: the gossipsub 1.1 specification, section "Peer Scoring".
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreParams {
    /// Parameters of certain topics.
    pub topics: BTreeMap<Topic, TopicScoreParams>,
    /// Parameters of all other topics.
    pub topic_default: TopicScoreParams,
    /// The most that all topics together add; 0 for no limit. 100 by default.
    pub topic_score_cap: f64,
    /// P5: what the score that the application gives is multiplied with. 10 by default.
    pub application_weight: f64,
    /// P6: the weight of the square of the number of peers at one address beyond the threshold; at most 0.
    /// −5 by default.
    pub colocation_weight: f64,
    /// P6: peers that one IPv4 address or IPv6 /64 network may have without harm. 10 by default.
    pub colocation_threshold: usize,
    /// P6: addresses that may have any number of peers. By default those of this machine.
    pub colocation_whitelist: Vec<IpRange>,
    /// P7: the weight of the square of misbehaviour beyond the threshold; at most 0. −10 by default.
    pub behaviour_weight: f64,
    /// P7: misbehaviour without harm. 1 by default: honest peers too break a promise now and then.
    pub behaviour_threshold: f64,
    /// P7: what is left of misbehaviour after each decay interval. 0.9 by default (rust and js: 0.2, so that a
    /// peer which breaks one promise in three seconds is never noticed).
    pub behaviour_decay: f64,
    /// The weight of messages that were dropped because the peer takes them too slowly, as in
    /// rust-libp2p; at most 0. −0.2 by default.
    pub slow_weight: f64,
    /// Dropped messages without harm. 0 by default.
    pub slow_threshold: f64,
    /// The most dropped messages that count, so that slowness alone costs a peer its place in the mesh,
    /// but not its voice. 200 by default.
    pub slow_cap: f64,
    /// What is left of the count of dropped messages after each decay interval. 0.2 by default.
    pub slow_decay: f64,
    /// Time between two decays. 1 s by default.
    pub decay_interval: Duration,
    /// A counter below this is zero. 0.1 by default.
    pub decay_to_zero: f64,
    /// For how long a bad score is kept after a peer has gone. 1 h by default.
    pub retain: Duration,
}

/// How a topic enters the score of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicScoreParams {
    /// The weight of the whole topic; at least 0. 0.5 by default.
    pub weight: f64,
    /// P1: the weight of the time in the mesh; at least 0. 0.01 by default.
    pub mesh_time_weight: f64,
    /// P1: the unit of that time. 1 s by default.
    pub mesh_time_quantum: Duration,
    /// P1: the most units that count. 100 by default.
    pub mesh_time_cap: f64,
    /// P2: the weight of first deliveries; at least 0. 2 by default.
    pub first_weight: f64,
    /// P2: what is left of the count after each decay interval. 0.95 by default: a tenth after 45 s.
    pub first_decay: f64,
    /// P2: the most first deliveries that count. 100 by default.
    pub first_cap: f64,
    /// P3: the weight of the square of the deficit of deliveries; at most 0. 0, and so off, by default.
    pub mesh_weight: f64,
    /// P3: what is left of the count after each decay interval. 0.5 by default.
    pub mesh_decay: f64,
    /// P3: the most deliveries that count. 100 by default.
    pub mesh_cap: f64,
    /// P3: deliveries below which there is a deficit. 20 by default.
    pub mesh_threshold: f64,
    /// P3: how long after the first copy was found valid another one still counts. 10 ms by default.
    pub mesh_window: Duration,
    /// P3: time in the mesh before a deficit counts. 5 s by default.
    pub mesh_activation: Duration,
    /// P3b: the weight of deficits with which a peer has left the mesh; at most 0. 0, and so off, by default.
    pub failure_weight: f64,
    /// P3b: what is left of them after each decay interval. 0.5 by default.
    pub failure_decay: f64,
    /// P4: the weight of the square of the number of invalid messages; at most 0. −1 by default.
    pub invalid_weight: f64,
    /// P4: what is left of that number after each decay interval. 0.9 by default (rust and js: 0.3).
    pub invalid_decay: f64,
}

/// Scores below which a peer loses rights, and above which it has some.
///
/// Source: the gossipsub 1.1 specification, section "Score Thresholds".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Below it there is no gossip in either direction; at most 0. −10 by default.
    pub gossip: f64,
    /// Below it a peer gets no messages of this node's own; at most the one for gossip. −50 by default.
    pub publish: f64,
    /// Below it nothing is taken from a peer; at most the one for publishing. −80 by default.
    pub graylist: f64,
    /// Below it a peer's recommendations are not followed; at least 0. 10 by default.
    pub accept_px: f64,
    /// When the median of a mesh is below it, better peers are grafted; at least 0. 2 by default: about 6
    /// messages in 10 s that reach this node by way of its mesh.
    pub opportunistic_graft: f64,
}

/// A network: all addresses that share their first bits with one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    /// An address of the network.
    pub address: IpAddr,
    /// How many bits are shared; more than an address has count as all of them.
    pub prefix: u8,
}

impl IpRange {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differ >= u32::from(self.prefix.min(32))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differ >= u32::from(self.prefix.min(128))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Default for ScoreParams {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            topic_default: TopicScoreParams::default(),
            topic_score_cap: 100.0,
            application_weight: 10.0,
            colocation_weight: -5.0,
            colocation_threshold: 10,
            colocation_whitelist: loopback(),
            behaviour_weight: -10.0,
            behaviour_threshold: 1.0,
            behaviour_decay: 0.9,
            slow_weight: -0.2,
            slow_threshold: 0.0,
            slow_cap: 200.0,
            slow_decay: 0.2,
            decay_interval: Duration::from_secs(1),
            decay_to_zero: 0.1,
            retain: Duration::from_secs(3600),
        }
    }
}

impl Default for TopicScoreParams {
    fn default() -> Self {
        Self {
            weight: 0.5,
            mesh_time_weight: 0.01,
            mesh_time_quantum: Duration::from_secs(1),
            mesh_time_cap: 100.0,
            first_weight: 2.0,
            first_decay: 0.95,
            first_cap: 100.0,
            mesh_weight: 0.0,
            mesh_decay: 0.5,
            mesh_cap: 100.0,
            mesh_threshold: 20.0,
            mesh_window: Duration::from_millis(10),
            mesh_activation: Duration::from_secs(5),
            failure_weight: 0.0,
            failure_decay: 0.5,
            invalid_weight: -1.0,
            invalid_decay: 0.9,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            gossip: -10.0,
            publish: -50.0,
            graylist: -80.0,
            accept_px: 10.0,
            opportunistic_graft: 2.0,
        }
    }
}

impl ScoreParams {
    /// The factor with which a counter of 1 falls below `to_zero` after `time`, when it is applied
    /// every `interval`. Between 0 and 1 for sensible arguments.
    pub fn decay_over(time: Duration, interval: Duration, to_zero: f64) -> f64 {
        let intervals = time.as_secs_f64() / interval.as_secs_f64();
        to_zero.powf(intervals.recip())
    }

    /// Whether some topic needs the deliveries by mesh members to be counted.
    pub(crate) fn counts_mesh_deliveries(&self) -> bool {
        self.all_topics()
            .any(TopicScoreParams::counts_mesh_deliveries)
    }

    fn all_topics(&self) -> impl Iterator<Item = &TopicScoreParams> {
        self.topics.values().chain([&self.topic_default])
    }

    /// Checks signs and ranges, of all topics too.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        not_negative("topic_score_cap", self.topic_score_cap)?;
        finite("application_weight", self.application_weight)?;
        not_positive("colocation_weight", self.colocation_weight)?;
        not_positive("behaviour_weight", self.behaviour_weight)?;
        not_negative("behaviour_threshold", self.behaviour_threshold)?;
        decay("behaviour_decay", self.behaviour_decay)?;
        not_positive("slow_weight", self.slow_weight)?;
        not_negative("slow_threshold", self.slow_threshold)?;
        not_negative("slow_cap", self.slow_cap)?;
        decay("slow_decay", self.slow_decay)?;
        decay("decay_to_zero", self.decay_to_zero)?;
        if self.decay_interval < Duration::from_millis(100) {
            return Err(ConfigError::TooShort("decay_interval"));
        }
        self.all_topics().try_for_each(TopicScoreParams::check)
    }
}

impl TopicScoreParams {
    /// Whether deliveries by mesh members have to be counted.
    pub(crate) fn counts_mesh_deliveries(&self) -> bool {
        self.weight != 0.0 && (self.mesh_weight != 0.0 || self.failure_weight != 0.0)
    }

    fn check(&self) -> Result<(), ConfigError> {
        not_negative("weight", self.weight)?;
        not_negative("mesh_time_weight", self.mesh_time_weight)?;
        not_negative("mesh_time_cap", self.mesh_time_cap)?;
        not_negative("first_weight", self.first_weight)?;
        not_negative("first_cap", self.first_cap)?;
        decay("first_decay", self.first_decay)?;
        not_positive("mesh_weight", self.mesh_weight)?;
        not_negative("mesh_cap", self.mesh_cap)?;
        not_negative("mesh_threshold", self.mesh_threshold)?;
        decay("mesh_decay", self.mesh_decay)?;
        not_positive("failure_weight", self.failure_weight)?;
        decay("failure_decay", self.failure_decay)?;
        not_positive("invalid_weight", self.invalid_weight)?;
        decay("invalid_decay", self.invalid_decay)?;
        if self.mesh_time_quantum.is_zero() {
            return Err(ConfigError::TooShort("mesh_time_quantum"));
        }
        Ok(())
    }
}

impl Thresholds {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        not_positive("gossip", self.gossip)?;
        not_positive("publish", self.publish)?;
        not_positive("graylist", self.graylist)?;
        not_negative("accept_px", self.accept_px)?;
        not_negative("opportunistic_graft", self.opportunistic_graft)?;
        if self.publish > self.gossip || self.graylist > self.publish {
            return Err(ConfigError::Order("graylist <= publish <= gossip"));
        }
        Ok(())
    }
}

fn loopback() -> Vec<IpRange> {
    let v4 = IpRange {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        prefix: 8,
    };
    let v6 = IpRange {
        address: std::net::Ipv6Addr::LOCALHOST.into(),
        prefix: 128,
    };
    vec![v4, v6]
}

fn finite(name: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(name, value, value.is_finite())
}

fn not_negative(name: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(name, value, value.is_finite() && value >= 0.0)
}

fn not_positive(name: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(name, value, value.is_finite() && value <= 0.0)
}

fn decay(name: &'static str, value: f64) -> Result<(), ConfigError> {
    in_range(name, value, value > 0.0 && value < 1.0)
}

fn in_range(name: &'static str, value: f64, holds: bool) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::OutOfRange { name, value })
    }
}
