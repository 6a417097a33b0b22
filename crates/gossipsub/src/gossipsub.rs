//! The handle.

use std::ops::Deref;

use peerkit_core::PeerId;
use peerkit_pubsub::{MessageIdFn, Pubsub, PubsubConfig, SpawnError, Topic};
use peerkit_swarm::Host;

use crate::{Config, ConfigError, GossipsubRouter, Score};

/// Configuration of [`Gossipsub`]. The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GossipsubConfig {
    /// What has nothing to do with the router: signatures, limits, queues.
    pub pubsub: PubsubConfig,
    /// How the id of a message is found.
    pub message_id: MessageIdFn,
    /// The mesh, gossip and scores.
    pub router: Config,
}

/// Why gossipsub can't be started on a host.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GossipsubError {
    /// The router's configuration breaks a rule.
    #[error("the configuration is not valid: {0}")]
    Config(#[from] ConfigError),
    /// The host is closed, or runs it already.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl GossipsubError {
    /// Who is at fault.
    pub fn fault(&self) -> peerkit_core::Fault {
        match self {
            Self::Config(_) => peerkit_core::Fault::Misuse,
            Self::Spawn(error) => error.fault(),
        }
    }
}

/// Gossipsub on a host. To publish, to subscribe and what else routers have in common are the
/// methods of [`Pubsub`].
///
/// Clones share everything. A handle keeps its node alive, like a [`Host`]; what it runs ends with the host.
#[derive(Clone, Debug)]
pub struct Gossipsub {
    pubsub: Pubsub<GossipsubRouter>,
}

impl Gossipsub {
    /// Begins to speak gossipsub with every peer, those included that are connected already, and floodsub
    /// with those who know nothing newer.
    ///
    /// # Errors
    ///
    /// When the configuration breaks a rule ([`Config::check`]), the host is closed, or something on it
    /// answers one of the protocols already.
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

    /// The members of a topic's mesh, in order: the peers that get each message from this node, and from which it
    /// gets them.
    pub fn mesh_peers(&self, topic: impl Into<Topic>) -> Vec<PeerId> {
        let topic = topic.into();
        self.with_router(|router, _| router.mesh(&topic))
    }

    /// What this node thinks of a peer; `None` when it does not know it, or keeps no scores.
    pub fn score(&self, peer: &PeerId) -> Option<Score> {
        self.with_router(|router, _| router.score(peer))
    }

    /// Sets the application's part of a peer's score \[P5\]; false when the peer is not known.
    pub fn set_application_score(&self, peer: &PeerId, score: f64) -> bool {
        self.with_router(|router, _| router.set_application_score(peer, score))
    }
}

impl Deref for Gossipsub {
    type Target = Pubsub<GossipsubRouter>;

    fn deref(&self) -> &Self::Target {
        &self.pubsub
    }
}
