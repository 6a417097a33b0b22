//! The router: every message goes to every peer of its topic.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use peerkit_core::{PeerId, ProtocolId};
use peerkit_pubsub::{
    Message, MessageId, MessageIdFn, Outgoing, PeerLink, PublishRefused, Published, Router,
    RouterEvent, Rpc, SeenCache, SubscriptionChange, Topic, Verdict,
};

use crate::{FloodsubConfig, PROTOCOL};

/// The machine of floodsub; see [`Router`].
///
/// A message of a topic that this node has joined is delivered once and forwarded to all peers that have
/// joined the topic, but for its author and the one that has sent it. Other messages are left alone.
#[derive(Debug)]
pub struct FloodRouter {
    local: PeerId,
    message_id: MessageIdFn,
    topics_per_peer_max: usize,
    pending_max: usize,
    seen_ttl: Duration,
    seen: SeenCache,
    /// When old ids are to be forgotten.
    sweep_at: Option<Instant>,
    joined: BTreeSet<Topic>,
    /// The topics of each peer, and the peers of each topic: the same seen from two sides.
    peers: BTreeMap<PeerId, BTreeSet<Topic>>,
    topics: BTreeMap<Topic, BTreeSet<PeerId>>,
    /// Messages that wait for a verdict. Only looked up, never iterated over.
    pending: HashMap<MessageId, (Arc<Message>, PeerId)>,
    transmits: VecDeque<(PeerId, Outgoing)>,
    events: VecDeque<RouterEvent>,
}

impl FloodRouter {
    /// The router of this peer.
    pub fn new(local: PeerId, config: &FloodsubConfig) -> Self {
        Self {
            local,
            message_id: config.message_id.clone(),
            topics_per_peer_max: config.topics_per_peer_max,
            pending_max: config.pending_max,
            seen_ttl: config.seen_ttl,
            seen: SeenCache::new(config.seen_ttl, config.seen_max),
            sweep_at: None,
            joined: BTreeSet::new(),
            peers: BTreeMap::new(),
            topics: BTreeMap::new(),
            pending: HashMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn handle_subscription(&mut self, peer: PeerId, change: SubscriptionChange) {
        let SubscriptionChange {
            subscribe, topic, ..
        } = change;
        let Some(topics) = self.peers.get_mut(&peer) else {
            return;
        };
        if !subscribe {
            if topics.remove(&topic) {
                self.left(peer, topic);
            }
            return;
        }
        if topics.len() >= self.topics_per_peer_max || !topics.insert(topic.clone()) {
            return;
        }
        self.topics.entry(topic.clone()).or_default().insert(peer);
        self.events
            .push_back(RouterEvent::Subscribed { peer, topic });
    }

    fn left(&mut self, peer: PeerId, topic: Topic) {
        if let Some(peers) = self.topics.get_mut(&topic) {
            peers.remove(&peer);
            if peers.is_empty() {
                self.topics.remove(&topic);
            }
        }
        self.events
            .push_back(RouterEvent::Unsubscribed { peer, topic });
    }

    fn handle_message(&mut self, source: PeerId, message: Arc<Message>, now: Instant) {
        let own = message.author() == Some(self.local);
        if own || !self.joined.contains(&message.topic) || self.pending.len() >= self.pending_max {
            return;
        }
        let id = self.message_id.id(&message);
        if !self.remember(&id, now) {
            // What was forwarded to the peer meanwhile may still wait.
            let peer = source;
            self.events.push_back(RouterEvent::Withdraw { peer, id });
            return;
        }
        self.pending.insert(id.clone(), (message.clone(), source));
        self.events.push_back(RouterEvent::Validate {
            id,
            message,
            source,
        });
    }

    fn remember(&mut self, id: &MessageId, now: Instant) -> bool {
        if self.sweep_at.is_none() {
            self.sweep_at = now.checked_add(self.seen_ttl);
        }
        self.seen.insert(id, now)
    }

    fn forward(&mut self, id: &MessageId, message: &Arc<Message>, source: PeerId) {
        let Some(peers) = self.topics.get(&message.topic) else {
            return;
        };
        let author = message.author();
        let others = peers
            .iter()
            .filter(|peer| **peer != source && Some(**peer) != author);
        self.transmits.extend(others.map(|peer| {
            let forward = Outgoing::Forward(id.clone(), message.clone());
            (*peer, forward)
        }));
    }

    fn announce(&mut self, topic: &Topic, subscribe: bool) {
        let change = change(topic, subscribe);
        self.transmits.extend(self.peers.keys().map(|peer| {
            let changes = vec![change.clone()];
            (*peer, Outgoing::Subscriptions(changes))
        }));
    }
}

impl Router for FloodRouter {
    fn protocols(&self) -> Vec<ProtocolId> {
        vec![PROTOCOL.clone()]
    }

    fn handle_connected(&mut self, peer: PeerId, _link: PeerLink, _now: Instant) {
        if self.peers.contains_key(&peer) {
            return;
        }
        self.peers.insert(peer, BTreeSet::new());
        let topics = self
            .joined
            .iter()
            .map(|topic| change(topic, true))
            .collect();
        self.transmits
            .push_back((peer, Outgoing::Hello(topics, None)));
    }

    fn handle_disconnected(&mut self, peer: &PeerId, _now: Instant) {
        for topic in self.peers.remove(peer).unwrap_or_default() {
            self.left(*peer, topic);
        }
    }

    fn handle_rpc(&mut self, peer: &PeerId, rpc: Rpc, now: Instant) {
        if !self.peers.contains_key(peer) {
            return;
        }
        for change in rpc.subscriptions {
            self.handle_subscription(*peer, change);
        }
        for message in rpc.messages {
            self.handle_message(*peer, message, now);
        }
    }

    fn handle_dropped(&mut self, _peer: &PeerId, _dropped: &Outgoing, _now: Instant) {
        // Floodsub has no way to make up for it.
    }

    fn subscribe(&mut self, topic: &Topic, _now: Instant) {
        if self.joined.insert(topic.clone()) {
            self.announce(topic, true);
        }
    }

    fn unsubscribe(&mut self, topic: &Topic, _now: Instant) {
        if self.joined.remove(topic) {
            self.announce(topic, false);
        }
    }

    fn publish(
        &mut self,
        message: Arc<Message>,
        now: Instant,
    ) -> Result<Published, PublishRefused> {
        let peers = self.topics.get(&message.topic).map_or(0, BTreeSet::len);
        if peers == 0 {
            return Err(PublishRefused::NoPeers);
        }
        let id = self.message_id.id(&message);
        if !self.remember(&id, now) {
            return Err(PublishRefused::Duplicate);
        }
        let to = self.topics.get(&message.topic).into_iter().flatten();
        self.transmits.extend(to.map(|peer| {
            let publish = Outgoing::Publish(id.clone(), message.clone());
            (*peer, publish)
        }));
        Ok(Published { id, peers })
    }

    fn handle_verdict(&mut self, id: &MessageId, verdict: Verdict, _now: Instant) {
        let Some((message, source)) = self.pending.remove(id) else {
            return;
        };
        match verdict {
            Verdict::Accept => {
                self.forward(id, &message, source);
                if self.joined.contains(&message.topic) {
                    self.events.push_back(RouterEvent::Deliver {
                        id: id.clone(),
                        message,
                        source,
                    });
                }
            }
            // A forged message must not hide the true one.
            Verdict::Reject => {
                self.seen.remove(id);
            }
            Verdict::Ignore => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        self.seen.expire(now);
        let more = !self.seen.is_empty();
        self.sweep_at = now.checked_add(self.seen_ttl).filter(|_| more);
    }

    fn poll_transmit(&mut self) -> Option<(PeerId, Outgoing)> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }
}

fn change(topic: &Topic, subscribe: bool) -> SubscriptionChange {
    SubscriptionChange {
        subscribe,
        topic: topic.clone(),
        requests_partial: false,
        supports_sending_partial: false,
    }
}
