//! What this node says of itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use peerkit_core::{ConnectionInfo, Envelope, Multiaddr, PeerRecord, ProtocolId, lock};
use peerkit_swarm::Host;

use crate::{Config, Message, scope::Scope};

/// What others are told and what may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    listen_addrs: Vec<Multiaddr>,
    protocols: Vec<ProtocolId>,
}

impl Snapshot {
    pub(crate) fn of(host: &Host) -> Self {
        let mut listen_addrs = host.listen_addrs();
        listen_addrs.retain(|addr| addr.len() <= PeerRecord::MAX_ADDRESS_LEN);
        // The most useful ones first: lists are cut at their ends.
        listen_addrs.sort_by_cached_key(|addr| std::cmp::Reverse(Scope::of(addr)));
        Self {
            listen_addrs,
            protocols: host.protocols(),
        }
    }

    /// The addresses that somebody at this distance can use.
    fn addrs_for(&self, distance: Scope) -> Vec<Multiaddr> {
        let usable = self.listen_addrs.iter();
        usable
            .filter(|addr| distance.may_use(addr))
            .take(PeerRecord::MAX_ADDRESSES)
            .cloned()
            .collect()
    }
}

/// Makes the messages of this node.
#[derive(Debug)]
pub(crate) struct Local {
    protocol_version: String,
    agent_version: String,
    /// What was told last, so that unchanged snapshots share their memory.
    last: Mutex<Option<Arc<Snapshot>>>,
    records: Mutex<Records>,
}

impl Local {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            protocol_version: config.protocol_version.clone(),
            agent_version: config.agent_version.clone(),
            last: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// What there is to tell now.
    pub(crate) fn snapshot(&self, host: &Host) -> Arc<Snapshot> {
        let now = Snapshot::of(host);
        let mut last = lock(&self.last);
        match last.as_ref() {
            Some(last) if **last == now => last.clone(),
            Some(_) | None => last.insert(Arc::new(now)).clone(),
        }
    }

    /// What the remote of a connection is told.
    pub(crate) fn message(
        &self,
        host: &Host,
        snapshot: &Snapshot,
        connection: &ConnectionInfo,
    ) -> Message {
        let distance = Scope::of_remote(&connection.remote_addr);
        let listen_addrs = snapshot.addrs_for(distance);
        Message {
            public_key: Some(host.public_key()),
            protocol_version: Some(self.protocol_version.clone()),
            agent_version: Some(self.agent_version.clone()),
            signed_peer_record: lock(&self.records).record(host, distance, &listen_addrs),
            listen_addrs,
            protocols: snapshot.protocols.clone(),
            observed_addr: Some(connection.remote_addr.clone()),
        }
    }
}

/// Signed records, kept since signing is slow: the last one for those at each distance.
#[derive(Debug, Default)]
struct Records {
    seq: u64,
    last: BTreeMap<Scope, PeerRecord>,
}

impl Records {
    /// A record of these addresses that supersedes every one with other addresses at this distance.
    fn record(&mut self, host: &Host, distance: Scope, addrs: &[Multiaddr]) -> Option<Envelope> {
        let newest = self.last.values().max_by_key(|record| record.seq());
        let of_distance = self.last.get(&distance);
        let mut known = newest.into_iter().chain(of_distance);
        let record = match known.find(|record| record.addresses() == addrs) {
            Some(record) => record.clone(),
            None => self.sign(host, addrs)?,
        };
        let envelope = record.envelope().clone();
        self.last.insert(distance, record);
        Some(envelope)
    }

    fn sign(&mut self, host: &Host, addrs: &[Multiaddr]) -> Option<PeerRecord> {
        let now = PeerRecord::seq_at(host.runtime().unix_time());
        self.seq = now.max(self.seq.saturating_add(1));
        let record = PeerRecord::sign(host.keypair(), self.seq, addrs.to_vec());
        record
            .inspect_err(|error| tracing::warn!(target: "peerkit::identify", %error, "this node's addresses could not be signed"))
            .ok()
    }
}
