//! The network.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Direction, Keypair, PeerId};
use peerkit_gossipsub::{Config, GossipsubRouter, Version};
use peerkit_pubsub::{
    Message, MessageId, MessageIdFn, Outgoing, PeerLink, Router, RouterEvent, Rpc, Topic, Verdict,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) rng: StdRng,
    packets: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    timers: BTreeSet<(Instant, usize)>,
    ids: BTreeMap<PeerId, usize>,
    /// Links on which everything gets lost.
    cut: BTreeSet<(usize, usize)>,
    links: BTreeSet<(usize, usize)>,
    seqno: u64,
    /// How long a node takes to find a message valid.
    pub(crate) validation: Duration,
    verdicts: BTreeMap<(Instant, u64), (usize, MessageId, Verdict)>,
}

pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) router: GossipsubRouter,
    /// What this node withholds, if it is a bad one.
    pub(crate) censor: Censor,
    /// When each message came, by its data.
    pub(crate) delivered: BTreeMap<Bytes, Instant>,
    /// Copies of messages that came, and their bytes.
    pub(crate) copies: u64,
    pub(crate) bytes: u64,
    pub(crate) validations: u64,
    versions: Vec<Version>,
    timer: Option<Instant>,
    ip: IpAddr,
}

/// Whether something is not sent.
pub(crate) type Censor = Option<Box<dyn FnMut(&Outgoing, Instant) -> bool>>;

struct Packet {
    from: usize,
    to: usize,
    what: Outgoing,
}

pub(crate) fn topic() -> Topic {
    Topic::from("news")
}

impl Net {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            nodes: Vec::new(),
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            packets: BTreeMap::new(),
            sent: 0,
            timers: BTreeSet::new(),
            ids: BTreeMap::new(),
            cut: BTreeSet::new(),
            links: BTreeSet::new(),
            seqno: 0,
            validation: Duration::ZERO,
            verdicts: BTreeMap::new(),
        }
    }

    /// Adds a node that has joined the topic.
    pub(crate) fn add(&mut self, config: Config) -> usize {
        let number = self.nodes.len();
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        let id = Keypair::ed25519_from_bytes(secret)
            .unwrap()
            .public()
            .to_peer_id();
        let versions = config.versions.clone();
        let mut router = GossipsubRouter::new(
            id,
            config,
            MessageIdFn::default(),
            self.rng.random(),
            self.now,
        )
        .unwrap();
        router.subscribe(&topic(), self.now);
        self.nodes.push(Node {
            id,
            router,
            censor: None,
            delivered: BTreeMap::new(),
            copies: 0,
            bytes: 0,
            validations: 0,
            versions,
            timer: None,
            ip: [10, 0, (number >> 8) as u8, number as u8].into(),
        });
        self.ids.insert(id, number);
        self.settle(number);
        number
    }

    pub(crate) fn add_many(&mut self, count: usize, config: &Config) -> Vec<usize> {
        (0..count).map(|_| self.add(config.clone())).collect()
    }

    /// Puts a node at an address that it may share with others.
    pub(crate) fn place(&mut self, node: usize, ip: [u8; 4]) {
        self.nodes[node].ip = ip.into();
    }

    /// Connects two nodes; the first one has dialed.
    pub(crate) fn connect(&mut self, dialer: usize, listener: usize) {
        if dialer == listener || !self.links.insert(pair(dialer, listener)) {
            return;
        }
        self.tell_connected(dialer, listener, Direction::Outbound);
        self.tell_connected(listener, dialer, Direction::Inbound);
        self.settle(dialer);
        self.settle(listener);
    }

    pub(crate) fn disconnect(&mut self, one: usize, other: usize) {
        if self.links.remove(&pair(one, other)) {
            for (from, to) in [(one, other), (other, one)] {
                let id = self.nodes[to].id;
                self.nodes[from].router.handle_disconnected(&id, self.now);
                self.settle(from);
            }
            self.packets
                .retain(|_, packet| pair(packet.from, packet.to) != pair(one, other));
        }
    }

    /// Every node dials so many others at random.
    pub(crate) fn mesh_up(&mut self, nodes: &[usize], dials: usize) {
        for node in nodes {
            let mut others: Vec<_> = nodes
                .iter()
                .copied()
                .filter(|other| other != node)
                .collect();
            let (chosen, _) = others.partial_shuffle(&mut self.rng, dials);
            for other in chosen.iter().copied() {
                self.connect(*node, other);
            }
        }
    }

    /// From now on everything between these gets lost, and nobody is told.
    pub(crate) fn cut(&mut self, some: &[usize], others: &[usize]) {
        for one in some {
            self.cut
                .extend(others.iter().map(|other| pair(*one, *other)));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Publishes a message of so many bytes, which is named by its beginning.
    pub(crate) fn publish(&mut self, node: usize, len: usize) -> Bytes {
        self.seqno += 1;
        let mut data = vec![0; len.max(8)];
        data[..8].copy_from_slice(&self.seqno.to_be_bytes());
        self.publish_data(node, data.into())
    }

    pub(crate) fn publish_data(&mut self, node: usize, data: Bytes) -> Bytes {
        let message = self.message(node, &data);
        let now = self.now;
        // Nobody to take it is no failure here: it counts as not delivered.
        let _ = self.nodes[node].router.publish(message, now);
        self.settle(node);
        data
    }

    fn message(&mut self, author: usize, data: &Bytes) -> Arc<Message> {
        self.seqno += 1;
        let from: Bytes = self.nodes[author].id.to_bytes().into();
        let seqno = Bytes::copy_from_slice(&self.seqno.to_be_bytes());
        Arc::new(Message {
            encoded: [&from[..], data, &seqno].concat().into(),
            from: Some(from),
            data: data.clone(),
            seqno: Some(seqno),
            topic: topic(),
            signature: None,
            key: None,
        })
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_time().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Instant> {
        let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let verdict = self.verdicts.first_key_value().map(|((at, _), _)| *at);
        packet.into_iter().chain(timer).chain(verdict).min()
    }

    fn step(&mut self) {
        let now = self.now;
        if let Some(entry) = self
            .packets
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let Packet { from, to, what } = entry.remove();
            self.arrive(from, to, what);
        } else if let Some(entry) = self
            .verdicts
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let (node, id, verdict) = entry.remove();
            self.nodes[node].router.handle_verdict(&id, verdict, now);
            self.settle(node);
        } else if let Some((_, node)) = self.timers.pop_first() {
            self.nodes[node].timer = None;
            self.nodes[node].router.handle_timeout(now);
            self.settle(node);
        }
    }

    fn arrive(&mut self, from: usize, to: usize, what: Outgoing) {
        if let Outgoing::Publish(_, message) | Outgoing::Forward(_, message) = &what {
            self.nodes[to].copies += 1;
            self.nodes[to].bytes += message.encoded.len() as u64;
        }
        let id = self.nodes[from].id;
        self.nodes[to].router.handle_rpc(&id, rpc(what), self.now);
        self.settle(to);
    }

    /// Takes what a node has to say, until it is quiet.
    fn settle(&mut self, number: usize) {
        loop {
            let events = self.take_events(number);
            let sent = self.take_sent(number);
            if !events && !sent {
                break;
            }
        }
        let node = &mut self.nodes[number];
        let due = node.router.poll_timeout();
        if due != node.timer {
            node.timer.map(|timer| self.timers.remove(&(timer, number)));
            self.timers.extend(due.map(|due| (due, number)));
            node.timer = due;
        }
    }

    fn take_events(&mut self, number: usize) -> bool {
        let node = &mut self.nodes[number];
        let mut any = false;
        while let Some(event) = node.router.poll_event() {
            any = true;
            match event {
                RouterEvent::Validate { id, message, .. } => {
                    node.validations += 1;
                    let bad = message.data.starts_with(b"bad");
                    let verdict = if bad {
                        Verdict::Reject
                    } else {
                        Verdict::Accept
                    };
                    if self.validation.is_zero() {
                        node.router.handle_verdict(&id, verdict, self.now);
                    } else {
                        self.sent += 1;
                        let at = self.now + self.validation;
                        self.verdicts.insert((at, self.sent), (number, id, verdict));
                    }
                }
                RouterEvent::Deliver { message, .. } => {
                    let before = node.delivered.insert(message.data.clone(), self.now);
                    assert!(before.is_none(), "a message was delivered twice");
                }
                _ => {}
            }
        }
        any
    }

    fn take_sent(&mut self, number: usize) -> bool {
        let mut any = false;
        while let Some((to, what)) = self.nodes[number].router.poll_transmit() {
            any = true;
            let to = self.ids[&to];
            let now = self.now;
            let censored = self.nodes[number]
                .censor
                .as_mut()
                .is_some_and(|censor| censor(&what, now));
            if censored
                || self.cut.contains(&pair(number, to))
                || !self.links.contains(&pair(number, to))
            {
                continue;
            }
            self.sent += 1;
            let packet = Packet {
                from: number,
                to,
                what,
            };
            self.packets
                .insert((now + delay(number, to), self.sent), packet);
        }
        any
    }

    /// Sends something that the router of a bad node would never say.
    pub(crate) fn inject(&mut self, from: usize, to: usize, what: Outgoing) {
        self.sent += 1;
        let at = self.now + delay(from, to);
        self.packets
            .insert((at, self.sent), Packet { from, to, what });
    }

    /// A message of `author` with such data, as a bad node may send it.
    pub(crate) fn forge(&mut self, author: usize, data: &'static [u8]) -> Outgoing {
        let message = self.message(author, &Bytes::from_static(data));
        Outgoing::Forward(MessageIdFn::default().id(&message), message)
    }

    fn tell_connected(&mut self, node: usize, peer: usize, direction: Direction) {
        let remote = &self.nodes[peer];
        let best = self.nodes[node]
            .versions
            .iter()
            .filter(|version| remote.versions.contains(version))
            .max();
        let protocol = match best.unwrap() {
            Version::Floodsub => "/floodsub/1.0.0",
            Version::V1_0 => "/meshsub/1.0.0",
            Version::V1_1 => "/meshsub/1.1.0",
            Version::V1_2 => "/meshsub/1.2.0",
            Version::V1_3 => "/meshsub/1.3.0",
        };
        let link = PeerLink {
            protocol: protocol.try_into().unwrap(),
            direction,
            ip: Some(remote.ip),
        };
        let id = remote.id;
        self.nodes[node].router.handle_connected(id, link, self.now);
        self.nodes[node].router.handle_stream(&id, self.now);
    }

    /// Something under the id that the next message of `author` will have.
    pub(crate) fn forge_next(&mut self, author: usize, data: &'static [u8]) -> Outgoing {
        let forged = self.forge(author, data);
        self.seqno -= 1;
        forged
    }

    /// How many of these nodes have a message.
    pub(crate) fn reached(&self, nodes: &[usize], data: &Bytes) -> usize {
        nodes
            .iter()
            .filter(|node| self.nodes[**node].delivered.contains_key(data))
            .count()
    }

    /// When the last of these nodes, the author left out, got a message; `None` if some lack it.
    pub(crate) fn latency(
        &self,
        nodes: &[usize],
        author: usize,
        data: &Bytes,
        published: Instant,
    ) -> Option<Duration> {
        let mut slowest = Duration::ZERO;
        for node in nodes.iter().filter(|node| **node != author) {
            slowest = slowest.max(*self.nodes[*node].delivered.get(data)? - published);
        }
        Some(slowest)
    }
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

/// 20 to 60 ms, always the same for one pair.
fn delay(one: usize, other: usize) -> Duration {
    let (low, high) = pair(one, other);
    Duration::from_millis(20 + (low as u64 * 31 + high as u64 * 17) % 41)
}

fn rpc(what: Outgoing) -> Rpc {
    let mut rpc = Rpc::default();
    match what {
        Outgoing::Hello(subscriptions, extensions) => {
            rpc.subscriptions = subscriptions;
            rpc.control.extensions = extensions;
        }
        Outgoing::Subscriptions(subscriptions) => rpc.subscriptions = subscriptions,
        Outgoing::Control(control) | Outgoing::Gossip(control) => rpc.control = control,
        Outgoing::Publish(_, message) | Outgoing::Forward(_, message) => {
            rpc.messages = vec![message]
        }
        Outgoing::Partial(partial) => rpc.partial = Some(partial),
        Outgoing::TestExtension => rpc.test_extension = true,
    }
    rpc
}
