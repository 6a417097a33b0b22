//! At which addresses others see this node.
//!
//! One observer proves nothing, and nor do many that may be one. An address
//! counts when enough observer groups agree on it while they are connected.

use std::collections::{BTreeMap, BTreeSet};

use peerkit_core::{ConnectionInfo, Multiaddr, multiaddr::Protocol};

use crate::scope::ObserverGroup;

/// What one connection has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    observer: ObserverGroup,
    addr: Multiaddr,
}

impl Observation {
    /// An observation that may count: of a public address, by a remote with a
    /// public address, over a transport on which this node also listens.
    pub(crate) fn new(
        connection: &ConnectionInfo,
        observed: &Multiaddr,
        listening: &[Multiaddr],
    ) -> Option<Self> {
        let addr = without_peer(observed);
        let observer = ObserverGroup::of(&connection.remote_addr)?;
        let is_public_ip = ObserverGroup::of(&addr).is_some();
        let is_listening = listening.iter().any(|listen| same_stack(listen, &addr));
        let is_possible = same_stack(&connection.local_addr, &addr);
        let counts = is_public_ip && is_listening && is_possible;
        counts.then_some(Self { observer, addr })
    }
}

/// The addresses that at least `observers_min` groups agree on, the best confirmed first,
/// and of each kind of address not more than a node can reasonably have.
pub(crate) fn confirmed<'a>(
    observations: impl IntoIterator<Item = &'a Observation>,
    observers_min: usize,
) -> Vec<Multiaddr> {
    let mut observers = BTreeMap::<_, BTreeSet<_>>::new();
    for observation in observations {
        let of_addr = observers.entry(&observation.addr).or_default();
        of_addr.insert(observation.observer);
    }
    let mut candidates: Vec<_> = observers
        .into_iter()
        .filter(|(_, observers)| observers.len() >= observers_min)
        .collect();
    candidates.sort_by_key(|(_, observers)| std::cmp::Reverse(observers.len()));
    let mut chosen: Vec<Multiaddr> = Vec::new();
    for (addr, _) in candidates {
        let alike = chosen.iter().filter(|other| same_stack(other, addr));
        if alike.count() < ALIKE_MAX {
            chosen.push(addr.clone());
        }
    }
    chosen
}

/// Addresses that differ only in their numbers. Go nodes keep as many.
const ALIKE_MAX: usize = 3;

fn same_stack(one: &Multiaddr, other: &Multiaddr) -> bool {
    one.protocol_stack().eq(other.protocol_stack())
}

fn without_peer(addr: &Multiaddr) -> Multiaddr {
    let mut addr = addr.clone();
    if let Some(Protocol::P2p(_)) = addr.iter().last() {
        addr.pop();
    }
    addr
}

#[cfg(test)]
mod tests {
    use peerkit_core::{Direction, Keypair, ProtocolId};

    use super::*;

    const SEEN: &str = "/ip4/203.0.113.9/tcp/4001";

    #[test]
    fn four_groups_have_to_agree() {
        let votes: Vec<_> = (1..=4).map(|it| vote(&v4(it), SEEN)).collect();
        assert_eq!(confirmed(&votes[..3], 4), []);
        assert_eq!(confirmed(&votes, 4), [addr(SEEN)]);
    }

    #[test]
    fn many_observers_in_one_group_count_once() {
        let sybils = (1..=20).map(|it| format!("/ip6/2001:db8:0:1::{it}/tcp/1"));
        let votes: Vec<_> = sybils.map(|from| vote(&from, SEEN)).collect();
        assert_eq!(confirmed(&votes, 4), []);
        let same: Vec<_> = (0..20).map(|_| vote(&v4(1), SEEN)).collect();
        assert_eq!(confirmed(&same, 4), []);
    }

    #[test]
    fn of_many_ports_the_best_confirmed_are_kept() {
        let mut votes = Vec::new();
        for port in 1..=5 {
            let seen = format!("/ip4/203.0.113.9/tcp/{port}");
            votes.extend((1..=4 + port).map(|it| vote(&v4(it), &seen)));
        }
        let ports: Vec<_> = [5, 4, 3]
            .map(|port| addr(&format!("/ip4/203.0.113.9/tcp/{port}")))
            .into();
        assert_eq!(confirmed(&votes, 4), ports);
    }

    #[test]
    fn what_can_not_be_true_does_not_count() {
        let table = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/dns4/example.org/tcp/1",
            "/ip4/203.0.113.9/udp/1/quic-v1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip4/203.0.113.9/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
        ];
        for seen in table {
            let observation = observe(&v4(1), seen, "/ip4/10.0.0.2/tcp/4001");
            assert_eq!(observation, None, "{seen}");
        }
        let near = observe("/ip4/10.0.0.3/tcp/1", SEEN, "/ip4/10.0.0.2/tcp/4001");
        assert_eq!(near, None);
        let not_listening = observe(&v4(1), SEEN, "/ip6/::1/tcp/4001");
        assert_eq!(not_listening, None);
    }

    fn v4(observer: u16) -> String {
        format!("/ip4/198.51.100.{observer}/tcp/1")
    }

    fn vote(from: &str, seen: &str) -> Observation {
        observe(from, seen, "/ip4/10.0.0.2/tcp/4001").expect("it counts")
    }

    fn observe(from: &str, seen: &str, listening: &str) -> Option<Observation> {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap().public();
        let connection = ConnectionInfo {
            remote_peer: key.to_peer_id(),
            remote_key: key,
            local_addr: addr("/ip4/10.0.0.2/tcp/4001"),
            remote_addr: addr(from),
            direction: Direction::Inbound,
            security: ProtocolId::from_static("/noise"),
            muxer: ProtocolId::from_static("/yamux/1.0.0"),
        };
        Observation::new(&connection, &addr(seen), &[addr(listening)])
    }

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }
}
