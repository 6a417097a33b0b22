//! Peer exchange: recommendations in PRUNE.

use bytes::Bytes;
use peerkit_core::{Envelope, PeerId, PeerRecord};
use peerkit_pubsub::{PeerInfo, RouterEvent};
use rand::seq::SliceRandom;

use crate::{
    GossipsubRouter, PeerExchange,
    keys::{PeerKey, TopicKey},
};

impl GossipsubRouter {
    /// Notes the signed peer record of a connected peer (an envelope, as identify brings it), so that the
    /// peer can be recommended with it. Otherwise recommendations leave the router without a record; the service
    /// adds the one that the host has, and most receivers don't follow those that have none.
    ///
    /// Nothing happens if the peer is not connected, or the record is longer than 8 KiB. It is not verified here:
    /// give only what was.
    pub fn set_record(&mut self, peer: &PeerId, envelope: Bytes) {
        if envelope.len() > RECORD_LEN_MAX {
            return;
        }
        if let Some(peer) = self
            .peers
            .connected_key(peer)
            .and_then(|key| self.peers.get_mut(key))
        {
            peer.record = Some(envelope);
        }
    }

    /// Others who could be grafted instead of this node.
    // spec: gossipsub v1.1 "the pruning peer MUST NOT include peers with a negative score".
    pub(crate) fn recommendations(&mut self, topic: TopicKey, to: PeerKey) -> Vec<PeerInfo> {
        if self.config.peer_exchange != PeerExchange::FollowAndRecommend || self.score_of(to) < 0.0
        {
            return Vec::new();
        }
        let mut others: Vec<_> = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|state| state.peers.iter().copied())
            .collect();
        others.retain(|key| *key != to && self.score_of(*key) >= 0.0);
        others.shuffle(&mut self.rng);
        others.truncate(self.config.px_peers_max);
        others
            .into_iter()
            .filter_map(|key| self.recommendation(key))
            .collect()
    }

    fn recommendation(&self, key: PeerKey) -> Option<PeerInfo> {
        let peer = self.peers.get(key)?;
        Some(PeerInfo {
            peer: Some(peer.id.to_bytes().into()),
            signed_record: peer.record.clone(),
        })
    }

    /// Asks for connections to those that a trusted peer recommends and whose record is true.
    pub(crate) fn follow_recommendations(&mut self, from: PeerKey, mut peers: Vec<PeerInfo>) {
        if peers.is_empty() || self.config.peer_exchange == PeerExchange::Off {
            return;
        }
        let named = peers.len();
        let mut accepted = 0;
        if self.score_of(from) >= self.config.thresholds.accept_px {
            peers.shuffle(&mut self.rng);
            peers.truncate(self.config.px_peers_max);
            for info in &peers {
                accepted += usize::from(self.follow(info));
            }
        }
        self.counts.px_accepted += accepted as u64;
        self.counts.px_refused += (named - accepted) as u64;
    }

    /// Whether a connection was asked for. The check of a signature is the last, since it is dear.
    fn follow(&mut self, info: &PeerInfo) -> bool {
        if self.px_connects >= self.config.px_connects_max {
            return false;
        }
        let Some(peer) = info
            .peer
            .as_ref()
            .and_then(|bytes| PeerId::from_bytes(bytes).ok())
        else {
            return false;
        };
        if peer == self.local || self.peers.connected_key(&peer).is_some() {
            return false;
        }
        let Some(record) = info.signed_record.as_ref().and_then(verified) else {
            return false;
        };
        if record.peer_id() != peer {
            return false;
        }
        self.px_connects += 1;
        self.events.push_back(RouterEvent::Connect {
            peer,
            record: Some(Box::new(record)),
        });
        true
    }
}

fn verified(envelope: &Bytes) -> Option<PeerRecord> {
    if envelope.len() > RECORD_LEN_MAX {
        return None;
    }
    let envelope = Envelope::decode(envelope.clone()).ok()?;
    PeerRecord::from_envelope(envelope).ok()
}

/// As much as identify takes of a peer.
const RECORD_LEN_MAX: usize = 8 * 1024;
