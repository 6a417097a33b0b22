//! Who uses how much: counted before it is spent.
//!
//! ```text
//!   system <--- peer <--- connection <--- stream     each limit counts in its own scope;
//!      ^                                    |        a stream takes from all scopes on its way
//!      +------------- protocol <------------+
//!   transient: connections to be secured, streams without a protocol
//!   networks:  inbound connections of addresses with the same prefix
//! ```
//!
//! Streams cost a few atomic operations and no allocation.

mod networks;
mod permits;
mod registry;
mod scope;
mod snapshot;

use std::sync::{Arc, Mutex};

use peerkit_core::{Machine, Multiaddr, PeerId, ProtocolId, lock, multiaddr::Protocol};

use self::{networks::Networks, registry::Registry};
pub use self::{
    permits::MemoryReservation,
    scope::{LimitExceeded, Resource, ResourceScope},
    snapshot::{ResourceUsage, Resources, ScopeUsage},
};
pub(crate) use self::{
    permits::{Admission, ConnectionPermit, StreamPermit},
    scope::{Held, Scope},
};
use crate::{ConnectionId, Limits};

/// All scopes of a host.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) machine: Machine,
    /// Every capacity is set.
    pub(crate) limits: Limits,
    pub(crate) system: Arc<Scope>,
    transient: Arc<Scope>,
    networks: Arc<Mutex<Networks>>,
    peers: Registry<PeerId>,
    /// Only what this side names gets here: protocols that it answers and that it asks for.
    protocols: Registry<ProtocolId>,
    /// The share of each peer in a protocol's handlers.
    shares: Registry<(PeerId, ProtocolId)>,
}

impl Accounts {
    pub(crate) fn new(limits: &Limits, machine: Machine) -> Self {
        let limits = limits.resolved(&machine);
        let system = [
            (Resource::Connections, limits.connections_max),
            (Resource::InboundConnections, limits.inbound_connections_max),
            (
                Resource::OutboundConnections,
                limits.outbound_connections_max,
            ),
            (Resource::Descriptors, limits.descriptors_max),
            (Resource::Streams, limits.streams_max),
            (Resource::InboundStreams, limits.inbound_streams_max),
            (Resource::Memory, limits.memory_max),
        ]
        .map(|(resource, max)| (resource, max.amount()));
        let transient = [
            (Resource::HalfOpenConnections, limits.inbound_upgrades_max),
            (
                Resource::Negotiations,
                limits.inbound_negotiations_total_max,
            ),
        ];
        Self {
            machine,
            system: Arc::new(Scope::new(ResourceScope::System, None, &system)),
            transient: Arc::new(Scope::new(ResourceScope::Transient, None, &transient)),
            networks: Arc::new(Mutex::new(Networks::new(&limits))),
            peers: Registry::default(),
            protocols: Registry::default(),
            shares: Registry::default(),
            limits,
        }
    }

    /// The scope of a peer.
    pub(crate) fn peer(&self, peer: PeerId) -> Arc<Scope> {
        self.peers.of(&peer, || {
            let limits = [
                (Resource::Connections, self.limits.connections_per_peer_max),
                (Resource::Streams, self.limits.streams_per_peer_max),
                (
                    Resource::InboundStreams,
                    self.limits.inbound_streams_per_peer_max,
                ),
                (Resource::Memory, self.limits.memory_per_peer_max.amount()),
            ];
            Scope::new(
                ResourceScope::Peer(peer),
                Some(self.system.clone()),
                &limits,
            )
        })
    }

    /// The scope of a new connection with a peer.
    pub(crate) fn connection(&self, id: ConnectionId, peer: PeerId) -> Arc<Scope> {
        let limits = [
            (Resource::Streams, self.limits.streams_per_connection_max),
            (Resource::Handlers, self.limits.handlers_per_connection_max),
            (Resource::Memory, self.limits.memory_per_connection_max),
        ];
        let parent = Some(self.peer(peer));
        Arc::new(Scope::new(ResourceScope::Connection(id), parent, &limits))
    }

    /// The scope of a protocol. It has no parent: what it counts is counted for the connection, too.
    pub(crate) fn protocol(&self, protocol: &ProtocolId) -> Arc<Scope> {
        self.protocols.of(protocol, || {
            let limits = [
                (Resource::Streams, self.limits.streams_per_protocol_max),
                (Resource::Handlers, self.limits.handlers_per_protocol_max),
                (
                    Resource::Memory,
                    self.limits.memory_per_protocol_max.amount(),
                ),
            ];
            Scope::new(ResourceScope::Protocol(protocol.clone()), None, &limits)
        })
    }

    /// One more handler of a protocol that runs for a peer.
    pub(crate) fn share(&self, peer: PeerId, protocol: &ProtocolId) -> Result<Held, LimitExceeded> {
        let share = self.shares.of(&(peer, protocol.clone()), || {
            let max = self.limits.handlers_per_protocol_and_peer_max;
            Scope::new(
                ResourceScope::Peer(peer),
                None,
                &[(Resource::Handlers, max)],
            )
        });
        share.hold(Resource::Handlers, 1)
    }

    /// One more stream that is still to agree on a protocol.
    pub(crate) fn negotiation(&self) -> Result<Held, LimitExceeded> {
        self.transient.hold(Resource::Negotiations, 1)
    }

    /// All that is counted now.
    pub(crate) fn snapshot(&self, connections: &[Arc<Scope>]) -> Resources {
        let networks = lock(&self.networks).usage();
        let mut scopes = vec![
            ScopeUsage::of(&self.system),
            ScopeUsage::of(&self.transient),
        ];
        scopes.extend(snapshot::of_networks(networks));
        let peers = self.peers.in_use();
        let protocols = self.protocols.in_use();
        let all = peers.iter().chain(&protocols).chain(connections);
        scopes.extend(all.map(|scope| ScopeUsage::of(scope)));
        Resources {
            machine: self.machine,
            scopes,
        }
    }
}

/// Sockets that a connection to that address needs: one, unless it goes through memory or another connection.
fn sockets(addr: &Multiaddr) -> usize {
    let is_free = |part| matches!(part, Protocol::Memory(_) | Protocol::P2pCircuit);
    usize::from(!addr.iter().any(is_free))
}
