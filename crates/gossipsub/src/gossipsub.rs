//! The handle.

use std::{collections::BTreeMap, ops::Deref};

use peerkit_core::{Fault, PeerId, PeerRecord};
use peerkit_pubsub::{MessageIdFn, Pubsub, PubsubConfig, SpawnError, Topic};
use peerkit_swarm::Host;

use crate::{Config, ConfigError, Counts, GossipsubRouter, Score, Sizes, TopicCounts, Version};

/// Configuration of [`Gossipsub`]. The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GossipsubConfig {
    /// What has nothing to do with the router: signatures, limits, queues.
    pub pubsub: PubsubConfig,
    /// How the id of a message is found; all nodes of a topic have to do it the same way.
    pub message_id: MessageIdFn,
    /// Meshes, gossip, scores, and their limits.
    pub router: Config,
}

/// Gossipsub on a host. Beside its own methods it has all those of [`Pubsub`].
///
/// Clones share everything. A handle keeps its node alive, like a [`Host`]; what it runs ends with the host.
#[derive(Clone, Debug)]
pub struct Gossipsub {
    pubsub: Pubsub<GossipsubRouter>,
}

impl Gossipsub {
    /// Begins to speak gossipsub (and floodsub, unless [`Config::versions`] says otherwise) with every peer, those
    /// included that are connected already.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself, the host is closed, or something else answers one of the
    /// protocols on it, for example floodsub.
    pub fn spawn(host: &Host, config: GossipsubConfig) -> Result<Self, GossipsubError> {
        let runtime = host.runtime();
        let router = GossipsubRouter::new(
            host.local_peer(),
            config.router,
            config.message_id,
            runtime.seed(),
            runtime.now(),
        )?;
        let pubsub = Pubsub::spawn(host, router, config.pubsub)?;
        Ok(Self { pubsub })
    }

    /// The members of the mesh of a topic; none if this node has not joined it.
    pub fn mesh_peers(&self, topic: impl Into<Topic>) -> Vec<PeerId> {
        let topic = topic.into();
        self.with_router(|router, _| router.mesh(&topic))
    }

    /// The peers that messages can be sent to, and what is spoken with them.
    pub fn connected_peers(&self) -> Vec<(PeerId, Version)> {
        self.with_router(|router, _| router.peers())
    }

    /// The score of a peer and what it consists of; `None` if the peer is not known, or peers are not scored.
    pub fn score(&self, peer: &PeerId) -> Option<Score> {
        self.with_router(|router, _| router.score(peer))
    }

    /// Sets what the application thinks of a peer (P5), which must be known. False if it is not, or the number
    /// is not finite.
    pub fn set_application_score(&self, peer: &PeerId, score: f64) -> bool {
        self.with_router(|router, _| router.set_application_score(peer, score))
    }

    /// Recommends a peer with this record from now on, if it is connected and
    /// [`FollowAndRecommend`](crate::PeerExchange::FollowAndRecommend) is on. There is no need for it where
    /// identify runs: a peer is recommended with [`Host::peer_record`] unless another record was set here.
    pub fn set_record(&self, record: &PeerRecord) {
        let envelope = record.envelope().encoded().clone();
        self.with_router(|router, _| router.set_record(&record.peer_id(), envelope));
    }

    /// Sends parts of a message to the peers that lack them; see [`GossipsubRouter::publish_partial`]. What peers send comes
    /// as [`PubsubEvent::Partial`](peerkit_pubsub::PubsubEvent::Partial), left out while a reader lags.
    /// `message` is asked under a lock: it should be quick and must not use this handle.
    ///
    /// # Errors
    ///
    /// See [`PartialRefused`](crate::PartialRefused).
    #[cfg(feature = "partial-messages")]
    pub fn publish_partial(
        &self,
        topic: impl Into<Topic>,
        group: impl Into<bytes::Bytes>,
        message: &dyn crate::PartialMessage,
    ) -> Result<usize, crate::PartialRefused> {
        let (topic, group) = (topic.into(), group.into());
        self.with_router(|router, now| router.publish_partial(&topic, group, message, now))
    }

    /// What the router has counted and remembers, beside what [`metrics`](Pubsub::metrics) tells of the queues.
    pub fn router_metrics(&self) -> RouterMetrics {
        self.with_router(|router, _| RouterMetrics::of(router))
    }
}

impl Deref for Gossipsub {
    type Target = Pubsub<GossipsubRouter>;

    fn deref(&self) -> &Self::Target {
        &self.pubsub
    }
}

/// What a router has counted and remembers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RouterMetrics {
    /// What happened.
    pub counts: Counts,
    /// How much is remembered.
    pub sizes: Sizes,
    /// Members of the mesh, and what happened, for each topic that this node has joined.
    pub topics: BTreeMap<Topic, (usize, TopicCounts)>,
    /// The scores of the connected peers.
    pub scores: BTreeMap<PeerId, Score>,
}

impl RouterMetrics {
    fn of(router: &GossipsubRouter) -> Self {
        let topics = router.joined_topics().into_iter().map(|topic| {
            let counts = router.topic_counts(&topic).unwrap_or_default();
            let members = router.mesh(&topic).len();
            (topic, (members, counts))
        });
        let peers = router.peers().into_iter();
        Self {
            counts: router.counts(),
            sizes: router.sizes(),
            topics: topics.collect(),
            scores: peers
                .filter_map(|(peer, _)| Some((peer, router.score(&peer)?)))
                .collect(),
        }
    }
}

/// Why gossipsub can't be started on a host.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GossipsubError {
    /// The configuration of the router contradicts itself.
    #[error("the configuration is not valid: {0}")]
    Config(#[from] ConfigError),
    /// The host does not take it.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl GossipsubError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config(_) => Fault::Misuse,
            Self::Spawn(error) => error.fault(),
        }
    }
}
