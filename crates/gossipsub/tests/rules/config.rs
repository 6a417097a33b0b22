use std::time::Duration;

use peerkit_core::PeerId;
use peerkit_gossipsub::{
    Config, ConfigError, GossipsubRouter, IpRange, ScoreParams, Thresholds, Version,
};
use peerkit_pubsub::{MessageIdFn, Router, Topic};

use crate::node::{Node, peer, start};

fn check(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
    let mut config = Config::default();
    change(&mut config);
    config.check()
}

fn score(change: impl FnOnce(&mut ScoreParams)) -> Result<(), ConfigError> {
    check(|config| change(config.score.as_mut().unwrap()))
}

#[test]
fn the_defaults_are_allowed() {
    assert_eq!(Config::default().check(), Ok(()));
    assert_eq!(check(|config| config.score = None), Ok(()));
}

/// Attack R19.
#[test]
fn degrees_that_do_not_fit_each_other_are_refused() {
    let order = |rule| Err(ConfigError::Order(rule));
    assert_eq!(check(|c| c.mesh_low = 7), order("mesh_low <= mesh_target"));
    assert_eq!(
        check(|c| c.mesh_high = 5),
        order("mesh_target <= mesh_high")
    );
    assert_eq!(
        check(|c| c.mesh_best = 7),
        order("mesh_best <= mesh_target")
    );
    assert_eq!(
        check(|c| c.mesh_outbound = 4),
        order("mesh_outbound <= mesh_target / 2")
    );
    assert_eq!(
        check(|c| (c.mesh_low, c.mesh_outbound) = (3, 3)),
        order("mesh_outbound < mesh_low")
    );
    assert_eq!(
        check(|c| c.history_gossip = 6),
        order("history_gossip <= history_len")
    );
    assert_eq!(
        check(|c| c.history_len = 0),
        order("history_gossip <= history_len")
    );
    assert_eq!(
        check(|c| (c.history_len, c.history_gossip) = (0, 0)),
        Err(ConfigError::Zero("history_len"))
    );
    assert_eq!(
        check(|c| c.seen_max = 8192),
        order("validating_max < seen_max")
    );
}

#[test]
fn times_that_are_too_short_or_too_long_are_refused() {
    let max = Duration::MAX;
    assert_eq!(
        check(|c| c.heartbeat_interval = Duration::ZERO),
        Err(ConfigError::TooShort("heartbeat_interval"))
    );
    type Set = fn(&mut Config, Duration);
    let long: [(Set, _); 8] = [
        (
            |c, t| c.heartbeat_initial_delay = t,
            "heartbeat_initial_delay",
        ),
        (|c, t| c.heartbeat_interval = t, "heartbeat_interval"),
        (|c, t| c.fanout_ttl = t, "fanout_ttl"),
        (|c, t| c.seen_ttl = t, "seen_ttl"),
        (|c, t| c.backoff_slack = t, "backoff_slack"),
        (|c, t| c.backoff_max = t, "backoff_max"),
        (|c, t| c.graft_flood_threshold = t, "graft_flood_threshold"),
        (|c, t| c.iwant_followup = t, "iwant_followup"),
    ];
    for (set, name) in long {
        assert_eq!(check(|c| set(c, max)), Err(ConfigError::TooLong(name)));
    }
    assert_eq!(
        score(|s| s.retain = max),
        Err(ConfigError::TooLong("retain"))
    );
    assert_eq!(
        score(|s| s.decay_interval = max),
        Err(ConfigError::TooLong("decay_interval"))
    );
    assert_eq!(
        check(|c| c.prune_backoff = max),
        Err(ConfigError::Order(
            "prune_backoff, unsubscribe_backoff <= backoff_max"
        ))
    );
}

#[test]
fn score_parameters_have_signs_and_ranges() {
    let bad = |name, value| Err(ConfigError::OutOfRange { name, value });
    assert_eq!(
        score(|s| s.behaviour_weight = 1.0),
        bad("behaviour_weight", 1.0)
    );
    assert_eq!(
        score(|s| s.colocation_weight = 5.0),
        bad("colocation_weight", 5.0)
    );
    assert_eq!(
        score(|s| s.behaviour_decay = 1.0),
        bad("behaviour_decay", 1.0)
    );
    assert_eq!(score(|s| s.slow_weight = 0.1), bad("slow_weight", 0.1));
    assert_eq!(
        score(|s| s.topic_default.weight = -1.0),
        bad("weight", -1.0)
    );
    assert_eq!(
        score(|s| s.topic_default.invalid_weight = 1.0),
        bad("invalid_weight", 1.0)
    );
    assert_eq!(
        score(|s| s.topic_default.mesh_weight = 1.0),
        bad("mesh_weight", 1.0)
    );
    assert_eq!(
        score(|s| s.topic_default.first_decay = 0.0),
        bad("first_decay", 0.0)
    );
    assert!(score(|s| s.application_weight = f64::NAN).is_err());
    assert_eq!(
        score(|s| {
            let mut own = s.topic_default.clone();
            own.first_weight = f64::INFINITY;
            s.topics.insert(Topic::from("own"), own);
        }),
        bad("first_weight", f64::INFINITY)
    );
    assert_eq!(
        score(|s| s.topic_default.mesh_time_quantum = Duration::ZERO),
        Err(ConfigError::TooShort("mesh_time_quantum"))
    );
    assert_eq!(
        score(|s| s.decay_interval = Duration::ZERO),
        Err(ConfigError::TooShort("decay_interval"))
    );
}

#[test]
fn thresholds_have_an_order() {
    let thresholds = |gossip, publish, graylist| {
        check(|c| {
            c.thresholds = Thresholds {
                gossip,
                publish,
                graylist,
                ..Thresholds::default()
            }
        })
    };
    assert_eq!(thresholds(-1.0, -2.0, -3.0), Ok(()));
    assert!(thresholds(1.0, -2.0, -3.0).is_err());
    assert!(thresholds(-1.0, -0.5, -3.0).is_err());
    assert!(thresholds(-1.0, -2.0, -1.5).is_err());
    assert!(thresholds(f64::NAN, -2.0, -3.0).is_err());
    assert!(check(|c| c.thresholds.accept_px = -1.0).is_err());
    assert!(check(|c| c.gossip_factor = 1.5).is_err());
}

#[test]
fn versions_are_offered_newest_first_and_can_be_restricted() {
    let names = |config| {
        let protocols = Node::new(config).router.protocols();
        protocols
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(Config::default()),
        [
            "/meshsub/1.3.0",
            "/meshsub/1.2.0",
            "/meshsub/1.1.0",
            "/meshsub/1.0.0",
            "/floodsub/1.0.0"
        ]
    );
    let restricted = Config {
        versions: vec![Version::V1_0, Version::V1_1, Version::V1_0],
        prefix: "/own".to_owned(),
        ..Config::default()
    };
    assert_eq!(names(restricted), ["/own/1.1.0", "/own/1.0.0"]);
    assert_eq!(check(|c| c.versions.clear()), Err(ConfigError::NoVersions));
    assert_eq!(
        check(|c| c.prefix = "own".to_owned()),
        Err(ConfigError::Prefix)
    );
}

#[test]
fn a_bad_configuration_makes_no_router() {
    let config = Config {
        mesh_low: 100,
        ..Config::default()
    };
    let local: PeerId = peer(0);
    let router = GossipsubRouter::new(local, config, MessageIdFn::default(), [0; 32], start());
    assert!(router.is_err());
}

#[test]
fn the_decay_helper_gives_the_factor_of_the_specification() {
    let factor = ScoreParams::decay_over(Duration::from_secs(100), Duration::from_secs(1), 0.01);
    assert!((factor.powi(100) - 0.01).abs() < 1e-9);
}

#[test]
fn ranges_of_addresses_compare_their_first_bits() {
    let range = |text: &str, prefix| IpRange {
        address: text.parse().unwrap(),
        prefix,
    };
    let contains = |range: IpRange, text: &str| range.contains(text.parse().unwrap());
    assert!(contains(range("127.0.0.1", 8), "127.255.0.9"));
    assert!(!contains(range("127.0.0.1", 8), "128.0.0.1"));
    assert!(contains(range("10.0.0.1", 200), "10.0.0.1"));
    assert!(!contains(range("10.0.0.1", 32), "10.0.0.2"));
    assert!(contains(range("0.0.0.0", 0), "8.8.8.8"));
    assert!(!contains(range("0.0.0.0", 0), "::1"));
    assert!(contains(range("2001:db8::", 32), "2001:db8:1::1"));
}
