//! Configuration of floodsub.

use std::time::Duration;

use peerkit_pubsub::{MessageIdFn, PubsubConfig, SignaturePolicy};

/// Configuration of [`Floodsub`](crate::Floodsub). The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FloodsubConfig {
    /// What has nothing to do with the router: signatures, limits, queues. By default messages are signed
    /// and unsigned ones accepted ([`LaxSign`](SignaturePolicy::LaxSign)), since rust-libp2p's floodsub
    /// signs none; [`Received::signed`](peerkit_pubsub::Received::signed) tells them apart.
    pub pubsub: PubsubConfig,
    /// How the id of a message is found.
    pub message_id: MessageIdFn,
    /// How long the id of a message is remembered. 2 minutes by default.
    pub seen_ttl: Duration,
    /// Ids that are remembered; the oldest give way. Stops floods of messages. 65,536 by default.
    pub seen_max: usize,
    /// Topics of one peer that are remembered; further ones are left out. Stops floods of subscriptions. 100 by
    /// default.
    pub topics_per_peer_max: usize,
    /// Messages that wait for a verdict; further ones are ignored. 16,384 by default.
    pub pending_max: usize,
}

impl Default for FloodsubConfig {
    fn default() -> Self {
        let mut pubsub = PubsubConfig::default();
        pubsub.signature_policy = SignaturePolicy::LaxSign;
        Self {
            pubsub,
            message_id: MessageIdFn::default(),
            seen_ttl: Duration::from_secs(120),
            seen_max: 65_536,
            topics_per_peer_max: 100,
            pending_max: 16_384,
        }
    }
}
