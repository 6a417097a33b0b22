//! How a connection comes to be: the first packets, again and again until they are answered.

use std::{
    io,
    net::SocketAddr,
    task::{Poll, Waker},
};

use peerkit_core::TcpOptions;

use super::{Connection, ConnectionId, End, MILLISECOND, Phase, Side};
use crate::{
    HostId,
    nat::{PacketKind, Protocol},
    passage::Far,
    ports::takes,
    queue::Event,
    trace::Kind,
    world::{World, remember},
};

/// Sockets ask for these.
impl World {
    pub(crate) fn connect(
        &mut self,
        host: HostId,
        remote: SocketAddr,
        options: &TcpOptions,
    ) -> io::Result<(ConnectionId, SocketAddr)> {
        let local = self.bind_dialer(host, remote, options.bind, options.reuse_port)?;
        self.host_mut(host).tuples.insert((local.port(), remote));
        let id = self.next_id();
        let connection = Connection {
            ends: [End::new(self.window), End::new(self.window)],
            dialer: host,
            target: self.destination(host, Protocol::Tcp, remote),
            dialer_addr: local,
            listener_addr: remote,
            crossing: None,
            far: self.is_translated(host, remote.ip()).then(|| {
                Box::new(Far {
                    dialer: local,
                    listener: remote,
                })
            }),
        };
        self.connections.insert(id, connection);
        self.stats.connections_peak = self.stats.connections_peak.max(self.connections.len());
        self.record(Kind::Connecting, [id, u64::from(host.0), 0]);
        self.send_control(id, Side::Dialer, Event::Syn(id));
        self.after(
            SYN_RETRY,
            Event::SynAgain {
                connection: id,
                tries: 1,
            },
        );
        Ok((id, local))
    }

    /// Waits until a connect has succeeded; returns the side of which connection the socket is then.
    pub(crate) fn poll_connected(
        &mut self,
        id: ConnectionId,
        waker: &Waker,
    ) -> Poll<io::Result<(ConnectionId, Side)>> {
        if let Some(joined) = self.poll_joined(id, waker) {
            return joined;
        }
        let Some(end) = self.end_mut(id, Side::Dialer) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        match (end.error, end.phase) {
            (Some(error), _) => Poll::Ready(Err(error.into())),
            (None, Phase::Open) => Poll::Ready(Ok((id, Side::Dialer))),
            (None, Phase::Gone) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            (None, Phase::Opening) => {
                let replaced = remember(&mut end.writer, waker);
                self.retired.extend(replaced);
                Poll::Pending
            }
        }
    }
}

/// What the network brings.
impl World {
    pub(crate) fn handle_syn(&mut self, id: ConnectionId) {
        if let Some(into) = self.joined_into(id) {
            if self.arrives(into, Side::Dialer, PacketKind::Syn) {
                self.confirm(id, into);
            }
            return;
        }
        if !self.arrives(id, Side::Listener, PacketKind::Syn) {
            return;
        }
        let Some((_, to)) = self.path(id, Side::Dialer) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (target, dialer_addr) = connection.addrs(Side::Listener);
        let phase = connection.ends[1].phase;
        if phase == Phase::Gone {
            return;
        }
        if phase == Phase::Open {
            self.send_control(id, Side::Listener, Event::SynAck(id));
            return;
        }
        if let Some(crossing) = self.crossing(id, to) {
            self.join(id, crossing);
            return;
        }
        let listeners = &mut self.host_mut(to).listeners;
        // The address itself before a wildcard, the oldest first.
        let matching = listeners.iter().filter(|(_, it)| takes(it.addr, target));
        let key = matching.min_by_key(|(key, it)| (it.addr != target, **key));
        let key = key.map(|(key, _)| *key);
        let Some(listener) = key.and_then(|key| listeners.get_mut(&key)) else {
            self.record(Kind::Refused, [id, u64::from(to.0), 0]);
            self.send_control(
                id,
                Side::Listener,
                Event::Reset {
                    connection: id,
                    to: Side::Dialer,
                },
            );
            return;
        };
        if listener.pending.len() >= listener.backlog {
            return;
        }
        listener.pending.push_back(id);
        let (waiting, waker) = (listener.pending.len(), listener.waker.take());
        self.stats.backlog_peak = self.stats.backlog_peak.max(waiting);
        self.wake(waker);
        self.host_mut(to)
            .tuples
            .insert((target.port(), dialer_addr));
        if let Some(end) = self.end_mut(id, Side::Listener) {
            end.phase = Phase::Open;
            end.flights = 1;
        }
        self.send_control(id, Side::Listener, Event::SynAck(id));
    }

    pub(crate) fn handle_syn_again(&mut self, id: ConnectionId, tries: u32) {
        let waiting = |end: &mut End| end.phase == Phase::Opening && end.error.is_none();
        if self.end_mut(id, Side::Dialer).is_some_and(waiting) {
            if tries > SYN_TRIES {
                self.fail(id, Side::Dialer, io::ErrorKind::TimedOut);
                return;
            }
            self.send_control(id, Side::Dialer, Event::Syn(id));
        } else if !self.ask_again(id, tries > SYN_TRIES) {
            self.forget_unheard(id);
            return;
        }
        let again = Event::SynAgain {
            connection: id,
            tries: tries + 1,
        };
        self.after(SYN_RETRY << tries, again);
    }

    pub(crate) fn handle_syn_ack(&mut self, id: ConnectionId) {
        let Some((_, to)) = self.path(id, Side::Listener) else {
            return;
        };
        if !self.arrives(id, Side::Dialer, PacketKind::Syn) {
            return;
        }
        let Some(end) = self.end_mut(id, Side::Dialer) else {
            return;
        };
        match end.phase {
            Phase::Open => {}
            Phase::Gone => {
                let reset = Event::Reset {
                    connection: id,
                    to: Side::Listener,
                };
                self.send_control(id, Side::Dialer, reset);
            }
            Phase::Opening => {
                end.phase = Phase::Open;
                end.flights = end.flights.max(2);
                let waker = end.writer.take();
                self.wake(waker);
                self.record(Kind::Connected, [id, u64::from(to.0), 0]);
            }
        }
        let connection = self.connections.get(&id);
        if let Some(crossing) = connection.and_then(|connection| connection.crossing) {
            self.confirm(crossing, id);
        }
    }
}

impl World {
    /// A connect that was cancelled, and of which the listener has not heard.
    fn forget_unheard(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id)
            && connection.end(Side::Dialer).phase == Phase::Gone
            && connection.end(Side::Listener).phase == Phase::Opening
        {
            self.connections.remove(&id);
        }
    }
}

/// spec: RFC 6298, section 2: the first retransmission of a SYN after a second.
const SYN_RETRY: u64 = 1000 * MILLISECOND;
/// Retries before a connect is given up, after 127 s; as on Linux.
const SYN_TRIES: u32 = 6;
