//! Configuration of a host.

use std::time::Duration;

/// Configuration of a host. The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostConfig {
    /// How peers are dialed.
    pub dial: DialConfig,
    /// What strangers may use up.
    pub limits: Limits,
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
            addresses_max: 32,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// What strangers may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections in all. Stops connection floods. 1024 by default.
    pub connections_max: usize,
    /// Connections that others made. 768 by default, so that dialing stays possible under a flood.
    pub inbound_connections_max: usize,
    /// Connections with one peer. Stops a peer that connects again and again. 8 by default.
    pub connections_per_peer_max: usize,
    /// Inbound connections that are still to be secured. Stops half-open floods. 64 by default.
    pub inbound_upgrades_max: usize,
    /// The same of one IPv4 address, or one /56 of IPv6; loopback is not counted. Stops one attacker
    /// that takes the place of everybody else. 8 by default.
    pub inbound_upgrades_per_ip_max: usize,
    /// Inbound streams of one connection that are still to agree on a protocol; further ones
    /// wait in the muxer. Stops peers that open streams and stay silent. 64 by default.
    pub inbound_negotiations_max: usize,
    /// Running handlers of one protocol; further streams are reset. 4096 by default.
    pub handlers_per_protocol_max: usize,
    /// Running handlers of one connection; further streams are reset. 512 by default.
    pub handlers_per_connection_max: usize,
    /// Peers whose addresses are remembered. 10,000 by default.
    pub known_peers_max: usize,
    /// Addresses that are remembered of one peer. 64 by default.
    pub known_addresses_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            inbound_connections_max: 768,
            connections_per_peer_max: 8,
            inbound_upgrades_max: 64,
            inbound_upgrades_per_ip_max: 8,
            inbound_negotiations_max: 64,
            handlers_per_protocol_max: 4096,
            handlers_per_connection_max: 512,
            known_peers_max: 10_000,
            known_addresses_max: 64,
        }
    }
}
