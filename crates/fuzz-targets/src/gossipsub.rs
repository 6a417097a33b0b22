//! The router of gossipsub.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Direction, PeerId};
use peerkit_gossipsub::{Config, GossipsubRouter, PeerExchange, ScoreParams, Sizes, Version};
use peerkit_pubsub::{
    Control, DecodeLimits, Extensions, IHave, Message, MessageId, MessageIdFn, Outgoing, PeerInfo,
    PeerLink, Prune, Router as _, RouterEvent, Rpc, RpcDecoder, SubscriptionChange, Topic, Verdict,
};

use crate::{clock, input::Input, keys::peer};

/// Whatever strangers say, in whatever order and at whatever time: the router keeps its limits, grafts nobody whom it
/// must not graft, and holds nothing once all have gone.
pub fn gossipsub_router(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    while !input.is_empty() {
        world.act(&mut input);
        world.drain();
        world.check();
    }
    world.end();
}

/// Frames from the wire, each from one of some peers, through the decoder into the router.
pub fn gossipsub_wire(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for number in 1..=4 {
        let link = link(usize::from(number), number % 2 == 0, None);
        world.router.handle_connected(peer(number), link, world.now);
    }
    world.router.subscribe(&topic(0), world.now);
    world.drain();
    while !input.is_empty() {
        let who = input.byte();
        let frame = Bytes::copy_from_slice(input.long_bytes());
        if let Ok(decoded) = RpcDecoder::new(DecodeLimits::default()).decode(&frame) {
            let from = peer(1 + who % 4);
            world.router.handle_rpc(&from, decoded.rpc, world.now);
        }
        if who & 0x40 != 0 {
            world.answer(0, Verdict::Accept);
        }
        if who & 0x80 != 0 {
            world.pass(Duration::from_secs(1));
        }
        world.drain();
        world.check_wire_sizes();
    }
}

const PEERS: u8 = 10;
const TOPICS: u8 = 4;

struct World {
    router: GossipsubRouter,
    now: Instant,
    asked: Vec<MessageId>,
    sent: Vec<(PeerId, Outgoing)>,
    scores: BTreeMap<PeerId, f64>,
}

fn config() -> Config {
    let mut score = ScoreParams {
        colocation_threshold: 2,
        ..ScoreParams::default()
    };
    score.topic_default.mesh_weight = -0.1;
    score.topic_default.failure_weight = -0.1;
    score.topic_default.mesh_threshold = 2.0;
    Config {
        score: Some(score),
        mesh_target: 3,
        mesh_low: 2,
        mesh_high: 4,
        mesh_best: 2,
        mesh_outbound: 1,
        peer_exchange: PeerExchange::FollowAndRecommend,
        direct_peers: vec![peer(1)],
        opportunistic_graft_ticks: 3,
        peer_topics_max: 3,
        seen_max: 20,
        validating_max: 5,
        validating_bytes_max: 4096,
        rivals_max: 2,
        history_messages_max: 8,
        history_bytes_max: 4096,
        retained_peers_max: 3,
        idontwant_ids_max: 4,
        ihave_ids_max: 6,
        ihave_messages_max: 3,
        iwant_messages_max: 3,
        px_connects_max: 2,
        test_extension: true,
        ..Config::default()
    }
}

impl World {
    fn new() -> Self {
        let router =
            GossipsubRouter::new(peer(0), config(), MessageIdFn::default(), [3; 32], clock());
        Self {
            router: router.expect("the configuration is allowed"),
            now: clock(),
            asked: Vec::new(),
            sent: Vec::new(),
            scores: BTreeMap::new(),
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (action, now) = (input.byte() % 24, self.now);
        let who = peer(1 + input.below(usize::from(PEERS)) as u8);
        match action {
            0..=2 => {
                let ip = (input.below(3) as u8).checked_sub(1);
                let link = link(input.below(5), input.flag(), ip);
                self.router.handle_connected(who, link, now);
            }
            3 => self.router.handle_disconnected(&who, now),
            4 => self.router.handle_stream(&who, now),
            5 | 6 => self.router.subscribe(&some_topic(input), now),
            7 => self.router.unsubscribe(&some_topic(input), now),
            8 => drop(self.router.publish(message(input), now)),
            9..=15 => self.router.handle_rpc(&who, rpc(input), now),
            16 | 17 => {
                let verdicts = [Verdict::Accept, Verdict::Reject, Verdict::Ignore];
                let verdict = verdicts[input.below(3)];
                self.answer(input.below(8), verdict);
            }
            18 => {
                let at = input.below(100);
                if let Some((to, what)) = self.sent.get(at) {
                    self.router.handle_dropped(to, what, now);
                }
            }
            19 => {
                let scores = [-20.0, 0.0, 20.0, f64::MAX, f64::MIN, f64::NAN];
                self.router
                    .set_application_score(&who, scores[input.below(6)]);
            }
            20 => self
                .router
                .set_record(&who, Bytes::copy_from_slice(input.bytes())),
            _ => self.pass(input.time()),
        }
    }

    fn answer(&mut self, index: usize, verdict: Verdict) {
        if self.asked.is_empty() {
            let unknown = MessageId::copy_from_slice(&[index as u8]);
            return self.router.handle_verdict(&unknown, verdict, self.now);
        }
        let id = self.asked.remove(index % self.asked.len());
        self.router.handle_verdict(&id, verdict, self.now);
    }

    /// What is due many times over is done a few times only, as after a long sleep.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..20 {
            let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.router.handle_timeout(end);
        let next = self.router.poll_timeout();
        assert!(next.is_some_and(|at| at > end), "time stands still");
    }

    fn drain(&mut self) {
        while let Some((to, what)) = self.router.poll_transmit() {
            if let Outgoing::Control(control) = &what {
                self.check_grafts(&to, control);
            }
            self.sent.push((to, what));
        }
        self.sent.drain(..self.sent.len().saturating_sub(100));
        let known = (1..=PEERS).map(peer);
        let known = known.filter_map(|who| Some((who, self.router.score(&who)?.total)));
        self.scores = known.collect();
        assert!(self.scores.values().all(|score| !score.is_nan()));
        while let Some(event) = self.router.poll_event() {
            if let RouterEvent::Validate { id, .. } = event {
                self.asked.retain(|asked| *asked != id);
                self.asked.push(id);
            }
        }
    }

    fn check_grafts(&self, to: &PeerId, control: &Control) {
        for topic in &control.graft {
            // One RPC may first have its sender grafted and then spoil its score.
            let before = self.scores.get(to).copied().unwrap_or(f64::MIN);
            let score = self
                .router
                .score(to)
                .map_or(before, |now| now.total.max(before));
            assert!(score >= 0.0, "grafted with {score}");
            let backoff = self.router.backoff(topic, to);
            assert!(
                backoff.is_none_or(|end| end <= self.now),
                "grafted in backoff"
            );
        }
    }

    fn check(&self) {
        let versions: BTreeMap<_, _> = self.router.peers().into_iter().collect();
        for number in 0..TOPICS {
            let subscribed = self.router.topic_peers(&topic(number));
            let subscribed: BTreeSet<_> = subscribed.into_iter().collect();
            assert!(subscribed.iter().all(|peer| versions.contains_key(peer)));
            for member in self.router.mesh(&topic(number)) {
                assert!(subscribed.contains(&member) && member != peer(1));
                assert!(versions[&member] >= Version::V1_0);
            }
        }
        let sizes = self.router.sizes();
        let (peers, topics) = (usize::from(PEERS), usize::from(TOPICS));
        assert!(sizes.topics <= topics);
        assert!(sizes.backoffs <= (peers + config().retained_peers_max) * topics);
        check_sizes(sizes, peers);
    }

    fn check_wire_sizes(&self) {
        // A topic may have any name here, and each peer may have some.
        let sizes = self.router.sizes();
        assert!(sizes.topics <= 1 + 4 * (config().peer_topics_max + 1));
        assert!(sizes.subscriptions <= 4 * (config().peer_topics_max + 1));
        check_sizes(sizes, 4);
    }

    /// Everybody goes; after a while nothing is left.
    fn end(&mut self) {
        for number in 1..=PEERS {
            self.router.handle_disconnected(&peer(number), self.now);
        }
        for topic in self.router.joined_topics() {
            self.router.unsubscribe(&topic, self.now);
        }
        self.pass(Duration::from_secs(2));
        self.pass(Duration::from_secs(4 * 3600));
        for _ in 0..20 {
            self.pass(Duration::from_secs(2));
        }
        self.drain();
        assert_eq!(self.router.sizes(), Sizes::default());
    }
}

fn check_sizes(sizes: Sizes, peers: usize) {
    let config = config();
    let all_peers = peers + config.retained_peers_max;
    assert!(sizes.peers <= peers);
    assert!(sizes.retained_peers <= config.retained_peers_max);
    assert!(sizes.seen <= config.seen_max);
    assert!(sizes.validating <= config.validating_max);
    assert!(sizes.validating_bytes <= config.validating_bytes_max);
    assert!(sizes.history <= config.history_messages_max);
    assert!(sizes.history_bytes <= config.history_bytes_max);
    assert!(sizes.promises <= all_peers * config.ihave_messages_max * 5);
    assert!(sizes.refusals <= peers * config.idontwant_ids_max);
    assert_eq!((sizes.outgoing, sizes.events), (0, 0));
}

fn rpc(input: &mut Input<'_>) -> Rpc {
    let mut rpc = Rpc::default();
    for _ in 0..input.below(6) {
        let control = &mut rpc.control;
        match input.byte() % 8 {
            0 => rpc.subscriptions.push(SubscriptionChange {
                subscribe: input.flag(),
                topic: some_topic(input),
                requests_partial: false,
                supports_sending_partial: false,
            }),
            1 => rpc.messages.push(message(input)),
            2 => control.ihave.push(IHave {
                topic: some_topic(input),
                ids: ids(input),
            }),
            3 => control.iwant.extend(ids(input)),
            4 => control.graft.push(some_topic(input)),
            5 => control.prune.push(prune(input)),
            6 => control.idontwant.extend(ids(input)),
            _ => {
                control.extensions = Some(Extensions {
                    partial_messages: input.flag(),
                    test: input.flag(),
                });
                rpc.test_extension = input.flag();
            }
        }
    }
    rpc
}

fn prune(input: &mut Input<'_>) -> Prune {
    let topic = some_topic(input);
    let backoff = input.flag().then(|| input.u64());
    let peers = (0..input.below(20)).map(|_| PeerInfo {
        peer: Some(peer(40 + input.below(8) as u8).to_bytes().into()),
        signed_record: input.flag().then(|| Bytes::copy_from_slice(input.bytes())),
    });
    Prune {
        topic,
        backoff,
        peers: peers.collect(),
    }
}

fn message(input: &mut Input<'_>) -> Arc<Message> {
    let content = input.byte() % 10;
    let author = if content == 9 { 0 } else { 50 };
    Arc::new(Message {
        from: Some(peer(author).to_bytes().into()),
        data: vec![content; 400 * usize::from(content)].into(),
        seqno: Some(seqno(input)),
        topic: some_topic(input),
        signature: None,
        key: None,
        encoded: vec![content].into(),
    })
}

fn ids(input: &mut Input<'_>) -> Vec<MessageId> {
    let author = peer(50).to_bytes();
    let ids = (0..input.below(10)).map(|_| MessageId::concat(&author, &seqno(input)));
    ids.collect()
}

fn seqno(input: &mut Input<'_>) -> Bytes {
    Bytes::copy_from_slice(&u64::from(input.byte() % 16).to_be_bytes())
}

fn some_topic(input: &mut Input<'_>) -> Topic {
    topic(input.byte() % TOPICS)
}

fn topic(number: u8) -> Topic {
    Topic::from(["a", "b", "c", "t"][usize::from(number)])
}

fn link(version: usize, outbound: bool, ip: Option<u8>) -> PeerLink {
    let protocols = [
        "/meshsub/1.3.0",
        "/meshsub/1.2.0",
        "/meshsub/1.1.0",
        "/meshsub/1.0.0",
        "/floodsub/1.0.0",
    ];
    let direction = if outbound {
        Direction::Outbound
    } else {
        Direction::Inbound
    };
    PeerLink {
        protocol: protocols[version].parse().expect("these are names"),
        direction,
        ip: ip.map(|last| [203, 0, 113, last].into()),
    }
}
