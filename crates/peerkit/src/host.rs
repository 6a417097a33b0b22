//! A node with the default services.

use std::ops::Deref;

use crate::Builder;

/// A libp2p node with the default stack: TCP, Noise, yamux (and mplex for older
/// networks), ping and identify, as far as the features are on.
///
/// It dereferences to [`peerkit_swarm::Host`], which has the methods to listen, dial,
/// open streams and answer them. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) swarm: peerkit_swarm::Host,
    #[cfg(feature = "ping")]
    pub(crate) ping: peerkit_ping::Ping,
    #[cfg(feature = "identify")]
    pub(crate) identify: peerkit_identify::Identify,
}

impl Host {
    /// Builds a node; every part has a default.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Measures round trips.
    #[cfg(feature = "ping")]
    pub fn ping(&self) -> &peerkit_ping::Ping {
        &self.ping
    }

    /// What peers say of themselves.
    #[cfg(feature = "identify")]
    pub fn identify(&self) -> &peerkit_identify::Identify {
        &self.identify
    }
}

impl Deref for Host {
    type Target = peerkit_swarm::Host;

    fn deref(&self) -> &peerkit_swarm::Host {
        &self.swarm
    }
}
