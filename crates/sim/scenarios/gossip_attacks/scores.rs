//! The parameters with which peers are scored.

use std::time::Duration;

use peerkit::gossipsub::{Config, ScoreParams, TopicScoreParams};

use super::attacks::Attack;

/// How honest nodes score their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scores {
    /// As the router does by default, which knows nothing of the topic.
    On,
    /// All terms, for a topic whose rate is known.
    Tuned,
    /// Not at all.
    Off,
}

impl Scores {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Tuned => "tuned",
            Self::Off => "off",
        }
    }

    /// Whether the network has to hold against an attack.
    pub(crate) fn holds(self, attack: &Attack) -> bool {
        self != Self::Off || !attack.bites
    }

    /// A router with its default parameters but for the scores.
    pub(super) fn router(self) -> Config {
        let mut config = Config::default();
        match self {
            Self::On => {}
            Self::Tuned => config.score = Some(tuned()),
            Self::Off => config.score = None,
        }
        config
    }
}

/// In the manner of the hardening paper's test plans and of Lighthouse: too few deliveries count, and bad deeds weigh more.
/// Counters are scaled to a topic with a message a second, of which each of the members of a mesh brings a part.
fn tuned() -> ScoreParams {
    ScoreParams {
        topic_default: tuned_topic(),
        colocation_weight: -35.0,
        colocation_threshold: 5,
        behaviour_weight: -16.0,
        behaviour_threshold: 6.0,
        behaviour_decay: 0.9857,
        ..ScoreParams::default()
    }
}

fn tuned_topic() -> TopicScoreParams {
    TopicScoreParams {
        mesh_weight: -0.5,
        mesh_decay: 0.95,
        mesh_cap: 20.0,
        mesh_threshold: 2.0,
        mesh_window: Duration::from_secs(1),
        mesh_activation: Duration::from_secs(20),
        failure_weight: -0.5,
        failure_decay: 0.99,
        invalid_weight: -20.0,
        invalid_decay: 0.99,
        ..TopicScoreParams::default()
    }
}
