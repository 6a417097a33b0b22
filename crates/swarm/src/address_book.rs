//! Which peer may be where.

use std::collections::{BTreeMap, VecDeque};

use peerkit_core::{Multiaddr, PeerId};

/// Known addresses, the most recently confirmed first. Bounded in peers and in
/// addresses of a peer; the oldest give way.
#[derive(Debug)]
pub(crate) struct AddressBook {
    peers: BTreeMap<PeerId, VecDeque<Multiaddr>>,
    /// Peers in the order in which they came.
    order: VecDeque<PeerId>,
    peers_max: usize,
    addresses_max: usize,
}

impl AddressBook {
    pub(crate) fn new(peers_max: usize, addresses_max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            order: VecDeque::new(),
            peers_max: peers_max.max(1),
            addresses_max: addresses_max.max(1),
        }
    }

    /// Puts an address in front; it is known to work or was just named.
    pub(crate) fn add(&mut self, peer: PeerId, addr: Multiaddr) {
        if !self.peers.contains_key(&peer) {
            self.make_room();
            self.order.push_back(peer);
        }
        let addrs = self.peers.entry(peer).or_default();
        addrs.retain(|known| *known != addr);
        addrs.push_front(addr);
        addrs.truncate(self.addresses_max);
    }

    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers
            .get(peer)
            .map(|addrs| addrs.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn make_room(&mut self) {
        while self.peers.len() >= self.peers_max {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.peers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn the_newest_address_comes_first_and_the_oldest_gives_way() {
        let mut book = AddressBook::new(10, 2);
        let peer = PeerId::random();
        for port in [1, 2, 1, 3] {
            book.add(peer, addr(port));
        }
        assert_eq!(book.of(&peer), vec![addr(3), addr(1)]);
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let mut book = AddressBook::new(2, 2);
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        for peer in &peers {
            book.add(*peer, addr(1));
        }
        assert!(book.of(&peers[0]).is_empty());
        assert_eq!(book.of(&peers[2]), vec![addr(1)]);
    }
}
