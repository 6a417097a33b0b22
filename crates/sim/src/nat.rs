//! A NAT box: which public endpoint stands for which internal one, and who may come in.
//!
//! A pure machine. Where a packet comes from and goes to, and the time in nanoseconds, go in; what
//! the box makes of it comes out:
//!
//! ```text
//!   handle_outbound(packet, now) --> Pass(public source)   | Drop | Refuse
//!   handle_inbound(packet, now)  --> Pass(internal target) | Drop | Refuse
//! ```
//!
//! A mapping belongs to one internal endpoint and, as the behaviour asks, to one remote. Below it are
//! sessions, one for each remote that was talked to; they are the filter, and they hold the
//! mapping. A mapping without sessions is no more.

mod config;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use rand::rngs::StdRng;

use crate::link::{below, nanos};

pub use config::{NatBehavior, NatConfig, NatStats, PortAllocation, Unsolicited};

/// What a box has to know of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) kind: PacketKind,
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketKind {
    Datagram,
    /// With or without an acknowledgement.
    Syn,
    Segment,
    Fin,
    Reset,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on: outbound with this source, inbound to this target.
    Pass(SocketAddr),
    Drop,
    /// Its sender is answered with a reset.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// What a mapping is found by from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: Protocol,
    internal: SocketAddr,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Any,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

struct Mapping {
    key: Key,
    /// By remote.
    sessions: BTreeMap<SocketAddr, Session>,
}

struct Session {
    expires: u64,
    /// Its place among the deadlines, which is no later.
    checked: u64,
    progress: Progress,
}

/// How far a TCP connection has come, by direction.
#[derive(Clone, Copy, Default)]
struct Progress {
    opened: [bool; 2],
    finished: [bool; 2],
    reset: bool,
}

#[derive(Clone, Copy)]
enum Direction {
    Outbound = 0,
    Inbound = 1,
}

/// A session by its mapping and its remote.
type SessionId = (Protocol, u16, SocketAddr);

/// A session by its internal endpoint and its remote.
type Flow = (Protocol, SocketAddr, SocketAddr);

/// The box.
pub(crate) struct Nat {
    config: NatConfig,
    public: IpAddr,
    rng: StdRng,
    next_port: u16,
    mappings: BTreeMap<(Protocol, u16), Mapping>,
    ports: BTreeMap<Key, u16>,
    /// The public port of a session, by its internal and its remote endpoint.
    flows: BTreeMap<Flow, u16>,
    deadlines: BTreeSet<(u64, SessionId)>,
    stats: NatStats,
}

impl Nat {
    pub(crate) fn new(config: NatConfig, public: IpAddr, rng: StdRng) -> Self {
        Self {
            config,
            public,
            rng,
            next_port: *PORTS.start(),
            mappings: BTreeMap::new(),
            ports: BTreeMap::new(),
            flows: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            stats: NatStats::default(),
        }
    }

    /// A packet from inside. Makes a mapping when it opens something.
    pub(crate) fn handle_outbound(&mut self, packet: Packet, now: u64) -> Verdict {
        self.expire(now);
        if packet.target.ip() == self.public && !self.config.hairpinning {
            self.stats.outbound_unknown += 1;
            return Verdict::Drop;
        }
        let protocol = packet.kind.protocol();
        let key = self.key(protocol, packet.source, packet.target);
        // Answers leave by the port at which their session came in, whatever a new one would get.
        let flow = self.flows.get(&(protocol, packet.source, packet.target));
        let tracked = flow.is_some();
        let known = flow.or_else(|| self.ports.get(&key)).copied();
        if !tracked && !packet.kind.opens() {
            self.stats.outbound_unknown += 1;
            return self.unsolicited(packet.kind);
        }
        if !tracked && self.stats.sessions >= self.config.sessions_max {
            self.stats.exhausted += 1;
            return Verdict::Drop;
        }
        let Some(port) = known.or_else(|| self.allocate(key)) else {
            self.stats.exhausted += 1;
            return Verdict::Drop;
        };
        let session = (protocol, port, packet.target);
        self.touch(session, packet.kind, Direction::Outbound, now);
        Verdict::Pass(SocketAddr::new(self.public, port))
    }

    /// A packet from outside to a public endpoint of the box.
    pub(crate) fn handle_inbound(&mut self, packet: Packet, now: u64) -> Verdict {
        self.expire(now);
        let protocol = packet.kind.protocol();
        let port = packet.target.port();
        let mapping = self.mappings.get(&(protocol, port));
        let tracked = mapping.is_some_and(|mapping| mapping.sessions.contains_key(&packet.source));
        let mapping = mapping.filter(|mapping| {
            tracked || (packet.kind.opens() && self.admits(mapping, packet.source))
        });
        let Some(internal) = mapping.map(|mapping| mapping.key.internal) else {
            self.stats.inbound_unknown += 1;
            return self.unsolicited(packet.kind);
        };
        let refreshes = protocol == Protocol::Tcp || self.config.udp_inbound_refresh;
        if refreshes && (tracked || self.has_room((protocol, internal, packet.source))) {
            let session = (protocol, port, packet.source);
            self.touch(session, packet.kind, Direction::Inbound, now);
        } else if protocol == Protocol::Tcp {
            self.stats.exhausted += 1;
            return Verdict::Drop;
        }
        Verdict::Pass(internal)
    }

    /// Whether a packet from inside belongs to a session. Changes nothing.
    pub(crate) fn knows_outbound(&self, packet: Packet, now: u64) -> bool {
        let protocol = packet.kind.protocol();
        let port = self.flows.get(&(protocol, packet.source, packet.target));
        port.is_some_and(|port| self.lives((protocol, *port, packet.target), now))
    }

    /// Whether a packet from outside belongs to a session. Changes nothing.
    pub(crate) fn knows_inbound(&self, packet: Packet, now: u64) -> bool {
        let session = (packet.kind.protocol(), packet.target.port(), packet.source);
        self.lives(session, now)
    }

    /// Who is behind a public port now, whoever asks.
    pub(crate) fn internal(&self, protocol: Protocol, port: u16) -> Option<SocketAddr> {
        let mapping = self.mappings.get(&(protocol, port))?;
        Some(mapping.key.internal)
    }

    /// Everything is forgotten.
    pub(crate) fn reboot(&mut self) {
        self.mappings.clear();
        self.ports.clear();
        self.flows.clear();
        self.deadlines.clear();
        self.next_port = *PORTS.start();
        self.stats.mappings = 0;
        self.stats.sessions = 0;
    }

    pub(crate) fn stats(&mut self, now: u64) -> NatStats {
        self.expire(now);
        self.stats
    }

    fn key(&self, protocol: Protocol, internal: SocketAddr, remote: SocketAddr) -> Key {
        let scope = match self.config.mapping {
            NatBehavior::EndpointIndependent => Scope::Any,
            NatBehavior::AddressDependent => Scope::Address(remote.ip()),
            NatBehavior::AddressAndPortDependent => Scope::Endpoint(remote),
        };
        Key {
            protocol,
            internal,
            scope,
        }
    }

    fn lives(&self, (protocol, port, remote): SessionId, now: u64) -> bool {
        let mapping = self.mappings.get(&(protocol, port));
        let session = mapping.and_then(|mapping| mapping.sessions.get(&remote));
        session.is_some_and(|session| session.expires > now)
    }

    /// Whether a session from outside can begin: the table is not full, and the same two endpoints
    /// don't talk through another mapping.
    fn has_room(&self, flow: Flow) -> bool {
        self.stats.sessions < self.config.sessions_max && !self.flows.contains_key(&flow)
    }

    /// Whether the filter lets a remote in that has no session of its own.
    fn admits(&self, mapping: &Mapping, remote: SocketAddr) -> bool {
        match self.config.filtering {
            NatBehavior::EndpointIndependent => true,
            NatBehavior::AddressDependent => {
                let mut known = mapping.sessions.keys();
                known.any(|known| known.ip() == remote.ip())
            }
            NatBehavior::AddressAndPortDependent => false,
        }
    }

    fn unsolicited(&self, kind: PacketKind) -> Verdict {
        let answers = self.config.unsolicited == Unsolicited::Refuse;
        // Nobody answers a reset, or resets would go to and fro for ever.
        if answers && kind.protocol() == Protocol::Tcp && kind != PacketKind::Reset {
            Verdict::Refuse
        } else {
            Verdict::Drop
        }
    }

    /// A new mapping, which needs a session at once.
    fn allocate(&mut self, key: Key) -> Option<u16> {
        if self.mappings.len() >= self.config.mappings_max {
            return None;
        }
        let port = self.free_port(key)?;
        let sessions = BTreeMap::new();
        self.ports.insert(key, port);
        self.mappings
            .insert((key.protocol, port), Mapping { key, sessions });
        self.stats.mappings = self.mappings.len();
        self.stats.mappings_made += 1;
        self.stats.mappings_peak = self.stats.mappings_peak.max(self.stats.mappings);
        Some(port)
    }

    fn free_port(&mut self, key: Key) -> Option<u16> {
        let free = |port: &u16| !self.mappings.contains_key(&(key.protocol, *port));
        let wanted = key.internal.port();
        let start = match self.config.ports {
            PortAllocation::Preserving if PORTS.contains(&wanted) && free(&wanted) => {
                return Some(wanted);
            }
            PortAllocation::Preserving | PortAllocation::Sequential => self.next_port,
            PortAllocation::Random => {
                let last = u64::from(PORTS.end() - PORTS.start());
                let offset = below(&mut self.rng, last);
                PORTS.start() + u16::try_from(offset).expect("it is below the number of ports")
            }
        };
        let port = (start..=*PORTS.end())
            .chain(*PORTS.start()..start)
            .find(free)?;
        self.next_port = port.checked_add(1).unwrap_or(*PORTS.start());
        Some(port)
    }

    /// Prolongs a session of a mapping, or begins it.
    fn touch(&mut self, id: SessionId, kind: PacketKind, direction: Direction, now: u64) {
        let (protocol, port, remote) = id;
        let mapping = self.mappings.get_mut(&(protocol, port));
        let mapping = mapping.expect("it was looked up or made for this packet");
        let known = mapping.sessions.get(&remote);
        let mut progress = known.map_or_else(Progress::default, |known| known.progress);
        progress.advance(kind, direction);
        let expires = now.saturating_add(timeout(&self.config, protocol, progress));
        let former = known.map(|known| known.checked);
        let checked = former.map_or(expires, |former| former.min(expires));
        if former != Some(checked) {
            let moved = former.is_some_and(|former| self.deadlines.remove(&(former, id)));
            if !moved {
                self.stats.sessions += 1;
                self.flows
                    .insert((protocol, mapping.key.internal, remote), port);
            }
            self.deadlines.insert((checked, id));
        }
        let session = Session {
            expires,
            checked,
            progress,
        };
        mapping.sessions.insert(remote, session);
    }

    /// Forgets what was not used for too long, and mappings that nothing holds any more.
    fn expire(&mut self, now: u64) {
        while let Some(&(checked, id)) = self.deadlines.first()
            && checked <= now
        {
            self.deadlines.pop_first();
            let (protocol, port, remote) = id;
            let mapping = self.mappings.get_mut(&(protocol, port));
            let mapping = mapping.expect("a session has a mapping");
            let session = mapping.sessions.get_mut(&remote);
            let session = session.expect("a deadline has a session");
            if session.expires > now {
                session.checked = session.expires;
                self.deadlines.insert((session.checked, id));
                continue;
            }
            mapping.sessions.remove(&remote);
            self.flows.remove(&(protocol, mapping.key.internal, remote));
            self.stats.sessions -= 1;
            if mapping.sessions.is_empty() {
                self.ports.remove(&mapping.key);
                self.mappings.remove(&(protocol, port));
                self.stats.mappings = self.mappings.len();
                self.stats.mappings_expired += 1;
            }
        }
    }
}

impl PacketKind {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Datagram => Protocol::Udp,
            Self::Syn | Self::Segment | Self::Fin | Self::Reset => Protocol::Tcp,
        }
    }

    /// Whether it may begin something.
    fn opens(self) -> bool {
        matches!(self, Self::Datagram | Self::Syn)
    }
}

impl Progress {
    fn advance(&mut self, kind: PacketKind, direction: Direction) {
        let side = direction as usize;
        match kind {
            // The same two endpoints begin anew.
            PacketKind::Syn if self.is_over() => {
                *self = Self::default();
                self.opened[side] = true;
            }
            PacketKind::Syn => self.opened[side] = true,
            PacketKind::Fin => self.finished[side] = true,
            PacketKind::Reset => self.reset = true,
            PacketKind::Datagram | PacketKind::Segment => {}
        }
    }

    fn is_over(self) -> bool {
        self.reset || self.finished == [true; 2]
    }

    fn is_established(self) -> bool {
        self.opened == [true; 2] && !self.is_over()
    }
}

fn timeout(config: &NatConfig, protocol: Protocol, progress: Progress) -> u64 {
    let timeout: Duration = match protocol {
        Protocol::Udp => config.udp_timeout,
        Protocol::Tcp if progress.is_established() => config.tcp_established_timeout,
        Protocol::Tcp => config.tcp_transitory_timeout,
    };
    nanos(timeout)
}

/// spec: RFC 4787, section 4.2.1, REQ-3: well-known ports stay out of it.
const PORTS: RangeInclusive<u16> = 1024..=u16::MAX;
