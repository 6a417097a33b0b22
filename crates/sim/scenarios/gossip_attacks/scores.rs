//! The parameters with which peers are scored.

use std::time::Duration;

use peerkit::gossipsub::{ScoreParams, Thresholds, TopicScoreParams};

use super::attacks::Attack;

/// How honest nodes score their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scores {
    /// As the router does by default.
    Default,
    /// As in the hardening paper.
    Paper,
    /// Not at all.
    Off,
}

impl Scores {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "on",
            Self::Paper => "paper",
            Self::Off => "off",
        }
    }

    /// Whether the network has to hold against an attack.
    pub(crate) fn holds(self, attack: &Attack) -> bool {
        self != Self::Off || !attack.bites
    }
}

/// Those of the paper's test plans, for a topic with about two messages a second.
///
/// Source: `scripts/configs` of `libp2p/gossipsub-hardening`.
pub(crate) fn paper() -> ScoreParams {
    ScoreParams {
        topic_default: paper_topic(),
        topic_score_cap: 0.0,
        colocation_weight: -10.0,
        colocation_threshold: 4,
        behaviour_weight: -15.92,
        behaviour_threshold: 6.0,
        behaviour_decay: 0.9857,
        decay_to_zero: 0.01,
        retain: Duration::from_secs(30),
        ..ScoreParams::default()
    }
}

fn paper_topic() -> TopicScoreParams {
    TopicScoreParams {
        weight: 0.25,
        mesh_time_weight: 0.0027,
        mesh_time_quantum: Duration::from_secs(1),
        mesh_time_cap: 3600.0,
        first_weight: 0.664,
        first_decay: 0.9916,
        first_cap: 1500.0,
        mesh_weight: -0.25,
        mesh_decay: 0.997,
        mesh_cap: 400.0,
        mesh_threshold: 10.0,
        mesh_window: Duration::from_millis(5),
        mesh_activation: Duration::from_secs(60),
        failure_weight: -0.25,
        failure_decay: 0.997,
        invalid_weight: -99.0,
        invalid_decay: 0.9994,
    }
}

pub(crate) fn paper_thresholds() -> Thresholds {
    Thresholds {
        gossip: -4000.0,
        publish: -5000.0,
        graylist: -10_000.0,
        accept_px: 0.0,
        opportunistic_graft: 0.0,
    }
}
