//! NAT boxes in the network: who is behind which, and what of a packet's way leads through them.
//!
//! A packet passes the box of its sender when it is sent and the box of its receiver when it arrives.
//! The way from a box to the hosts behind it takes no time.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    HostId, NatConfig, NatStats, Sim,
    nat::{Nat, Packet, PacketKind, Protocol, Verdict},
    trace::{Kind, mix},
    world::World,
};

/// A NAT box, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(u16);

impl NatId {
    /// Its public address, in `44.128.0.0/16`: unlike those of hosts, such an address looks
    /// global to a program. The network of radio amateurs keeps this range for tests.
    pub fn ip(self) -> IpAddr {
        let [high, low] = (self.0 + 1).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(44, 128, high, low))
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nat-{}", self.0)
    }
}

/// A box with the hosts behind it.
pub(crate) struct NatBox {
    nat: Nat,
    hosts: Vec<HostId>,
}

impl Sim {
    /// Adds a NAT box, with nobody behind it yet.
    ///
    /// # Panics
    ///
    /// If there are 65,534 already: then the addresses are used up.
    pub fn nat(&mut self, config: NatConfig) -> NatId {
        self.shared.with(|world| world.add_nat(config))
    }

    /// Puts hosts behind a NAT box, for what they send from now on: do it before they run.
    ///
    /// From outside they can't be reached at their own addresses, only through the box. To others
    /// they show the public address of the box and the port of the mapping. Hosts behind the
    /// same box reach each other directly. Beyond the box there is no IPv6. The links stay
    /// those between the hosts themselves; the box adds no delay.
    pub fn behind(&mut self, nat: NatId, hosts: &[HostId]) {
        self.shared.with(|world| {
            for host in hosts {
                if let Some(former) = world.host_mut(*host).nat.replace(nat) {
                    let hosts = &mut world.boxes[former.index()].hosts;
                    hosts.retain(|other| other != host);
                }
                world.boxes[nat.index()].hosts.push(*host);
            }
        });
    }

    /// Switches a NAT box off and on, which takes no time: all its mappings are lost, and
    /// connections through it are half-open on both sides.
    pub fn reboot(&mut self, nat: NatId) {
        self.shared.with(|world| {
            world.boxes[nat.index()].nat.reboot();
            world.record(Kind::Rebooted, [u64::from(nat.0), 0, 0]);
        });
    }

    /// What a NAT box has done so far.
    pub fn nat_stats(&self, nat: NatId) -> NatStats {
        self.shared.with(|world| {
            let now = world.now;
            world.boxes[nat.index()].nat.stats(now)
        })
    }
}

impl World {
    fn add_nat(&mut self, config: NatConfig) -> NatId {
        let index = u16::try_from(self.boxes.len()).unwrap_or(u16::MAX);
        assert!(index < BOXES_MAX, "no address is left for another NAT box");
        let id = NatId(index);
        let rng = StdRng::seed_from_u64(mix(mix(self.seed, 2), u64::from(index)));
        self.boxes.push(NatBox {
            nat: Nat::new(config, id.ip(), rng),
            hosts: Vec::new(),
        });
        id
    }

    /// The box that has an address.
    fn box_at(&self, ip: IpAddr) -> Option<NatId> {
        let IpAddr::V4(ip) = ip else { return None };
        let [44, 128, high, low] = ip.octets() else {
            return None;
        };
        let index = u16::from_be_bytes([high, low]).checked_sub(1)?;
        (usize::from(index) < self.boxes.len()).then_some(NatId(index))
    }

    /// Whether a host reaches another one at its own address.
    pub(crate) fn sees(&self, from: HostId, to: HostId, at: IpAddr) -> bool {
        let (here, there) = (self.host(from).nat, self.host(to).nat);
        here == there || (there.is_none() && at.is_ipv4())
    }

    /// The host to which a packet is on its way: for the address of a box, who has the port
    /// now, or else the first host behind it, since some link has to be taken.
    pub(crate) fn destination(
        &self,
        from: HostId,
        protocol: Protocol,
        target: SocketAddr,
    ) -> Option<HostId> {
        let Some(nat) = self.box_at(target.ip()) else {
            return self.route(from, target.ip());
        };
        let state = &self.boxes[nat.index()];
        let internal = state.nat.internal(protocol, target.port());
        let host = internal.and_then(|internal| self.host_at(internal.ip()));
        host.or_else(|| state.hosts.first().copied())
    }

    /// The box through which a host sends to an address, if any.
    pub(crate) fn way_out(&self, from: HostId, target: IpAddr) -> Option<NatId> {
        let nat = self.host(from).nat?;
        let inside = target.is_loopback()
            || self
                .host_at(target)
                .is_some_and(|to| self.host(to).nat == Some(nat));
        (!inside && target.is_ipv4()).then_some(nat)
    }

    /// Whether anything on the way from a host to an address is translated.
    pub(crate) fn is_translated(&self, from: HostId, target: IpAddr) -> bool {
        self.way_out(from, target).is_some() || self.box_at(target).is_some()
    }

    /// A packet leaves through a box; passes with the source that others see.
    pub(crate) fn leave(&mut self, nat: NatId, packet: Packet) -> Verdict {
        let now = self.now;
        let verdict = self.boxes[nat.index()].nat.handle_outbound(packet, now);
        self.record_verdict(nat, verdict);
        verdict
    }

    /// A packet arrives at its target, which may be a box; passes with the target behind it.
    pub(crate) fn enter(&mut self, packet: Packet) -> Verdict {
        let Some(nat) = self.box_at(packet.target.ip()) else {
            return Verdict::Pass(packet.target);
        };
        let now = self.now;
        let verdict = self.boxes[nat.index()].nat.handle_inbound(packet, now);
        self.record_verdict(nat, verdict);
        verdict
    }

    /// Whether the box of a sender would let a packet pass that opens nothing.
    pub(crate) fn would_leave(&self, nat: NatId, packet: Packet) -> bool {
        self.boxes[nat.index()].nat.knows_outbound(packet, self.now)
    }

    /// Whether the box of a receiver would.
    pub(crate) fn would_enter(&self, packet: Packet) -> bool {
        let nat = self.box_at(packet.target.ip());
        nat.is_none_or(|nat| self.boxes[nat.index()].nat.knows_inbound(packet, self.now))
    }

    /// From whom to whom a datagram goes. `None` when nobody can get it, or its sender's box drops it.
    pub(crate) fn datagram_out(
        &mut self,
        from: HostId,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Option<(HostId, SocketAddr)> {
        if self.boxes.is_empty() {
            return Some((self.route(from, target.ip())?, source));
        }
        let to = self.destination(from, Protocol::Udp, target);
        let Some(nat) = self.way_out(from, target.ip()) else {
            return Some((to?, source));
        };
        let packet = Packet {
            kind: PacketKind::Datagram,
            source,
            target,
        };
        match self.leave(nat, packet) {
            Verdict::Pass(public) => Some((to?, public)),
            Verdict::Drop | Verdict::Refuse => {
                self.stats.datagrams_lost += 1;
                None
            }
        }
    }

    /// Who gets a datagram that arrives at an address, and at which address.
    pub(crate) fn datagram_in(
        &mut self,
        source: SocketAddr,
        (to, target): (HostId, SocketAddr),
    ) -> Option<(HostId, SocketAddr)> {
        if self.boxes.is_empty() || self.box_at(target.ip()).is_none() {
            return Some((to, target));
        }
        let packet = Packet {
            kind: PacketKind::Datagram,
            source,
            target,
        };
        match self.enter(packet) {
            Verdict::Pass(internal) => Some((self.host_at(internal.ip())?, internal)),
            Verdict::Drop | Verdict::Refuse => None,
        }
    }

    fn record_verdict(&mut self, nat: NatId, verdict: Verdict) {
        let number = u64::from(nat.0);
        match verdict {
            Verdict::Pass(to) => self.record(Kind::Translated, [number, u64::from(to.port()), 0]),
            Verdict::Drop | Verdict::Refuse => self.record(Kind::Blocked, [number, 0, 0]),
        }
    }
}

/// Addresses of boxes: all of the range but the first and the last.
const BOXES_MAX: u16 = u16::MAX - 1;
