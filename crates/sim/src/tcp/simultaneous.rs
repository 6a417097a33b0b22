//! Two sides that connect to each other at the same time, between the same two ports, get one connection.
//!
//! spec: RFC 9293, section 3.5: simultaneous open. Whose first packet arrives first has the connection;
//! the other side's own attempt ends in it, once it has heard that its packet has arrived.

use std::{io, task::Poll};

use super::{ConnectionId, Phase, Side};
use crate::{
    HostId,
    nat::PacketKind,
    queue::Event,
    trace::Kind,
    world::{World, remember},
};

/// An attempt to connect that has become the listener's side of another one.
pub(crate) struct Joined {
    into: ConnectionId,
    /// The dialer has heard of it.
    confirmed: bool,
}

impl World {
    /// The attempt of a host to connect to where the first packet of a connection comes from.
    pub(super) fn crossing(&self, id: ConnectionId, host: HostId) -> Option<ConnectionId> {
        let (local, remote) = self.addrs(id, Side::Listener)?;
        let tuples = &self.host(host).tuples;
        if !tuples.contains(&(local.port(), remote)) {
            return None;
        }
        let mut crossing = self.connections.iter().filter(|(other, connection)| {
            let dialer = &connection.ends[0];
            **other != id
                && connection.dialer == host
                && connection.addrs(Side::Dialer) == (local, remote)
                && dialer.phase == Phase::Opening
                && dialer.error.is_none()
        });
        crossing.next().map(|(crossing, _)| *crossing)
    }

    /// The listener's side of a connection is the socket that was connecting itself.
    pub(super) fn join(&mut self, id: ConnectionId, crossing: ConnectionId) {
        let Some(mut attempt) = self.connections.remove(&crossing) else {
            return;
        };
        let waiting = attempt.ends[0].writer.take();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.crossing = Some(crossing);
            let end = &mut connection.ends[1];
            end.phase = Phase::Open;
            end.flights = 1;
            end.writer = waiting;
        }
        let joined = Joined {
            into: id,
            confirmed: false,
        };
        self.joined.insert(crossing, joined);
        let host = u64::from(attempt.dialer.0);
        self.record(Kind::Joined, [id, host, crossing]);
        self.send_control(id, Side::Listener, Event::SynAck(id));
    }

    /// The connection that an attempt has ended in.
    pub(super) fn joined_into(&self, attempt: ConnectionId) -> Option<ConnectionId> {
        Some(self.joined.get(&attempt)?.into)
    }

    /// Nobody waits for an attempt any more; returns the side that it has become, if it has.
    pub(super) fn leave_attempt(&mut self, attempt: ConnectionId) -> Option<(ConnectionId, Side)> {
        let joined = self.joined.remove(&attempt)?;
        Some((joined.into, Side::Listener))
    }

    /// Tells the side that was connecting itself that its packet has arrived.
    pub(super) fn confirm(&mut self, attempt: ConnectionId, into: ConnectionId) {
        if self.joined.contains_key(&attempt) {
            self.send_control(into, Side::Dialer, Event::Joined(attempt));
        }
    }

    pub(crate) fn handle_joined(&mut self, attempt: ConnectionId) {
        let Some(into) = self.joined_into(attempt) else {
            return;
        };
        if !self.arrives(into, Side::Listener, PacketKind::Segment) {
            return;
        }
        if let Some(joined) = self.joined.get_mut(&attempt) {
            joined.confirmed = true;
        }
        let end = self.end_mut(into, Side::Listener);
        let waker = end.and_then(|end| end.writer.take());
        self.wake(waker);
    }

    /// Goes on asking until it is confirmed.
    pub(super) fn ask_again(&mut self, attempt: ConnectionId, last: bool) -> bool {
        let Some(joined) = self.joined.get(&attempt) else {
            return false;
        };
        let (into, waits) = (joined.into, !joined.confirmed);
        if waits && last {
            self.fail(into, Side::Listener, io::ErrorKind::TimedOut);
        } else if waits {
            self.send_control(into, Side::Listener, Event::SynAck(into));
        }
        waits && !last
    }

    /// The side that the socket of an attempt has from now on.
    pub(super) fn poll_joined(
        &mut self,
        attempt: ConnectionId,
        waker: &std::task::Waker,
    ) -> Option<Poll<io::Result<(ConnectionId, Side)>>> {
        let &Joined { into, confirmed } = self.joined.get(&attempt)?;
        let side = (into, Side::Listener);
        let Some(end) = self.end_mut(into, Side::Listener) else {
            return Some(Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())));
        };
        let outcome = match (end.error, end.phase) {
            (Some(error), _) => Err(error.into()),
            (None, Phase::Gone) => Err(io::ErrorKind::ConnectionAborted.into()),
            (None, _) if confirmed => Ok(side),
            (None, _) => {
                let replaced = remember(&mut end.writer, waker);
                self.retired.extend(replaced);
                return Some(Poll::Pending);
            }
        };
        if outcome.is_ok() {
            self.leave_attempt(attempt);
        }
        Some(Poll::Ready(outcome))
    }
}
