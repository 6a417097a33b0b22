//! Attacks on small networks of real nodes. The command `peerkit-sim gossip-attacks` runs all of them on larger ones.

#[allow(dead_code, reason = "the command uses the rest")]
#[path = "../scenarios/mod.rs"]
mod scenarios;

use scenarios::gossip_attacks::{ALL, Scores, Size, Verdict, run};

/// With so many honest nodes, and as many attackers for each as the attack names.
fn attack(name: &str, honest: usize, scores: Scores) -> Verdict {
    let attack = ALL.iter().find(|attack| attack.name == name);
    let attack = attack.unwrap_or_else(|| panic!("there is no attack {name}"));
    let size = Size {
        honest,
        sybils: honest * attack.ratio,
    };
    run(attack, size, scores, 1)
}

/// Without scores the same attack has to succeed: otherwise nothing is shown by its failure.
fn only_scores_help_against(name: &str, honest: usize) {
    let with = attack(name, honest, Scores::On);
    assert!(with.failures().is_empty(), "{with:?}");
    let without = attack(name, honest, Scores::Off);
    assert!(!without.failures().is_empty(), "{without:?}");
}

#[test]
fn a_node_among_attackers_keeps_honest_members_in_its_mesh() {
    only_scores_help_against("eclipse-one", 20);
}

#[test]
fn a_network_that_boots_among_forty_times_as_many_attackers_finds_together() {
    only_scores_help_against("cold-boot", 12);
}

#[test]
fn a_network_recovers_from_attackers_that_strike_all_at_once() {
    only_scores_help_against("covert-flash", 12);
}

#[test]
fn an_attack_replays_from_its_seed() {
    let run = || attack("eclipse-one", 10, Scores::Tuned).trace_hash;
    assert_eq!(run(), run());
}
