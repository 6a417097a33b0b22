//! One router, and the peers around it.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Direction, Keypair, PeerId};
use peerkit_gossipsub::{Config, Counts, GossipsubRouter, Score, Sizes, Version};
use peerkit_pubsub::{
    Control, Extensions, IHave, Message, MessageId, MessageIdFn, Outgoing, PeerLink, Prune,
    PublishRefused, Published, Router, RouterEvent, Rpc, SubscriptionChange, Topic, Verdict,
};

pub(crate) struct Node {
    pub(crate) router: GossipsubRouter,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<(PeerId, Outgoing)>,
    pub(crate) events: Vec<RouterEvent>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as a beginning"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn keypair(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).unwrap()
}

pub(crate) fn peer(number: u8) -> PeerId {
    static PEERS: LazyLock<Vec<PeerId>> = LazyLock::new(|| {
        let keys = (0..=255).map(|number| keypair(number).public());
        keys.map(|key| key.to_peer_id()).collect()
    });
    PEERS[usize::from(number)]
}

pub(crate) fn topic() -> Topic {
    Topic::from("news")
}

pub(crate) fn message(author: u8, seqno: u64, data: &[u8]) -> Arc<Message> {
    message_in(&topic(), author, seqno, data)
}

pub(crate) fn message_in(topic: &Topic, author: u8, seqno: u64, data: &[u8]) -> Arc<Message> {
    let from = peer(author).to_bytes();
    let encoded = [
        &from,
        data,
        &seqno.to_be_bytes()[..],
        topic.as_str().as_bytes(),
    ]
    .concat();
    Arc::new(Message {
        from: Some(from.into()),
        data: Bytes::copy_from_slice(data),
        seqno: Some(Bytes::copy_from_slice(&seqno.to_be_bytes())),
        topic: topic.clone(),
        signature: None,
        key: None,
        encoded: encoded.into(),
    })
}

pub(crate) fn id(message: &Message) -> MessageId {
    MessageIdFn::default().id(message)
}

pub(crate) fn link(version: Version, direction: Direction, ip: Option<IpAddr>) -> PeerLink {
    let protocol = match version {
        Version::Floodsub => "/floodsub/1.0.0",
        Version::V1_0 => "/meshsub/1.0.0",
        Version::V1_1 => "/meshsub/1.1.0",
        Version::V1_2 => "/meshsub/1.2.0",
        Version::V1_3 => "/meshsub/1.3.0",
    };
    PeerLink {
        protocol: protocol.try_into().unwrap(),
        direction,
        ip,
    }
}

pub(crate) fn joining(topic: &Topic) -> SubscriptionChange {
    SubscriptionChange {
        subscribe: true,
        topic: topic.clone(),
        requests_partial: false,
        supports_sending_partial: false,
    }
}

pub(crate) fn pruning(topic: &Topic, backoff: Option<u64>) -> Prune {
    Prune {
        topic: topic.clone(),
        peers: Vec::new(),
        backoff,
    }
}

impl Node {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_seed(config, 7)
    }

    pub(crate) fn with_seed(config: Config, seed: u8) -> Self {
        let now = start();
        let router =
            GossipsubRouter::new(peer(0), config, MessageIdFn::default(), [seed; 32], now).unwrap();
        Self {
            router,
            now,
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A node that has joined the topic, with so many peers (1 and up) that have too.
    pub(crate) fn joined(config: Config, peers: u8) -> Self {
        let mut node = Self::new(config);
        node.subscribe();
        for number in 1..=peers {
            node.member(number);
        }
        node
    }

    pub(crate) fn subscribe(&mut self) {
        self.router.subscribe(&topic(), self.now);
        self.drain();
    }

    pub(crate) fn unsubscribe(&mut self) {
        self.router.unsubscribe(&topic(), self.now);
        self.drain();
    }

    pub(crate) fn connect(&mut self, number: u8) {
        self.connect_as(number, Version::V1_2, Direction::Outbound);
    }

    pub(crate) fn connect_as(&mut self, number: u8, version: Version, direction: Direction) {
        self.connect_at(number, link(version, direction, None));
    }

    pub(crate) fn connect_at(&mut self, number: u8, link: PeerLink) {
        self.router.handle_connected(peer(number), link, self.now);
        self.router.handle_stream(&peer(number), self.now);
        self.drain();
    }

    pub(crate) fn disconnect(&mut self, number: u8) {
        self.router.handle_disconnected(&peer(number), self.now);
        self.drain();
    }

    /// A peer that is connected and has joined the topic.
    pub(crate) fn member(&mut self, number: u8) {
        self.connect(number);
        self.join(number, &topic());
    }

    pub(crate) fn member_as(&mut self, number: u8, version: Version, direction: Direction) {
        self.connect_as(number, version, direction);
        self.join(number, &topic());
    }

    pub(crate) fn join(&mut self, number: u8, topic: &Topic) {
        self.rpc(
            number,
            Rpc {
                subscriptions: vec![joining(topic)],
                ..Rpc::default()
            },
        );
    }

    pub(crate) fn rpc(&mut self, number: u8, rpc: Rpc) {
        self.router.handle_rpc(&peer(number), rpc, self.now);
        self.drain();
    }

    pub(crate) fn control(&mut self, number: u8, control: Control) {
        self.rpc(
            number,
            Rpc {
                control,
                ..Rpc::default()
            },
        );
    }

    pub(crate) fn grafts(&mut self, number: u8) {
        self.control(
            number,
            Control {
                graft: vec![topic()],
                ..Control::default()
            },
        );
    }

    pub(crate) fn prunes(&mut self, number: u8, backoff: Option<u64>) {
        self.control(
            number,
            Control {
                prune: vec![pruning(&topic(), backoff)],
                ..Control::default()
            },
        );
    }

    pub(crate) fn offers(&mut self, number: u8, ids: Vec<MessageId>) {
        self.control(
            number,
            Control {
                ihave: vec![IHave {
                    topic: topic(),
                    ids,
                }],
                ..Control::default()
            },
        );
    }

    pub(crate) fn asks(&mut self, number: u8, ids: Vec<MessageId>) {
        self.control(
            number,
            Control {
                iwant: ids,
                ..Control::default()
            },
        );
    }

    pub(crate) fn refuses(&mut self, number: u8, ids: Vec<MessageId>) {
        self.control(
            number,
            Control {
                idontwant: ids,
                ..Control::default()
            },
        );
    }

    pub(crate) fn extends(&mut self, number: u8, extensions: Extensions) {
        self.control(
            number,
            Control {
                extensions: Some(extensions),
                ..Control::default()
            },
        );
    }

    pub(crate) fn delivers(&mut self, number: u8, message: &Arc<Message>) {
        self.rpc(
            number,
            Rpc {
                messages: vec![Arc::clone(message)],
                ..Rpc::default()
            },
        );
    }

    pub(crate) fn verdict(&mut self, message: &Message, verdict: Verdict) {
        self.router.handle_verdict(&id(message), verdict, self.now);
        self.drain();
    }

    /// A peer brings a message that is valid.
    pub(crate) fn accepts(&mut self, number: u8, message: &Arc<Message>) {
        self.delivers(number, message);
        self.verdict(message, Verdict::Accept);
    }

    /// A peer brings a message that is invalid.
    pub(crate) fn rejects(&mut self, number: u8, message: &Arc<Message>) {
        self.delivers(number, message);
        self.verdict(message, Verdict::Reject);
    }

    pub(crate) fn publish(&mut self, message: &Arc<Message>) -> Result<Published, PublishRefused> {
        let published = self.router.publish(Arc::clone(message), self.now);
        self.drain();
        published
    }

    /// Lets time pass, with everything that is due in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn heartbeats(&mut self, count: u32) {
        let before = self.router.counts().heartbeats;
        while self.router.counts().heartbeats < before + u64::from(count) {
            let due = self.router.poll_timeout().unwrap();
            self.pass(due.saturating_duration_since(self.now));
        }
    }

    pub(crate) fn forget_output(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    pub(crate) fn in_mesh(&self, number: u8) -> bool {
        self.router.mesh(&topic()).contains(&peer(number))
    }

    pub(crate) fn mesh_len(&self) -> usize {
        self.router.mesh(&topic()).len()
    }

    pub(crate) fn score(&self, number: u8) -> Score {
        self.router.score(&peer(number)).unwrap()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.router.counts()
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.router.sizes()
    }

    /// What was sent to a peer.
    pub(crate) fn sent_to(&self, number: u8) -> impl Iterator<Item = &Outgoing> {
        self.sent
            .iter()
            .filter(move |(to, _)| *to == peer(number))
            .map(|(_, what)| what)
    }

    fn controls(&self, number: u8) -> impl Iterator<Item = &Control> {
        self.sent_to(number).filter_map(|what| match what {
            Outgoing::Control(control) | Outgoing::Gossip(control) => Some(control),
            _ => None,
        })
    }

    pub(crate) fn grafts_to(&self, number: u8) -> usize {
        self.controls(number)
            .map(|control| control.graft.len())
            .sum()
    }

    pub(crate) fn prunes_to(&self, number: u8) -> Vec<Prune> {
        self.controls(number)
            .flat_map(|control| control.prune.clone())
            .collect()
    }

    pub(crate) fn ihaves_to(&self, number: u8) -> Vec<MessageId> {
        let offers = self.controls(number).flat_map(|control| &control.ihave);
        offers.flat_map(|offer| offer.ids.clone()).collect()
    }

    pub(crate) fn iwants_to(&self, number: u8) -> Vec<MessageId> {
        self.controls(number)
            .flat_map(|control| control.iwant.clone())
            .collect()
    }

    pub(crate) fn idontwants_to(&self, number: u8) -> Vec<MessageId> {
        self.controls(number)
            .flat_map(|control| control.idontwant.clone())
            .collect()
    }

    /// How often a message was sent to a peer.
    pub(crate) fn copies_to(&self, number: u8, message: &Message) -> usize {
        let messages = self.sent_to(number).filter_map(|what| match what {
            Outgoing::Publish(id, _) | Outgoing::Forward(id, _) => Some(id),
            _ => None,
        });
        messages.filter(|sent| **sent == id(message)).count()
    }

    pub(crate) fn validations(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, RouterEvent::Validate { .. }))
            .count()
    }

    pub(crate) fn deliveries(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, RouterEvent::Deliver { .. }))
            .count()
    }

    pub(crate) fn calls(&self) -> Vec<PeerId> {
        let calls = self.events.iter().filter_map(|event| match event {
            RouterEvent::Connect { peer, .. } => Some(*peer),
            _ => None,
        });
        calls.collect()
    }

    pub(crate) fn drain(&mut self) {
        while let Some(sent) = self.router.poll_transmit() {
            self.sent.push(sent);
        }
        while let Some(event) = self.router.poll_event() {
            self.events.push(event);
        }
    }
}
