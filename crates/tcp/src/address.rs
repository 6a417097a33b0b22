//! Multiaddresses of TCP.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use peerkit_core::{Multiaddr, multiaddr::Protocol};

/// What a multiaddress names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Socket(SocketAddr),
    Name {
        host: String,
        family: Family,
        port: u16,
    },
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Any,
    V4,
    V6,
}

/// Reads `/ip4/../tcp/..`, `/ip6/../tcp/..` and `/dns../../tcp/..`, each with or without a
/// `/p2p` behind it. Anything else behind it, for example `/ws`, is another transport's.
pub(crate) fn parse(addr: &Multiaddr) -> Option<Target> {
    let mut parts = addr.iter();
    let host = parts.next()?;
    let Protocol::Tcp(port) = parts.next()? else {
        return None;
    };
    match (parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None) => target(host, port),
        _ => None,
    }
}

pub(crate) fn from_socket(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from(addr.ip()).with(Protocol::Tcp(addr.port()))
}

/// The order in which to try a name's addresses: IPv6 and IPv4 in turns, each in the
/// resolver's order, at most `limit`.
///
/// Source: RFC 8305, section 4.
pub(crate) fn dial_order(found: Vec<IpAddr>, family: Family, limit: usize) -> Vec<IpAddr> {
    let (mut next, mut other): (VecDeque<_>, VecDeque<_>) = found
        .into_iter()
        .filter(|ip| family.includes(*ip))
        .partition(IpAddr::is_ipv6);
    let mut order = Vec::new();
    while order.len() < limit {
        let Some(ip) = next.pop_front().or_else(|| other.pop_front()) else {
            break;
        };
        order.push(ip);
        std::mem::swap(&mut next, &mut other);
    }
    order
}

impl Family {
    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }

    /// For messages: what was not found.
    pub(crate) fn missing(self) -> &'static str {
        match self {
            Self::Any => "the name has no address",
            Self::V4 => "the name has no IPv4 address",
            Self::V6 => "the name has no IPv6 address",
        }
    }
}

fn target(host: Protocol<'_>, port: u16) -> Option<Target> {
    let name = |host: &str, family| {
        Some(Target::Name {
            host: host.to_owned(),
            family,
            port,
        })
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other protocols are other transports'"
    )]
    match host {
        Protocol::Ip4(ip) => Some(Target::Socket((ip, port).into())),
        Protocol::Ip6(ip) => Some(Target::Socket((ip, port).into())),
        Protocol::Dns(host) => name(&host, Family::Any),
        Protocol::Dns4(host) => name(&host, Family::V4),
        Protocol::Dns6(host) => name(&host, Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn read(text: &str) -> Option<Target> {
        parse(&text.parse().unwrap())
    }

    fn socket(text: &str) -> Option<Target> {
        Some(Target::Socket(text.parse().unwrap()))
    }

    fn name(host: &str, family: Family, port: u16) -> Option<Target> {
        Some(Target::Name {
            host: host.to_owned(),
            family,
            port,
        })
    }

    #[test]
    fn tcp_addresses_are_understood() {
        let table = [
            ("/ip4/127.0.0.1/tcp/4001", socket("127.0.0.1:4001")),
            ("/ip4/0.0.0.0/tcp/0", socket("0.0.0.0:0")),
            ("/ip6/::1/tcp/65535", socket("[::1]:65535")),
            ("/dns/a.example/tcp/1", name("a.example", Family::Any, 1)),
            ("/dns4/a.example/tcp/1", name("a.example", Family::V4, 1)),
            ("/dns6/a.example/tcp/1", name("a.example", Family::V6, 1)),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
            let with_peer = format!("{text}/p2p/{PEER}");
            assert_eq!(read(&with_peer), expected, "{with_peer}");
        }
    }

    #[test]
    fn addresses_of_other_transports_are_not() {
        let table = [
            "",
            "/ip4/127.0.0.1",
            "/tcp/4001",
            "/tcp/4001/ip4/127.0.0.1",
            "/ip4/127.0.0.1/udp/4001",
            "/ip4/127.0.0.1/udp/4001/quic-v1",
            "/ip4/127.0.0.1/tcp/4001/ws",
            "/ip4/127.0.0.1/tcp/4001/tls",
            "/ip4/127.0.0.1/tcp/4001/tls/ws",
            "/ip4/127.0.0.1/tcp/4001/http",
            "/ip4/127.0.0.1/tcp/4001/tcp/4002",
            "/ip6zone/eth0/ip6/fe80::1/tcp/4001",
            "/dnsaddr/a.example",
            "/dnsaddr/a.example/tcp/4001",
            "/unix/a",
            "/memory/4001",
        ];
        for text in table {
            assert_eq!(read(text), None, "{text}");
        }
        for rest in ["p2p-circuit", "ws"] {
            let text = format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}/{rest}");
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn sockets_become_addresses_and_come_back() {
        for text in ["/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/4001"] {
            let Some(Target::Socket(addr)) = read(text) else {
                panic!("{text}");
            };
            assert_eq!(from_socket(addr).to_string(), text);
        }
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let ips = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = ips(&["1.1.1.1", "1.1.1.2", "1.1.1.3", "::1", "::2"]);
        let order = |family, limit| dial_order(found.clone(), family, limit);
        let all = ips(&["::1", "1.1.1.1", "::2", "1.1.1.2", "1.1.1.3"]);
        assert_eq!(order(Family::Any, 16), all);
        assert_eq!(order(Family::Any, 3), all[..3]);
        assert_eq!(
            order(Family::V4, 16),
            ips(&["1.1.1.1", "1.1.1.2", "1.1.1.3"])
        );
        assert_eq!(order(Family::V6, 16), ips(&["::1", "::2"]));
        assert!(dial_order(Vec::new(), Family::Any, 16).is_empty());
    }
}
