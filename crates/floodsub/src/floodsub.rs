//! The handle.

use std::ops::Deref;

use peerkit_pubsub::{Pubsub, SpawnError};
use peerkit_swarm::Host;

use crate::{FloodRouter, FloodsubConfig};

/// Floodsub on a host. All its methods are those of [`Pubsub`].
///
/// Clones share everything. A handle keeps its node alive, like a [`Host`]; what it runs ends with the host.
#[derive(Clone, Debug)]
pub struct Floodsub {
    pubsub: Pubsub<FloodRouter>,
}

impl Floodsub {
    /// Begins to speak floodsub with every peer, those included that are connected already.
    ///
    /// Fails when the host is closed or answers the protocol already, for example because gossipsub runs
    /// on it, which speaks floodsub as well.
    pub fn spawn(host: &Host, config: FloodsubConfig) -> Result<Self, SpawnError> {
        let router = FloodRouter::new(host.local_peer(), &config);
        let pubsub = Pubsub::spawn(host, router, config.pubsub)?;
        Ok(Self { pubsub })
    }
}

impl Deref for Floodsub {
    type Target = Pubsub<FloodRouter>;

    fn deref(&self) -> &Self::Target {
        &self.pubsub
    }
}
