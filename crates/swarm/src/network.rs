//! Ranges of IP addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use peerkit_core::{Multiaddr, multiaddr::Protocol};

/// A range of IP addresses that begin alike, for example `192.0.2.0/24` or `2001:db8::/48`.
///
/// IPv6 addresses that stand for IPv4 ones (`::ffff:192.0.2.1`) count as those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNetwork {
    addr: IpAddr,
    prefix_len: u8,
}

/// Why a text is no [`IpNetwork`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network: write an IP address, or one with the length of its prefix, as in 192.0.2.0/24"
)]
pub struct InvalidIpNetwork(String);

impl IpNetwork {
    /// The network of `addr` with so many leading bits; no more than the address has.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Self {
        let addr = addr.to_canonical();
        let prefix_len = prefix_len.min(bits(addr));
        let addr = match addr {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & mask32(prefix_len)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & mask128(prefix_len)).into()),
        };
        Self { addr, prefix_len }
    }

    /// The first address.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many leading bits its addresses share.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether the address lies in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        addr.is_ipv4() == self.addr.is_ipv4() && Self::new(addr, self.prefix_len) == *self
    }
}

impl From<IpAddr> for IpNetwork {
    fn from(addr: IpAddr) -> Self {
        Self::new(addr, u8::MAX)
    }
}

impl FromStr for IpNetwork {
    type Err = InvalidIpNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidIpNetwork(text.chars().take(64).collect());
        let (addr, prefix_len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| invalid())?;
        match prefix_len {
            None => Ok(addr.into()),
            Some(len) if len <= bits(addr) && bits(addr) == bits(addr.to_canonical()) => {
                Ok(Self::new(addr, len))
            }
            Some(_) => Err(invalid()),
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// The IP address in front of a multiaddr.
pub(crate) fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn mask32(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask128(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_what_begins_as_it_does() {
        for (range, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::192.0.2.7"),
        ] {
            assert!(network(range).contains(inside.parse().unwrap()), "{range}");
            assert!(
                !network(range).contains(outside.parse().unwrap()),
                "{range}"
            );
        }
    }

    #[test]
    fn bits_behind_the_prefix_do_not_matter() {
        assert_eq!(network("192.0.2.77/24"), network("192.0.2.0/24"));
        assert_eq!(network("192.0.2.77/24").to_string(), "192.0.2.0/24");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "x",
            "1.2.3.4/33",
            "1.2.3.4/",
            "::/129",
            "1.2.3.4/-1",
            "::ffff:1.2.3.4/96",
        ] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_comes_back(bits: u128, is_four: bool, len in 0_u8..=128) {
            let addr = if is_four { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) };
            let network = IpNetwork::new(addr, len);
            prop_assert_eq!(network.to_string().parse::<IpNetwork>().unwrap(), network);
            prop_assert!(network.contains(addr));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<IpNetwork>();
        }
    }
}
