//! Connections: a reliable, ordered pipe in both directions, with what can go wrong with it.
//!
//! A connect takes one round trip. Bytes wait in the window (from the write until the other
//! side has read them) and for the queue of the link, and the writer waits with them.
//! What does not get through is sent again, less and less often, until the connection is given up.
//! Acknowledgements take time, but no bandwidth.

mod simultaneous;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use peerkit_core::TcpOptions;

use crate::{
    ConnectionStats, HostId,
    link::Room,
    nat::{PacketKind, Protocol},
    passage::Far,
    ports::takes,
    queue::{Event, Key},
    trace::Kind,
    world::{World, remember},
};

pub(crate) use simultaneous::Joined;

/// The number of a connection; never used twice.
pub(crate) type ConnectionId = u64;

/// One of the two sides of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer = 0,
    Listener = 1,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// Bytes that travel together.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    offset: u64,
    bytes: Bytes,
    /// Nothing follows.
    fin: bool,
    /// How many packets had to be read, one after the other, before this could be sent; and this one.
    flights: u32,
}

impl Segment {
    /// What a NAT box sees of it.
    pub(crate) fn kind(&self) -> PacketKind {
        if self.fin {
            PacketKind::Fin
        } else {
            PacketKind::Segment
        }
    }

    /// The offset of what follows. The end of the stream counts like a byte.
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.fin)
    }
}

/// A listening socket.
pub(crate) struct ListenerState {
    pub(crate) addr: SocketAddr,
    pub(crate) shared: bool,
    backlog: usize,
    pending: VecDeque<ConnectionId>,
    waker: Option<Waker>,
}

/// A connection that a listener hands out.
pub(crate) struct Accepted {
    pub(crate) connection: ConnectionId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) remote_addr: SocketAddr,
    /// The life of the host that it belongs to.
    pub(crate) life: u32,
}

/// A connection, from the first packet until both sides have forgotten it.
pub(crate) struct Connection {
    ends: [End; 2],
    dialer: HostId,
    /// Where the listener is, if there is such a host.
    target: Option<HostId>,
    dialer_addr: SocketAddr,
    listener_addr: SocketAddr,
    /// The attempt of the listener to connect to the dialer that this connection has taken over.
    crossing: Option<ConnectionId>,
    /// The addresses at the listener, if a box may change them.
    pub(crate) far: Option<Box<Far>>,
}

impl Connection {
    /// The addresses of a side and of its other side, as it sees them.
    fn addrs(&self, side: Side) -> (SocketAddr, SocketAddr) {
        match (side, &self.far) {
            (Side::Dialer, _) => (self.dialer_addr, self.listener_addr),
            (Side::Listener, None) => (self.listener_addr, self.dialer_addr),
            (Side::Listener, Some(far)) => (far.listener, far.dialer),
        }
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Packets to this side are answered by nothing: it does not know of the connection yet.
    Opening,
    Open,
    /// It does not know of the connection any more. Packets are answered by a reset.
    Gone,
}

/// What one side knows.
struct End {
    phase: Phase,
    /// The socket was dropped, but what it wrote is still under way.
    orphan: bool,
    error: Option<io::ErrorKind>,
    sent: u64,
    credit: usize,
    /// When the last packet from here arrives; later ones don't overtake it.
    last_arrival: u64,
    /// What did not arrive, by offset.
    stalled: BTreeMap<u64, Segment>,
    stalled_since: u64,
    pause: u64,
    retransmit: Option<Key>,
    fin_sent: bool,
    writer: Option<Waker>,
    /// When the link has room for the writer.
    room: Option<Key>,
    received: u64,
    buffer: VecDeque<(u32, Bytes)>,
    fin_received: bool,
    /// Read, but the sender has not been told.
    consumed: usize,
    reader: Option<Waker>,
    flights: u32,
}

impl End {
    fn new(window: usize) -> Self {
        Self {
            phase: Phase::Opening,
            orphan: false,
            error: None,
            sent: 0,
            credit: window,
            last_arrival: 0,
            stalled: BTreeMap::new(),
            stalled_since: 0,
            pause: RETRY_MIN,
            retransmit: None,
            fin_sent: false,
            writer: None,
            room: None,
            received: 0,
            buffer: VecDeque::new(),
            fin_received: false,
            consumed: 0,
            reader: None,
            flights: 0,
        }
    }
}

/// Sockets ask for these.
impl World {
    pub(crate) fn listen(
        &mut self,
        host: HostId,
        addr: SocketAddr,
        options: &TcpOptions,
    ) -> io::Result<(u64, SocketAddr)> {
        let addr = self.bind_listener(host, addr, options.reuse_port)?;
        let id = self.next_id();
        let state = ListenerState {
            addr,
            shared: options.reuse_port,
            backlog: options.backlog.max(1) as usize,
            pending: VecDeque::new(),
            waker: None,
        };
        self.host_mut(host).listeners.insert(id, state);
        Ok((id, addr))
    }

    pub(crate) fn poll_accept(
        &mut self,
        (host, id): (HostId, u64),
        waker: &Waker,
    ) -> Poll<io::Result<Accepted>> {
        loop {
            let Some(listener) = self.host_mut(host).listeners.get_mut(&id) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if !listener.pending.is_empty()
                && let Err(error) = self.check_descriptors(host)
            {
                return Poll::Ready(Err(error));
            }
            let listener = self.host_mut(host).listeners.get_mut(&id);
            let listener = listener.expect("it was there a moment ago");
            let Some(connection) = listener.pending.pop_front() else {
                let replaced = remember(&mut listener.waker, waker);
                self.retired.extend(replaced);
                return Poll::Pending;
            };
            if let Some(state) = self.connections.get(&connection)
                && state.ends[1].phase == Phase::Open
            {
                let (local_addr, remote_addr) = state.addrs(Side::Listener);
                self.record(Kind::Accepted, [connection, u64::from(host.0), 0]);
                return Poll::Ready(Ok(Accepted {
                    connection,
                    local_addr,
                    remote_addr,
                    life: self.take_descriptor(host),
                }));
            }
        }
    }

    pub(crate) fn close_listener(&mut self, host: HostId, id: u64) {
        let Some(listener) = self.host_mut(host).listeners.remove(&id) else {
            return;
        };
        self.retired.extend(listener.waker);
        for connection in listener.pending {
            self.abort(connection, Side::Listener);
        }
    }

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

    pub(crate) fn poll_read(
        &mut self,
        (id, side): (ConnectionId, Side),
        waker: &Waker,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let window = self.window;
        let Some(end) = self.end_mut(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if end.buffer.is_empty() {
            return match (end.error, end.phase) {
                (Some(error), _) => Poll::Ready(Err(error.into())),
                (None, Phase::Gone) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                (None, _) if end.fin_received => Poll::Ready(Ok(0)),
                (None, _) => {
                    let replaced = remember(&mut end.reader, waker);
                    self.retired.extend(replaced);
                    Poll::Pending
                }
            };
        }
        let taken = end.take(buffers);
        end.consumed += taken;
        if end.consumed >= (window / 4).max(1) {
            let bytes = std::mem::take(&mut end.consumed);
            let to = side.other();
            self.send_control(
                id,
                side,
                Event::Credit {
                    connection: id,
                    to,
                    bytes,
                },
            );
        }
        Poll::Ready(Ok(taken))
    }

    pub(crate) fn poll_write(
        &mut self,
        (id, side): (ConnectionId, Side),
        waker: &Waker,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.now;
        let Some((from, to)) = self.path(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let room = self.links.room(from, to, now);
        let Some(end) = self.end_mut(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        if end.fin_sent || end.error.is_some() || end.phase == Phase::Gone {
            let kind = end.error.unwrap_or(io::ErrorKind::BrokenPipe);
            return Poll::Ready(Err(kind.into()));
        }
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let (room, segment) = match room {
            Room::Bytes { room, segment } if end.credit > 0 => (room.min(end.credit), segment),
            Room::Bytes { .. } => {
                let replaced = remember(&mut end.writer, waker);
                self.retired.extend(replaced);
                return Poll::Pending;
            }
            Room::At(at) => {
                self.wait_for_room((id, side), waker, at);
                return Poll::Pending;
            }
        };
        let mut bytes = gather(buffers, room);
        let written = bytes.len();
        end.credit -= written;
        while !bytes.is_empty() {
            let next = bytes.split_to(segment.min(bytes.len()));
            self.send_segment(id, side, next, false);
        }
        Poll::Ready(Ok(written))
    }

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

    /// The open sides of the connections from any of these hosts to any of those, both ways.
    pub(crate) fn open_between(
        &self,
        ones: &[HostId],
        others: &[HostId],
    ) -> Vec<(ConnectionId, Side)> {
        let between = |from: HostId, to: HostId| ones.contains(&from) && others.contains(&to);
        let concerned = |connection: &Connection| {
            let (dialer, target) = (connection.dialer, connection.target);
            target.is_some_and(|target| between(dialer, target) || between(target, dialer))
        };
        let mut open = Vec::new();
        for (id, connection) in self.connections.iter() {
            let sides = [Side::Dialer, Side::Listener].into_iter();
            let sides = sides.filter(|side| connection.end(*side).phase == Phase::Open);
            if concerned(connection) {
                open.extend(sides.map(|side| (*id, side)));
            }
        }
        open
    }

    /// The connections of a host, with the side that is there.
    pub(crate) fn connections_of(&self, host: HostId) -> Vec<(ConnectionId, Side)> {
        let sides = |(id, connection): (&ConnectionId, &Connection)| {
            let dialer = self.host_of(*id, Side::Dialer) == Some(host);
            // Of what is still on its way to it, a host knows nothing that it could lose.
            let heard = connection.ends[1].phase != Phase::Opening;
            let listener = connection.target == Some(host) && heard;
            let dialer = dialer.then_some((*id, Side::Dialer));
            [dialer, listener.then_some((*id, Side::Listener))]
        };
        self.connections.iter().flat_map(sides).flatten().collect()
    }

    pub(crate) fn connection_stats(&self) -> Vec<ConnectionStats> {
        let stats = |(id, connection): (&ConnectionId, &Connection)| {
            Some(ConnectionStats {
                dialer: self.host_of(*id, Side::Dialer)?,
                dialer_addr: connection.dialer_addr,
                dialer_seen: connection.addrs(Side::Listener).1,
                listener: connection.target,
                listener_addr: connection.listener_addr,
                flights: connection.ends[0].flights,
                bytes_sent: connection.ends[0].sent - u64::from(connection.ends[0].fin_sent),
                bytes_received: connection.ends[1].sent - u64::from(connection.ends[1].fin_sent),
            })
        };
        self.connections.iter().filter_map(stats).collect()
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

    pub(crate) fn handle_segment(&mut self, id: ConnectionId, to: Side, segment: Segment) {
        let from = to.other();
        let Some(path) = self.path(id, from) else {
            return;
        };
        let (kind, target) = (segment.kind(), path.1);
        let reached = self.arrives_by(path, id, to, kind);
        let Some(end) = self.end_mut(id, to) else {
            return;
        };
        let (orphan, opening) = (end.orphan, end.phase == Phase::Opening);
        let deaf = end.phase == Phase::Gone || end.error.is_some();
        if reached && (deaf || (orphan && !segment.bytes.is_empty())) {
            self.send_control(
                id,
                to,
                Event::Reset {
                    connection: id,
                    to: from,
                },
            );
            if orphan {
                self.forget(id, to);
            }
            return;
        }
        // What comes after a gap waits until the gap is filled.
        if !reached || opening || segment.offset != end.received {
            self.stall(id, from, segment);
            return;
        }
        end.received = segment.end();
        end.fin_received |= segment.fin;
        let waker = end.reader.take();
        self.wake(waker);
        let len = segment.bytes.len() as u64;
        self.record(Kind::Arrived, [id, u64::from(target.0), len]);
        self.trace.content(&segment.bytes);
        let end = self.end_mut(id, to).expect("it was there a moment ago");
        if !segment.bytes.is_empty() {
            end.buffer.push_back((segment.flights, segment.bytes));
        }
        self.forget_if_done(id, to);
        self.forget_if_done(id, from);
    }

    pub(crate) fn handle_retransmit(&mut self, id: ConnectionId, from: Side) {
        let now = self.now;
        let reached = self.would_arrive(id, from);
        let Some(end) = self.end_mut(id, from) else {
            return;
        };
        end.retransmit = None;
        if reached {
            end.pause = RETRY_MIN;
            let segments = std::mem::take(&mut end.stalled);
            for segment in segments.into_values() {
                self.put_on_link(id, from, segment);
            }
        } else if now - end.stalled_since > GIVE_UP {
            self.fail(id, from, io::ErrorKind::TimedOut);
        } else {
            end.pause = (end.pause * 2).min(RETRY_MAX);
            let pause = end.pause;
            self.retransmit_after(id, from, pause);
        }
    }

    pub(crate) fn handle_credit(&mut self, id: ConnectionId, to: Side, bytes: usize) {
        if self.end_mut(id, to).is_none() {
            return;
        }
        if !self.arrives(id, to, PacketKind::Segment) {
            self.after(
                RETRY_MIN * 5,
                Event::Credit {
                    connection: id,
                    to,
                    bytes,
                },
            );
            return;
        }
        let Some(end) = self.end_mut(id, to) else {
            return;
        };
        end.credit += bytes;
        let waker = end.writer.take();
        self.wake(waker);
    }

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
    fn send_segment(&mut self, id: ConnectionId, side: Side, bytes: Bytes, fin: bool) {
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        let segment = Segment {
            offset: end.sent,
            bytes,
            fin,
            flights: end.flights + 1,
        };
        end.sent = segment.end();
        let waits = !end.stalled.is_empty();
        if waits {
            self.stall(id, side, segment);
        } else {
            self.put_on_link(id, side, segment);
        }
    }

    fn put_on_link(&mut self, id: ConnectionId, side: Side, segment: Segment) {
        let len = segment.bytes.len();
        if let Some((_, to)) = self.path(id, side) {
            self.record(Kind::Sent, [id, u64::from(to.0), len as u64]);
        }
        let to = side.other();
        self.send(
            id,
            side,
            len,
            Event::Segment {
                connection: id,
                to,
                segment,
            },
        );
    }

    /// Sends a packet without payload.
    fn send_control(&mut self, id: ConnectionId, side: Side, event: Event) {
        self.send(id, side, 0, event);
    }

    /// The packet arrives after all that were sent before it from the same side.
    fn send(&mut self, id: ConnectionId, side: Side, bytes: usize, event: Event) {
        let Some(path) = self.path(id, side) else {
            return;
        };
        if self.is_far(id) {
            self.pass_out(id, side, &event);
        }
        let arrival = self.links.send(path, bytes, self.now, &mut self.rng);
        self.stats.packets += 1;
        self.stats.bytes += bytes as u64;
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        end.last_arrival = end.last_arrival.max(arrival);
        let at = end.last_arrival;
        self.queue.push(at, event);
    }

    /// Keeps a segment that did not arrive, to send it again.
    fn stall(&mut self, id: ConnectionId, side: Side, segment: Segment) {
        let now = self.now;
        let target = self.path(id, side).map_or(0, |(_, to)| u64::from(to.0));
        let len = segment.bytes.len() as u64;
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        if end.phase != Phase::Open {
            return;
        }
        if end.stalled.is_empty() {
            end.stalled_since = now;
        }
        end.stalled.insert(segment.offset, segment);
        if end.retransmit.is_none() {
            let pause = end.pause;
            self.retransmit_after(id, side, pause);
        }
        self.record(Kind::Stalled, [id, target, len]);
    }

    fn retransmit_after(&mut self, id: ConnectionId, from: Side, pause: u64) {
        let key = self.after(
            pause,
            Event::Retransmit {
                connection: id,
                from,
            },
        );
        if let Some(end) = self.end_mut(id, from) {
            end.retransmit = Some(key);
        }
    }

    fn wait_for_room(&mut self, (id, side): (ConnectionId, Side), waker: &Waker, at: u64) {
        let key = self.queue.push(at, Event::Wake(waker.clone()));
        let earlier = self.end_mut(id, side).and_then(|end| end.room.replace(key));
        let earlier = earlier.and_then(|key| self.queue.remove(key));
        if let Some(Event::Wake(waker)) = earlier {
            self.retired.push(waker);
        }
    }

    /// Ends a connection on one side with an error, which the socket's owner is told.
    fn fail(&mut self, id: ConnectionId, side: Side, kind: io::ErrorKind) {
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

    fn forget_if_done(&mut self, id: ConnectionId, side: Side) {
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

    /// A connect that was cancelled, and of which the listener has not heard.
    fn forget_unheard(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id)
            && connection.end(Side::Dialer).phase == Phase::Gone
            && connection.end(Side::Listener).phase == Phase::Opening
        {
            self.connections.remove(&id);
        }
    }

    fn end_mut(&mut self, id: ConnectionId, side: Side) -> Option<&mut End> {
        let connection = self.connections.get_mut(&id)?;
        Some(&mut connection.ends[side as usize])
    }

    /// The addresses of a side and of its other side, as it sees them.
    pub(crate) fn addrs(&self, id: ConnectionId, side: Side) -> Option<(SocketAddr, SocketAddr)> {
        let connection = self.connections.get(&id)?;
        Some(connection.addrs(side))
    }

    /// A box has given the dialer's packets a source. One that changes later would make another
    /// connection, of which the listener does not know.
    pub(crate) fn set_dialer_seen(&mut self, id: ConnectionId, seen: SocketAddr) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.ends[1].phase == Phase::Opening
            && let Some(far) = &mut connection.far
        {
            far.dialer = seen;
        }
    }

    /// A box has passed the first packet on to a host behind it. False when another one has it already.
    pub(crate) fn set_listener(
        &mut self,
        id: ConnectionId,
        host: HostId,
        internal: SocketAddr,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let Some(far) = &mut connection.far else {
            return false;
        };
        if connection.ends[1].phase != Phase::Opening {
            return false;
        }
        connection.target = Some(host);
        far.listener = internal;
        true
    }

    pub(crate) fn host_of(&self, id: ConnectionId, side: Side) -> Option<HostId> {
        let connection = self.connections.get(&id)?;
        match side {
            Side::Listener => connection.target,
            Side::Dialer => Some(connection.dialer),
        }
    }

    /// From which host to which a side's packets go.
    pub(crate) fn path(&self, id: ConnectionId, from: Side) -> Option<(HostId, HostId)> {
        Some((self.host_of(id, from)?, self.host_of(id, from.other())?))
    }
}

impl End {
    fn take(&mut self, buffers: &mut [IoSliceMut<'_>]) -> usize {
        let mut taken = 0;
        for buffer in buffers {
            let mut filled = 0;
            while filled < buffer.len() {
                let Some((flights, bytes)) = self.buffer.front_mut() else {
                    break;
                };
                self.flights = self.flights.max(*flights);
                let count = bytes.len().min(buffer.len() - filled);
                buffer[filled..filled + count].copy_from_slice(&bytes.split_to(count));
                filled += count;
                if bytes.is_empty() {
                    self.buffer.pop_front();
                }
            }
            taken += filled;
        }
        taken
    }
}

fn gather(buffers: &[IoSlice<'_>], room: usize) -> Bytes {
    let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let mut gathered = BytesMut::with_capacity(total.min(room));
    for buffer in buffers {
        let count = buffer.len().min(room - gathered.len());
        gathered.extend_from_slice(&buffer[..count]);
    }
    gathered.freeze()
}

const MILLISECOND: u64 = 1_000_000;
/// spec: RFC 6298, section 2: the first retransmission of a SYN after a second.
const SYN_RETRY: u64 = 1000 * MILLISECOND;
/// Retries before a connect is given up, after 127 s; as on Linux.
const SYN_TRIES: u32 = 6;
const RETRY_MIN: u64 = 200 * MILLISECOND;
const RETRY_MAX: u64 = 120_000 * MILLISECOND;
/// How long bytes may go unacknowledged; as on Linux.
const GIVE_UP: u64 = 924_600 * MILLISECOND;
const LINGER: u64 = 60_000 * MILLISECOND;
