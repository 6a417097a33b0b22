//! A gossipsub router alone, under virtual time, with peers that send it bytes.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use peerkit::{
    Direction, Keypair, PeerId, ProtocolId,
    gossipsub::{Config, Counts, GossipsubRouter, Sizes},
    pubsub::{
        DecodeLimits, Message, MessageId, MessageIdFn, Outgoing, PeerLink, Router, RouterEvent,
        RpcDecoder, Topic, Verdict, encode_rpc,
    },
};

use crate::frames::pubsub;

/// The topic of a rig.
pub const TOPIC: &str = "t";

/// A router and what it has said.
pub struct Rig {
    /// The router.
    pub router: GossipsubRouter,
    /// Virtual time.
    pub now: Instant,
    /// What it has sent and to whom.
    pub sent: Vec<(PeerId, Outgoing)>,
    /// What it wants to be done.
    pub events: Vec<RouterEvent>,
    limits: DecodeLimits,
}

impl Rig {
    /// A router that has joined the topic.
    pub fn new(config: Config) -> Result<Self> {
        let now = Instant::now();
        let me = identity(0).public().to_peer_id();
        let router = GossipsubRouter::new(me, config, MessageIdFn::default(), [7; 32], now)?;
        let mut rig = Self {
            router,
            now,
            sent: Vec::new(),
            events: Vec::new(),
            limits: DecodeLimits::default(),
        };
        rig.router.subscribe(&Topic::from(TOPIC), now);
        rig.drain();
        Ok(rig)
    }

    /// With other limits of the decoder.
    pub fn decoding(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// A peer that is connected.
    pub fn connect(&mut self, number: u8, ip: Option<IpAddr>) {
        let link = PeerLink {
            protocol: ProtocolId::from_static("/meshsub/1.2.0"),
            direction: Direction::Outbound,
            ip,
        };
        self.router.handle_connected(peer(number), link, self.now);
        self.router.handle_stream(&peer(number), self.now);
        self.drain();
    }

    /// A peer that has joined the topic.
    pub fn member(&mut self, number: u8) {
        self.connect(number, None);
        self.feed(number, &[pubsub::subscription(true, TOPIC)]);
    }

    /// Fields of an RPC of a peer, through the decoder; whether it could be read.
    pub fn feed(&mut self, number: u8, fields: &[Vec<u8>]) -> bool {
        self.feed_bytes(number, &fields.concat())
    }

    /// The body of a frame.
    pub fn feed_bytes(&mut self, number: u8, body: &[u8]) -> bool {
        let mut decoder = RpcDecoder::new(self.limits.clone());
        let Ok(decoded) = decoder.decode(&Bytes::copy_from_slice(body)) else {
            return false;
        };
        self.router.handle_rpc(&peer(number), decoded.rpc, self.now);
        self.drain();
        true
    }

    /// A peer brings a message, on which there is a verdict.
    pub fn brings(&mut self, number: u8, message: &Message, verdict: Verdict) {
        self.feed(number, &[pubsub::publish(&message.encoded)]);
        let id = MessageIdFn::default().id(message);
        self.router.handle_verdict(&id, verdict, self.now);
        self.drain();
    }

    /// Lets time pass, with everything that is due in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// What is held.
    pub fn sizes(&self) -> Sizes {
        self.router.sizes()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.router.counts()
    }

    /// A peer's score; 0 without scores.
    pub fn score(&self, number: u8) -> f64 {
        self.router.score(&peer(number)).map_or(0.0, |it| it.total)
    }

    /// Bytes that were sent.
    pub fn sent_bytes(&self) -> usize {
        let lengths = self.sent.iter().map(|(_, what)| match what {
            Outgoing::Control(control) | Outgoing::Gossip(control) => {
                let rpc = peerkit::pubsub::Rpc {
                    control: control.clone(),
                    ..Default::default()
                };
                encode_rpc(&rpc).len()
            }
            Outgoing::Publish(_, message) | Outgoing::Forward(_, message) => message.encoded.len(),
            _ => 0,
        });
        lengths.sum()
    }

    fn drain(&mut self) {
        while let Some(sent) = self.router.poll_transmit() {
            self.sent.push(sent);
        }
        while let Some(event) = self.router.poll_event() {
            self.events.push(event);
        }
    }
}

/// The identity of a peer.
pub fn identity(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).expect("any 32 bytes are a secret key")
}

/// A peer.
pub fn peer(number: u8) -> PeerId {
    identity(number).public().to_peer_id()
}

/// A message that its author has signed.
pub fn message(author: u8, seqno: u64, data: &[u8]) -> Arc<Message> {
    pubsub::honest(&identity(author), TOPIC, data, seqno)
}

/// Made-up ids.
pub fn ids(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range
        .map(|number| [&[0xab; 16][..], &number.to_be_bytes()].concat())
        .collect()
}

/// The id of a message.
pub fn id(message: &Message) -> MessageId {
    MessageIdFn::default().id(message)
}
