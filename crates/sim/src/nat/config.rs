//! How a NAT box behaves, and what it counts.

use std::time::Duration;

/// What a mapping or a filter depends on, beside the internal endpoint.
///
/// Source: RFC 4787, sections 4.1 and 5, whose terms these are; RFC 5382 has the same for TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatBehavior {
    /// On nothing. A mapping is used again for every remote; a filter lets everybody in who uses a mapping.
    EndpointIndependent,
    /// On the remote address. A filter lets in whom something was sent to, from any port.
    AddressDependent,
    /// On the remote address and port. A filter lets in the very endpoint that something was sent to.
    AddressAndPortDependent,
}

/// Which public port a new mapping gets, from 1024 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAllocation {
    /// The internal port if it is free, else the next free one.
    Preserving,
    /// The next free one.
    Sequential,
    /// A random one, drawn from the seed of the simulation.
    Random,
}

/// What a box does with a TCP packet that belongs to nothing that it knows. Datagrams are dropped always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsolicited {
    /// Nothing: a connect times out, a connection hangs. What RFC 5382, section 4.3, asks for.
    Drop,
    /// It answers with a reset: a connect is refused, a connection is reset.
    Refuse,
}

/// How a NAT box behaves.
///
/// The constructors have the usual names; what they mean in the terms of RFC 4787 is said
/// there. Everything else has the values that the RFCs recommend:
///
/// ```
/// use std::time::Duration;
/// use peerkit_sim::NatConfig;
///
/// let mut config = NatConfig::symmetric();
/// config.udp_timeout = Duration::from_secs(30);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatConfig {
    /// Which packets of an internal endpoint share a public one.
    pub mapping: NatBehavior,
    /// Which packets from outside get in through a mapping.
    pub filtering: NatBehavior,
    /// Which public port a mapping gets.
    pub ports: PortAllocation,
    /// How long a UDP mapping and its filter live without a packet. 5 minutes by default.
    ///
    /// Source: RFC 4787, section 4.3, REQ-5: at least two minutes, five are recommended.
    pub udp_timeout: Duration,
    /// Whether datagrams from outside prolong that, too; on by default. Those from inside always do.
    ///
    /// Source: RFC 4787, section 4.3, REQ-6.
    pub udp_inbound_refresh: bool,
    /// How long an idle TCP connection is known. 2 hours and 4 minutes by default.
    ///
    /// Source: RFC 5382, section 5, REQ-5.
    pub tcp_established_timeout: Duration,
    /// How long a TCP connection is known that is not yet open, was closed on both sides, or was
    /// reset. 4 minutes by default.
    ///
    /// Source: RFC 5382, section 5, REQ-5.
    pub tcp_transitory_timeout: Duration,
    /// Whether hosts behind the box reach each other by its public address; on by default. They
    /// are then seen with their public endpoints.
    ///
    /// Source: RFC 4787, section 6, REQ-9.
    pub hairpinning: bool,
    /// TCP packets that belong to nothing. Dropped by default.
    pub unsolicited: Unsolicited,
    /// Mappings that the box holds; more are not made, and what needs one is dropped. 65,536 by default.
    pub mappings_max: usize,
    /// Pairs of an internal and a remote endpoint that the box holds; more are not made, and what
    /// needs one is dropped. 65,536 by default.
    pub sessions_max: usize,
}

impl NatConfig {
    /// A "full cone": endpoint-independent mapping, endpoint-independent filtering.
    pub fn full_cone() -> Self {
        Self::new(
            NatBehavior::EndpointIndependent,
            NatBehavior::EndpointIndependent,
        )
    }

    /// A "restricted cone": endpoint-independent mapping, address-dependent filtering.
    pub fn restricted_cone() -> Self {
        Self::new(
            NatBehavior::EndpointIndependent,
            NatBehavior::AddressDependent,
        )
    }

    /// A "port-restricted cone": endpoint-independent mapping, address- and port-dependent filtering.
    pub fn port_restricted_cone() -> Self {
        Self::new(
            NatBehavior::EndpointIndependent,
            NatBehavior::AddressAndPortDependent,
        )
    }

    /// A "symmetric NAT": address- and port-dependent mapping and filtering, with random ports,
    /// so that nobody can tell which port the next remote will see.
    pub fn symmetric() -> Self {
        Self {
            ports: PortAllocation::Random,
            ..Self::new(
                NatBehavior::AddressAndPortDependent,
                NatBehavior::AddressAndPortDependent,
            )
        }
    }

    /// Any combination, with ports preserved where they are free.
    pub fn new(mapping: NatBehavior, filtering: NatBehavior) -> Self {
        Self {
            mapping,
            filtering,
            ports: PortAllocation::Preserving,
            udp_timeout: Duration::from_secs(5 * 60),
            udp_inbound_refresh: true,
            tcp_established_timeout: Duration::from_secs(2 * 60 * 60 + 4 * 60),
            tcp_transitory_timeout: Duration::from_secs(4 * 60),
            hairpinning: true,
            unsolicited: Unsolicited::Drop,
            mappings_max: 65_536,
            sessions_max: 65_536,
        }
    }
}

/// What a NAT box has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatStats {
    /// Mappings that it holds now.
    pub mappings: usize,
    /// The most that it held at once.
    pub mappings_peak: usize,
    /// Mappings that were ever made.
    pub mappings_made: u64,
    /// Mappings that ended because nothing used them.
    pub mappings_expired: u64,
    /// Pairs of an internal and a remote endpoint that it holds now.
    pub sessions: usize,
    /// Packets that were dropped for want of a port or of room in a table.
    pub exhausted: u64,
    /// Packets from inside that were dropped or refused because they belong to nothing, or because
    /// there is no hairpinning.
    pub outbound_unknown: u64,
    /// Packets from outside that were dropped or refused because there is no mapping, or the filter forbids them.
    pub inbound_unknown: u64,
}
