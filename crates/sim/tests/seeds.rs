//! Every scenario with some seeds, both muxers among them. The command `peerkit-sim` takes many more.

#[allow(dead_code, reason = "the command uses the rest")]
#[path = "../scenarios/mod.rs"]
mod scenarios;

use peerkit_sim::seeds;
use scenarios::{ALL, Scenario};

/// A fixed seed of each kind and a fresh one.
fn run(name: &str) {
    let scenario = named(name);
    for seed in [0, 1].into_iter().chain(seeds(1)) {
        (scenario.run)(seed);
    }
}

fn named(name: &str) -> Scenario {
    let found = ALL.iter().find(|scenario| scenario.name == name);
    *found.unwrap_or_else(|| panic!("there is no scenario {name}"))
}

#[test]
fn many_nodes_dial_one_at_the_same_moment() {
    run("dial-storm");
}

#[test]
fn one_node_dials_many_at_the_same_moment() {
    run("dial-many");
}

#[test]
fn two_peers_dial_each_other_at_the_same_moment() {
    run("dial-each-other");
}

#[test]
fn the_network_falls_apart_and_heals() {
    run("halves");
}

#[test]
fn links_go_down_and_up_all_the_time() {
    run("flapping");
}

#[test]
fn half_of_the_nodes_restart() {
    run("restarts");
}

#[test]
fn connections_without_traffic_stay_for_hours() {
    run("idle");
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    run("slow-readers");
}

#[test]
fn connections_are_cut_at_every_byte_of_their_set_up() {
    for seed in 0..2 * scenarios::cuts::SHARES {
        (named("cuts").run)(seed);
    }
}

#[test]
fn busy_nodes_are_closed_at_any_moment() {
    run("shutdown");
}

#[test]
fn gossip_reaches_everybody_once_two_halves_are_whole_again() {
    run("gossip-halves");
}

#[test]
fn every_scenario_replays_from_its_seed() {
    for scenario in &ALL {
        assert_eq!((scenario.run)(2), (scenario.run)(2), "{}", scenario.name);
    }
}
