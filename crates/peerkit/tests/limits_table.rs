//! The tables of `docs/limits.md` have every limit, with the default that it has in the code.

#![cfg(all(
    feature = "memory",
    feature = "tcp",
    feature = "yamux",
    feature = "mplex"
))]
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{collections::BTreeMap, fmt::Debug, path::Path};

use peerkit::{
    HostConfig,
    core::{DriverConfig, Envelope, MAX_KEY_LEN, Machine, PeerRecord, ProtocolId},
    upgrade::UpgradeConfig,
};

/// Settings that limit nothing.
#[rustfmt::skip]
const NO_LIMITS: &[&str] = &[
    "nodelay", "reuse_port", "protocol_version", "agent_version",
    "signature_policy", "recommended_addresses", "pubsub", "message_id",
    "versions", "prefix", "mesh_target", "mesh_low", "mesh_high", "mesh_best", "mesh_outbound",
    "gossip_min", "gossip_best", "gossip_factor", "history_gossip", "heartbeat_initial_delay",
    "heartbeat_interval", "flood_publish", "prune_backoff", "unsubscribe_backoff",
    "backoff_slack", "opportunistic_graft_ticks", "opportunistic_graft_peers", "direct_peers",
    "direct_connect_ticks", "peer_exchange", "idontwant_size_min", "idontwant_on_publish",
    "test_extension", "extensions_penalty", "topic_filter", "score", "thresholds",
];

type Table = BTreeMap<String, String>;

#[test]
fn the_tables_have_every_limit_with_its_default() {
    let tables = tables();
    for (name, defaults) in [
        ("host", host()),
        ("upgrade", settings(&UpgradeConfig::default())),
        ("driver", settings(&DriverConfig::default())),
        #[cfg(feature = "yamux")]
        ("yamux", settings(&peerkit::yamux::Config::default())),
        #[cfg(feature = "mplex")]
        ("mplex", settings(&peerkit::mplex::Config::default())),
        #[cfg(feature = "tcp")]
        ("tcp", settings(&peerkit::tcp::Config::default())),
        #[cfg(feature = "memory")]
        ("memory", settings(&peerkit::memory::Config::default())),
        #[cfg(feature = "ping")]
        ("ping", settings(&peerkit::ping::Config::default())),
        #[cfg(feature = "identify")]
        ("identify", settings(&peerkit::identify::Config::default())),
        #[cfg(feature = "gossipsub")]
        (
            "pubsub",
            settings(&peerkit::pubsub::PubsubConfig::default()),
        ),
        #[cfg(feature = "gossipsub")]
        (
            "gossipsub",
            settings(&peerkit::gossipsub::Config::default()),
        ),
        #[cfg(feature = "floodsub")]
        (
            "floodsub",
            settings(&peerkit::floodsub::FloodsubConfig::default()),
        ),
    ] {
        assert_eq!(tables.get(name), Some(&defaults), "the table of {name}");
    }
}

#[test]
fn fixed_limits_are_those_of_the_code() {
    let fixed = [
        ("core::MAX_KEY_LEN", MAX_KEY_LEN),
        ("core::ProtocolId::MAX_LEN", ProtocolId::MAX_LEN),
        ("core::Envelope::MAX_LEN", Envelope::MAX_LEN),
        ("core::PeerRecord::MAX_ADDRESSES", PeerRecord::MAX_ADDRESSES),
        #[cfg(feature = "identify")]
        (
            "identify::Message::MAX_PROTOCOLS",
            peerkit::identify::Message::MAX_PROTOCOLS,
        ),
        #[cfg(feature = "identify")]
        (
            "identify::Message::MAX_ADDRESSES",
            peerkit::identify::Message::MAX_ADDRESSES,
        ),
        #[cfg(feature = "identify")]
        (
            "identify::Message::MAX_TEXT_LEN",
            peerkit::identify::Message::MAX_TEXT_LEN,
        ),
    ];
    let table = &tables()["Fixed"];
    for (name, value) in fixed {
        assert_eq!(table.get(name), Some(&value.to_string()), "{name}");
    }
}

/// The settings of a host, with those that follow the machine as they are on the table's machine.
fn host() -> Table {
    let mut config = HostConfig::default();
    let unset = settings(&config);
    config.limits = config.limits.resolved(&Machine::default());
    let connections = exactly(&settings(&config)["limits.connections_max"]);
    config.trim.high_watermark = (connections - connections / 4).into();
    config.trim.low_watermark = (connections / 2).into();
    let set = settings(&config);
    let value = |name: &String| match unset[name].as_str() {
        "OfMachine" => format!("{} *", exactly(&set[name])),
        other => other.to_owned(),
    };
    set.keys().map(|name| (name.clone(), value(name))).collect()
}

fn exactly(text: &str) -> usize {
    let number = text
        .strip_prefix("Exactly(")
        .and_then(|it| it.strip_suffix(')'));
    number.unwrap().parse().unwrap()
}

/// The fields of a configuration, by their path, as the tables write them.
fn settings(config: &impl Debug) -> Table {
    let text = format!("{config:?}");
    let mut found = Table::new();
    collect("", fields_of(&text).unwrap(), &mut found);
    found
}

fn collect(prefix: &str, fields: &str, found: &mut Table) {
    for field in split(fields) {
        let (name, value) = field.split_once(": ").unwrap();
        let path = format!("{prefix}{name}");
        if NO_LIMITS.contains(&path.as_str()) {
            continue;
        }
        let kind = value.split_once(' ').map_or("", |it| it.0);
        let is_config = kind.ends_with("Limits") || kind.ends_with("Config");
        match fields_of(value).filter(|_| is_config) {
            Some(inner) => collect(&format!("{path}."), inner, found),
            None => drop(found.insert(path, written(value))),
        }
    }
}

/// What stands between the braces.
fn fields_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("{ ")?;
    rest.strip_suffix(" }")
}

/// Splits at the commas that stand in no bracket.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, char) in text.char_indices() {
        match char {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// A value as the tables write it, units aside.
fn written(value: &str) -> String {
    let replaced = [
        ("PrefixLimit { prefix_len: ", "/"),
        (", connections_max: ", ": "),
        ("IpNetwork { addr: ", ""),
        (", prefix_len: ", "/"),
        ("ConnectionRate { burst: ", ""),
        (", interval: ", ", then 1 in "),
        ("RateLimit { count: ", ""),
        (", per: ", " in "),
        (" }", ""),
        ("[", ""),
        ("]", ""),
    ];
    let text = value.to_owned();
    replaced
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

/// The first two columns of each table, by the name in its heading.
fn tables() -> BTreeMap<String, Table> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/limits.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut tables = BTreeMap::<String, Table>::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title
                .rsplit(": ")
                .next()
                .unwrap()
                .trim_matches('`')
                .clone_into(&mut heading);
        }
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(name), Some(value)) = (cells.next(), cells.next()) else {
            continue;
        };
        if let Some(name) = name.strip_prefix('`').and_then(|it| it.strip_suffix('`')) {
            let table = tables.entry(heading.clone()).or_default();
            table.insert(name.to_owned(), plain(value));
        }
    }
    tables
}

/// A value with its units worked in: `64 KiB` is 65536, `10 s` is `10s`.
fn plain(value: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in value.split(' ') {
        let bare = word.trim_end_matches(',');
        let factor = match bare {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "s" | "ms" => {
                words.last_mut().unwrap().push_str(word);
                continue;
            }
            _ => {
                let is_number = bare.chars().all(|it| it.is_ascii_digit() || it == ',');
                words.push(if is_number && word == bare {
                    bare.replace(',', "")
                } else {
                    word.into()
                });
                continue;
            }
        };
        let number = words.last_mut().unwrap();
        *number = (number.parse::<usize>().unwrap() * factor).to_string();
    }
    words.join(" ")
}
