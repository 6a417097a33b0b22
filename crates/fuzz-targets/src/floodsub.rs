//! The router of floodsub.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use peerkit_core::{Direction, PeerId};
use peerkit_floodsub::{FloodRouter, FloodsubConfig, PROTOCOL};
use peerkit_pubsub::{
    Message, MessageId, Outgoing, PeerLink, Router as _, RouterEvent, Rpc, SubscriptionChange,
    Topic, Verdict,
};

use crate::{clock, input::Input, keys::peer};

/// Whatever strangers say, and in whatever order: nobody gets their own message, or one twice.
pub fn floodsub_router(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    while !input.is_empty() {
        world.act(&mut input);
        world.drain();
    }
}

const PEERS: usize = 6;
const TOPICS: usize = 3;
const PENDING_MAX: usize = 4;

struct World {
    router: FloodRouter,
    now: Instant,
    connected: BTreeSet<PeerId>,
    asked: Vec<MessageId>,
    /// Who has sent a message that was accepted.
    sources: BTreeMap<MessageId, PeerId>,
    delivered: BTreeSet<MessageId>,
}

impl World {
    fn new() -> Self {
        let mut config = FloodsubConfig::default();
        config.topics_per_peer_max = 2;
        config.pending_max = PENDING_MAX;
        // More than there are messages, so that none is forgotten.
        config.seen_max = 400;
        Self {
            router: FloodRouter::new(peer(0), &config),
            now: clock(),
            connected: BTreeSet::new(),
            asked: Vec::new(),
            sources: BTreeMap::new(),
            delivered: BTreeSet::new(),
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (action, now) = (input.byte() % 12, self.now);
        let who = peer(1 + input.below(PEERS) as u8);
        match action {
            0 => {
                self.connected.insert(who);
                self.router.handle_connected(who, link(), now);
            }
            1 => {
                self.connected.remove(&who);
                self.router.handle_disconnected(&who, now);
            }
            2 => self.router.subscribe(&topic(input), now),
            3 => self.router.unsubscribe(&topic(input), now),
            4 => self.publish(input),
            5..=8 => self.router.handle_rpc(&who, rpc(input), now),
            9 | 10 => {
                if !self.asked.is_empty() {
                    let id = self.asked.remove(input.below(self.asked.len()));
                    let verdict = [Verdict::Accept, Verdict::Reject, Verdict::Ignore];
                    self.router
                        .handle_verdict(&id, verdict[input.below(3)], now);
                }
            }
            _ => {
                self.now += std::time::Duration::from_millis(u64::from(input.byte()));
                self.router.handle_timeout(self.now);
            }
        }
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let message = message(input, 0);
        if let Ok(published) = self.router.publish(message, self.now) {
            assert!(published.peers <= self.connected.len());
            assert!(self.delivered.insert(published.id), "published twice");
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other events promise nothing"
    )]
    fn drain(&mut self) {
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Validate {
                    id,
                    source,
                    message,
                } => {
                    assert!(message.author() != Some(peer(0)));
                    assert!(!self.asked.contains(&id));
                    self.sources.insert(id.clone(), source);
                    self.asked.push(id);
                }
                RouterEvent::Deliver { id, .. } => {
                    assert!(self.delivered.insert(id), "delivered twice");
                }
                RouterEvent::Subscribed { peer, .. } => assert!(self.connected.contains(&peer)),
                _ => {}
            }
        }
        assert!(self.asked.len() <= PENDING_MAX);
        while let Some((to, what)) = self.router.poll_transmit() {
            if let Outgoing::Forward(id, message) = &what {
                assert!(message.author() != Some(to) && self.sources.get(id) != Some(&to));
            }
        }
    }
}

fn rpc(input: &mut Input<'_>) -> Rpc {
    let subscriptions = (0..input.below(4)).map(|_| SubscriptionChange {
        subscribe: input.flag(),
        topic: topic(input),
        requests_partial: false,
        supports_sending_partial: false,
    });
    let subscriptions = subscriptions.collect();
    let messages = (0..input.below(4)).map(|_| {
        let author = input.below(PEERS + 2) as u8;
        message(input, author)
    });
    Rpc {
        subscriptions,
        messages: messages.collect(),
        ..Rpc::default()
    }
}

fn message(input: &mut Input<'_>, author: u8) -> Arc<Message> {
    Arc::new(Message {
        from: Some(peer(author).to_bytes().into()),
        data: Bytes::copy_from_slice(&[input.byte()]),
        seqno: Some(vec![input.byte() % 32].into()),
        topic: topic(input),
        signature: None,
        key: None,
        encoded: Bytes::new(),
    })
}

fn topic(input: &mut Input<'_>) -> Topic {
    Topic::from(["a", "b", "c"][input.below(TOPICS)])
}

fn link() -> PeerLink {
    PeerLink {
        protocol: PROTOCOL.clone(),
        direction: Direction::Inbound,
        ip: None,
    }
}
