//! What can be run.

use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use crate::{
    scenario,
    scenarios::{self, ALL},
};

/// What the first argument names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// A large network, which is described by counts and pictures.
    Network(scenario::Scenario),
    /// A small one, which fails or does not.
    Small(scenarios::Scenario),
    /// All small ones.
    All,
    /// A large network of gossipsub nodes.
    Gossip,
    /// One that falls into halves and heals.
    GossipPartition,
    /// Attacks on gossipsub.
    Attacks,
    /// How fast one stream is.
    Throughput,
}

impl Choice {
    pub(crate) fn parser() -> impl TypedValueParser<Value = Self> {
        let networks = scenario::Scenario::value_variants().iter();
        let networks = networks.filter_map(ValueEnum::to_possible_value);
        let small = ALL
            .iter()
            .map(|it| PossibleValue::new(it.name).help(it.about));
        let rest = [
            PossibleValue::new(GOSSIP).help("nodes publish to all others with gossipsub"),
            PossibleValue::new(GOSSIP_PARTITION)
                .help("the same, while the network falls into halves and heals"),
            PossibleValue::new(ATTACK)
                .help("an attack on gossipsub, which the next argument names"),
            PossibleValue::new(ATTACKS).help("all attacks on gossipsub, with scores and without"),
            PossibleValue::new(ALL_OF_THEM)
                .help("each of the small ones above, from dial-storm on"),
            PossibleValue::new(THROUGHPUT).help("one stream over 5 Gbit/s and 63 ms, both ways"),
        ];
        let values: Vec<_> = networks.chain(small).chain(rest).collect();
        PossibleValuesParser::new(values).map(|name| Self::named(&name))
    }

    fn named(name: &str) -> Self {
        if let Ok(network) = scenario::Scenario::from_str(name, false) {
            return Self::Network(network);
        }
        match ALL.iter().find(|it| it.name == name) {
            Some(small) => Self::Small(*small),
            None if name == GOSSIP => Self::Gossip,
            None if name == GOSSIP_PARTITION => Self::GossipPartition,
            None if name == ATTACK || name == ATTACKS => Self::Attacks,
            None if name == THROUGHPUT => Self::Throughput,
            None => Self::All,
        }
    }
}

const ATTACK: &str = "gossip-attack";
const ATTACKS: &str = "gossip-attacks";
const ALL_OF_THEM: &str = "all";
const GOSSIP: &str = "gossip";
const GOSSIP_PARTITION: &str = "gossip-partition";
const THROUGHPUT: &str = "throughput";
