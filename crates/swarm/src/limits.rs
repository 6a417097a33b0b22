//! What strangers may use up.

use std::{net::IpAddr, time::Duration};

use peerkit_core::Machine;

use crate::IpNetwork;

/// What strangers may use up. Each limit counts before anything is spent; a refusal is an error or
/// an event that holds a [`LimitExceeded`](crate::LimitExceeded), which names the setting.
///
/// Limits of type [`Capacity`] follow the machine unless they are set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections in all, those that are still to be secured included. Stops connection floods.
    /// By default as many as both directions may have, and at most one for two descriptors of the machine.
    pub connections_max: Capacity,
    /// Connections that others made. By default 64, and 64 more for each GiB of memory, but at most
    /// three quarters of one for two descriptors, so that dialing stays possible under a flood.
    pub inbound_connections_max: Capacity,
    /// Connections that this side made, dials under way included. Stops a node that others talk into dialing. By
    /// default 128, and 128 more for each GiB of memory, but at most one for two descriptors.
    pub outbound_connections_max: Capacity,
    /// Sockets of connections. Stops a node that has no descriptor left for its files. Half
    /// of what the process may have by default; listeners are not counted.
    pub descriptors_max: Capacity,
    /// Memory that connections and streams are charged, in bytes, see
    /// [`connection_memory`](Self::connection_memory) and [`stream_memory`](Self::stream_memory).
    /// Stops peers that make a node hold more than the machine has. 128 MiB and an eighth of the
    /// machine's memory by default.
    pub memory_max: Capacity,
    /// Streams in all. Stops stream floods over many connections. 2048, and 2048 more for each GiB
    /// of memory, by default.
    pub streams_max: Capacity,
    /// Streams that others opened. 1024, and 1024 more for each GiB of memory, by default.
    pub inbound_streams_max: Capacity,
    /// Inbound connections that are still to be secured. Stops half-open floods. 64 by default.
    pub inbound_upgrades_max: usize,
    /// The same of one IPv4 address, or one /56 of IPv6. Stops one attacker
    /// that takes the place of everybody else. 8 by default.
    pub inbound_upgrades_per_ip_max: usize,
    /// Inbound connections of one IPv4 network, for each length of a prefix. Stops one machine, or
    /// one rented network, that connects with many identities. Addresses of private networks are
    /// counted one by one, with the longest prefix's limit. 8 of one address and 64 of one /24 by default.
    pub inbound_connections_per_ip4: Vec<PrefixLimit>,
    /// The same for IPv6. 8 of one /56, which is what one customer gets, and 64 of one /48 by default.
    pub inbound_connections_per_ip6: Vec<PrefixLimit>,
    /// How often one IPv4 address, or one /56 of IPv6, may connect. Stops peers that make a node secure
    /// connection after connection. 16 at once and one every 5 s by default.
    pub inbound_rate_per_ip: ConnectionRate,
    /// Networks whose addresses are counted in all only, not by themselves: this machine by
    /// default. Put private networks here, or a proxy through which many peers come.
    pub trusted_networks: Vec<IpNetwork>,
    /// Connections with one peer. Stops a peer that connects again and again. 8 by default.
    pub connections_per_peer_max: usize,
    /// Streams with one peer, in both directions and over all its connections. 512 by default.
    pub streams_per_peer_max: usize,
    /// Streams that one peer opened. Stops a peer that takes every place for streams. 256 by default.
    pub inbound_streams_per_peer_max: usize,
    /// Memory that one peer is charged, in bytes. 192 MiB by default, but at most half of
    /// [`memory_max`](Self::memory_max).
    pub memory_per_peer_max: Capacity,
    /// Inbound streams of one connection that are still to agree on a protocol; further ones
    /// wait in the muxer. Stops peers that open streams and stay silent. 64 by default.
    pub inbound_negotiations_max: usize,
    /// The same of all connections together; further streams are reset. Stops the same with many
    /// connections. 4096 by default.
    pub inbound_negotiations_total_max: usize,
    /// Running handlers of one protocol; further streams are reset. 4096 by default.
    pub handlers_per_protocol_max: usize,
    /// Running handlers of one protocol for one peer; further streams are reset. Stops one
    /// peer that takes the handlers from everybody else. 256 by default.
    pub handlers_per_protocol_and_peer_max: usize,
    /// Running handlers of one connection; further streams are reset. 512 by default.
    pub handlers_per_connection_max: usize,
    /// Streams of one protocol, in both directions. Stops one protocol that takes the
    /// streams from all others. 8192 by default.
    pub streams_per_protocol_max: usize,
    /// Memory that the streams of one protocol are charged, in bytes. Half of
    /// [`memory_max`](Self::memory_max) by default.
    pub memory_per_protocol_max: Capacity,
    /// Streams of one connection, in both directions. 512 by default, which is what yamux allows.
    pub streams_per_connection_max: usize,
    /// Memory that one connection and its streams are charged, in bytes. 160 MiB by default.
    pub memory_per_connection_max: usize,
    /// Memory that one stream is charged, with what its handler has reserved, in bytes. 16 MiB by default.
    pub memory_per_stream_max: usize,
    /// What a connection is charged from its beginning: buffers of its sockets, its cipher and its
    /// muxer, in bytes. 64 KiB by default.
    pub connection_memory: usize,
    /// What a stream is charged from its beginning: what the remote may send before the application
    /// has read, which is the first window of yamux, in bytes. 256 KiB by default.
    pub stream_memory: usize,
    /// Peers whose addresses are remembered. 10,000 by default.
    pub known_peers_max: usize,
    /// Addresses that are remembered of one peer. 64 by default.
    pub known_addresses_max: usize,
}

/// A limit that follows the machine unless it is set: `limits.connections_max = 100.into()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    /// As the machine allows; the documentation of each setting says how.
    #[default]
    OfMachine,
    /// So many, whatever the machine.
    Exactly(usize),
}

/// Connections of all addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimit {
    /// The length of the prefix in bits.
    pub prefix_len: u8,
    /// How many connections its addresses may have together.
    pub connections_max: usize,
}

/// So many connections at once, then one in each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRate {
    /// How many are allowed at once; at least one.
    pub burst: u32,
    /// How long it takes until one more is allowed. Zero switches the limit off.
    pub interval: Duration,
}

impl Capacity {
    /// The number that was set, else the other one.
    pub fn or(self, of_machine: usize) -> usize {
        match self {
            Self::OfMachine => of_machine,
            Self::Exactly(amount) => amount,
        }
    }

    /// The number, of a limit that was [resolved](Limits::resolved).
    pub(crate) fn amount(self) -> usize {
        self.or(usize::MAX)
    }
}

impl From<usize> for Capacity {
    fn from(amount: usize) -> Self {
        Self::Exactly(amount)
    }
}

impl Limits {
    /// The same limits with every [`Capacity`] set, for a machine of that size.
    pub fn resolved(&self, machine: &Machine) -> Self {
        let gib = clamp(machine.memory >> 30);
        let sockets = clamp(machine.descriptors / 2);
        let scaled = |base: usize| base.saturating_add(gib.saturating_mul(base));
        let inbound = scaled(64).min(sockets - sockets / 4);
        let outbound = scaled(128).min(sockets);
        let inbound = self.inbound_connections_max.or(inbound);
        let outbound = self.outbound_connections_max.or(outbound);
        let connections = inbound.saturating_add(outbound).min(sockets);
        let memory = clamp((machine.memory / 8).saturating_add(128 * MIB as u64));
        let memory = self.memory_max.or(memory);
        Self {
            connections_max: self.connections_max.or(connections).into(),
            inbound_connections_max: inbound.into(),
            outbound_connections_max: outbound.into(),
            descriptors_max: self.descriptors_max.or(sockets).into(),
            memory_max: memory.into(),
            streams_max: self.streams_max.or(scaled(2048)).into(),
            inbound_streams_max: self.inbound_streams_max.or(scaled(1024)).into(),
            memory_per_peer_max: self
                .memory_per_peer_max
                .or((192 * MIB).min(memory / 2))
                .into(),
            memory_per_protocol_max: self.memory_per_protocol_max.or(memory / 2).into(),
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let prefix = |prefix_len, connections_max| PrefixLimit {
            prefix_len,
            connections_max,
        };
        Self {
            connections_max: Capacity::OfMachine,
            inbound_connections_max: Capacity::OfMachine,
            outbound_connections_max: Capacity::OfMachine,
            descriptors_max: Capacity::OfMachine,
            memory_max: Capacity::OfMachine,
            streams_max: Capacity::OfMachine,
            inbound_streams_max: Capacity::OfMachine,
            inbound_upgrades_max: 64,
            inbound_upgrades_per_ip_max: 8,
            inbound_connections_per_ip4: vec![prefix(32, 8), prefix(24, 64)],
            inbound_connections_per_ip6: vec![prefix(56, 8), prefix(48, 64)],
            inbound_rate_per_ip: ConnectionRate {
                burst: 16,
                interval: Duration::from_secs(5),
            },
            trusted_networks: vec![
                IpNetwork::new(IpAddr::from([127, 0, 0, 0]), 8),
                IpNetwork::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), 128),
            ],
            connections_per_peer_max: 8,
            streams_per_peer_max: 512,
            inbound_streams_per_peer_max: 256,
            memory_per_peer_max: Capacity::OfMachine,
            inbound_negotiations_max: 64,
            inbound_negotiations_total_max: 4096,
            handlers_per_protocol_max: 4096,
            handlers_per_protocol_and_peer_max: 256,
            handlers_per_connection_max: 512,
            streams_per_protocol_max: 8192,
            memory_per_protocol_max: Capacity::OfMachine,
            streams_per_connection_max: 512,
            memory_per_connection_max: 160 * MIB,
            memory_per_stream_max: 16 * MIB,
            connection_memory: 64 * 1024,
            stream_memory: 256 * 1024,
            known_peers_max: 10_000,
            known_addresses_max: 64,
        }
    }
}

fn clamp(amount: u64) -> usize {
    usize::try_from(amount).unwrap_or(usize::MAX)
}

const MIB: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts(limits: &Limits) -> [usize; 5] {
        [
            limits.inbound_connections_max,
            limits.outbound_connections_max,
            limits.connections_max,
            limits.memory_max,
            limits.memory_per_peer_max,
        ]
        .map(Capacity::amount)
    }

    #[test]
    fn limits_follow_the_machine() {
        let limits = Limits::default();
        let server = limits.resolved(&Machine::new(16 << 30, 65_536));
        assert_eq!(amounts(&server), [1088, 2176, 3264, 2176 * MIB, 192 * MIB]);
        let board = limits.resolved(&Machine::new(1 << 30, 1024));
        assert_eq!(amounts(&board), [128, 256, 384, 256 * MIB, 128 * MIB]);
        let few_files = limits.resolved(&Machine::new(16 << 30, 256));
        assert_eq!(amounts(&few_files)[..3], [96, 128, 128]);
    }

    #[test]
    fn what_is_set_stays() {
        let limits = Limits {
            inbound_connections_max: 5.into(),
            memory_per_peer_max: 7.into(),
            ..Limits::default()
        };
        let resolved = limits.resolved(&Machine::new(16 << 30, 65_536));
        assert_eq!(resolved.inbound_connections_max, Capacity::Exactly(5));
        assert_eq!(resolved.memory_per_peer_max, Capacity::Exactly(7));
    }

    proptest! {
        #[test]
        fn any_machine_is_fine(memory: u64, descriptors: u64) {
            let [inbound, outbound, all, memory, of_peer] =
                amounts(&Limits::default().resolved(&Machine::new(memory, descriptors)));
            prop_assert!(inbound <= all && outbound <= all);
            prop_assert!(of_peer <= memory && memory >= 128 * MIB);
            prop_assert!(all as u64 <= descriptors / 2);
        }
    }
}
