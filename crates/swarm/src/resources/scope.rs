//! What is counted, for whom, and what a refusal says.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use peerkit_core::{Fault, PeerId, ProtocolId};

use crate::{ConnectionId, IpNetwork};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Connections.
    Connections,
    /// Connections that the remote made.
    InboundConnections,
    /// Connections that this side made.
    OutboundConnections,
    /// Inbound connections that are still to be secured.
    HalfOpenConnections,
    /// Inbound connections within a time.
    ConnectionRate,
    /// Streams.
    Streams,
    /// Streams that the remote opened.
    InboundStreams,
    /// Inbound streams that are still to agree on a protocol.
    Negotiations,
    /// Running handlers.
    Handlers,
    /// Bytes of memory.
    Memory,
    /// Sockets.
    Descriptors,
}

/// For whom it is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ResourceScope {
    /// The whole node.
    System,
    /// What strangers begin and have not finished: connections to be secured, streams without a protocol.
    Transient,
    /// The addresses of a network.
    Network(IpNetwork),
    /// One peer.
    Peer(PeerId),
    /// One protocol.
    Protocol(ProtocolId),
    /// One connection.
    Connection(ConnectionId),
    /// One stream.
    Stream,
}

/// A limit was reached, and what was asked for was refused.
///
/// Its text is one line that names the setting which raises it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// For whom it is counted.
    pub scope: ResourceScope,
    /// What is counted.
    pub resource: Resource,
    /// How much was in use.
    pub used: usize,
    /// How much more was asked for.
    pub wanted: usize,
    /// The limit.
    pub max: usize,
    /// The setting that raises it, as a path from [`HostConfig`](crate::HostConfig).
    pub setting: &'static str,
}

impl LimitExceeded {
    /// Who is at fault: the limit.
    pub fn fault(&self) -> Fault {
        Fault::Limit
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scope,
            resource,
            used,
            wanted,
            max,
            setting,
        } = self;
        write!(f, "{used} of {max} {resource} of {scope} are in use")?;
        if *wanted > 1 {
            write!(f, " and {wanted} more were asked for")?;
        }
        write!(f, "; {setting} raises that")
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::InboundConnections => "inbound connections",
            Self::OutboundConnections => "outbound connections",
            Self::HalfOpenConnections => "half-open connections",
            Self::ConnectionRate => "connections in a row",
            Self::Streams => "streams",
            Self::InboundStreams => "inbound streams",
            Self::Negotiations => "streams without a protocol",
            Self::Handlers => "running handlers",
            Self::Memory => "bytes of memory",
            Self::Descriptors => "sockets",
        })
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("this node"),
            Self::Transient => f.write_str("strangers"),
            Self::Network(network) => network.fmt(f),
            Self::Peer(peer) => write!(f, "peer {peer}"),
            Self::Protocol(protocol) => write!(f, "protocol {protocol}"),
            Self::Connection(connection) => write!(f, "connection {connection}"),
            Self::Stream => f.write_str("the stream"),
        }
    }
}

/// The setting behind a limit.
pub(crate) fn setting(scope: &ResourceScope, resource: Resource) -> &'static str {
    use Resource as R;
    use ResourceScope as S;
    match (scope, resource) {
        (S::System, R::Connections) => "limits.connections_max",
        (S::System, R::InboundConnections) => "limits.inbound_connections_max",
        (S::System, R::OutboundConnections) => "limits.outbound_connections_max",
        (S::System, R::Descriptors) => "limits.descriptors_max",
        (S::System, R::Streams) => "limits.streams_max",
        (S::System, R::InboundStreams) => "limits.inbound_streams_max",
        (S::Network(_), R::HalfOpenConnections) => "limits.inbound_upgrades_per_ip_max",
        (_, R::HalfOpenConnections) => "limits.inbound_upgrades_max",
        (_, R::ConnectionRate) => "limits.inbound_rate_per_ip",
        (_, R::Negotiations) => "limits.inbound_negotiations_total_max",
        (S::Network(network), _) if network.addr().is_ipv4() => {
            "limits.inbound_connections_per_ip4"
        }
        (S::Network(_), _) => "limits.inbound_connections_per_ip6",
        (S::Peer(_), R::Streams) => "limits.streams_per_peer_max",
        (S::Peer(_), R::InboundStreams) => "limits.inbound_streams_per_peer_max",
        (S::Peer(_), R::Memory) => "limits.memory_per_peer_max",
        (S::Peer(_), R::Handlers) => "limits.handlers_per_protocol_and_peer_max",
        (S::Peer(_), _) => "limits.connections_per_peer_max",
        (S::Protocol(_), R::Handlers) => "limits.handlers_per_protocol_max",
        (S::Protocol(_), R::Memory) => "limits.memory_per_protocol_max",
        (S::Protocol(_), _) => "limits.streams_per_protocol_max",
        (S::Connection(_), R::Handlers) => "limits.handlers_per_connection_max",
        (S::Connection(_), R::Memory) => "limits.memory_per_connection_max",
        (S::Connection(_), _) => "limits.streams_per_connection_max",
        (S::Stream, _) => "limits.memory_per_stream_max",
        (S::System | S::Transient, _) => "limits.memory_max",
    }
}

/// The counters of one scope. What is taken from it is taken from its parents as well, where
/// that is asked for.
#[derive(Debug)]
pub(crate) struct Scope {
    id: ResourceScope,
    parent: Option<Arc<Scope>>,
    counters: [Counter; COUNTED.len()],
}

/// Counts up to a maximum. Counters that have none are left alone, so that they cost nothing.
#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    max: Option<usize>,
}

/// What scopes have counters for, in the order of [`Resource`].
pub(crate) const COUNTED: [Resource; 11] = [
    Resource::Connections,
    Resource::InboundConnections,
    Resource::OutboundConnections,
    Resource::HalfOpenConnections,
    Resource::ConnectionRate,
    Resource::Streams,
    Resource::InboundStreams,
    Resource::Negotiations,
    Resource::Handlers,
    Resource::Memory,
    Resource::Descriptors,
];

impl Scope {
    /// A scope with these limits; other resources are counted by its parents only.
    pub(crate) fn new(
        id: ResourceScope,
        parent: Option<Arc<Scope>>,
        limits: &[(Resource, usize)],
    ) -> Self {
        let counter = |resource: Resource| Counter {
            used: AtomicUsize::new(0),
            max: limits.iter().find(|it| it.0 == resource).map(|it| it.1),
        };
        Self {
            id,
            parent,
            counters: COUNTED.map(counter),
        }
    }

    pub(crate) fn id(&self) -> &ResourceScope {
        &self.id
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Scope>> {
        self.parent.as_ref()
    }

    /// How much is in use, of how much; `None` if that is not counted here.
    pub(crate) fn usage(&self, resource: Resource) -> Option<(usize, usize)> {
        let counter = &self.counters[resource as usize];
        Some((counter.used.load(Ordering::Relaxed), counter.max?))
    }

    /// Takes from this scope only.
    pub(crate) fn take_here(&self, resource: Resource, amount: usize) -> Result<(), LimitExceeded> {
        let counter = &self.counters[resource as usize];
        counter.take(amount).map_err(|used| LimitExceeded {
            scope: self.id.clone(),
            resource,
            used,
            wanted: amount,
            max: counter.max.unwrap_or(usize::MAX),
            setting: setting(&self.id, resource),
        })
    }

    /// Takes from this scope and all above it, or from none.
    pub(crate) fn take(&self, resource: Resource, amount: usize) -> Result<(), LimitExceeded> {
        self.take_here(resource, amount)?;
        let Some(parent) = &self.parent else {
            return Ok(());
        };
        parent
            .take(resource, amount)
            .inspect_err(|_| self.put_back_here(resource, amount))
    }

    pub(crate) fn put_back_here(&self, resource: Resource, amount: usize) {
        self.counters[resource as usize].put_back(amount);
    }

    pub(crate) fn put_back(&self, resource: Resource, amount: usize) {
        let mut scope = Some(self);
        while let Some(it) = scope {
            it.put_back_here(resource, amount);
            scope = it.parent.as_deref();
        }
    }

    /// Takes from this scope only, until the result is dropped.
    pub(crate) fn hold(
        self: &Arc<Self>,
        resource: Resource,
        amount: usize,
    ) -> Result<Held, LimitExceeded> {
        self.take_here(resource, amount)?;
        Ok(Held {
            scope: self.clone(),
            resource,
            amount,
        })
    }
}

impl Counter {
    /// Counts, or tells how much is in use.
    fn take(&self, amount: usize) -> Result<(), usize> {
        let Some(max) = self.max else { return Ok(()) };
        let more = |used: usize| used.checked_add(amount).filter(|&sum| sum <= max);
        let outcome = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        outcome.map(drop)
    }

    fn put_back(&self, amount: usize) {
        if self.max.is_some() {
            let before = self.used.fetch_sub(amount, Ordering::Relaxed);
            debug_assert!(before >= amount, "more was given back than taken");
        }
    }
}

/// Something taken from one scope; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    scope: Arc<Scope>,
    resource: Resource,
    amount: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.scope.put_back_here(self.resource, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(system: usize, peer: usize) -> (Arc<Scope>, Arc<Scope>) {
        let system = Scope::new(
            ResourceScope::System,
            None,
            &[(Resource::Streams, system), (Resource::Memory, 100)],
        );
        let system = Arc::new(system);
        let id = ResourceScope::Peer(PeerId::random());
        let peer = Scope::new(id, Some(system.clone()), &[(Resource::Streams, peer)]);
        (system, Arc::new(peer))
    }

    fn streams(scope: &Scope) -> usize {
        scope.usage(Resource::Streams).unwrap().0
    }

    #[test]
    fn the_table_of_counters_has_the_order_of_the_resources() {
        for (at, resource) in COUNTED.into_iter().enumerate() {
            assert_eq!(resource as usize, at);
        }
    }

    #[test]
    fn a_refusal_further_up_takes_nothing() {
        let (system, peer) = chain(1, 5);
        peer.take(Resource::Streams, 1).unwrap();
        let refused = peer.take(Resource::Streams, 1).unwrap_err();
        assert_eq!(refused.scope, ResourceScope::System);
        assert_eq!((streams(&system), streams(&peer)), (1, 1));
        peer.put_back(Resource::Streams, 1);
        assert_eq!((streams(&system), streams(&peer)), (0, 0));
    }

    #[test]
    fn a_refusal_says_in_one_line_what_to_raise() {
        let (_, peer) = chain(9, 0);
        let text = peer.take(Resource::Streams, 1).unwrap_err().to_string();
        assert!(text.starts_with("0 of 0 streams of peer 1"), "{text}");
        assert!(
            text.ends_with("; limits.streams_per_peer_max raises that"),
            "{text}"
        );
        let text = peer.take(Resource::Memory, 101).unwrap_err().to_string();
        assert_eq!(
            text,
            "0 of 100 bytes of memory of this node are in use and 101 more were asked for; \
             limits.memory_max raises that"
        );
    }

    #[test]
    fn amounts_that_no_counter_can_hold_are_refused() {
        let (system, _) = chain(usize::MAX, 1);
        system.take(Resource::Streams, 1).unwrap();
        assert!(system.take(Resource::Streams, usize::MAX).is_err());
    }

    proptest! {
        /// Against a model that is one number for each scope.
        #[test]
        fn no_scope_ever_holds_more_than_its_limit(steps in prop::collection::vec((any::<bool>(), 0_usize..4), 1..200)) {
            let (system, peer) = chain(10, 7);
            let mut held = Vec::new();
            for (takes, amount) in steps {
                if takes {
                    let fits = held.iter().sum::<usize>() + amount <= 7;
                    let outcome = peer.take(Resource::Streams, amount);
                    prop_assert_eq!(outcome.is_ok(), fits);
                    if fits { held.push(amount) }
                } else if let Some(amount) = held.pop() {
                    peer.put_back(Resource::Streams, amount);
                }
                let sum = held.iter().sum::<usize>();
                prop_assert_eq!((streams(&system), streams(&peer)), (sum, sum));
            }
        }
    }
}
