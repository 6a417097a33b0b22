//! How a connection ends: finished, reset, given up or dropped, and forgotten by one side after the other.

use std::io;

use bytes::Bytes;

use super::{ConnectionId, MILLISECOND, Phase, Side};
use crate::{nat::PacketKind, queue::Event, trace::Kind, world::World};

/// Sockets ask for these.
impl World {
    /// Ends this side's direction. A second time it does nothing.
    pub(crate) fn finish(&mut self, id: ConnectionId, side: Side) -> io::Result<()> {
        let Some(end) = self.end_mut(id, side) else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        if end.phase == Phase::Open && !end.fin_sent && end.error.is_none() {
            end.fin_sent = true;
            self.send_segment(id, side, Bytes::new(), true);
        }
        Ok(())
    }

    /// The socket was dropped.
    pub(crate) fn abandon(&mut self, id: ConnectionId, side: Side) {
        let (id, side) = self.leave_attempt(id).unwrap_or((id, side));
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        end.orphan = true;
        let wakers = [end.reader.take(), end.writer.take()];
        let (phase, unread) = (end.phase, !end.buffer.is_empty());
        let failed = end.error.is_some();
        self.retired.extend(wakers.into_iter().flatten());
        if phase != Phase::Open || failed {
            self.forget(id, side);
        } else if unread {
            self.abort(id, side);
        } else {
            // Fails only for a connection that is gone.
            let _ = self.finish(id, side);
            self.after(
                LINGER,
                Event::Linger {
                    connection: id,
                    side,
                },
            );
            self.forget_if_done(id, side);
        }
    }

    /// Resets a connection from one side, which forgets it.
    pub(crate) fn abort(&mut self, id: ConnectionId, side: Side) {
        if self
            .end_mut(id, side)
            .is_some_and(|end| end.phase == Phase::Open)
        {
            let to = side.other();
            self.send_control(id, side, Event::Reset { connection: id, to });
        }
        self.forget(id, side);
    }
}

/// What the network brings.
impl World {
    pub(crate) fn handle_reset(&mut self, id: ConnectionId, to: Side) {
        if self.arrives(id, to, PacketKind::Reset) {
            self.hear_reset(id, to);
        }
    }

    /// Ends a side that was told that the connection is over.
    pub(crate) fn hear_reset(&mut self, id: ConnectionId, to: Side) {
        let host = self.host_of(id, to).map_or(0, |host| u64::from(host.0));
        let Some(end) = self.end_mut(id, to) else {
            return;
        };
        let kind = match end.phase {
            Phase::Opening => io::ErrorKind::ConnectionRefused,
            Phase::Open => io::ErrorKind::ConnectionReset,
            Phase::Gone => return,
        };
        self.record(Kind::Reset, [id, host, 0]);
        self.fail(id, to, kind);
    }

    pub(crate) fn handle_linger(&mut self, id: ConnectionId, side: Side) {
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        if end.phase == Phase::Gone {
            return;
        }
        // What still waits to be sent again keeps it alive until it is given up.
        if end.stalled.is_empty() {
            self.forget(id, side);
        } else {
            self.after(
                LINGER,
                Event::Linger {
                    connection: id,
                    side,
                },
            );
        }
    }
}

impl World {
    /// Ends a connection on one side with an error, which the socket's owner is told.
    pub(super) fn fail(&mut self, id: ConnectionId, side: Side, kind: io::ErrorKind) {
        if kind == io::ErrorKind::TimedOut {
            self.record(Kind::TimedOut, [id, side as u64, 0]);
        }
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        end.error = Some(kind);
        end.stalled.clear();
        let wakers = [end.reader.take(), end.writer.take()];
        let orphan = end.orphan;
        self.wakes.extend(wakers.into_iter().flatten());
        if orphan {
            self.forget(id, side);
        }
    }

    pub(super) fn forget_if_done(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (here, there) = (connection.end(side), connection.end(side.other()));
        let said = here.orphan && here.fin_received && here.phase == Phase::Open;
        let heard = there.fin_received || there.phase == Phase::Gone;
        if said && heard {
            self.forget(id, side);
        }
    }

    /// One side forgets a connection; when both have, it is no more.
    pub(crate) fn forget(&mut self, id: ConnectionId, side: Side) {
        let host = self.host_of(id, side);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (local, remote) = connection.addrs(side);
        let end = &mut connection.ends[side as usize];
        end.phase = Phase::Gone;
        end.buffer.clear();
        end.stalled.clear();
        let wakers = [end.reader.take(), end.writer.take()];
        let keys = [end.retransmit.take(), end.room.take()];
        // A listener that never heard of the connection has nothing to forget, but may yet hear of it.
        let [dialer, listener] = &connection.ends;
        let unheard = listener.phase == Phase::Opening
            && (dialer.error.is_some() || connection.target.is_none());
        if dialer.phase == Phase::Gone && (listener.phase == Phase::Gone || unheard) {
            self.connections.remove(&id);
        }
        self.wakes.extend(wakers.into_iter().flatten());
        for event in keys
            .into_iter()
            .flatten()
            .filter_map(|key| self.queue.remove(key))
        {
            if let Event::Wake(waker) = event {
                self.retired.push(waker);
            }
        }
        if let Some(host) = host {
            self.host_mut(host).tuples.remove(&(local.port(), remote));
        }
    }
}

const LINGER: u64 = 60_000 * MILLISECOND;
