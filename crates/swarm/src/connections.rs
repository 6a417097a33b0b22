//! The table of connections.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Instant,
};

use async_lock::Semaphore;
use peerkit_core::{
    Connection, ConnectionInfo, Direction, Multiaddr, PeerId, PeerRecord, ProtocolId,
    multiaddr::Protocol,
};

use crate::resources::{ConnectionPermit, Scope};

/// The number of a connection, unique within a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What there is to know of an open connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionSummary {
    /// Its number.
    pub id: ConnectionId,
    /// The remote.
    pub peer: PeerId,
    /// The address on this side.
    pub local_addr: Multiaddr,
    /// The address on the other side.
    pub remote_addr: Multiaddr,
    /// Which side made it.
    pub direction: Direction,
    /// The security protocol.
    pub security: ProtocolId,
    /// The muxer.
    pub muxer: ProtocolId,
    /// Since when.
    pub opened_at: Instant,
    /// Streams that are open now.
    pub streams: usize,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ConnectionId,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) opened_at: Instant,
    /// The address that this side dialed, as it was named; the remote address may be what a name resolved to.
    pub(crate) dialed: Option<Multiaddr>,
    /// Inbound streams that are yet to agree on a protocol.
    pub(crate) negotiations: Arc<Semaphore>,
    /// Counts its streams, handlers and memory.
    pub(crate) scope: Arc<Scope>,
    /// Its place in the table; given back when it is taken off.
    pub(crate) permit: Mutex<Option<ConnectionPermit>>,
}

impl Entry {
    pub(crate) fn summary(&self) -> ConnectionSummary {
        ConnectionSummary {
            id: self.id,
            peer: self.info.remote_peer,
            local_addr: self.info.local_addr.clone(),
            remote_addr: self.info.remote_addr.clone(),
            direction: self.info.direction,
            security: self.info.security.clone(),
            muxer: self.info.muxer.clone(),
            opened_at: self.opened_at,
            streams: self.connection.stream_count(),
        }
    }

    fn is_usable(&self) -> bool {
        self.connection.close_error().is_none()
    }

    fn is_relayed(&self) -> bool {
        let mut parts = self.info.remote_addr.iter();
        parts.any(|part| part == Protocol::P2pCircuit)
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    peers: BTreeMap<PeerId, Vec<Arc<Entry>>>,
    /// What connected peers have signed about their addresses.
    records: BTreeMap<PeerId, Arc<PeerRecord>>,
    total: usize,
}

impl Connections {
    /// The connection to use for a new stream: direct before relayed, then the
    /// newest, since a peer that connects again may have lost the older one.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<Arc<Entry>> {
        let usable = self.peers.get(peer)?.iter();
        usable
            .filter(|entry| entry.is_usable())
            .max_by_key(|entry| (!entry.is_relayed(), entry.id))
            .cloned()
    }

    /// The newest connection that was made by dialing an address. What peers say of their addresses does not count.
    pub(crate) fn dialed(&self, addr: &Multiaddr) -> Option<Arc<Entry>> {
        let all = self.peers.values().flatten();
        let usable = all.filter(|entry| entry.dialed.as_ref() == Some(addr) && entry.is_usable());
        usable.max_by_key(|entry| entry.id).cloned()
    }

    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> usize {
        self.total += 1;
        let of_peer = self.peers.entry(entry.info.remote_peer).or_default();
        of_peer.push(entry);
        of_peer.len()
    }

    /// Removes a connection; returns how many are left with its peer.
    pub(crate) fn remove(&mut self, entry: &Entry) -> usize {
        let peer = entry.info.remote_peer;
        let Some(of_peer) = self.peers.get_mut(&peer) else {
            return 0;
        };
        let before = of_peer.len();
        of_peer.retain(|it| it.id != entry.id);
        let left = of_peer.len();
        if left < before {
            self.total -= 1;
        }
        if left == 0 {
            self.peers.remove(&peer);
            self.records.remove(&peer);
        }
        left
    }

    /// Keeps the record of a connected peer; false for one that is gone, or a record that is superseded.
    pub(crate) fn set_record(&mut self, record: PeerRecord) -> bool {
        let peer = record.peer_id();
        let known = self.records.get(&peer);
        let newer = known.is_none_or(|known| record.supersedes(known));
        if !newer || !self.peers.contains_key(&peer) {
            return false;
        }
        self.records.insert(peer, Arc::new(record));
        true
    }

    pub(crate) fn record(&self, peer: &PeerId) -> Option<Arc<PeerRecord>> {
        self.records.get(peer).cloned()
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn count(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, Vec::len)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.peers.values().flatten().cloned().collect()
    }

    pub(crate) fn by_id(&self, id: ConnectionId) -> Option<Arc<Entry>> {
        let mut entries = self.peers.values().flatten();
        entries.find(|entry| entry.id == id).cloned()
    }

    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Arc<Entry>> {
        self.peers.get(peer).cloned().unwrap_or_default()
    }

    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }
}
