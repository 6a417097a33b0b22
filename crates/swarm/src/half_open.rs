//! Inbound connections that are still to be secured.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use peerkit_core::{Multiaddr, lock, multiaddr::Protocol};

use crate::{
    config::Limits,
    permits::{Permit, Permits},
};

/// Counts half-open connections, in all and of each network, so that one
/// attacker can't take the place of everybody else.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    total: Permits,
    /// Has no more entries than there are permits.
    networks: Arc<Networks>,
    per_ip_max: usize,
}

type Networks = Mutex<BTreeMap<IpAddr, usize>>;

/// One half-open connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    _total: Permit,
    network: Option<(Arc<Networks>, IpAddr)>,
}

impl HalfOpen {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            total: Permits::new(limits.inbound_upgrades_max),
            networks: Arc::default(),
            per_ip_max: limits.inbound_upgrades_per_ip_max,
        }
    }

    /// Admits one more from that address, or names the limit that speaks against it.
    pub(crate) fn admit(&self, remote: &Multiaddr) -> Result<Admission, &'static str> {
        let total = self.total.try_acquire().ok_or("inbound_upgrades_max")?;
        let mut admission = Admission {
            _total: total,
            network: None,
        };
        if let Some(network) = network(remote) {
            let mut networks = lock(&self.networks);
            let used = networks.get(&network).copied().unwrap_or(0);
            if used >= self.per_ip_max {
                return Err("inbound_upgrades_per_ip_max");
            }
            networks.insert(network, used + 1);
            admission.network = Some((self.networks.clone(), network));
        }
        Ok(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some((networks, network)) = &self.network else {
            return;
        };
        let mut networks = lock(networks);
        if let Some(used) = networks.get_mut(network) {
            *used -= 1;
            if *used == 0 {
                networks.remove(network);
            }
        }
    }
}

/// Whom an address is counted for: an IPv4 address, or the /56 that one IPv6 customer has.
/// Nobody, if it is on this machine or hides the IP address.
fn network(addr: &Multiaddr) -> Option<IpAddr> {
    let ip = match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    match ip {
        ip if ip.is_loopback() => None,
        IpAddr::V4(_) => Some(ip),
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & !0 << (128 - 56)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_open() -> HalfOpen {
        HalfOpen::new(&Limits {
            inbound_upgrades_max: 4,
            inbound_upgrades_per_ip_max: 2,
            ..Limits::default()
        })
    }

    fn addr(ip: &str) -> Multiaddr {
        format!("{ip}/tcp/1").parse().unwrap()
    }

    #[test]
    fn one_network_leaves_room_for_others() {
        let half_open = half_open();
        for (near, far) in [
            (["/ip4/1.2.3.4", "/ip4/1.2.3.4"], "/ip4/1.2.3.5"),
            (
                ["/ip6/2001:db8::1", "/ip6/2001:db8:0:ff::2"],
                "/ip6/2001:db8:0:100::",
            ),
            (
                ["/ip4/1.2.3.4", "/ip6/::ffff:1.2.3.4"],
                "/ip6/::ffff:1.2.3.5",
            ),
        ] {
            let held = near.map(|ip| half_open.admit(&addr(ip)).unwrap());
            let refused = half_open.admit(&addr(near[0])).unwrap_err();
            assert_eq!(refused, "inbound_upgrades_per_ip_max");
            assert!(half_open.admit(&addr(far)).is_ok());
            drop(held);
            assert!(lock(&half_open.networks).is_empty());
        }
    }

    #[test]
    fn this_machine_is_only_counted_in_all() {
        let half_open = half_open();
        let local = [
            "/ip4/127.0.0.1",
            "/ip6/::1",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1",
        ];
        let held = local.map(|ip| half_open.admit(&addr(ip)).unwrap());
        let refused = half_open.admit(&addr("/ip4/1.2.3.4")).unwrap_err();
        assert_eq!(refused, "inbound_upgrades_max");
        drop(held);
        assert!(half_open.admit(&addr("/ip4/1.2.3.4")).is_ok());
    }
}
