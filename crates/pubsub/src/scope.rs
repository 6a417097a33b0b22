//! Whether an address can be reached from everywhere.

use std::net::IpAddr;

use peerkit_core::{Multiaddr, multiaddr::Protocol};

/// Whether an address neither leads into this machine nor into a private network.
pub(crate) fn is_public(addr: &Multiaddr) -> bool {
    match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public_ip(ip.into()),
        Some(Protocol::Ip6(ip)) => is_public_ip(IpAddr::V6(ip).to_canonical()),
        Some(
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name),
        ) => is_public_name(&name),
        _ => false,
    }
}

fn is_public_ip(ip: IpAddr) -> bool {
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return false;
    }
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            !(ip.is_private() || ip.is_link_local() || shared || first == 0 || first >= 240)
        }
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && !["localhost", "local", "internal", "lan", "home"].contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_into_private_networks_is_not_public() {
        let public = [
            "/ip4/1.2.3.4/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/dns/example.com/tcp/1",
        ];
        let private = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/192.168.1.1/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/dns4/localhost/tcp/1",
            "/dns/printer.local/tcp/1",
            "/memory/1",
        ];
        for (addrs, expected) in [(&public[..], true), (&private[..], false)] {
            for addr in addrs {
                assert_eq!(is_public(&addr.parse().unwrap()), expected, "{addr}");
            }
        }
    }
}
