//! Who may connect: lists of peers and networks that can be changed at any time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

use peerkit_core::{CloseReason, ConnectionInfo, Multiaddr, PeerId, lock};

use crate::{Denied, DenyRule, GateStage, GateVerdict, IpNetwork, inner::Inner, network::ip_of};

/// Lists of peers and networks that may connect, or may not; see [`Host::access`](crate::Host::access).
///
/// A block wins over everything: a blocked peer is denied wherever it is, and a blocked network
/// whoever is there. Among networks the longest prefix counts, so that a part of a blocked
/// network can be allowed. What is on no list is as [`set_unlisted`](Self::set_unlisted) says.
///
/// Changes hold from now on, for both directions. A block also closes the connections that it concerns.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    inner: &'a Inner,
}

/// What becomes of peers and networks that are on no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unlisted {
    /// They may connect.
    #[default]
    Allowed,
    /// Only peers or networks that are listed as allowed may connect. Inbound connections have to be secured
    /// before their peer is known.
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Allow,
    Block,
}

/// The lists. Filled by this side only.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    peers: BTreeMap<PeerId, Rule>,
    networks: BTreeMap<IpNetwork, Rule>,
    unlisted: Unlisted,
}

impl<'a> Access<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    /// Allows a peer, if it was blocked or only listed peers are allowed.
    pub fn allow_peer(&self, peer: PeerId) {
        self.change(|lists| lists.peers.insert(peer, Rule::Allow));
    }

    /// Blocks a peer and closes its connections.
    pub fn block_peer(&self, peer: PeerId) {
        self.change(|lists| lists.peers.insert(peer, Rule::Block));
        self.close_denied();
    }

    /// Takes a peer off its list.
    pub fn forget_peer(&self, peer: &PeerId) {
        self.change(|lists| lists.peers.remove(peer));
    }

    /// Allows a network, if it lies in a blocked one or only listed ones are allowed.
    pub fn allow_network(&self, network: IpNetwork) {
        self.change(|lists| lists.networks.insert(network, Rule::Allow));
    }

    /// Blocks a network and closes the connections with its addresses.
    pub fn block_network(&self, network: IpNetwork) {
        self.change(|lists| lists.networks.insert(network, Rule::Block));
        self.close_denied();
    }

    /// Takes a network off its list; other networks that contain it stay listed.
    pub fn forget_network(&self, network: &IpNetwork) {
        self.change(|lists| lists.networks.remove(network));
    }

    /// What becomes of what is on no list. Open connections stay.
    pub fn set_unlisted(&self, unlisted: Unlisted) {
        self.change(|lists| lists.unlisted = unlisted);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Lists) -> T) -> T {
        let lists = &self.inner.access;
        change(&mut lists.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn close_denied(&self) {
        let entries = lock(&self.inner.connections).all();
        for entry in entries {
            let ip = ip_of(&entry.info.remote_addr);
            let blocked = read(&self.inner.access).check_blocked(Some(&entry.info.remote_peer), ip);
            if blocked.is_err() {
                entry.connection.close(CloseReason::Denied);
            }
        }
    }
}

impl Lists {
    /// Whether a connection with that peer (if it is known by now) at that address is allowed.
    fn check(&self, peer: Option<&PeerId>, ip: Option<IpAddr>) -> Result<(), DenyRule> {
        self.check_blocked(peer, ip)?;
        if self.unlisted == Unlisted::Allowed {
            return Ok(());
        }
        let network_allowed = ip.and_then(|ip| self.network(ip)).is_some();
        let peer_allowed = match peer {
            Some(peer) => self.peers.contains_key(peer),
            // It may turn out to be one of those.
            None => self.peers.values().any(|rule| *rule == Rule::Allow),
        };
        if network_allowed || peer_allowed {
            Ok(())
        } else {
            Err(DenyRule::NotListed)
        }
    }

    fn check_blocked(&self, peer: Option<&PeerId>, ip: Option<IpAddr>) -> Result<(), DenyRule> {
        if let Some((network, Rule::Block)) = ip.and_then(|ip| self.network(ip)) {
            return Err(DenyRule::BlockedNetwork(network));
        }
        match peer.and_then(|peer| self.peers.get(peer)) {
            Some(Rule::Block) => Err(DenyRule::BlockedPeer),
            Some(Rule::Allow) | None => Ok(()),
        }
    }

    /// The smallest listed network around an address.
    fn network(&self, ip: IpAddr) -> Option<(IpNetwork, Rule)> {
        if self.networks.is_empty() {
            return None;
        }
        let around = (0..=128).rev().map(|len| IpNetwork::new(ip, len));
        around
            .filter_map(|network| Some((network, *self.networks.get(&network)?)))
            .next()
    }
}

impl Inner {
    pub(crate) fn check_dial(&self, peer: Option<PeerId>, addr: &Multiaddr) -> Result<(), Denied> {
        self.check_lists(GateStage::Dial, peer.as_ref(), addr)?;
        say(GateStage::Dial, self.gate.dial(peer, addr))
    }

    pub(crate) fn check_accept(&self, local: &Multiaddr, remote: &Multiaddr) -> Result<(), Denied> {
        self.check_lists(GateStage::Accept, None, remote)?;
        say(GateStage::Accept, self.gate.accept(local, remote))
    }

    pub(crate) fn check_secured(&self, info: &ConnectionInfo) -> Result<(), Denied> {
        let peer = &info.remote_peer;
        let stage = GateStage::Secured;
        // A relay or a name hides the IP address that was checked before the dial.
        self.check_lists(stage, Some(peer), &info.remote_addr)?;
        let (local, remote) = (&info.local_addr, &info.remote_addr);
        say(
            stage,
            self.gate.secured(info.direction, peer, local, remote),
        )
    }

    pub(crate) fn check_upgraded(&self, info: &ConnectionInfo) -> Result<(), Denied> {
        say(GateStage::Upgraded, self.gate.upgraded(info))
    }

    fn check_lists(
        &self,
        stage: GateStage,
        peer: Option<&PeerId>,
        addr: &Multiaddr,
    ) -> Result<(), Denied> {
        let outcome = read(&self.access).check(peer, ip_of(addr));
        outcome.map_err(|rule| Denied { stage, rule })
    }
}

fn read(lists: &RwLock<Lists>) -> std::sync::RwLockReadGuard<'_, Lists> {
    lists.read().unwrap_or_else(PoisonError::into_inner)
}

fn say(stage: GateStage, verdict: GateVerdict) -> Result<(), Denied> {
    match verdict {
        GateVerdict::Allow => Ok(()),
        GateVerdict::Deny => Err(Denied {
            stage,
            rule: DenyRule::Gate,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_counts() {
        let mut lists = Lists::default();
        lists.networks.insert(network("10.0.0.0/8"), Rule::Block);
        lists.networks.insert(network("10.1.0.0/16"), Rule::Allow);
        lists.networks.insert(network("10.1.2.3"), Rule::Block);
        for (addr, allowed) in [
            ("10.2.0.1", false),
            ("10.1.0.1", true),
            ("10.1.2.3", false),
            ("11.0.0.1", true),
            ("::ffff:10.2.0.1", false),
            ("::1", true),
        ] {
            assert_eq!(lists.check(None, ip(addr)).is_ok(), allowed, "{addr}");
        }
    }

    #[test]
    fn a_blocked_peer_is_denied_wherever_it_is() {
        let peer = PeerId::random();
        let mut lists = Lists::default();
        lists.peers.insert(peer, Rule::Block);
        lists.networks.insert(network("10.0.0.0/8"), Rule::Allow);
        assert_eq!(
            lists.check(Some(&peer), ip("10.0.0.1")),
            Err(DenyRule::BlockedPeer)
        );
        assert_eq!(lists.check(Some(&PeerId::random()), None), Ok(()));
    }

    #[test]
    fn with_unlisted_ones_denied_only_listed_ones_get_in() {
        let friend = PeerId::random();
        let mut lists = Lists {
            unlisted: Unlisted::Denied,
            ..Lists::default()
        };
        assert_eq!(lists.check(None, ip("1.2.3.4")), Err(DenyRule::NotListed));
        lists.peers.insert(friend, Rule::Allow);
        assert_eq!(
            lists.check(None, ip("1.2.3.4")),
            Ok(()),
            "it may be the friend"
        );
        assert_eq!(lists.check(Some(&friend), ip("1.2.3.4")), Ok(()));
        let stranger = PeerId::random();
        assert_eq!(
            lists.check(Some(&stranger), ip("1.2.3.4")),
            Err(DenyRule::NotListed)
        );
        lists.networks.insert(network("1.2.3.0/24"), Rule::Allow);
        assert_eq!(lists.check(Some(&stranger), ip("1.2.3.4")), Ok(()));
    }
}
