//! From where an address can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use peerkit_core::{Multiaddr, multiaddr::Protocol};

/// From where an address can be reached, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Only on the same machine.
    Machine,
    /// Only in the same local network.
    Private,
    /// From anywhere.
    Public,
}

impl Scope {
    /// The scope of an address; `None` if nobody can dial it.
    pub(crate) fn of(addr: &Multiaddr) -> Option<Self> {
        let first = addr.iter().next()?;
        if let Some(ip) = ip(&first) {
            return of_ip(ip);
        }
        if let Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name) = &first
        {
            return Some(of_name(name));
        }
        // A zone has a meaning on its own machine only.
        let here = matches!(
            first,
            Protocol::Memory(_) | Protocol::Unix(_) | Protocol::Ip6zone(_)
        );
        here.then_some(Self::Machine)
    }

    /// How near the remote of a connection is. In doubt it is far away.
    pub(crate) fn of_remote(addr: &Multiaddr) -> Self {
        if addr.iter().any(|part| part == Protocol::P2pCircuit) {
            return Self::Public;
        }
        Self::of(addr).unwrap_or(Self::Public)
    }

    /// Whether an address is of use to somebody at this distance.
    pub(crate) fn may_use(self, addr: &Multiaddr) -> bool {
        Self::of(addr).is_some_and(|scope| scope >= self)
    }
}

/// Those who probably are one and the same: an IPv4 address, or an IPv6 /56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObserverGroup {
    V4(Ipv4Addr),
    V6([u8; 7]),
}

impl ObserverGroup {
    /// The group of a remote with a public IP address of its own.
    pub(crate) fn of(remote: &Multiaddr) -> Option<Self> {
        match public_ip(remote)? {
            IpAddr::V4(ip) => Some(Self::V4(ip)),
            IpAddr::V6(ip) => Some(Self::V6(prefix(ip))),
        }
    }
}

/// The IP address of a remote that is neither near nor relayed.
pub(crate) fn public_ip(remote: &Multiaddr) -> Option<IpAddr> {
    let direct = !remote.iter().any(|part| part == Protocol::P2pCircuit);
    let ip = remote.iter().next().and_then(|first| ip(&first))?;
    (direct && of_ip(ip) == Some(Scope::Public)).then_some(ip)
}

/// The first 56 bits.
pub(crate) fn prefix(ip: Ipv6Addr) -> [u8; 7] {
    let [a, b, c, d, e, f, g, ..] = ip.octets();
    [a, b, c, d, e, f, g]
}

fn ip(part: &Protocol<'_>) -> Option<IpAddr> {
    if let Protocol::Ip4(ip) = part {
        return Some((*ip).into());
    }
    if let Protocol::Ip6(ip) = part {
        return Some(IpAddr::V6(*ip).to_canonical());
    }
    None
}

fn of_ip(ip: IpAddr) -> Option<Scope> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Scope::Machine);
    }
    let private = match ip {
        IpAddr::V4(ip) if is_void(ip) => return None,
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    Some(if private {
        Scope::Private
    } else {
        Scope::Public
    })
}

/// 0.0.0.0/8 and 240.0.0.0/4, broadcast included.
fn is_void(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first == 0 || first >= 240
}

/// 100.64.0.0/10, between a provider and its customers.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

fn of_name(name: &str) -> Scope {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    match last {
        "localhost" => Scope::Machine,
        "local" | "lan" | "internal" => Scope::Private,
        _ => Scope::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_scope_of_their_first_part() {
        use Scope::{Machine, Private, Public};
        let table = [
            ("/ip4/127.0.0.1/tcp/1", Some(Machine)),
            ("/ip6/::1/tcp/1", Some(Machine)),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Some(Machine)),
            ("/memory/7", Some(Machine)),
            ("/ip6zone/eth0/ip6/fe80::1/tcp/1", Some(Machine)),
            ("/dns4/localhost/tcp/1", Some(Machine)),
            ("/dns/a.LOCALHOST./tcp/1", Some(Machine)),
            ("/ip4/10.1.2.3/tcp/1", Some(Private)),
            ("/ip4/172.31.0.1/udp/1/quic-v1", Some(Private)),
            ("/ip4/192.168.0.1/tcp/1", Some(Private)),
            ("/ip4/169.254.0.1/tcp/1", Some(Private)),
            ("/ip4/100.127.0.1/tcp/1", Some(Private)),
            ("/ip6/fd00::1/tcp/1", Some(Private)),
            ("/ip6/fe80::1/tcp/1", Some(Private)),
            ("/dns/printer.local/tcp/1", Some(Private)),
            ("/ip4/100.128.0.1/tcp/1", Some(Public)),
            ("/ip4/198.51.100.1/tcp/1", Some(Public)),
            ("/ip6/2001:db8::1/tcp/1", Some(Public)),
            ("/dnsaddr/example.org", Some(Public)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/ip4/0.1.2.3/tcp/1", None),
            ("/ip4/224.0.0.1/udp/1", None),
            ("/ip4/255.255.255.255/udp/1", None),
            ("/ip6/::/tcp/1", None),
            ("/ip6/ff02::1/udp/1", None),
            ("/tcp/1", None),
            ("/", None),
        ];
        for (text, expected) in table {
            let addr = text.parse().unwrap_or(Multiaddr::empty());
            assert_eq!(Scope::of(&addr), expected, "{text}");
        }
    }

    #[test]
    fn what_is_near_is_of_no_use_to_those_far_away() {
        let table = [
            (Scope::Public, "/ip4/198.51.100.1/tcp/1", true),
            (Scope::Public, "/ip4/10.0.0.1/tcp/1", false),
            (Scope::Public, "/ip4/127.0.0.1/tcp/1", false),
            (Scope::Private, "/ip4/198.51.100.1/tcp/1", true),
            (Scope::Private, "/ip4/10.0.0.1/tcp/1", true),
            (Scope::Private, "/ip4/127.0.0.1/tcp/1", false),
            (Scope::Machine, "/ip4/127.0.0.1/tcp/1", true),
            (Scope::Machine, "/ip4/0.0.0.0/tcp/1", false),
        ];
        for (distance, text, expected) in table {
            let addr = text.parse().unwrap();
            assert_eq!(distance.may_use(&addr), expected, "{distance:?} {text}");
        }
    }

    #[test]
    fn observers_are_grouped_by_what_one_person_can_easily_have() {
        let group = |text: &str| ObserverGroup::of(&text.parse().unwrap());
        assert_eq!(
            group("/ip6/2001:db8:0:1200::1/tcp/1"),
            group("/ip6/2001:db8:0:12ff::2/tcp/9")
        );
        assert_ne!(
            group("/ip6/2001:db8:0:1200::1/tcp/1"),
            group("/ip6/2001:db8:0:1300::1/tcp/1")
        );
        assert_eq!(
            group("/ip4/198.51.100.1/tcp/1"),
            group("/ip6/::ffff:198.51.100.1/tcp/2")
        );
        assert_ne!(
            group("/ip4/198.51.100.1/tcp/1"),
            group("/ip4/198.51.100.2/tcp/1")
        );
        for near in ["/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1", "/memory/1"] {
            assert_eq!(group(near), None, "{near}");
        }
        let relay = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let relayed = format!("/ip4/198.51.100.1/tcp/1/p2p/{relay}/p2p-circuit");
        assert_eq!(group(&relayed), None);
    }
}
