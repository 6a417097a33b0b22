//! Whatever strangers do, in whatever order, the router keeps its promises.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for what it is about"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_core::{Direction, Keypair, PeerId};
use peerkit_gossipsub::{Config, GossipsubRouter, PeerExchange, ScoreParams, Sizes, Version};
use peerkit_pubsub::{
    Control, Extensions, IHave, Message, MessageId, MessageIdFn, Outgoing, Partial, PeerInfo,
    PeerLink, Prune, Router, RouterEvent, Rpc, SubscriptionChange, Topic, Verdict,
};
use proptest::{collection::vec, option, prelude::*};

const PEERS: u8 = 16;
const TOPICS: u8 = 4;
const MESSAGES: u64 = 12;

#[derive(Clone, Debug)]
enum Op {
    Connect(u8, usize, bool, Option<u8>),
    Disconnect(u8),
    Stream(u8),
    Subscribe(u8),
    Unsubscribe(u8),
    Publish(u8, u64),
    Rpc(u8, Said),
    Verdict(usize, Verdict),
    Dropped(usize),
    Application(u8, f64),
    Record(u8),
    Pass(u64),
}

/// What a peer says in one RPC.
#[derive(Clone, Debug, Default)]
struct Said {
    subscriptions: Vec<(bool, u8)>,
    messages: Vec<(u8, u64, u8)>,
    ihave: Vec<(u8, Vec<u64>)>,
    iwant: Vec<u64>,
    graft: Vec<u8>,
    prune: Vec<(u8, Option<u64>, bool)>,
    idontwant: Vec<u64>,
    extensions: Option<(bool, bool)>,
    rest: bool,
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
        peer_topics_max: 2,
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

fn keypair(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).unwrap()
}

fn peer(number: u8) -> PeerId {
    static PEER_IDS: std::sync::LazyLock<Vec<PeerId>> = std::sync::LazyLock::new(|| {
        (0..=60)
            .map(|number| keypair(number).public().to_peer_id())
            .collect()
    });
    PEER_IDS[usize::from(number)]
}

fn topic(number: u8) -> Topic {
    Topic::from(format!("topic {number}"))
}

/// The content decides about the bytes, but not about the id.
fn message(topic_number: u8, seqno: u64, content: u8) -> Arc<Message> {
    let author = if content == 9 { 0 } else { 50 };
    Arc::new(Message {
        from: Some(peer(author).to_bytes().into()),
        data: vec![content; 400 * usize::from(content)].into(),
        seqno: Some(Bytes::copy_from_slice(&seqno.to_be_bytes())),
        topic: topic(topic_number),
        signature: None,
        key: None,
        encoded: vec![content, topic_number].into(),
    })
}

fn id(seqno: u64) -> MessageId {
    MessageIdFn::default().id(&message(0, seqno, 0))
}

fn said() -> impl Strategy<Value = Said> {
    let seqno = || 0..MESSAGES;
    let backoff = option::of(prop_oneof![
        Just(0),
        Just(1),
        Just(70),
        Just(u64::MAX),
        any::<u64>()
    ]);
    (
        vec((any::<bool>(), 0..TOPICS), 0..3),
        vec((0..TOPICS, seqno(), 0..10_u8), 0..3),
        vec((0..TOPICS, vec(seqno(), 0..8)), 0..2),
        vec(seqno(), 0..3),
        vec(0..TOPICS, 0..3),
        vec((0..TOPICS, backoff, any::<bool>()), 0..2),
        vec(seqno(), 0..3),
        option::weighted(0.1, any::<(bool, bool)>()),
        proptest::bool::weighted(0.1),
    )
        .prop_map(
            |(subscriptions, messages, ihave, iwant, graft, prune, idontwant, extensions, rest)| {
                Said {
                    subscriptions,
                    messages,
                    ihave,
                    iwant,
                    graft,
                    prune,
                    idontwant,
                    extensions,
                    rest,
                }
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    let number = || 1..=PEERS;
    let verdict = prop_oneof![
        3 => Just(Verdict::Accept),
        1 => Just(Verdict::Reject),
        1 => Just(Verdict::Ignore)
    ];
    let score = prop_oneof![-20.0..20.0, Just(f64::MAX), Just(f64::MIN), Just(f64::NAN)];
    prop_oneof![
        4 => (number(), 0..5_usize, any::<bool>(), option::of(0..2_u8)).prop_map(|(n, v, o, ip)| Op::Connect(n, v, o, ip)),
        1 => number().prop_map(Op::Disconnect),
        1 => number().prop_map(Op::Stream),
        2 => (0..TOPICS).prop_map(Op::Subscribe),
        1 => (0..TOPICS).prop_map(Op::Unsubscribe),
        2 => (0..TOPICS, 0..MESSAGES).prop_map(|(t, s)| Op::Publish(t, s)),
        12 => (number(), said()).prop_map(|(n, s)| Op::Rpc(n, s)),
        8 => (any::<prop::sample::Index>(), verdict).prop_map(|(i, v)| Op::Verdict(i.index(8), v)),
        1 => (0..50_usize).prop_map(Op::Dropped),
        1 => (number(), score).prop_map(|(n, s)| Op::Application(n, s)),
        1 => number().prop_map(Op::Record),
        6 => prop_oneof![Just(1), Just(1000), 0..4000_u64, Just(70_000), Just(4_000_000)].prop_map(Op::Pass),
    ]
}

struct Model {
    router: GossipsubRouter,
    now: Instant,
    /// Validations without a verdict.
    asked: Vec<MessageId>,
    asked_at: BTreeMap<MessageId, Instant>,
    delivered: BTreeMap<MessageId, Instant>,
    sent: Vec<(PeerId, Outgoing)>,
    /// The scores before the last input.
    scores: BTreeMap<PeerId, f64>,
}

impl Model {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a beginning"
    )]
    fn new() -> Self {
        let now = Instant::now();
        Self {
            router: GossipsubRouter::new(peer(0), config(), MessageIdFn::default(), [3; 32], now)
                .unwrap(),
            now,
            asked: Vec::new(),
            asked_at: BTreeMap::new(),
            delivered: BTreeMap::new(),
            sent: Vec::new(),
            scores: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Connect(number, version, outbound, ip) => {
                self.router
                    .handle_connected(peer(number), link(version, outbound, ip), now);
            }
            Op::Disconnect(number) => self.router.handle_disconnected(&peer(number), now),
            Op::Stream(number) => self.router.handle_stream(&peer(number), now),
            Op::Subscribe(number) => self.router.subscribe(&topic(number), now),
            Op::Unsubscribe(number) => self.router.unsubscribe(&topic(number), now),
            Op::Publish(number, seqno) => {
                if let Ok(published) = self.router.publish(message(number, seqno, 1), now) {
                    self.check_is_new(&published.id);
                }
            }
            Op::Rpc(number, said) => self.router.handle_rpc(&peer(number), rpc(said), now),
            Op::Verdict(index, verdict) => self.answer(index, verdict),
            Op::Dropped(index) => {
                if let Some((to, what)) = self.sent.get(index) {
                    self.router.handle_dropped(to, what, now);
                }
            }
            Op::Application(number, score) => {
                self.router.set_application_score(&peer(number), score);
            }
            Op::Record(number) => self
                .router
                .set_record(&peer(number), Bytes::from_static(b"record")),
            Op::Pass(millis) => self.pass(Duration::from_millis(millis)),
        }
        self.drain();
        self.check();
    }

    /// Answers what was asked, or repeats an answer.
    fn answer(&mut self, index: usize, verdict: Verdict) {
        if self.asked.is_empty() {
            self.router
                .handle_verdict(&id(index as u64), verdict, self.now);
            return;
        }
        let id = self.asked.remove(index % self.asked.len());
        self.router.handle_verdict(&id, verdict, self.now);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // What is due many times over is done a few times only, as after a long sleep.
        for _ in 0..20 {
            let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            let heartbeats = self.router.counts().heartbeats;
            self.router.handle_timeout(self.now);
            self.drain();
            if self.router.counts().heartbeats > heartbeats {
                self.check_meshes_are_not_too_large();
            }
        }
        self.now = end;
        self.router.handle_timeout(end);
        assert!(
            self.router.poll_timeout().unwrap() > end,
            "time does not stand still"
        );
    }

    fn drain(&mut self) {
        while let Some((to, what)) = self.router.poll_transmit() {
            if let Outgoing::Control(control) = &what {
                self.check_grafts(&to, control);
            }
            self.sent.push((to, what));
        }
        self.sent.drain(..self.sent.len().saturating_sub(100));
        let known = (1..=PEERS)
            .filter_map(|number| Some((peer(number), self.router.score(&peer(number))?.total)));
        self.scores = known.collect();
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Validate { id, .. } => {
                    // One that was given up, or pushed out, may be asked again.
                    self.asked.retain(|asked| *asked != id);
                    self.asked_at.insert(id.clone(), self.now);
                    self.asked.push(id);
                }
                RouterEvent::Deliver { id, .. } => self.check_is_new(&id),
                RouterEvent::Connect { record, .. } => {
                    assert!(record.is_none(), "no record here is true")
                }
                _ => {}
            }
        }
    }

    /// A message is delivered, or published, once; unless it was forgotten meanwhile, for its age or for more
    /// messages than the tiny limit of this test.
    fn check_is_new(&mut self, id: &MessageId) {
        assert!(MESSAGES < config().seen_max as u64);
        // A message is remembered from its first copy on, however long its validation takes.
        let first_copy = self.asked_at.remove(id).unwrap_or(self.now);
        if let Some(before) = self.delivered.insert(id.clone(), first_copy) {
            assert!(
                self.now - before >= config().seen_ttl - Duration::from_secs(30),
                "{id} came twice"
            );
        }
    }

    fn check_grafts(&self, to: &PeerId, control: &Control) {
        for topic in &control.graft {
            // One RPC may first have its sender grafted and then spoil its score.
            let before = self.scores.get(to).copied().unwrap_or(f64::MIN);
            let score = self.router.score(to).unwrap().total.max(before);
            assert!(score >= 0.0, "grafted with {score}");
            let backoff = self.router.backoff(topic, to);
            assert!(
                backoff.is_none_or(|end| end <= self.now),
                "grafted in backoff"
            );
        }
    }

    fn check_meshes_are_not_too_large(&self) {
        let config = config();
        let max = config.mesh_high + config.mesh_outbound + config.opportunistic_graft_peers;
        for topic in self.router.joined_topics() {
            assert!(self.router.mesh(&topic).len() <= max);
        }
    }

    fn check(&self) {
        let versions: BTreeMap<_, _> = self.router.peers().into_iter().collect();
        for number in 0..TOPICS {
            let topic = topic(number);
            let subscribed: BTreeSet<_> = self.router.topic_peers(&topic).into_iter().collect();
            assert!(subscribed.iter().all(|peer| versions.contains_key(peer)));
            for member in self.router.mesh(&topic) {
                assert!(subscribed.contains(&member));
                assert!(member != peer(1), "a direct peer");
                assert!(versions[&member] >= Version::V1_0);
            }
        }
        self.check_sizes(&config(), self.router.sizes());
    }

    fn check_sizes(&self, config: &Config, sizes: Sizes) {
        let (peers, topics) = (usize::from(PEERS), usize::from(TOPICS));
        assert!(sizes.peers <= peers);
        assert!(sizes.retained_peers <= config.retained_peers_max);
        assert!(sizes.topics <= topics);
        assert!(sizes.subscriptions <= peers * topics);
        assert!(sizes.backoffs <= (peers + config.retained_peers_max) * topics);
        assert!(sizes.seen <= config.seen_max);
        assert!(sizes.validating <= config.validating_max);
        assert!(sizes.validating_bytes <= config.validating_bytes_max);
        assert!(sizes.history <= config.history_messages_max);
        assert!(sizes.history_bytes <= config.history_bytes_max);
        // For each peer those of the heartbeats in which they are open.
        assert!(
            sizes.promises <= (peers + config.retained_peers_max) * config.ihave_messages_max * 5
        );
        assert!(sizes.refusals <= peers * config.idontwant_ids_max);
        assert_eq!((sizes.outgoing, sizes.events), (0, 0));
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

fn link(version: usize, outbound: bool, ip: Option<u8>) -> PeerLink {
    let protocols = [
        "/meshsub/1.3.0",
        "/meshsub/1.2.0",
        "/meshsub/1.1.0",
        "/meshsub/1.0.0",
        "/floodsub/1.0.0",
    ];
    PeerLink {
        protocol: protocols[version].try_into().unwrap(),
        direction: if outbound {
            Direction::Outbound
        } else {
            Direction::Inbound
        },
        ip: ip.map(|last| [203, 0, 113, last].into()),
    }
}

fn rpc(said: Said) -> Rpc {
    let ids = |seqnos: Vec<u64>| seqnos.into_iter().map(id).collect::<Vec<_>>();
    let subscriptions =
        said.subscriptions
            .into_iter()
            .map(|(subscribe, number)| SubscriptionChange {
                subscribe,
                topic: topic(number),
                requests_partial: false,
                supports_sending_partial: false,
            });
    let info = PeerInfo {
        peer: Some(peer(40).to_bytes().into()),
        signed_record: Some(Bytes::from_static(b"not one")),
    };
    let prune = said
        .prune
        .into_iter()
        .map(|(number, backoff, recommends)| Prune {
            topic: topic(number),
            peers: if recommends {
                vec![info.clone(); 20]
            } else {
                Vec::new()
            },
            backoff,
        });
    Rpc {
        subscriptions: subscriptions.collect(),
        messages: said
            .messages
            .into_iter()
            .map(|(t, s, c)| message(t, s, c))
            .collect(),
        control: Control {
            ihave: said
                .ihave
                .into_iter()
                .map(|(number, seqnos)| IHave {
                    topic: topic(number),
                    ids: ids(seqnos),
                })
                .collect(),
            iwant: ids(said.iwant),
            graft: said.graft.into_iter().map(topic).collect(),
            prune: prune.collect(),
            idontwant: ids(said.idontwant),
            extensions: said.extensions.map(|(partial_messages, test)| Extensions {
                partial_messages,
                test,
            }),
        },
        partial: said.rest.then(|| Partial {
            topic: topic(0),
            group: Bytes::from_static(b"group"),
            message: None,
            metadata: None,
        }),
        test_extension: said.rest,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_inputs_keeps_the_invariants(ops in vec(op(), 1..150)) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.end();
    }
}
