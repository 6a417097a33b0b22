//! The topics that the router knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use peerkit_pubsub::Topic;

use crate::{
    TopicScoreParams,
    keys::{PeerKey, TopicKey},
    view::TopicCounts,
};

/// Topics that this node has joined or publishes to, and those of its peers.
#[derive(Default)]
pub(crate) struct Topics {
    names: BTreeMap<Topic, TopicKey>,
    table: BTreeMap<TopicKey, TopicState>,
    next: u64,
}

/// One of them.
pub(crate) struct TopicState {
    pub(crate) name: Topic,
    /// Who has joined it.
    pub(crate) peers: BTreeSet<PeerKey>,
    /// Those of them who can't be in a mesh: they get every message.
    pub(crate) flooded: BTreeSet<PeerKey>,
    /// The mesh, if this node has joined.
    pub(crate) mesh: Option<BTreeSet<PeerKey>>,
    /// The peers to publish to, if this node has not joined.
    pub(crate) fanout: Option<Fanout>,
    /// Until when not to graft whom.
    pub(crate) backoff: BTreeMap<PeerKey, Instant>,
    /// This node has joined at some time, so that something may be counted about peers.
    pub(crate) scored: bool,
    pub(crate) params: Arc<TopicScoreParams>,
    pub(crate) counts: TopicCounts,
}

/// To whom this node publishes without having joined.
pub(crate) struct Fanout {
    pub(crate) peers: BTreeSet<PeerKey>,
    pub(crate) published_at: Instant,
}

impl TopicState {
    pub(crate) fn is_joined(&self) -> bool {
        self.mesh.is_some()
    }

    pub(crate) fn is_in_mesh(&self, peer: PeerKey) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| mesh.contains(&peer))
    }

    /// The members of the mesh, in the order in which they were first met.
    pub(crate) fn mesh_peers(&self) -> impl Iterator<Item = PeerKey> {
        self.mesh.iter().flatten().copied()
    }

    pub(crate) fn mesh_len(&self) -> usize {
        self.mesh.as_ref().map_or(0, BTreeSet::len)
    }

    fn is_unused(&self) -> bool {
        self.peers.is_empty()
            && self.mesh.is_none()
            && self.fanout.is_none()
            && self.backoff.is_empty()
    }
}

impl Topics {
    pub(crate) fn key(&self, name: &Topic) -> Option<TopicKey> {
        self.names.get(name).copied()
    }

    /// The key of a topic that this node has joined.
    pub(crate) fn joined_key(&self, name: &Topic) -> Option<TopicKey> {
        let key = self.key(name)?;
        self.get(key)?.is_joined().then_some(key)
    }

    pub(crate) fn get(&self, key: TopicKey) -> Option<&TopicState> {
        self.table.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: TopicKey) -> Option<&mut TopicState> {
        self.table.get_mut(&key)
    }

    /// The state of a topic, which is made if there is none.
    pub(crate) fn ensure(
        &mut self,
        name: &Topic,
        params: impl FnOnce() -> Arc<TopicScoreParams>,
    ) -> TopicKey {
        if let Some(key) = self.key(name) {
            return key;
        }
        let key = TopicKey(self.next);
        self.next += 1;
        self.names.insert(name.clone(), key);
        let state = TopicState {
            name: name.clone(),
            peers: BTreeSet::new(),
            flooded: BTreeSet::new(),
            mesh: None,
            fanout: None,
            backoff: BTreeMap::new(),
            scored: false,
            params: params(),
            counts: TopicCounts::default(),
        };
        self.table.insert(key, state);
        key
    }

    /// Forgets a topic if nobody uses it, and returns it.
    pub(crate) fn collect(&mut self, key: TopicKey) -> Option<TopicState> {
        self.get(key).filter(|state| state.is_unused())?;
        let state = self.table.remove(&key)?;
        self.names.remove(&state.name);
        Some(state)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicKey, &TopicState)> {
        self.table.iter().map(|(key, state)| (*key, state))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (TopicKey, &mut TopicState)> {
        self.table.iter_mut().map(|(key, state)| (*key, state))
    }

    /// The topics that this node has joined.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (TopicKey, &TopicState)> {
        self.iter().filter(|(_, state)| state.is_joined())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
