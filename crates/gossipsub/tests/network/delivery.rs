use std::time::Duration;

use peerkit_gossipsub::{Config, Version};

use crate::net::Net;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_message_reaches_everybody_once_and_soon() {
    for flood_publish in [true, false] {
        let config = Config {
            flood_publish,
            ..Config::default()
        };
        let mut net = Net::new(1);
        let nodes = net.add_many(60, &config);
        net.mesh_up(&nodes, 6);
        net.run(5 * SECOND);
        let mut worst = Duration::ZERO;
        for round in 0..60 {
            let (author, published) = (nodes[round % nodes.len()], net.now);
            let data = net.publish(author, 256);
            net.run(SECOND);
            let latency = net.latency(&nodes, author, &data, published);
            worst = worst.max(latency.expect("it is everywhere within a second"));
        }
        let delivered: usize = nodes
            .iter()
            .map(|node| net.nodes[*node].delivered.len())
            .sum();
        assert_eq!(delivered, 59 * 60);
        let copies: u64 = nodes.iter().map(|node| net.nodes[*node].copies).sum();
        println!(
            "flood_publish {flood_publish}: worst {worst:?}, {:.2} copies",
            copies as f64 / delivered as f64
        );
        assert!(worst < Duration::from_millis(500), "{worst:?}");
    }
}

#[test]
fn peers_of_all_versions_hear_each_other() {
    let mut net = Net::new(2);
    let mut nodes = Vec::new();
    for round in 0..6 {
        for newest in 0..Version::ALL.len() {
            let config = Config {
                // Every fifth node knows floodsub alone.
                versions: Version::ALL[newest..].to_vec(),
                ..Config::default()
            };
            nodes.push(net.add(config));
        }
        assert_eq!(nodes.len(), (round + 1) * 5);
    }
    net.mesh_up(&nodes, 5);
    net.run(3 * SECOND);
    for author in nodes.clone() {
        let data = net.publish(author, 2000);
        net.run(4 * SECOND);
        assert_eq!(net.reached(&nodes, &data), nodes.len() - 1, "of {author}");
    }
}

#[test]
fn messages_cross_a_node_in_the_middle() {
    for versions in [
        vec![Version::V1_2],
        vec![Version::V1_0],
        vec![Version::Floodsub],
    ] {
        let config = Config {
            versions,
            ..Config::default()
        };
        let mut net = Net::new(3);
        let nodes = net.add_many(3, &config);
        net.connect(nodes[0], nodes[1]);
        net.connect(nodes[1], nodes[2]);
        net.run(SECOND);
        for number in 0..100 {
            let author = if number % 2 == 0 { 0 } else { 2 };
            let data = net.publish(nodes[author], 100);
            net.run(SECOND / 5);
            assert_eq!(net.reached(&nodes, &data), 2);
        }
    }
}

#[test]
fn a_message_loops_nowhere() {
    let mut net = Net::new(4);
    let nodes = net.add_many(3, &Config::default());
    net.connect(nodes[0], nodes[1]);
    net.connect(nodes[1], nodes[2]);
    net.connect(nodes[2], nodes[0]);
    net.run(3 * SECOND);
    net.publish(nodes[0], 100);
    net.run(200 * SECOND);
    let copies: u64 = nodes.iter().map(|node| net.nodes[*node].copies).sum();
    assert!(copies <= 4, "{copies}");
}

#[test]
fn after_a_partition_everything_new_arrives_within_three_heartbeats() {
    let mut net = Net::new(5);
    let nodes = net.add_many(60, &Config::default());
    net.mesh_up(&nodes, 6);
    net.run(5 * SECOND);
    let (half, other) = nodes.split_at(30);
    net.cut(half, other);
    for number in 0..60 {
        let data = net.publish(nodes[number], 256);
        net.run(SECOND);
        assert!(net.reached(&nodes, &data) <= 30);
    }
    net.heal();
    for number in 0..20 {
        let (author, published) = (nodes[number * 3], net.now);
        let data = net.publish(author, 256);
        net.run(3 * SECOND);
        let latency = net.latency(&nodes, author, &data, published);
        assert!(
            latency.is_some(),
            "message {number} reached {}",
            net.reached(&nodes, &data)
        );
    }
}

#[test]
fn links_that_break_and_come_back_lose_nothing_new() {
    let mut net = Net::new(6);
    let nodes = net.add_many(40, &Config::default());
    net.mesh_up(&nodes, 5);
    net.run(3 * SECOND);
    let (half, other) = nodes.split_at(20);
    for round in 0..3 {
        for one in half {
            for two in other {
                net.disconnect(*one, *two);
            }
        }
        net.run(20 * SECOND);
        for (number, one) in half.iter().enumerate() {
            for step in 0..4 {
                net.connect(*one, other[(number + step * 7 + round) % other.len()]);
            }
        }
        net.run(3 * SECOND);
        let data = net.publish(nodes[round], 256);
        net.run(3 * SECOND);
        assert_eq!(net.reached(&nodes, &data), nodes.len() - 1);
    }
}

#[test]
fn idontwant_saves_copies_of_large_messages() {
    let run = |idontwant_size_min| {
        let config = Config {
            idontwant_size_min,
            ..Config::default()
        };
        let mut net = Net::new(7);
        net.validation = Duration::from_millis(50);
        let nodes = net.add_many(60, &config);
        net.mesh_up(&nodes, 8);
        net.run(5 * SECOND);
        let before: u64 = nodes.iter().map(|node| net.nodes[*node].copies).sum();
        for number in 0..20 {
            let data = net.publish(nodes[number * 3], 16 * 1024);
            net.run(2 * SECOND);
            assert_eq!(net.reached(&nodes, &data), nodes.len() - 1);
        }
        let copies: u64 = nodes.iter().map(|node| net.nodes[*node].copies).sum();
        (copies - before) as f64 / (20.0 * 59.0)
    };
    let (with, without) = (run(1024), run(usize::MAX));
    println!("copies of a message: {with:.2} with IDONTWANT, {without:.2} without");
    assert!(with < without * 0.9, "{with} {without}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut net = Net::new(seed);
        let nodes = net.add_many(30, &Config::default());
        net.mesh_up(&nodes, 5);
        net.run(2 * SECOND);
        let data: Vec<_> = (0..10)
            .map(|number| net.publish(nodes[number], 2000))
            .collect();
        net.run(3 * SECOND);
        let times = nodes.iter().flat_map(|node| {
            let delivered = &net.nodes[*node].delivered;
            data.iter()
                .map(|data| delivered.get(data).map(|at| *at - net.start))
                .collect::<Vec<_>>()
        });
        times.collect::<Vec<_>>()
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}
