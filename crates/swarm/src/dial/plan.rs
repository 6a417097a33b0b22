//! In which order, and when, the addresses of a peer are tried. Pure: no clock, no I/O.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use peerkit_core::{Multiaddr, multiaddr::Protocol};

/// A staggered race over the addresses of one peer.
///
/// Addresses are ranked ([`DialRank`]), the two families of IP interleaved so that a
/// broken one costs one step. The first is dialed at once, the next one after a
/// step if nothing has succeeded by then, or at once when nothing is under way any more.
/// The steps follow what go-libp2p's dial ranker does: 30 ms for private
/// addresses, 250 ms for public ones, half a second more for relayed ones.
#[derive(Clone, Debug)]
pub struct DialPlan {
    waiting: VecDeque<(DialRank, Multiaddr)>,
    next_at: Instant,
}

/// How promising an address is; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DialRank {
    /// On this machine.
    Loopback,
    /// In a private network.
    Private,
    /// Anywhere else, names included.
    Public,
    /// Through a relay.
    Relayed,
}

impl DialPlan {
    /// A plan that begins at `now` with at most `max` addresses; repeated ones count once.
    pub fn new(addrs: Vec<Multiaddr>, max: usize, now: Instant) -> Self {
        let mut unique: Vec<Multiaddr> = Vec::new();
        for addr in addrs {
            if !unique.contains(&addr) {
                unique.push(addr);
            }
        }
        let mut ranked = interleave_families(unique);
        ranked.sort_by_key(DialRank::of);
        ranked.truncate(max);
        let waiting = ranked.into_iter().map(|addr| (DialRank::of(&addr), addr));
        Self {
            waiting: waiting.collect(),
            next_at: now,
        }
    }

    /// The next address to dial, if its time has come or nothing else is `running`.
    pub fn poll_start(&mut self, now: Instant, running: usize) -> Option<Multiaddr> {
        if running > 0 && now < self.next_at {
            return None;
        }
        let (rank, addr) = self.waiting.pop_front()?;
        let next = self.waiting.front().map(|(rank, _)| *rank);
        self.next_at = now + step(rank, next.unwrap_or(rank));
        Some(addr)
    }

    /// When to ask again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next_at)
    }
}

impl DialRank {
    /// The rank of an address.
    pub fn of(addr: &Multiaddr) -> Self {
        if addr.iter().any(|part| part == Protocol::P2pCircuit) {
            return Self::Relayed;
        }
        match addr.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::of_ip4(ip),
            Some(Protocol::Ip6(ip)) => Self::of_ip6(ip),
            Some(Protocol::Memory(_)) => Self::Loopback,
            _ => Self::Public,
        }
    }

    fn of_ip4(ip: Ipv4Addr) -> Self {
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || ip.is_link_local() {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_ip6(ip: Ipv6Addr) -> Self {
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

fn step(from: DialRank, to: DialRank) -> Duration {
    let step = match from {
        DialRank::Loopback | DialRank::Private => Duration::from_millis(30),
        DialRank::Public | DialRank::Relayed => Duration::from_millis(250),
    };
    if to == DialRank::Relayed && from != to {
        step + Duration::from_millis(500)
    } else {
        step
    }
}

/// Alternates between IPv6 and the rest, IPv6 first, keeping the order within each.
fn interleave_families(addrs: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let is_ip6 = |addr: &Multiaddr| matches!(addr.iter().next(), Some(Protocol::Ip6(_)));
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) = addrs.into_iter().partition(is_ip6);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        mixed.extend(first.pop_front());
        mixed.extend(second.pop_front());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &[&str]) -> Vec<Multiaddr> {
        list.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    #[test]
    fn near_addresses_come_first_and_families_alternate() {
        let now = begin();
        let mut plan = DialPlan::new(
            addrs(&[
                "/ip4/8.8.8.8/tcp/1",
                "/ip4/8.8.4.4/tcp/1",
                "/ip6/2001:4860::1/tcp/1",
                "/ip4/192.168.0.1/tcp/1",
                "/ip4/127.0.0.1/tcp/1",
                "/ip4/8.8.8.8/tcp/1",
            ]),
            32,
            now,
        );
        let order: Vec<_> = std::iter::from_fn(|| plan.poll_start(now, 0))
            .map(|addr| addr.to_string())
            .collect();
        assert_eq!(
            order,
            [
                "/ip4/127.0.0.1/tcp/1",
                "/ip4/192.168.0.1/tcp/1",
                "/ip6/2001:4860::1/tcp/1",
                "/ip4/8.8.8.8/tcp/1",
                "/ip4/8.8.4.4/tcp/1",
            ]
        );
    }

    #[test]
    fn the_second_address_waits_a_step_while_the_first_is_under_way() {
        let now = begin();
        let mut plan = DialPlan::new(
            addrs(&["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/2"]),
            32,
            now,
        );
        assert!(plan.poll_start(now, 0).is_some());
        assert!(plan.poll_start(now, 1).is_none());
        let later = plan.poll_timeout().unwrap();
        assert_eq!(later - now, Duration::from_millis(250));
        assert!(plan.poll_start(later, 1).is_some());
        assert!(plan.poll_timeout().is_none());
    }

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let now = begin();
        let mut plan = DialPlan::new(
            addrs(&["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/2"]),
            32,
            now,
        );
        assert!(plan.poll_start(now, 0).is_some());
        assert!(plan.poll_start(now, 0).is_some());
        assert!(plan.poll_start(now, 0).is_none());
    }

    #[test]
    fn a_relay_gives_direct_addresses_a_head_start() {
        let now = begin();
        let relay = "/ip4/8.8.8.8/tcp/1/p2p-circuit";
        let mut plan = DialPlan::new(addrs(&[relay, "/ip4/8.8.8.8/tcp/2"]), 32, now);
        assert_eq!(
            plan.poll_start(now, 0),
            Some("/ip4/8.8.8.8/tcp/2".parse().unwrap())
        );
        assert_eq!(
            plan.poll_timeout().unwrap() - now,
            Duration::from_millis(750)
        );
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let now = begin();
        let many = (1..100).map(|port| format!("/ip4/8.8.8.8/tcp/{port}").parse().unwrap());
        let mut plan = DialPlan::new(many.collect(), 3, now);
        assert_eq!(std::iter::from_fn(|| plan.poll_start(now, 0)).count(), 3);
    }
}
