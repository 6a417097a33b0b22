//! Counters.

use std::{net::SocketAddr, time::Duration};

use crate::HostId;

/// What a simulation has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How often a task was polled.
    pub wake_ups: u64,
    /// Tasks that run now.
    pub tasks: usize,
    /// The most tasks that ran at once.
    pub tasks_peak: usize,
    /// The longest queue of tasks that were woken and not yet polled.
    pub ready_peak: usize,
    /// Tasks that were ever spawned.
    pub tasks_spawned: u64,
    /// Tasks that panicked outside of a task group, which keeps its own count.
    pub panics: u64,
    /// Timers and packets that were ever queued.
    pub events: u64,
    /// The longest queue of timers and packets.
    pub events_peak: usize,
    /// Packets that were sent: segments of streams, datagrams, and those that make and end connections.
    pub packets: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Datagrams that were lost, for whatever reason.
    pub datagrams_lost: u64,
    /// Connections that are open now, on at least one side.
    pub connections: usize,
    /// The most connections at once.
    pub connections_peak: usize,
    /// The longest queue of connections that waited at one listener to be accepted.
    pub backlog_peak: usize,
    /// The most sockets that one host had at once.
    pub descriptors_peak: usize,
    /// Sockets that were refused because their host had as many as it may have.
    pub descriptors_refused: u64,
    /// Wake-ups from other threads. Anything but zero means that a run can't be replayed.
    pub foreign_wake_ups: u64,
}

/// What one direction of a link has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Datagrams that were lost on it.
    pub lost: u64,
    /// The longest queue, as time: from when a packet was sent until its last bit had left. Times the
    /// bandwidth it is in bits.
    pub wait_peak: Duration,
}

/// One TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Who connected.
    pub dialer: HostId,
    /// Whence.
    pub dialer_addr: SocketAddr,
    /// Whence, as the listener sees it: behind a NAT box that is another address.
    pub dialer_seen: SocketAddr,
    /// Who was connected to; unknown for an address that no host has.
    pub listener: Option<HostId>,
    /// Whither.
    pub listener_addr: SocketAddr,
    /// The length of the longest chain of packets that led to what the dialer has read so
    /// far, where each was sent after the one before it had been read.
    ///
    /// It begins with the connect, which makes it two, and is even. It counts what had to wait
    /// for what, whatever the latency.
    pub flights: u32,
    /// Bytes from the dialer.
    pub bytes_sent: u64,
    /// Bytes from the listener.
    pub bytes_received: u64,
}

impl ConnectionStats {
    /// The round trips that it took until the dialer had read what it has read.
    pub fn round_trips(&self) -> u32 {
        self.flights / 2
    }
}
