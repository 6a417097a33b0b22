//! The way of a connection's packets through NAT boxes.

use std::net::SocketAddr;

use crate::{
    HostId,
    boxes::NatId,
    nat::{Packet, PacketKind, Verdict},
    queue::Event,
    tcp::{ConnectionId, Side},
    world::World,
};

/// The addresses at the listener, where a box may have changed what the dialer sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    pub(crate) dialer: SocketAddr,
    pub(crate) listener: SocketAddr,
}

impl World {
    /// Whether a packet gets to a side of a connection: over the link, and through the boxes.
    pub(crate) fn arrives(&mut self, id: ConnectionId, to: Side, kind: PacketKind) -> bool {
        self.path(id, to.other())
            .is_some_and(|path| self.arrives_by(path, id, to, kind))
    }

    /// The same, when it is known from which host to which the packet goes.
    pub(crate) fn arrives_by(
        &mut self,
        (source, target): (HostId, HostId),
        id: ConnectionId,
        to: Side,
        kind: PacketKind,
    ) -> bool {
        self.reaches(source, target) && (!self.is_far(id) || self.pass_in(id, to, kind))
    }

    /// Whether what a side sends would get to the other one. Changes nothing.
    pub(crate) fn would_arrive(&self, id: ConnectionId, from: Side) -> bool {
        let Some((source, target)) = self.path(id, from) else {
            return false;
        };
        if !self.reaches(source, target) {
            return false;
        }
        let kind = PacketKind::Segment;
        let arriving = self.packet_inbound(id, from.other(), kind);
        !self.is_far(id)
            || (self.is_known_at_source(id, from, kind)
                && arriving.is_some_and(|packet| self.would_enter(packet)))
    }

    /// A packet leaves a side through its box. What the box does not let out goes on as if it
    /// did, and is found out when it arrives.
    pub(crate) fn pass_out(&mut self, id: ConnectionId, from: Side, event: &Event) {
        let Some(kind) = event.packet_kind() else {
            return;
        };
        let Some((nat, packet)) = self.packet_outbound(id, from, kind) else {
            return;
        };
        match self.leave(nat, packet) {
            Verdict::Pass(public) if from == Side::Dialer && kind == PacketKind::Syn => {
                self.set_dialer_seen(id, public);
            }
            Verdict::Pass(_) | Verdict::Drop => {}
            Verdict::Refuse => {
                let refused = Event::Refused {
                    connection: id,
                    to: from,
                };
                self.after(0, refused);
            }
        }
    }

    /// A box has told this side that it knows no such connection.
    pub(crate) fn handle_refused(&mut self, id: ConnectionId, to: Side) {
        // The side's own box hears it, too, if it knows of the connection.
        if let Some(reset) = self.packet_inbound(id, to, PacketKind::Reset)
            && self.would_enter(reset)
        {
            self.enter(reset);
        }
        self.hear_reset(id, to);
    }

    fn pass_in(&mut self, id: ConnectionId, to: Side, kind: PacketKind) -> bool {
        if !self.is_known_at_source(id, to.other(), kind) {
            return false;
        }
        let Some(packet) = self.packet_inbound(id, to, kind) else {
            return false;
        };
        match self.enter(packet) {
            Verdict::Pass(internal) => self.deliver(id, to, internal),
            Verdict::Drop => false,
            Verdict::Refuse => {
                self.refuse(id, to);
                false
            }
        }
    }

    /// Whether the box of the sender, if there is one, knows what it sends.
    fn is_known_at_source(&self, id: ConnectionId, from: Side, kind: PacketKind) -> bool {
        self.packet_outbound(id, from, kind)
            .is_none_or(|(nat, packet)| self.would_leave(nat, packet))
    }

    /// A packet as it leaves its sender, and the box through which it goes, if any.
    fn packet_outbound(
        &self,
        id: ConnectionId,
        from: Side,
        kind: PacketKind,
    ) -> Option<(NatId, Packet)> {
        let (source, target) = self.addrs(id, from)?;
        let nat = self.way_out(self.host_of(id, from)?, target.ip())?;
        let packet = Packet {
            kind,
            source,
            target,
        };
        Some((nat, packet))
    }

    /// A packet as it arrives in front of the receiver's box, if there is one.
    fn packet_inbound(&self, id: ConnectionId, to: Side, kind: PacketKind) -> Option<Packet> {
        let (_, source) = self.addrs(id, to)?;
        let (_, target) = self.addrs(id, to.other())?;
        Some(Packet {
            kind,
            source,
            target,
        })
    }

    /// Answers from the box of `to`, over the link of the host behind it.
    fn refuse(&mut self, id: ConnectionId, to: Side) {
        let Some((from, back)) = self.path(id, to) else {
            return;
        };
        if !self.links.is_up(from, back) {
            return;
        }
        let arrival = self.links.send((from, back), 0, self.now, &mut self.rng);
        self.stats.packets += 1;
        let refused = Event::Refused {
            connection: id,
            to: to.other(),
        };
        self.queue.push(arrival, refused);
    }

    /// Whether what was let in reaches the host that has the connection; the first packet says which it is.
    fn deliver(&mut self, id: ConnectionId, to: Side, internal: SocketAddr) -> bool {
        if self
            .addrs(id, to)
            .is_some_and(|(local, _)| local == internal)
        {
            return true;
        }
        let host = self.host_at(internal.ip());
        to == Side::Listener && host.is_some_and(|host| self.set_listener(id, host, internal))
    }

    pub(crate) fn is_far(&self, id: ConnectionId) -> bool {
        if self.boxes.is_empty() {
            return false;
        }
        let connection = self.connections.get(&id);
        connection.is_some_and(|connection| connection.far.is_some())
    }
}

impl Event {
    /// What a box sees of it, if it is a packet of a connection.
    fn packet_kind(&self) -> Option<PacketKind> {
        match self {
            Self::Syn(_) | Self::SynAck(_) => Some(PacketKind::Syn),
            Self::Segment { segment, .. } => Some(segment.kind()),
            Self::Credit { .. } | Self::Joined(_) => Some(PacketKind::Segment),
            Self::Reset { .. } => Some(PacketKind::Reset),
            Self::Wake(_)
            | Self::SynAgain { .. }
            | Self::Retransmit { .. }
            | Self::Refused { .. }
            | Self::Linger { .. }
            | Self::Datagram { .. } => None,
        }
    }
}
