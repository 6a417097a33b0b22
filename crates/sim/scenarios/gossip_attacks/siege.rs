//! Honest nodes among attackers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use peerkit::{
    PeerId,
    core::sleep_until,
    gossipsub::{Config, GossipsubConfig},
};
use peerkit_sim::{HostId, Node};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::index};

use super::{
    attacks::{Aim, Attack, Harm},
    band::Attacker,
    scores::Scores,
    sybil::{Deed, Plan},
};
use crate::scenarios::{
    gossip::{Figures, Log, Message, Network, Setup, TOPIC, random_dials},
    node::{address, identity},
};

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) honest: usize,
    pub(crate) sybils: usize,
}

/// What has come of an attack.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The share of all arrivals of honest messages at honest nodes that have come.
    pub(crate) delivered: f64,
    /// Messages that came twice, or of which nobody has published what came.
    pub(crate) wrong: u64,
    /// From the time at which the attackers strike.
    pub(crate) p99: Option<Duration>,
    pub(crate) max: Option<Duration>,
    /// At the end of the attack.
    pub(crate) p99_last: Option<Duration>,
    /// How long after the first strike messages were delayed or lost.
    pub(crate) recovery: Duration,
    /// Members of honest meshes in the end, and how many of them are honest.
    pub(crate) members: usize,
    pub(crate) honest_members: usize,
    /// Honest members in the mesh of the node that is attacked, or of the one that has the fewest.
    pub(crate) fewest: usize,
    /// How many of these there have to be.
    fewest_wanted: usize,
    /// Whether it has to come to an end.
    swift: bool,
    pub(crate) trace_hash: u64,
}

/// Runs an attack with a seed.
pub(crate) fn run(attack: &Attack, size: Size, scores: Scores, seed: u64) -> Verdict {
    let mut network = Network::new(setup(attack, size, scores, seed));
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(2));
    let victims = victims(attack, size, &mut rng);
    let attack = *attack;
    let plan = plan(&attack);
    network.sim.hosts(size.sybils, move |node| {
        let prey = victims[node.index() - size.honest].clone();
        besiege(node, attack, plan, prey)
    });
    publish(&attack, size, &mut network, &mut rng);
    network.sim.run_until(attack.ends_at + AFTERMATH);
    judge(&attack, size, &network)
}

fn setup(attack: &Attack, size: Size, scores: Scores, seed: u64) -> Setup {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut dials = random_dials(&mut rng, size.honest, attack.degree.min(size.honest - 1));
    let aimed_at = match attack.aim {
        Aim::Everybody => size.honest,
        Aim::One => TARGET + 1,
    };
    for dials in &mut dials[..aimed_at] {
        let lures = index::sample(&mut rng, size.sybils, attack.lures.min(size.sybils));
        dials.extend(lures.iter().map(|lure| host_id(size.honest + lure)));
    }
    let setup = Setup {
        dials,
        latency: LATENCY,
        jitter: JITTER,
        start_within: attack.boots_within,
        ..Setup::new(seed, size.honest, 2)
    };
    // Nobody's heart beats at the same moment as everybody else's.
    let phases: Vec<_> = (0..size.honest)
        .map(|_| HEARTBEAT.mul_f64(rng.random()))
        .collect();
    let config = move |node: usize| {
        let mut config = GossipsubConfig::default();
        config.router = scores.router();
        config.router.heartbeat_initial_delay += phases[node];
        config
    };
    Setup {
        config: Arc::new(config),
        ..setup
    }
}

/// Whom each attacker dials. Everybody is attacked by equally many.
fn victims(attack: &Attack, size: Size, rng: &mut StdRng) -> Vec<Vec<HostId>> {
    let mut next = 0;
    let mut draw = |_| {
        if attack.aim == Aim::One {
            return vec![host_id(TARGET)];
        }
        let count = attack.dialed.min(size.honest);
        let step = 1 + rng.random_range(0..size.honest.div_ceil(count));
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            next = (next + step) % size.honest;
            if !chosen.insert(next) {
                next = (next + 1) % size.honest;
                chosen.insert(next);
            }
        }
        chosen.into_iter().map(host_id).collect()
    };
    (0..size.sybils).map(&mut draw).collect()
}

fn plan(attack: &Attack) -> Plan {
    let deed = match attack.harm {
        Harm::All(deed) => deed,
        Harm::CensorOne => Deed::Censor(peer(host_id(TARGET))),
    };
    Plan {
        strikes_at: attack.strikes_at,
        deed,
    }
}

/// The program of an attacker.
async fn besiege(node: Node, attack: Attack, plan: Plan, prey: Vec<HostId>) {
    let runtime = node.runtime();
    let keypair = identity(node.id());
    let attacker = Attacker::start(runtime.clone(), keypair, address(node.id()), plan).await;
    let mut rng = StdRng::from_seed(peerkit::Runtime::seed(&runtime));
    let late = ARRIVE_WITHIN.mul_f64(rng.random());
    let begin = peerkit::Runtime::now(&runtime);
    sleep_until(&runtime, begin + attack.arrives_at + late).await;
    let approaches = prey.into_iter().map(|it| attacker.approach(address(it)));
    futures::future::join_all(approaches).await;
    std::future::pending().await
}

/// About once a second, somebody publishes; not in step with anybody's heartbeat.
fn publish(attack: &Attack, size: Size, network: &mut Network, rng: &mut StdRng) {
    let mut from = attack.publishes_at();
    let mut number = 0;
    while from + PUBLISH_EVERY <= attack.ends_at {
        let publisher = match attack.harm {
            // Every other message is one that attackers drop.
            Harm::CensorOne if number % 2 == 0 => TARGET,
            Harm::CensorOne | Harm::All(_) => rng.random_range(0..size.honest),
        };
        let at = from + PUBLISH_EVERY.mul_f64(rng.random());
        network.publish_at(at, publisher, MESSAGE_LEN);
        from += PUBLISH_EVERY;
        number += 1;
    }
}

fn judge(attack: &Attack, size: Size, network: &Network) -> Verdict {
    let log = network.log();
    let struck = attack.strikes_at.max(attack.publishes_at());
    let all = Figures::of(&log, size.honest, |_| true);
    let (storm, last) = (
        suffering(attack, size, &log, struck),
        suffering(attack, size, &log, attack.ends_at - LAST),
    );
    let meshes = meshes(network, size);
    let fewest = match attack.aim {
        Aim::Everybody => meshes.iter().map(|(honest, _)| *honest).min(),
        Aim::One => meshes.get(TARGET).map(|(honest, _)| *honest),
    };
    Verdict {
        delivered: all.delivered(),
        wrong: all.wrong,
        p99: storm.latency(0.99),
        max: all.latency(1.0),
        p99_last: last.latency(0.99),
        recovery: recovery(attack, &log, size, struck),
        members: meshes.iter().map(|(_, all)| all).sum(),
        honest_members: meshes.iter().map(|(honest, _)| honest).sum(),
        fewest: fewest.unwrap_or_default(),
        fewest_wanted: match attack.aim {
            Aim::Everybody => 0,
            Aim::One => Config::default().mesh_outbound,
        },
        swift: attack.swift,
        trace_hash: network.sim.trace_hash(),
    }
}

/// The arrivals that the attack is about, of messages from a certain time on.
fn suffering(attack: &Attack, size: Size, log: &Log, from: Duration) -> Figures {
    Figures::of(log, afflicted(attack, size), |message| {
        message.at >= from && is_afflicted(attack, message)
    })
}

/// The first so many nodes are those where messages arrive late if the attack succeeds.
fn afflicted(attack: &Attack, size: Size) -> usize {
    match attack.aim {
        Aim::Everybody => size.honest,
        Aim::One => TARGET + 1,
    }
}

/// Whether a message arrives late if the attack succeeds.
fn is_afflicted(attack: &Attack, message: &Message) -> bool {
    match attack.harm {
        Harm::All(_) => true,
        Harm::CensorOne => message.publisher == TARGET,
    }
}

/// Honest members, and all, of the mesh of each honest node.
fn meshes(network: &Network, size: Size) -> Vec<(usize, usize)> {
    let honest: BTreeSet<PeerId> = (0..size.honest).map(|place| peer(host_id(place))).collect();
    let nodes = network.all().into_iter();
    let mesh = nodes.map(|gossip| gossip.mesh_peers(TOPIC));
    mesh.map(|mesh| {
        let good = mesh.iter().filter(|member| honest.contains(member)).count();
        (good, mesh.len())
    })
    .collect()
}

/// How long after `struck` the last message was published that was somewhere late, or never.
fn recovery(attack: &Attack, log: &Log, size: Size, struck: Duration) -> Duration {
    let messages = log.messages.iter();
    let slow = messages.filter(|message| {
        let mut others = (0..afflicted(attack, size)).filter(|it| *it != message.publisher);
        is_afflicted(attack, message)
            && others.any(|node| message.latency(node).is_none_or(|it| it > SWIFT))
    });
    let last = slow.map(|message| message.at).max().unwrap_or_default();
    last.saturating_sub(struck)
}

impl Verdict {
    /// The share of members of honest meshes that are honest.
    pub(crate) fn honest_share(&self) -> f64 {
        self.honest_members as f64 / self.members.max(1) as f64
    }

    /// Why the attack has succeeded; nothing if it hasn't.
    pub(crate) fn failures(&self) -> Vec<&'static str> {
        let within = |latency: Option<Duration>, limit| latency.is_some_and(|it| it <= limit);
        let rules = [
            (self.delivered < 1.0, "lost"),
            (self.wrong > 0, "wrong"),
            (!within(self.max, MAX), "late"),
            (self.swift && !within(self.p99_last, SWIFT), "slow"),
            (self.swift && self.recovery > RECOVERY, "no recovery"),
            (self.fewest < self.fewest_wanted, "captured"),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        broken.map(|(_, name)| name).collect()
    }
}

fn peer(host: HostId) -> PeerId {
    identity(host).public().to_peer_id()
}

fn host_id(place: usize) -> HostId {
    HostId::new(u32::try_from(place).expect("there are fewer hosts than numbers"))
}

/// The paper's links: 25 ms, 10 % more or less.
const LATENCY: (Duration, Duration) =
    (Duration::from_micros(22_500), Duration::from_micros(27_500));
const JITTER: Duration = Duration::from_millis(1);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The attackers come one after the other within this time.
const ARRIVE_WITHIN: Duration = Duration::from_secs(3);
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Copies of small messages are not refused, so that every member of a mesh is seen to deliver.
const MESSAGE_LEN: usize = 256;
/// The node that is aimed at, if one is.
const TARGET: usize = 0;
/// What a message may take that does not have to wait for gossip.
const SWIFT: Duration = Duration::from_millis(500);
/// What a message may take at the worst.
const MAX: Duration = Duration::from_secs(6);
/// How long an attack may show.
const RECOVERY: Duration = Duration::from_secs(120);
/// The last of an attack, in which everything has to be as good as without.
const LAST: Duration = Duration::from_secs(30);
/// Time for the last messages.
const AFTERMATH: Duration = Duration::from_secs(20);
