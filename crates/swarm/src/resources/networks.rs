//! Inbound connections by the network they come from. Pure: no clock, no I/O.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{LimitExceeded, Resource, ResourceScope, scope::setting};
use crate::{ConnectionRate, IpNetwork, Limits, PrefixLimit};

/// Counts of every network from which there are connections, and the rate at which they come.
///
/// Each table has at most one entry for each prefix and connection, and the rates are bounded by themselves.
#[derive(Debug)]
pub(crate) struct Networks {
    half_open: Counts,
    half_open_max: usize,
    connections: Counts,
    ip4: Vec<PrefixLimit>,
    ip6: Vec<PrefixLimit>,
    rates: Rates,
    trusted: Vec<IpNetwork>,
}

/// How many there are; entries of none are removed.
#[derive(Debug, Default)]
struct Counts(BTreeMap<IpNetwork, usize>);

/// When each customer will have used up nothing of its burst any more, if it stays away.
#[derive(Debug)]
struct Rates {
    rested_at: BTreeMap<IpNetwork, Instant>,
    limit: ConnectionRate,
}

impl Networks {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            half_open: Counts::default(),
            half_open_max: limits.inbound_upgrades_per_ip_max,
            connections: Counts::default(),
            ip4: limits.inbound_connections_per_ip4.clone(),
            ip6: limits.inbound_connections_per_ip6.clone(),
            rates: Rates {
                rested_at: BTreeMap::new(),
                limit: limits.inbound_rate_per_ip,
            },
            trusted: limits.trusted_networks.clone(),
        }
    }

    /// Whether connections from there are counted.
    pub(crate) fn counts(&self, ip: IpAddr) -> bool {
        !self.trusted.iter().any(|network| network.contains(ip))
    }

    /// Counts one more half-open connection, unless a limit speaks against it.
    pub(crate) fn admit(&mut self, ip: IpAddr, now: Instant) -> Result<(), LimitExceeded> {
        let customer = customer(ip);
        let half_open = self.half_open.of(&customer);
        check(
            customer,
            Resource::HalfOpenConnections,
            half_open,
            self.half_open_max,
        )?;
        for (network, max) in self.limits(ip) {
            let used = self.connections.of(&network);
            check(network, Resource::InboundConnections, used, max)?;
        }
        self.rates.spend(customer, now)?;
        self.half_open.add(customer);
        for (network, _) in self.limits(ip) {
            self.connections.add(network);
        }
        Ok(())
    }

    /// The connection is secured, or has failed.
    pub(crate) fn settle(&mut self, ip: IpAddr) {
        self.half_open.remove(customer(ip));
    }

    /// The connection has ended.
    pub(crate) fn release(&mut self, ip: IpAddr) {
        for (network, _) in self.limits(ip) {
            self.connections.remove(network);
        }
    }

    /// Each network from which there are connections: half-open and all, with their limits.
    pub(crate) fn usage(&self) -> Vec<(IpNetwork, Resource, usize, usize)> {
        let half_open = self.half_open.0.iter().map(|(network, used)| {
            (
                *network,
                Resource::HalfOpenConnections,
                *used,
                self.half_open_max,
            )
        });
        let connections = self.connections.0.iter().map(|(network, used)| {
            let max = self.limits(network.addr());
            let max = max
                .into_iter()
                .find(|it| it.0 == *network)
                .map_or(0, |it| it.1);
            (*network, Resource::InboundConnections, *used, max)
        });
        let mut all: Vec<_> = half_open.chain(connections).collect();
        all.sort_by_key(|it| it.0);
        all
    }

    fn limits(&self, ip: IpAddr) -> Vec<(IpNetwork, usize)> {
        let prefixes = if ip.is_ipv4() { &self.ip4 } else { &self.ip6 };
        if is_private(ip) {
            let narrowest = prefixes.iter().max_by_key(|it| it.prefix_len);
            return narrowest
                .map(|it| (ip.into(), it.connections_max))
                .into_iter()
                .collect();
        }
        let network = |it: &PrefixLimit| (IpNetwork::new(ip, it.prefix_len), it.connections_max);
        prefixes.iter().map(network).collect()
    }
}

impl Counts {
    fn of(&self, network: &IpNetwork) -> usize {
        self.0.get(network).copied().unwrap_or(0)
    }

    fn add(&mut self, network: IpNetwork) {
        *self.0.entry(network).or_default() += 1;
    }

    fn remove(&mut self, network: IpNetwork) {
        let Some(used) = self.0.get_mut(&network) else {
            return;
        };
        *used -= 1;
        if *used == 0 {
            self.0.remove(&network);
        }
    }
}

impl Rates {
    fn spend(&mut self, customer: IpNetwork, now: Instant) -> Result<(), LimitExceeded> {
        let ConnectionRate { burst, interval } = self.limit;
        if interval.is_zero() {
            return Ok(());
        }
        let burst = burst.max(1);
        let rested_at = self
            .rested_at
            .get(&customer)
            .copied()
            .unwrap_or(now)
            .max(now);
        let debt = rested_at.saturating_duration_since(now);
        if debt > interval.saturating_mul(burst - 1) {
            let burst = burst as usize;
            return check(customer, Resource::ConnectionRate, burst, burst);
        }
        self.make_room(now);
        let rested_at = rested_at.checked_add(interval).unwrap_or(now + FAR_AWAY);
        self.rested_at.insert(customer, rested_at);
        Ok(())
    }

    /// Those who are rested need no entry; if that is not enough, who is the most rested gives way.
    fn make_room(&mut self, now: Instant) {
        if self.rested_at.len() < RATES_MAX {
            return;
        }
        self.rested_at.retain(|_, rested_at| *rested_at > now);
        if self.rested_at.len() >= RATES_MAX {
            let first = self.rested_at.iter().min_by_key(|it| it.1).map(|it| *it.0);
            first.and_then(|first| self.rested_at.remove(&first));
        }
    }
}

fn check(
    network: IpNetwork,
    resource: Resource,
    used: usize,
    max: usize,
) -> Result<(), LimitExceeded> {
    if used < max {
        return Ok(());
    }
    let scope = ResourceScope::Network(network);
    Err(LimitExceeded {
        setting: setting(&scope, resource),
        scope,
        resource,
        used,
        wanted: 1,
        max,
    })
}

/// Whom an address belongs to: itself, or the /56 that one IPv6 customer has.
fn customer(ip: IpAddr) -> IpNetwork {
    if is_private(ip) || ip.is_ipv4() {
        return ip.into();
    }
    IpNetwork::new(ip, 56)
}

/// Whether an address is of a private network, in which a prefix tells nothing of an owner.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Stops a table that grows with every network from which somebody ever came.
const RATES_MAX: usize = 4096;

/// Stands in for times that a clock can't express.
const FAR_AWAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin with"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    fn limits() -> Limits {
        Limits {
            inbound_upgrades_per_ip_max: 2,
            inbound_rate_per_ip: ConnectionRate {
                burst: 1000,
                interval: Duration::from_secs(1),
            },
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse::<IpAddr>().unwrap().to_canonical()
    }

    #[test]
    fn one_network_leaves_room_for_others() {
        for (near, far) in [
            (["1.2.3.4", "1.2.3.4"], "1.2.3.5"),
            (["2001:db8::1", "2001:db8:0:ff::2"], "2001:db8:0:100::"),
            (["1.2.3.4", "::ffff:1.2.3.4"], "::ffff:1.2.3.5"),
        ] {
            let mut networks = Networks::new(&limits());
            for from in near {
                networks.admit(ip(from), begin()).unwrap();
            }
            let refused = networks.admit(ip(near[0]), begin()).unwrap_err();
            assert_eq!(refused.setting, "limits.inbound_upgrades_per_ip_max");
            assert!(networks.admit(ip(far), begin()).is_ok());
            networks.settle(ip(near[0]));
            assert!(networks.admit(ip(near[0]), begin()).is_ok());
        }
    }

    #[test]
    fn finished_connections_count_for_each_prefix() {
        for (near, far, setting) in [
            ("1.2.3.4", "1.2.3.5", "limits.inbound_connections_per_ip4"),
            (
                "2001:db8::1",
                "2001:db8:0:100::",
                "limits.inbound_connections_per_ip6",
            ),
        ] {
            let mut networks = Networks::new(&limits());
            let mut connect = |from: &str| {
                let outcome = networks.admit(ip(from), begin());
                networks.settle(ip(from));
                outcome
            };
            for _ in 0..8 {
                connect(near).unwrap();
            }
            let refused = connect(near).unwrap_err();
            assert_eq!(
                (refused.setting, refused.used, refused.max),
                (setting, 8, 8)
            );
            connect(far).unwrap();
            networks.release(ip(near));
            networks.admit(ip(near), begin()).unwrap();
        }
    }

    #[test]
    fn a_wide_network_is_limited_although_each_address_is_not() {
        let mut networks = Networks::new(&limits());
        for last in 0..64 {
            let from = ip(&format!("1.2.3.{last}"));
            networks.admit(from, begin()).unwrap();
        }
        let refused = networks.admit(ip("1.2.3.99"), begin()).unwrap_err();
        assert_eq!(refused.scope.to_string(), "1.2.3.0/24");
        assert!(networks.admit(ip("1.2.4.99"), begin()).is_ok());
    }

    #[test]
    fn neighbours_in_a_private_network_are_counted_one_by_one() {
        for (near, prefix) in [("10.0.0.1", "10.0.0."), ("fd00::1", "fd00::2:")] {
            let mut networks = Networks::new(&limits());
            for last in 10..110 {
                let from = ip(&format!("{prefix}{last}"));
                networks.admit(from, begin()).unwrap();
            }
            for _ in 0..8 {
                networks.admit(ip(near), begin()).unwrap();
                networks.settle(ip(near));
            }
            assert!(networks.admit(ip(near), begin()).is_err());
        }
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_in_each_interval() {
        let mut config = limits();
        config.inbound_rate_per_ip.burst = 3;
        let mut networks = Networks::new(&config);
        let (from, mut now) = (ip("1.2.3.4"), begin());
        let mut connect = |now| {
            networks.admit(from, now).map(|()| {
                networks.settle(from);
                networks.release(from);
            })
        };
        for _ in 0..3 {
            connect(now).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(
                connect(now).unwrap_err().setting,
                "limits.inbound_rate_per_ip"
            );
            now += Duration::from_secs(1);
            connect(now).unwrap();
        }
    }

    #[test]
    fn trusted_networks_are_not_counted() {
        let networks = Networks::new(&limits());
        for (from, counted) in [("127.0.0.1", false), ("::1", false), ("10.0.0.1", true)] {
            assert_eq!(networks.counts(ip(from)), counted, "{from}");
        }
    }

    #[test]
    fn the_table_of_rates_is_bounded() {
        let (mut networks, now) = (Networks::new(&limits()), begin());
        for n in 0..RATES_MAX as u128 + 100 {
            let from = IpAddr::V6((n << 80).into());
            networks.admit(from, now).unwrap();
            networks.settle(from);
            networks.release(from);
        }
        assert_eq!(networks.rates.rested_at.len(), RATES_MAX);
    }

    proptest! {
        #[test]
        fn what_is_released_leaves_nothing_behind(ips in prop::collection::vec(0_u32..40, 1..60)) {
            let mut networks = Networks::new(&limits());
            let admitted: Vec<_> = ips
                .into_iter()
                .map(|n| IpAddr::V4((n << 4).into()))
                .filter(|from| networks.admit(*from, begin()).is_ok())
                .collect();
            for from in admitted {
                networks.settle(from);
                networks.release(from);
            }
            prop_assert!(networks.usage().is_empty());
        }
    }
}
