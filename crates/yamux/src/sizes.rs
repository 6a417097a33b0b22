//! How much a session holds.

use crate::Session;

/// What a [`Session`] holds, for tests and for monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Streams in both directions.
    pub streams: usize,
    /// Streams that the remote opened.
    pub inbound_streams: usize,
    /// Streams of this side that the remote has not acknowledged.
    pub unacknowledged_streams: usize,
    /// Streams that wait to be accepted.
    pub incoming: usize,
    /// Streams that the application has let go of and that wait for the remote's end.
    pub lingering_streams: usize,
    /// Received bytes that nobody has read.
    pub received: usize,
    /// Bytes of memory that hold them, what slices of the input pin beside their length not counted.
    pub received_capacity: usize,
    /// Slices of the input among them.
    pub slices: usize,
    /// By how many bytes receive windows have grown.
    pub window_growth: usize,
    /// Bytes that wait to be sent.
    pub transmit: usize,
    /// Writers that wait for room in the transmit buffer.
    pub waiting_writers: usize,
    /// Events that nobody has taken.
    pub events: usize,
    /// Answers to pings that were left out, since too many waited to be sent.
    pub dropped_pongs: u64,
}

impl Session {
    /// What the session holds now. Takes time in proportion to the number of streams.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            streams: self.table.len(),
            inbound_streams: self.table.inbound(),
            unacknowledged_streams: self.table.unacknowledged(),
            incoming: self.incoming.len(),
            lingering_streams: self.table.gone(),
            received: self.table.iter().map(|stream| stream.received.len()).sum(),
            received_capacity: self
                .table
                .iter()
                .map(|stream| stream.received.capacity())
                .sum(),
            slices: self.table.pools.slices.used(),
            window_growth: self.table.pools.growth.used(),
            transmit: self.outbound.len(),
            waiting_writers: self.outbound.waiting(),
            events: self.events.len(),
            dropped_pongs: self.dropped_pongs,
        }
    }
}
