//! What is known of the peers that are connected.

use std::{collections::BTreeMap, sync::Arc};

use peerkit_core::{Multiaddr, PeerId};
use peerkit_swarm::ConnectionId;

use crate::{
    Info,
    local::Snapshot,
    observed::{Observation, confirmed},
};

/// Everything here goes away with a peer's last connection, so the host's limits bound it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    peers: BTreeMap<PeerId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    info: Option<Arc<Info>>,
    /// What it was told of this node.
    told: Option<Arc<Snapshot>>,
    /// At which address it sees this node, by connection.
    observations: BTreeMap<ConnectionId, Observation>,
}

/// Observations of one peer; as many connections as a peer has by default.
const OBSERVATIONS_MAX: usize = 8;

impl Known {
    pub(crate) fn info(&self, peer: &PeerId) -> Option<Arc<Info>> {
        self.peers.get(peer)?.info.clone()
    }

    pub(crate) fn told(&self, peer: &PeerId) -> Option<Arc<Snapshot>> {
        self.peers.get(peer)?.told.clone()
    }

    pub(crate) fn set_info(&mut self, info: Arc<Info>) {
        let peer = self.peers.entry(info.peer).or_default();
        peer.info = Some(info);
    }

    pub(crate) fn set_told(&mut self, peer: PeerId, told: Arc<Snapshot>) {
        self.peers.entry(peer).or_default().told = Some(told);
    }

    /// Takes over what a connection has to say; the oldest ones give way.
    pub(crate) fn observe(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        observation: Option<Observation>,
    ) {
        let observations = &mut self.peers.entry(peer).or_default().observations;
        match observation {
            Some(observation) => observations.insert(connection, observation),
            None => observations.remove(&connection),
        };
        if observations.len() > OBSERVATIONS_MAX {
            observations.pop_first();
        }
    }

    pub(crate) fn observed(&self, observers_min: usize) -> Vec<Multiaddr> {
        let peers = self.peers.values();
        confirmed(
            peers.flat_map(|peer| peer.observations.values()),
            observers_min,
        )
    }

    pub(crate) fn disconnected(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.observations.remove(&connection);
        }
    }

    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Forgets all that does not belong to an open connection.
    pub(crate) fn retain(
        &mut self,
        mut is_open: impl FnMut(&PeerId, Option<ConnectionId>) -> bool,
    ) {
        self.peers.retain(|id, peer| {
            peer.observations
                .retain(|connection, _| is_open(id, Some(*connection)));
            is_open(id, None)
        });
    }

    /// The peers that accept a protocol.
    pub(crate) fn supporting(&self, protocol: &str) -> Vec<PeerId> {
        let supports = |peer: &Peer| peer.info.as_ref().is_some_and(|it| it.supports(protocol));
        let peers = self.peers.iter().filter(|(_, peer)| supports(peer));
        peers.map(|(id, _)| *id).collect()
    }
}
