//! Whom to reach, and with which protocols.

use peerkit_core::{Multiaddr, PeerId, ProtocolId, multiaddr::Protocol};

/// Whom to reach: a peer by its id, an address, or both.
///
/// An address that ends in `/p2p/ID` names the peer; anybody may answer at an
/// address without it, and the connection tells who did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialTarget {
    pub(crate) peer: Option<PeerId>,
    pub(crate) addrs: Vec<Multiaddr>,
}

impl DialTarget {
    /// A peer and addresses at which it may be, beside those already known.
    pub fn new(peer: PeerId, addrs: Vec<Multiaddr>) -> Self {
        Self {
            peer: Some(peer),
            addrs: addrs.into_iter().map(|addr| split_peer(addr).0).collect(),
        }
    }

    /// The peer, when it is known before.
    pub fn peer(&self) -> Option<PeerId> {
        self.peer
    }
}

impl From<PeerId> for DialTarget {
    fn from(peer: PeerId) -> Self {
        Self::new(peer, Vec::new())
    }
}

impl From<Multiaddr> for DialTarget {
    fn from(addr: Multiaddr) -> Self {
        let (addr, peer) = split_peer(addr);
        let addrs = if addr.is_empty() {
            Vec::new()
        } else {
            vec![addr]
        };
        Self { peer, addrs }
    }
}

impl From<&Multiaddr> for DialTarget {
    fn from(addr: &Multiaddr) -> Self {
        addr.clone().into()
    }
}

impl From<(PeerId, Multiaddr)> for DialTarget {
    fn from((peer, addr): (PeerId, Multiaddr)) -> Self {
        Self::new(peer, vec![addr])
    }
}

impl From<(PeerId, Vec<Multiaddr>)> for DialTarget {
    fn from((peer, addrs): (PeerId, Vec<Multiaddr>)) -> Self {
        Self::new(peer, addrs)
    }
}

/// Cuts a trailing `/p2p` off.
pub(crate) fn split_peer(mut addr: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    if let Some(Protocol::P2p(peer)) = addr.iter().last() {
        addr.pop();
        return (addr, Some(peer));
    }
    (addr, None)
}

/// One protocol, or several with the preferred first.
///
/// Text is checked when it is used: [`Host::open_stream`](crate::Host::open_stream) returns an
/// error, [`Host::set_stream_handler`](crate::Host::set_stream_handler) panics.
pub trait Protocols {
    /// The names, checked.
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId>;
}

impl Protocols for ProtocolId {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        Ok(vec![self])
    }
}

impl Protocols for &ProtocolId {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        Ok(vec![self.clone()])
    }
}

impl Protocols for &str {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        Ok(vec![self.try_into()?])
    }
}

impl Protocols for &String {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        self.as_str().into_protocols()
    }
}

impl<T: Protocols> Protocols for Vec<T> {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        let lists: Result<Vec<_>, _> = self.into_iter().map(T::into_protocols).collect();
        Ok(lists?.into_iter().flatten().collect())
    }
}

impl<T: Protocols, const N: usize> Protocols for [T; N] {
    fn into_protocols(self) -> Result<Vec<ProtocolId>, peerkit_core::InvalidProtocolId> {
        self.into_iter().collect::<Vec<_>>().into_protocols()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_peer() {
        let peer = PeerId::random();
        let full: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().unwrap();
        let target = DialTarget::from(full);
        assert_eq!(target.peer, Some(peer));
        assert_eq!(target.addrs, vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
        let bare = DialTarget::from(format!("/p2p/{peer}").parse::<Multiaddr>().unwrap());
        assert_eq!(bare, DialTarget::from(peer));
    }

    #[test]
    fn protocols_are_checked() {
        assert!("nonsense".into_protocols().is_err());
        assert_eq!(["/a/2", "/a/1"].into_protocols().unwrap().len(), 2);
    }
}
