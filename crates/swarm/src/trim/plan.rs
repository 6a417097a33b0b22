//! Which connections to close when there are too many. Pure: no clock, no I/O.

use std::{cmp::Reverse, time::Instant};

use peerkit_core::Direction;

use crate::ConnectionId;

/// What counts for and against a connection.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) connection: ConnectionId,
    /// What its peer is worth: the sum of its tags.
    pub(crate) value: i64,
    pub(crate) protection: Protection,
    pub(crate) opened_at: Instant,
    pub(crate) direction: Direction,
    pub(crate) streams: usize,
}

/// Whether a connection may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    None,
    Protected,
}

/// The connections to close so that `low` are left, in that order: those of the peers that are worth
/// least; among equals those without streams, those that others made, and the youngest, so that
/// newcomers don't push out whom one knows. Connections that are protected or younger than
/// `mature_at` stay, even when more than `low` are left then.
pub(crate) fn plan(candidates: &[Candidate], low: usize, mature_at: Instant) -> Vec<ConnectionId> {
    let surplus = candidates.len().saturating_sub(low);
    let may_go = |it: &&Candidate| it.protection == Protection::None && it.opened_at <= mature_at;
    let mut order: Vec<_> = candidates.iter().filter(may_go).collect();
    order.sort_by_key(|it| {
        let is_inbound = it.direction == Direction::Inbound;
        let age = (Reverse(it.opened_at), Reverse(it.connection));
        (it.value, it.streams > 0, Reverse(is_inbound), age)
    });
    order.truncate(surplus);
    order.into_iter().map(|it| it.connection).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    fn candidate(number: u64, value: i64, opened_at: Instant) -> Candidate {
        Candidate {
            connection: ConnectionId(number),
            value,
            protection: Protection::None,
            opened_at,
            direction: Direction::Inbound,
            streams: 0,
        }
    }

    fn closed(candidates: &[Candidate], low: usize, mature_at: Instant) -> Vec<u64> {
        let plan = plan(candidates, low, mature_at);
        plan.into_iter().map(|connection| connection.0).collect()
    }

    #[test]
    fn the_least_valuable_go_first_and_no_more_than_needed() {
        let now = begin();
        let all = [5, -3, 0, 9].map(|value| candidate(value as u64 & 0xff, value, now));
        assert_eq!(closed(&all, 2, now), [253, 0]);
        assert!(closed(&all, 4, now).is_empty());
        assert!(closed(&all, 100, now).is_empty());
    }

    #[test]
    fn among_equals_the_idle_the_inbound_and_the_young_go_first() {
        let now = begin();
        let old = candidate(1, 0, now);
        let young = candidate(2, 0, now + Duration::from_secs(1));
        let outbound = Candidate {
            direction: Direction::Outbound,
            ..candidate(3, 0, now + Duration::from_secs(2))
        };
        let busy = Candidate {
            streams: 1,
            ..candidate(4, 0, now + Duration::from_secs(3))
        };
        let all = [busy, outbound, old, young];
        let later = now + Duration::from_secs(9);
        assert_eq!(closed(&all, 0, later), [2, 1, 3, 4]);
    }

    #[test]
    fn protected_and_fresh_connections_stay() {
        let now = begin();
        let fresh = candidate(1, -9, now + Duration::from_secs(1));
        let protected = Candidate {
            protection: Protection::Protected,
            ..candidate(2, -9, now)
        };
        assert_eq!(
            closed(&[fresh, protected, candidate(3, 99, now)], 0, now),
            [3]
        );
    }

    fn any_candidate(now: Instant) -> impl Strategy<Value = Candidate> {
        (-5_i64..5, any::<[bool; 2]>(), 0_u64..20, 0_usize..3).prop_map(
            move |(value, [protected, outbound], age, streams)| Candidate {
                protection: if protected {
                    Protection::Protected
                } else {
                    Protection::None
                },
                direction: if outbound {
                    Direction::Outbound
                } else {
                    Direction::Inbound
                },
                streams,
                ..candidate(0, value, now + Duration::from_secs(age))
            },
        )
    }

    proptest! {
        #[test]
        fn a_plan_keeps_its_promises(
            mut all in prop::collection::vec(any_candidate(begin()), 0..60),
            low in 0_usize..60,
            grace in 0_u64..20,
        ) {
            for (number, it) in all.iter_mut().enumerate() {
                it.connection = ConnectionId(number as u64);
            }
            let first = all.iter().map(|it| it.opened_at).min().unwrap_or_else(begin);
            let mature_at = first + Duration::from_secs(grace);
            let plan = plan(&all, low, mature_at);
            let closed = |it: &&Candidate| plan.contains(&it.connection);
            let may_go = |it: &&Candidate| it.protection == Protection::None && it.opened_at <= mature_at;
            let eligible = all.iter().filter(may_go).count();
            prop_assert_eq!(plan.len(), eligible.min(all.len().saturating_sub(low)));
            prop_assert!(all.iter().filter(closed).all(|it| may_go(&it)));
            let most = all.iter().filter(closed).map(|it| it.value).max();
            let least = all.iter().filter(|it| may_go(it) && !closed(it)).map(|it| it.value).min();
            prop_assert!(most.zip(least).is_none_or(|(most, least)| most <= least));
            let mut again = all.clone();
            again.reverse();
            prop_assert_eq!(super::plan(&again, low, mature_at), plan);
        }
    }
}
