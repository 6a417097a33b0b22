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
            PossibleValue::new(ALL_OF_THEM).help("each of the ten above, from dial-storm on"),
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
            None if name == THROUGHPUT => Self::Throughput,
            None => Self::All,
        }
    }
}

const ALL_OF_THEM: &str = "all";
const THROUGHPUT: &str = "throughput";
