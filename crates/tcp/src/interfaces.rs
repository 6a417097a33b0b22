//! The addresses behind a listener on all interfaces.

use std::{collections::BTreeSet, net::IpAddr};

/// What has changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<IpAddr>,
    pub(crate) new: Vec<IpAddr>,
}

/// The addresses of one family that are reported as listened on.
#[derive(Debug)]
pub(crate) struct Interfaces {
    /// `0.0.0.0` or `::`.
    wildcard: IpAddr,
    known: BTreeSet<IpAddr>,
}

impl Interfaces {
    pub(crate) fn new(wildcard: IpAddr) -> Self {
        Self {
            wildcard,
            known: BTreeSet::new(),
        }
    }

    /// Compares with what the system has now.
    pub(crate) fn update(&mut self, found: Vec<IpAddr>) -> Changes {
        let found: BTreeSet<_> = found
            .into_iter()
            .filter(|ip| ip.is_ipv4() == self.wildcard.is_ipv4() && is_address(*ip))
            .collect();
        let changes = Changes {
            gone: self.known.difference(&found).copied().collect(),
            new: found.difference(&self.known).copied().collect(),
        };
        self.known = found;
        changes
    }
}

/// A link-local IPv6 address means nothing without its zone, which `/ip6` can't carry.
fn is_address(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !ip.is_unspecified() && !ip.is_multicast() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn changes(gone: &[&str], new: &[&str]) -> Changes {
        Changes {
            gone: ips(gone),
            new: ips(new),
        }
    }

    #[test]
    fn addresses_come_and_go() {
        let mut interfaces = Interfaces::new("0.0.0.0".parse().unwrap());
        let first = interfaces.update(ips(&["127.0.0.1", "192.0.2.1", "::1", "127.0.0.1"]));
        assert_eq!(first, changes(&[], &["127.0.0.1", "192.0.2.1"]));
        assert_eq!(
            interfaces.update(ips(&["192.0.2.1", "127.0.0.1"])),
            Changes::default()
        );
        let moved = interfaces.update(ips(&["127.0.0.1", "192.0.2.9"]));
        assert_eq!(moved, changes(&["192.0.2.1"], &["192.0.2.9"]));
    }

    #[test]
    fn only_addresses_that_others_can_dial_are_told() {
        let mut interfaces = Interfaces::new("::".parse().unwrap());
        let found = ips(&["fe80::1", "::", "ff02::1", "10.0.0.1", "2001:db8::1", "::1"]);
        assert_eq!(
            interfaces.update(found),
            changes(&[], &["::1", "2001:db8::1"])
        );
    }
}
