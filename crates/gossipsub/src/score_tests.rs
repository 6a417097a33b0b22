use std::time::Duration;

use super::*;
use crate::testing::start;

const TOPIC: TopicKey = TopicKey(1);

/// Parameters in which every term has its own weight and nothing decays much.
fn topic_params() -> TopicScoreParams {
    TopicScoreParams {
        weight: 0.5,
        mesh_time_weight: 1.0,
        mesh_time_quantum: Duration::from_secs(1),
        mesh_time_cap: 10.0,
        first_weight: 2.0,
        first_decay: 0.97,
        first_cap: 120.0,
        mesh_weight: -3.0,
        mesh_decay: 0.9,
        mesh_cap: 100.0,
        mesh_threshold: 20.0,
        mesh_window: Duration::from_millis(10),
        mesh_activation: Duration::from_secs(5),
        failure_weight: -4.0,
        failure_decay: 0.9,
        invalid_weight: -5.0,
        invalid_decay: 0.9,
    }
}

fn score_params() -> ScoreParams {
    ScoreParams {
        topic_score_cap: 0.0,
        ..ScoreParams::default()
    }
}

fn terms(counters: &Counters) -> TopicTerms {
    let first = counters.topic_terms().next();
    first.map(|(_, terms)| terms).unwrap_or_default()
}

#[test]
fn a_counter_decays_as_the_specification_says() {
    // The specification works this out for a counter of 120 and a factor of 0.97, and errs: it is 116.4.
    let mut counter = 120.0;
    decay(&mut counter, 0.97, 1, 0.1);
    assert!((counter - 116.4).abs() < 1e-9);
    let mut twice = 120.0;
    decay(&mut twice, 0.97, 2, 0.1);
    assert!((twice - 116.4 * 0.97).abs() < 1e-9);
}

#[test]
fn a_counter_below_the_limit_is_zero() {
    let mut counter = 0.105;
    decay(&mut counter, 0.97, 1, 0.1);
    assert!(counter > 0.1);
    decay(&mut counter, 0.97, 2, 0.1);
    assert_eq!(counter, 0.0);
    let mut large = f64::MAX;
    decay(&mut large, 0.5, i32::MAX, 0.1);
    assert_eq!(large, 0.0);
}

#[test]
fn time_in_the_mesh_counts_in_quanta_up_to_the_cap() {
    let (params, topic, start) = (score_params(), Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    counters.graft(TOPIC, &topic, start);
    for (seconds, expected) in [(0, 0.0), (4, 2.0), (10, 5.0), (1000, 5.0)] {
        counters.decay(&params, 1, start + Duration::from_secs(seconds));
        assert_eq!(terms(&counters).mesh_time, expected);
    }
    counters.prune(TOPIC);
    assert_eq!(terms(&counters).mesh_time, 0.0);
}

#[test]
fn first_deliveries_are_capped_when_they_are_counted() {
    let topic = Arc::new(topic_params());
    let mut counters = Counters::default();
    for _ in 0..500 {
        counters.delivered_first(TOPIC, &topic);
    }
    assert_eq!(terms(&counters).first_deliveries, 120.0);
    counters.decay(&score_params(), 1, start());
    assert!((terms(&counters).first_deliveries - 116.4).abs() < 1e-9);
}

#[test]
fn a_deficit_counts_squared_after_the_activation_and_sticks() {
    let (params, topic, start) = (score_params(), Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    counters.graft(TOPIC, &topic, start);
    counters.decay(&params, 1, start + Duration::from_secs(5));
    assert_eq!(terms(&counters).mesh_deliveries, 0.0);
    counters.decay(&params, 1, start + Duration::from_secs(6));
    assert_eq!(terms(&counters).mesh_deliveries, 0.5 * -3.0 * 400.0);
    for _ in 0..10 {
        counters.delivered_again(TOPIC);
    }
    assert_eq!(terms(&counters).mesh_deliveries, 0.5 * -3.0 * 100.0);
    for _ in 0..1000 {
        counters.delivered_again(TOPIC);
    }
    assert_eq!(terms(&counters).mesh_deliveries, 0.0);
    // The cap of 100 falls below the threshold of 20 after 16 decays, to 18.5.
    counters.decay(&params, 16, start + Duration::from_secs(7));
    let deficit = 20.0 - 100.0 * 0.9_f64.powi(16);
    assert!((terms(&counters).mesh_deliveries - 0.5 * -3.0 * deficit.powi(2)).abs() < 1e-9);
    counters.prune(TOPIC);
    assert_eq!(terms(&counters).mesh_deliveries, 0.0);
    assert!((terms(&counters).mesh_failures - 0.5 * -4.0 * deficit.powi(2)).abs() < 1e-9);
}

#[test]
fn who_was_never_active_leaves_without_failure() {
    let (topic, start) = (Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    counters.graft(TOPIC, &topic, start);
    counters.prune(TOPIC);
    assert_eq!(terms(&counters).mesh_failures, 0.0);
}

#[test]
fn deliveries_outside_the_mesh_do_not_count_for_it() {
    let (topic, start) = (Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    counters.delivered_again(TOPIC);
    counters.delivered_first(TOPIC, &topic);
    counters.delivered_again(TOPIC);
    counters.graft(TOPIC, &topic, start);
    counters.decay(&score_params(), 1, start + Duration::from_secs(6));
    assert_eq!(terms(&counters).mesh_deliveries, 0.5 * -3.0 * 400.0);
}

#[test]
fn invalid_messages_count_squared() {
    let topic = Arc::new(topic_params());
    let mut counters = Counters::default();
    for _ in 0..3 {
        counters.delivered_invalid(TOPIC, &topic);
    }
    assert_eq!(terms(&counters).invalid_messages, 0.5 * -5.0 * 9.0);
}

#[test]
fn the_score_is_the_sum_of_its_terms() {
    let params = ScoreParams {
        topic_score_cap: 7.0,
        ..ScoreParams::default()
    };
    let topic = Arc::new(topic_params());
    let mut counters = Counters::default();
    for _ in 0..100 {
        counters.delivered_first(TOPIC, &topic);
    }
    counters.set_application(-2.0);
    counters.misbehaved(4.0);
    counters.dropped(params.slow_cap);
    let score = counters.terms(&params, 13);
    assert_eq!(score.topics, 7.0);
    assert_eq!(score.application, -20.0);
    assert_eq!(score.colocation, -5.0 * 9.0);
    assert_eq!(score.behaviour, -10.0 * 9.0);
    assert_eq!(score.slow, -0.2);
    assert_eq!(score.total, 7.0 - 20.0 - 45.0 - 90.0 - 0.2);
    assert_eq!(counters.score(&params, 13), score.total);
    assert_eq!(counters.cached(), Some(score.total));
}

#[test]
fn every_change_makes_the_score_anew() {
    let (params, topic, start) = (score_params(), Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    let changes: [&dyn Fn(&mut Counters); 9] = [
        &|c| c.graft(TOPIC, &topic, start),
        &|c| c.delivered_first(TOPIC, &topic),
        &|c| c.delivered_again(TOPIC),
        &|c| c.delivered_invalid(TOPIC, &topic),
        &|c| c.misbehaved(2.0),
        &|c| c.dropped(9.0),
        &|c| c.set_application(1.0),
        &|c| c.decay(&score_params(), 1, start + Duration::from_secs(9)),
        &|c| c.prune(TOPIC),
    ];
    for change in changes {
        counters.score(&params, 0);
        change(&mut counters);
        assert_eq!(counters.cached(), None);
        assert_eq!(counters.score(&params, 0), counters.terms(&params, 0).total);
    }
}

#[test]
fn counters_that_are_blank_take_no_room() {
    let (params, topic, start) = (score_params(), Arc::new(topic_params()), start());
    let mut counters = Counters::default();
    counters.delivered_first(TOPIC, &topic);
    counters.graft(TopicKey(2), &topic, start);
    assert_eq!(counters.topic_count(), 2);
    counters.decay(&params, 10_000, start);
    assert_eq!(counters.topic_count(), 1);
    counters.disconnect();
    assert_eq!(counters.topic_count(), 0);
}
