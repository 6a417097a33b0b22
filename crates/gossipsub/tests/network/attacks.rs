use std::time::{Duration, Instant};

use bytes::Bytes;
use peerkit_gossipsub::Config;
use peerkit_pubsub::Outgoing;

use crate::net::{Net, topic};

const SECOND: Duration = Duration::from_secs(1);

/// Whether peers are scored; without scores, the same attack has to be seen to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    On,
    Off,
}

fn config(scores: Scores) -> Config {
    let config = Config::default();
    match scores {
        Scores::On => config,
        Scores::Off => Config {
            score: None,
            ..config
        },
    }
}

/// Withholds every message and all gossip about them.
fn silent(what: &Outgoing) -> bool {
    match what {
        Outgoing::Publish(..) | Outgoing::Forward(..) => true,
        Outgoing::Gossip(control) => !control.ihave.is_empty(),
        _ => false,
    }
}

/// 20 honest nodes in the midst of ten times as many others, who dial them and are dialed by them, and who
/// fall silent after `good_for`.
struct Siege {
    net: Net,
    honest: Vec<usize>,
}

impl Siege {
    fn new(scores: Scores, good_for: Duration) -> Self {
        let mut net = Net::new(11);
        let honest = net.add_many(20, &config(scores));
        let sybils = net.add_many(200, &config(scores));
        let silent_at = net.now + good_for;
        for (number, sybil) in sybils.iter().enumerate() {
            net.nodes[*sybil].censor =
                Some(Box::new(move |what, now| now >= silent_at && silent(what)));
            for step in 0..4 {
                net.connect(
                    *sybil,
                    honest[(number * 4 + step * 11 + number / 10) % honest.len()],
                );
            }
        }
        for node in &honest {
            for step in 0..8 {
                net.connect(*node, sybils[(node * 13 + step * 29) % sybils.len()]);
            }
        }
        net.mesh_up(&honest, 5);
        Self { net, honest }
    }

    /// Publishes once a second, and says of each message how long it took to be everywhere, if it ever was.
    fn publish(&mut self, count: usize) -> Vec<Option<Duration>> {
        let mut sent: Vec<(usize, Instant, Bytes)> = Vec::new();
        for number in 0..count {
            let author = self.honest[(number * 7) % self.honest.len()];
            let data = self.net.publish(author, 256);
            sent.push((author, self.net.now, data));
            self.net.run(SECOND);
        }
        self.net.run(6 * SECOND);
        let latency = |(author, at, data): (usize, Instant, Bytes)| {
            self.net.latency(&self.honest, author, &data, at)
        };
        sent.into_iter().map(latency).collect()
    }

    /// Members of honest meshes that are honest, on average.
    fn honest_members(&self) -> f64 {
        let ids: Vec<_> = self
            .honest
            .iter()
            .map(|node| self.net.nodes[*node].id)
            .collect();
        let meshes = self
            .honest
            .iter()
            .flat_map(|node| self.net.nodes[*node].router.mesh(&topic()));
        meshes.filter(|member| ids.contains(member)).count() as f64 / self.honest.len() as f64
    }
}

fn within(latencies: &[Option<Duration>], limit: Duration) -> usize {
    latencies
        .iter()
        .filter(|latency| latency.is_some_and(|latency| latency <= limit))
        .count()
}

#[test]
fn a_covert_flash_is_overcome_within_two_minutes() {
    let run = |scores| {
        let mut siege = Siege::new(scores, 60 * SECOND);
        let before = siege.publish(54);
        assert_eq!(within(&before[5..], SECOND), before.len() - 5, "{scores:?}");
        let during = siege.publish(114);
        let after = siege.publish(30);
        let (during, soon) = (within(&during, 6 * SECOND), within(&after, SECOND));
        println!(
            "covert flash, scores {scores:?}: {during} of 114 within 6 s, then {soon} of 30 within 1 s, {:.2} honest members",
            siege.honest_members()
        );
        (during, soon)
    };
    assert_eq!(run(Scores::On), (114, 30));
    assert!(run(Scores::Off).1 < 10);
}

#[test]
fn a_cold_boot_among_ten_times_as_many_silent_peers_finds_its_way() {
    let run = |scores| {
        let mut siege = Siege::new(scores, Duration::ZERO);
        siege.net.run(3 * SECOND);
        let boot = siege.publish(84);
        let after = siege.publish(30);
        let (boot, soon) = (
            within(&boot, 6 * SECOND),
            within(&after, Duration::from_millis(1200)),
        );
        println!(
            "cold boot, scores {scores:?}: {boot} of 84 within 6 s, then {soon} of 30 within 1.2 s, {:.2} honest members",
            siege.honest_members()
        );
        (boot, soon)
    };
    let (boot, soon) = run(Scores::On);
    assert_eq!((boot, soon), (84, 30));
    assert!(run(Scores::Off).1 < 15);
}

#[test]
fn one_node_among_a_hundred_silent_peers_misses_nothing() {
    let mut net = Net::new(12);
    let config = config(Scores::On);
    let honest = net.add_many(21, &config);
    let (target, others) = (honest[0], &honest[1..]);
    let sybils = net.add_many(100, &config);
    for sybil in sybils {
        net.nodes[sybil].censor = Some(Box::new(|what, _| silent(what)));
        net.connect(sybil, target);
    }
    net.mesh_up(others, 5);
    for other in others {
        net.connect(target, *other);
    }
    net.run(5 * SECOND);
    for number in 0..120 {
        let (author, at) = (others[number % others.len()], net.now);
        let data = net.publish(author, 256);
        net.run(SECOND);
        if number % 10 == 0 {
            net.run(5 * SECOND);
            let latency = net.latency(&honest, author, &data, at);
            assert!(
                latency.is_some_and(|latency| latency < 6 * SECOND),
                "message {number}"
            );
        }
    }
    assert!(net.nodes[target].delivered.len() == 120);
    let ids: Vec<_> = others.iter().map(|node| net.nodes[*node].id).collect();
    let mesh = net.nodes[target].router.mesh(&topic());
    assert!(mesh.iter().filter(|member| ids.contains(member)).count() >= 2);
}

#[test]
fn one_publisher_whom_others_censor_is_heard() {
    let mut net = Net::new(13);
    let config = config(Scores::On);
    let honest = net.add_many(20, &config);
    let sybils = net.add_many(60, &config);
    let victim = net.nodes[honest[0]].id.to_bytes();
    for (number, sybil) in sybils.iter().enumerate() {
        let victim = victim.clone();
        net.nodes[*sybil].censor = Some(Box::new(move |what, _| match what {
            Outgoing::Forward(_, message) => {
                message.from.as_ref().is_some_and(|from| *from == victim)
            }
            _ => false,
        }));
        for step in 0..5 {
            net.connect(*sybil, honest[(number + step * 3) % honest.len()]);
        }
    }
    net.mesh_up(&honest, 4);
    net.run(5 * SECOND);
    for (number, sybil) in sybils.iter().enumerate().take(40) {
        let author = if number % 2 == 0 { honest[0] } else { *sybil };
        let at = net.now;
        let data = net.publish(author, 256);
        net.run(6 * SECOND);
        let latency = net.latency(&honest, author, &data, at);
        assert!(latency.is_some(), "message {number}");
    }
}

/// Attack G10.
#[test]
fn a_flood_of_invalid_messages_ends_with_the_hearing_of_its_authors() {
    let run = |scores| {
        let mut net = Net::new(14);
        let honest = net.add_many(20, &config(scores));
        let sybils = net.add_many(10, &config(scores));
        net.mesh_up(&honest, 5);
        for sybil in &sybils {
            net.connect(*sybil, honest[0]);
            net.connect(*sybil, honest[1]);
        }
        net.run(5 * SECOND);
        for round in 0..20 {
            for sybil in &sybils {
                for _ in 0..20 {
                    let rubbish = net.forge(*sybil, b"bad");
                    net.inject(*sybil, honest[round % 2], rubbish);
                }
            }
            let data = net.publish(honest[5], 256);
            net.run(SECOND);
            assert_eq!(net.reached(&honest, &data), 19, "{scores:?}");
        }
        net.nodes[honest[0]].validations
    };
    let (on, off) = (run(Scores::On), run(Scores::Off));
    println!("validations of invalid messages: {on} with scores, {off} without");
    assert!(on < 10 * 50 && off > 10 * 190, "{on} {off}");
}

#[test]
fn forged_messages_do_not_keep_the_real_ones_out() {
    let mut net = Net::new(15);
    let nodes = net.add_many(20, &config(Scores::On));
    let sybil = net.add(config(Scores::On));
    net.mesh_up(&nodes, 5);
    for node in &nodes {
        net.connect(sybil, *node);
    }
    net.run(5 * SECOND);
    for number in 0..5 {
        // The sybil knows what id comes next, and is faster.
        let real = Bytes::from(format!("real {number}"));
        let forged = net.forge_next(nodes[number], b"bad");
        for node in &nodes {
            net.inject(sybil, *node, forged.clone());
        }
        net.run(SECOND / 10);
        net.publish_data(nodes[number], real.clone());
        net.run(2 * SECOND);
        assert_eq!(
            net.reached(&nodes, &real),
            nodes.len() - 1,
            "message {number}"
        );
    }
}

/// Attack G15.
#[test]
fn a_hundred_identities_at_one_address_are_worth_nothing() {
    let run = |scores| {
        let mut net = Net::new(16);
        let honest = net.add_many(12, &config(scores));
        let sybils = net.add_many(100, &config(scores));
        net.mesh_up(&honest, 4);
        for sybil in &sybils {
            net.place(*sybil, [203, 0, 113, 1]);
            net.connect(*sybil, honest[0]);
        }
        net.run(10 * SECOND);
        let ids: Vec<_> = sybils.iter().map(|sybil| net.nodes[*sybil].id).collect();
        let mesh = net.nodes[honest[0]].router.mesh(&topic());
        mesh.iter().filter(|member| ids.contains(member)).count()
    };
    assert_eq!(run(Scores::On), 0);
    assert!(run(Scores::Off) > 0);
}
