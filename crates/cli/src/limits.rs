//! Limits on the command line: `--limit NAME=N`, and the lines that tell that one was reached.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use peerkit::swarm::Limits;

use crate::failure::Failure;

/// Sets the limits that were named.
pub(crate) fn apply(named: &[String], limits: &mut Limits) -> Result<(), Failure> {
    named.iter().try_for_each(|text| set(text, limits))
}

fn set(text: &str, limits: &mut Limits) -> Result<(), Failure> {
    let parsed = text.split_once('=').and_then(|(name, value)| {
        let name = name.strip_prefix("limits.").unwrap_or(name);
        Some((name, value.trim().parse::<usize>().ok()?))
    });
    let Some((name, value)) = parsed else {
        return Err(Failure::misuse(format!(
            "{text:?} is no limit; one looks like connections_max=1000"
        )));
    };
    match SETTINGS.iter().find(|setting| setting.0 == name) {
        Some((_, set)) => set(limits, value),
        None => {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.0).collect();
            let names = names.join(", ");
            return Err(Failure::misuse(format!(
                "{name:?} is no limit; there are {names}"
            )));
        }
    }
    Ok(())
}

type Set = fn(&mut Limits, usize);

macro_rules! settings {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |limits, value| limits.$name = value.into())),*]
    };
}

/// The limits that are one number.
const SETTINGS: &[(&str, Set)] = settings![
    connections_max,
    inbound_connections_max,
    outbound_connections_max,
    descriptors_max,
    memory_max,
    streams_max,
    inbound_streams_max,
    inbound_upgrades_max,
    inbound_upgrades_per_ip_max,
    connections_per_peer_max,
    streams_per_peer_max,
    inbound_streams_per_peer_max,
    memory_per_peer_max,
    inbound_negotiations_max,
    inbound_negotiations_total_max,
    handlers_per_protocol_max,
    handlers_per_protocol_and_peer_max,
    handlers_per_connection_max,
    streams_per_protocol_max,
    memory_per_protocol_max,
    streams_per_connection_max,
    memory_per_connection_max,
    memory_per_stream_max,
    connection_memory,
    stream_memory,
    known_peers_max,
    known_addresses_max,
];

/// Tells of each limit at most once in a while, so that a flood of refusals is no flood of lines.
#[derive(Debug, Default)]
pub(crate) struct Quieting {
    /// When it was told of a setting, and refusals since then.
    told: BTreeMap<&'static str, (Instant, u64)>,
}

impl Quieting {
    /// How many refusals there were since the last line, this one included; `None` when it is too
    /// soon for another line.
    pub(crate) fn note(&mut self, setting: &'static str, now: Instant) -> Option<u64> {
        let Some((told_at, untold)) = self.told.get_mut(setting) else {
            self.told.insert(setting, (now, 0));
            return Some(1);
        };
        *untold += 1;
        if now.saturating_duration_since(*told_at) < PAUSE {
            return None;
        }
        *told_at = now;
        Some(std::mem::take(untold))
    }
}

/// Between two lines about the same limit.
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let mut limits = Limits::default();
        let named = ["connections_max=7", "limits.connections_per_peer_max=2"].map(String::from);
        apply(&named, &mut limits).unwrap();
        assert_eq!(limits.connections_max, 7.into());
        assert_eq!(limits.connections_per_peer_max, 2);
        for wrong in ["", "connections_max", "connections_max=x", "nonsense=1"] {
            assert!(set(wrong, &mut limits).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_flood_of_refusals_is_no_flood_of_lines() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant")]
        let begin = Instant::now();
        let mut quieting = Quieting::default();
        assert_eq!(quieting.note("a", begin), Some(1));
        for n in 1..1000 {
            let now = begin + Duration::from_millis(n);
            assert_eq!(quieting.note("a", now), None);
        }
        assert_eq!(quieting.note("b", begin), Some(1));
        assert_eq!(quieting.note("a", begin + PAUSE), Some(1000));
    }
}
