//! What is counted about a peer, and the score that follows from it.
//!
//! ```text
//! topic  = weight · (w1·P1 + w2·P2 + w3·P3 + w3b·P3b + w4·P4)
//! score  = min(sum of topics, cap) + w5·P5 + w6·P6 + w7·P7 + slowness
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    ScoreParams, TopicScoreParams,
    keys::TopicKey,
    view::{Score, TopicTerms},
};

/// The counters of one peer.
#[derive(Default)]
pub(crate) struct Counters {
    topics: BTreeMap<TopicKey, TopicCounters>,
    application: f64,
    behaviour: f64,
    slow: f64,
    /// The score, until something changes.
    cached: Option<f64>,
}

/// The counters of one peer in one topic.
struct TopicCounters {
    params: Arc<TopicScoreParams>,
    /// In the mesh since then.
    grafted: Option<Instant>,
    /// Units of time in the mesh, as of the last decay.
    mesh_units: f64,
    /// In the mesh for so long that a deficit counts.
    active: bool,
    first: f64,
    mesh: f64,
    failure: f64,
    invalid: f64,
}

impl Counters {
    /// The score, if nothing has changed since it was last computed.
    pub(crate) fn cached(&self) -> Option<f64> {
        self.cached
    }

    /// The score. `colocated` is the number of peers at this peer's address, if that counts.
    pub(crate) fn score(&mut self, params: &ScoreParams, colocated: usize) -> f64 {
        let score = self.terms(params, colocated).total;
        self.cached = Some(score);
        score
    }

    /// The score and what it consists of, but for the topics' own terms.
    pub(crate) fn terms(&self, params: &ScoreParams, colocated: usize) -> Score {
        let sum = self.topics.values().map(TopicCounters::score).sum::<f64>();
        let topics = if params.topic_score_cap > 0.0 {
            sum.min(params.topic_score_cap)
        } else {
            sum
        };
        let application = params.application_weight * self.application;
        let colocation = params.colocation_weight
            * beyond_squared(colocated as f64, params.colocation_threshold as f64);
        let behaviour =
            params.behaviour_weight * beyond_squared(self.behaviour, params.behaviour_threshold);
        let slow = params.slow_weight * (self.slow - params.slow_threshold).max(0.0);
        Score {
            total: topics + application + colocation + behaviour + slow,
            topics,
            application,
            colocation,
            behaviour,
            slow,
            by_topic: BTreeMap::new(),
        }
    }

    /// The terms of each topic, weights and all.
    pub(crate) fn topic_terms(&self) -> impl Iterator<Item = (TopicKey, TopicTerms)> {
        self.topics.iter().map(|(key, topic)| (*key, topic.terms()))
    }

    /// The peer has come into the mesh of a topic.
    pub(crate) fn graft(&mut self, key: TopicKey, params: &Arc<TopicScoreParams>, now: Instant) {
        let topic = self.topic(key, params);
        topic.grafted = Some(now);
        topic.mesh_units = 0.0;
        topic.active = false;
    }

    /// The peer has left the mesh of a topic, or will soon.
    pub(crate) fn prune(&mut self, key: TopicKey) {
        self.cached = None;
        if let Some(topic) = self.topics.get_mut(&key) {
            topic.prune();
        }
    }

    /// The peer was the first to bring a message that is valid.
    pub(crate) fn delivered_first(&mut self, key: TopicKey, params: &Arc<TopicScoreParams>) {
        let topic = self.topic(key, params);
        topic.first = (topic.first + 1.0).min(topic.params.first_cap);
        topic.delivered_in_mesh();
    }

    /// The peer has brought a valid message with the first, or hardly later.
    pub(crate) fn delivered_again(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.get_mut(&key) else {
            return;
        };
        if topic.grafted.is_some() && topic.params.counts_mesh_deliveries() {
            self.cached = None;
            topic.delivered_in_mesh();
        }
    }

    /// The peer has brought a message that is invalid.
    pub(crate) fn delivered_invalid(&mut self, key: TopicKey, params: &Arc<TopicScoreParams>) {
        self.topic(key, params).invalid += 1.0;
    }

    pub(crate) fn misbehaved(&mut self, by: f64) {
        self.behaviour += by;
        self.cached = None;
    }

    /// Something was dropped since the peer is slow.
    pub(crate) fn dropped(&mut self, cap: f64) {
        self.slow = (self.slow + 1.0).min(cap);
        self.cached = None;
    }

    /// Whether the peer is as slow as counts.
    pub(crate) fn is_stalled(&self, params: &ScoreParams) -> bool {
        params.slow_weight < 0.0 && params.slow_cap > 0.0 && self.slow >= params.slow_cap
    }

    pub(crate) fn set_application(&mut self, score: f64) {
        self.application = score;
        self.cached = None;
    }

    /// Other peers have come to the address of this one, or gone.
    pub(crate) fn neighbours_changed(&mut self) {
        self.cached = None;
    }

    /// Forgets what a topic has counted that nobody is in any more.
    pub(crate) fn forget_topic(&mut self, key: TopicKey) {
        self.cached = None;
        self.topics.remove(&key);
    }

    /// The peer is gone: what was good about it is forgotten.
    pub(crate) fn disconnect(&mut self) {
        self.cached = None;
        for topic in self.topics.values_mut() {
            topic.prune();
            topic.first = 0.0;
            topic.mesh = 0.0;
        }
        self.topics.retain(|_, topic| !topic.is_blank());
    }

    /// Lets counters decay, `times` over, and the time in the mesh grow.
    pub(crate) fn decay(&mut self, params: &ScoreParams, times: i32, now: Instant) {
        let counted = self.behaviour > 0.0 || self.slow > 0.0;
        if self.topics.is_empty() && !counted {
            return;
        }
        self.cached = None;
        let to_zero = params.decay_to_zero;
        decay(&mut self.behaviour, params.behaviour_decay, times, to_zero);
        decay(&mut self.slow, params.slow_decay, times, to_zero);
        for topic in self.topics.values_mut() {
            topic.decay(times, to_zero, now);
        }
        self.topics.retain(|_, topic| !topic.is_blank());
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    fn topic(&mut self, key: TopicKey, params: &Arc<TopicScoreParams>) -> &mut TopicCounters {
        self.cached = None;
        self.topics
            .entry(key)
            .or_insert_with(|| TopicCounters::new(params))
    }
}

impl TopicCounters {
    fn new(params: &Arc<TopicScoreParams>) -> Self {
        Self {
            params: Arc::clone(params),
            grafted: None,
            mesh_units: 0.0,
            active: false,
            first: 0.0,
            mesh: 0.0,
            failure: 0.0,
            invalid: 0.0,
        }
    }

    fn is_blank(&self) -> bool {
        self.grafted.is_none()
            && self.first == 0.0
            && self.mesh == 0.0
            && self.failure == 0.0
            && self.invalid == 0.0
    }

    // spec: gossipsub v1.1 "P3b ... the penalty becomes sticky when the peer is pruned with an active deficit".
    fn prune(&mut self) {
        if self.grafted.take().is_some() && self.active {
            self.failure += self.deficit_squared();
        }
        self.mesh_units = 0.0;
        self.active = false;
    }

    fn delivered_in_mesh(&mut self) {
        if self.grafted.is_some() && self.params.counts_mesh_deliveries() {
            self.mesh = (self.mesh + 1.0).min(self.params.mesh_cap);
        }
    }

    fn deficit_squared(&self) -> f64 {
        (self.params.mesh_threshold - self.mesh).max(0.0).powi(2)
    }

    fn decay(&mut self, times: i32, to_zero: f64, now: Instant) {
        let params = &self.params;
        decay(&mut self.first, params.first_decay, times, to_zero);
        decay(&mut self.mesh, params.mesh_decay, times, to_zero);
        decay(&mut self.failure, params.failure_decay, times, to_zero);
        decay(&mut self.invalid, params.invalid_decay, times, to_zero);
        if let Some(since) = self.grafted {
            let time = now.saturating_duration_since(since);
            self.mesh_units = time.as_secs_f64() / params.mesh_time_quantum.as_secs_f64();
            self.active |= time > params.mesh_activation;
        }
    }

    fn score(&self) -> f64 {
        self.terms().sum()
    }

    fn terms(&self) -> TopicTerms {
        let params = &self.params;
        let deficit = if self.active {
            self.deficit_squared()
        } else {
            0.0
        };
        TopicTerms {
            mesh_time: params.weight
                * params.mesh_time_weight
                * self.mesh_units.min(params.mesh_time_cap),
            first_deliveries: params.weight * params.first_weight * self.first,
            mesh_deliveries: params.weight * params.mesh_weight * deficit,
            mesh_failures: params.weight * params.failure_weight * self.failure,
            invalid_messages: params.weight * params.invalid_weight * self.invalid.powi(2),
        }
    }
}

fn beyond_squared(value: f64, threshold: f64) -> f64 {
    (value - threshold).max(0.0).powi(2)
}

fn decay(counter: &mut f64, factor: f64, times: i32, to_zero: f64) {
    *counter *= factor.powi(times);
    if *counter < to_zero {
        *counter = 0.0;
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
