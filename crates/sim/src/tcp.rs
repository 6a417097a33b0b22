//! Connections: a reliable, ordered pipe in both directions, with what can go wrong with it.
//!
//! A connect takes one round trip. Bytes wait in the window (from the write until the other
//! side has read them) and for the queue of the link, and the writer waits with them.
//! What does not get through is sent again, less and less often, until the connection is given up.
//! Acknowledgements take time, but no bandwidth.

mod data;
mod ending;
mod listener;
mod opening;
mod sending;
mod simultaneous;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    task::Waker,
};

use bytes::Bytes;

use crate::{ConnectionStats, HostId, nat::PacketKind, passage::Far, queue::Key, world::World};

pub(crate) use listener::ListenerState;
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

/// Which connections there are, and between whom.
impl World {
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

const MILLISECOND: u64 = 1_000_000;
const RETRY_MIN: u64 = 200 * MILLISECOND;
