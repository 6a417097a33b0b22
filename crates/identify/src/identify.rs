//! The handle.

use std::sync::Arc;

use peerkit_core::{Multiaddr, PeerId, lock};
use peerkit_swarm::{DialTarget, Host, OpenStreamError, Stream};

use crate::{
    Config, IdentifyError, IdentifyEvents, Info, PROTOCOL, PUSH_PROTOCOL, service::Service,
    shared::Shared,
};

/// Tells peers who this node is, and knows who they are.
///
/// It identifies every peer that connects, answers those who ask, takes their
/// pushes and pushes this node's own changes. Clones share everything. A handle
/// keeps its node alive, like a [`Host`].
#[derive(Clone, Debug)]
pub struct Identify {
    host: Host,
    shared: Arc<Shared>,
}

impl Identify {
    /// Begins to identify peers, those included that are connected already.
    /// It ends with the host.
    pub fn spawn(host: &Host, config: Config) -> Self {
        let shared = Arc::new(Shared::new(host, config));
        let answering = shared.clone();
        host.set_stream_handler(&PROTOCOL, move |stream: Stream| {
            answering.clone().answer(stream)
        });
        let accepting = shared.clone();
        host.set_stream_handler(&PUSH_PROTOCOL, move |stream: Stream| {
            accepting.clone().accept_push(stream)
        });
        host.spawn(Service::new(shared.clone(), host).run());
        Self {
            host: host.clone(),
            shared,
        }
    }

    /// What is known of a peer; `None` when it is not connected or was not identified yet.
    pub fn info(&self, peer: &PeerId) -> Option<Arc<Info>> {
        lock(&self.shared.known).info(peer)
    }

    /// Asks a peer who it is, also when that is known; connects first if need be.
    ///
    /// The answer is remembered and reported as an event, as if the node had asked of its own accord.
    /// A peer is asked one question at a time, since some take no second one meanwhile. What it
    /// answers to a question that was put after this call began is the answer to this call as well.
    ///
    /// Cancel safety: dropping the future resets the stream; the connection stays.
    pub async fn identify(
        &self,
        target: impl Into<DialTarget>,
    ) -> Result<Arc<Info>, IdentifyError> {
        let since = self.shared.turns.tick();
        let peer = self.host.connect(target).await;
        let peer = peer.map_err(OpenStreamError::Dial)?;
        self.shared.ask(peer, since).await
    }

    /// What is learned from now on. The stream is bounded; a slow reader is told what it missed.
    pub fn events(&self) -> IdentifyEvents {
        self.shared.bus.subscribe()
    }

    /// The public addresses at which enough independent peers see this node
    /// ([`Config::observers_min`]), the best confirmed first.
    ///
    /// They are what is needed behind a NAT. They are not announced to others, and
    /// that this node can be reached there is not certain.
    pub fn observed_addrs(&self) -> Vec<Multiaddr> {
        lock(&self.shared.known).observed(self.shared.config.observers_min)
    }
}
