//! What connections and streams have taken; given back when dropped.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use peerkit_core::{Direction, Multiaddr, lock};

use super::{
    Accounts, Held, LimitExceeded, Resource, ResourceScope, Scope, networks::Networks,
    scope::setting, sockets,
};
use crate::{Limits, network::ip_of};

/// A connection that was admitted before its handshake.
#[derive(Debug)]
pub(crate) struct Admission {
    counts: Vec<Held>,
    socket: SocketPermit,
    network: Option<NetworkPermit>,
    half_open: Option<HalfOpen>,
}

/// The place of a connection in the table, until it is taken off.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    _counts: Vec<Held>,
    _network: Option<NetworkPermit>,
}

/// The socket and the buffers of a connection, until its task has ended.
#[derive(Debug)]
pub(crate) struct SocketPermit(Vec<Held>);

#[derive(Debug)]
struct HalfOpen {
    _total: Held,
    /// Settles there.
    network: Option<(Arc<Mutex<Networks>>, IpAddr)>,
}

#[derive(Debug)]
struct NetworkPermit(Arc<Mutex<Networks>>, IpAddr);

impl Drop for HalfOpen {
    fn drop(&mut self) {
        if let Some((networks, ip)) = &self.network {
            lock(networks).settle(*ip);
        }
    }
}

impl Drop for NetworkPermit {
    fn drop(&mut self) {
        lock(&self.0).release(self.1);
    }
}

impl Accounts {
    /// Admits a connection from that address, before anything is spent on it.
    pub(crate) fn admit_inbound(
        &self,
        remote: &Multiaddr,
        now: Instant,
    ) -> Result<Admission, LimitExceeded> {
        let half_open = self.transient.hold(Resource::HalfOpenConnections, 1)?;
        let mut admission = self.admit(Resource::InboundConnections, remote)?;
        let mut half_open = HalfOpen {
            _total: half_open,
            network: None,
        };
        if let Some(ip) = ip_of(remote) {
            let mut networks = lock(&self.networks);
            if networks.counts(ip) {
                networks.admit(ip, now)?;
                half_open.network = Some((self.networks.clone(), ip));
                admission.network = Some(NetworkPermit(self.networks.clone(), ip));
            }
        }
        admission.half_open = Some(half_open);
        Ok(admission)
    }

    /// Admits a dial to that address, before a socket is opened.
    pub(crate) fn admit_outbound(&self, remote: &Multiaddr) -> Result<Admission, LimitExceeded> {
        self.admit(Resource::OutboundConnections, remote)
    }

    fn admit(&self, direction: Resource, remote: &Multiaddr) -> Result<Admission, LimitExceeded> {
        let hold = |resource, amount| self.system.hold(resource, amount);
        Ok(Admission {
            counts: vec![hold(direction, 1)?, hold(Resource::Connections, 1)?],
            socket: SocketPermit(vec![
                hold(Resource::Descriptors, sockets(remote))?,
                hold(Resource::Memory, self.limits.connection_memory)?,
            ]),
            network: None,
            half_open: None,
        })
    }
}

impl Admission {
    /// The handshake is over: the connection is counted for its peer from now on.
    pub(crate) fn establish(
        mut self,
        connection: &Arc<Scope>,
        limits: &Limits,
    ) -> Result<(ConnectionPermit, SocketPermit), Box<(LimitExceeded, Self)>> {
        match count_for_peer(connection, limits) {
            Ok((count, memory)) => {
                self.counts.push(count);
                self.socket.0.extend(memory);
                drop(self.half_open);
                let permit = ConnectionPermit {
                    _counts: self.counts,
                    _network: self.network,
                };
                Ok((permit, self.socket))
            }
            Err(refused) => Err(Box::new((refused, self))),
        }
    }
}

fn count_for_peer(
    connection: &Arc<Scope>,
    limits: &Limits,
) -> Result<(Held, [Held; 2]), LimitExceeded> {
    let peer = connection.parent().expect("a connection belongs to a peer");
    let count = peer.hold(Resource::Connections, 1)?;
    let charge = limits.connection_memory;
    let memory = [
        peer.hold(Resource::Memory, charge)?,
        connection.hold(Resource::Memory, charge)?,
    ];
    Ok((count, memory))
}

/// What one stream has taken.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    connection: Arc<Scope>,
    protocol: Option<Arc<Scope>>,
    direction: Direction,
    memory: usize,
    memory_max: usize,
    /// What was reserved beyond that; most streams never do.
    reserved: std::sync::OnceLock<Arc<AtomicUsize>>,
}

impl StreamPermit {
    /// One more stream of a connection.
    pub(crate) fn new(
        connection: &Arc<Scope>,
        direction: Direction,
        limits: &Limits,
    ) -> Result<Self, LimitExceeded> {
        let memory = limits.stream_memory;
        connection.take(Resource::Streams, 1)?;
        connection
            .take(Resource::Memory, memory)
            .inspect_err(|_| connection.put_back(Resource::Streams, 1))?;
        if direction == Direction::Inbound
            && let Err(refused) = connection.take(Resource::InboundStreams, 1)
        {
            connection.put_back(Resource::Memory, memory);
            connection.put_back(Resource::Streams, 1);
            return Err(refused);
        }
        Ok(Self {
            connection: connection.clone(),
            protocol: None,
            direction,
            memory,
            memory_max: limits.memory_per_stream_max,
            reserved: std::sync::OnceLock::new(),
        })
    }

    /// The stream is about that protocol.
    pub(crate) fn enter(&mut self, protocol: Arc<Scope>) -> Result<(), LimitExceeded> {
        protocol.take_here(Resource::Streams, 1)?;
        protocol
            .take_here(Resource::Memory, self.memory)
            .inspect_err(|_| protocol.put_back_here(Resource::Streams, 1))?;
        self.protocol = Some(protocol);
        Ok(())
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Reserves memory for the stream.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<MemoryReservation, LimitExceeded> {
        let of_stream = self.reserved.get_or_init(Arc::default).clone();
        let room = self.memory_max.saturating_sub(self.memory);
        let more = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= room);
        let counted = of_stream.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if let Err(used) = counted {
            return Err(LimitExceeded {
                scope: ResourceScope::Stream,
                resource: Resource::Memory,
                used: used.saturating_add(self.memory),
                wanted: bytes,
                max: self.memory_max,
                setting: setting(&ResourceScope::Stream, Resource::Memory),
            });
        }
        let mut reservation = MemoryReservation {
            scope: None,
            protocol: None,
            of_stream: Some(of_stream),
            bytes,
        };
        self.connection.take(Resource::Memory, bytes)?;
        reservation.scope = Some(self.connection.clone());
        if let Some(protocol) = &self.protocol {
            protocol.take_here(Resource::Memory, bytes)?;
            reservation.protocol = Some(protocol.clone());
        }
        Ok(reservation)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Some(protocol) = &self.protocol {
            protocol.put_back_here(Resource::Memory, self.memory);
            protocol.put_back_here(Resource::Streams, 1);
        }
        if self.direction == Direction::Inbound {
            self.connection.put_back(Resource::InboundStreams, 1);
        }
        self.connection.put_back(Resource::Memory, self.memory);
        self.connection.put_back(Resource::Streams, 1);
    }
}

/// Memory that was counted before it is spent; given back when dropped.
///
/// See [`Stream::reserve_memory`](crate::Stream::reserve_memory) and
/// [`Host::reserve_memory`](crate::Host::reserve_memory).
#[derive(Debug)]
#[must_use = "the memory is given back when this is dropped"]
pub struct MemoryReservation {
    scope: Option<Arc<Scope>>,
    protocol: Option<Arc<Scope>>,
    of_stream: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl MemoryReservation {
    /// Memory of the whole node.
    pub(crate) fn of_system(system: &Arc<Scope>, bytes: usize) -> Result<Self, LimitExceeded> {
        system.take(Resource::Memory, bytes)?;
        Ok(Self {
            scope: Some(system.clone()),
            protocol: None,
            of_stream: None,
            bytes,
        })
    }

    /// How much it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        if let Some(scope) = &self.scope {
            scope.put_back(Resource::Memory, self.bytes);
        }
        if let Some(protocol) = &self.protocol {
            protocol.put_back_here(Resource::Memory, self.bytes);
        }
        if let Some(of_stream) = &self.of_stream {
            of_stream.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use peerkit_core::{Machine, PeerId, ProtocolId};

    use super::*;
    use crate::ConnectionId;

    fn used(accounts: &Accounts) -> usize {
        let snapshot = accounts.snapshot(&[]);
        snapshot
            .scopes
            .iter()
            .flat_map(|it| &it.usage)
            .map(|it| it.used)
            .sum()
    }

    #[test]
    fn what_is_dropped_is_given_back_everywhere() {
        let accounts = Accounts::new(&Limits::default(), Machine::default());
        let remote = "/ip4/1.2.3.4/tcp/1".parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant")]
        let now = Instant::now();
        let admission = accounts.admit_inbound(&remote, now).unwrap();
        let connection = accounts.connection(ConnectionId(1), PeerId::random());
        let permits = admission.establish(&connection, &accounts.limits).unwrap();
        let mut stream =
            StreamPermit::new(&connection, Direction::Inbound, &accounts.limits).unwrap();
        let protocol = accounts.protocol(&ProtocolId::from_static("/a/1"));
        stream.enter(protocol).unwrap();
        let reserved = stream.reserve(1000).unwrap();
        assert!(stream.reserve(16 << 20).is_err());
        assert!(used(&accounts) > 0);
        drop((reserved, stream, permits, connection));
        assert_eq!(used(&accounts), 0);
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let limits = Limits {
            connections_per_peer_max: 0,
            memory_max: 100_000.into(),
            ..Limits::default()
        };
        let accounts = Accounts::new(&limits, Machine::default());
        let remote = "/ip4/1.2.3.4/tcp/1".parse().unwrap();
        let admission = accounts.admit_outbound(&remote).unwrap();
        let refused = accounts.admit_outbound(&remote).unwrap_err();
        assert_eq!(refused.setting, "limits.memory_max");
        let connection = accounts.connection(ConnectionId(1), PeerId::random());
        let (refused, admission) = *admission.establish(&connection, &limits).unwrap_err();
        assert_eq!(refused.setting, "limits.connections_per_peer_max");
        assert!(StreamPermit::new(&connection, Direction::Inbound, &limits).is_err());
        drop((admission, connection));
        assert_eq!(used(&accounts), 0);
    }
}
