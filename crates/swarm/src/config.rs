//! Configuration of a host.

use std::time::Duration;

use crate::{Limits, TrimConfig};

/// Configuration of a host. The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostConfig {
    /// How peers are dialed.
    pub dial: DialConfig,
    /// What strangers may use up.
    pub limits: Limits,
    /// Which connections are closed when there are more than needed.
    pub trim: TrimConfig,
    /// How long agreeing on the protocol of a stream may take, in both directions. 10 s by default.
    pub negotiation_timeout: Duration,
    /// How long [`Host::close`](crate::Host::close) waits for connections to say goodbye. 3 s by default.
    pub close_timeout: Duration,
    /// Events that an [`Events`](crate::Events) holds for a slow reader; older ones are
    /// dropped then, and the reader is told how many. 256 by default.
    pub event_capacity: usize,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            dial: DialConfig::default(),
            limits: Limits::default(),
            trim: TrimConfig::default(),
            negotiation_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(3),
            event_capacity: 256,
        }
    }
}

/// How peers are dialed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialConfig {
    /// Addresses that are dialed at the same time, over all peers; further ones wait. 128 by default.
    pub concurrent_max: usize,
    /// Addresses of one peer that are dialed at the same time; further ones wait. Stops a peer whose
    /// addresses never answer from holding up the dials to all others. 8 by default.
    pub concurrent_per_peer_max: usize,
    /// How long dialing one address may take in all, a second and careful attempt included. Stops
    /// listeners that cost a deadline for each attempt. 15 s by default.
    pub address_timeout: Duration,
    /// How long a peer is dialed carefully after it was confused by bytes sent ahead; then the
    /// quick way is tried again. 1 h by default.
    pub careful_for: Duration,
    /// Addresses of one peer that are tried in one dial. Stops peers that announce
    /// addresses without end. 32 by default.
    pub addresses_max: usize,
    /// How long a peer that could not be reached is left alone after the first
    /// failure; it doubles with every further one. 1 s by default.
    pub backoff_min: Duration,
    /// The longest back-off. 60 s by default.
    pub backoff_max: Duration,
}

impl Default for DialConfig {
    fn default() -> Self {
        Self {
            concurrent_max: 128,
            concurrent_per_peer_max: 8,
            address_timeout: Duration::from_secs(15),
            careful_for: Duration::from_secs(60 * 60),
            addresses_max: 32,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}
