//! Limits.

use std::time::Duration;

/// Limits of a [`Session`](crate::Session), each named after what it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Streams of the remote that may exist at once; one more is reset. They count
    /// until the application lets go of them. As many more that it has left without hearing
    /// the end are remembered, so that late answers can be refused. 128 by default.
    pub inbound_streams_max: usize,
    /// Streams of this side that may exist at once; `open` waits for one to end. 128 by default.
    pub outbound_streams_max: usize,
    /// Unread bytes of one stream from which on nothing more is read from the
    /// channel, until half of them were read. Stops fast senders. 256 KiB by default.
    pub unread_stream_pause: usize,
    /// Unread bytes of all streams from which on nothing more is read from the
    /// channel, until half of them were read. 2 MiB by default.
    pub unread_pause: usize,
    /// Unread bytes of all streams that are never exceeded: a stream that would do so is
    /// reset. It is reached only if what arrives is not paused in time. 4 MiB by default.
    pub unread_max: usize,
    /// How long such a pause may last without the application reading from a stream that
    /// causes it, before that stream is reset. Stops readers that never read from
    /// holding up all others. 5 s by default, which is less than the time that peers wait for a
    /// socket that takes nothing.
    pub stall_timeout: Duration,
    /// How many streams the remote may open in vain at once: streams that it resets
    /// and streams that are refused. Stops floods of open and reset. 512 by default.
    pub rapid_reset_burst: u32,
    /// How many of these are forgiven each second. 100 by default.
    pub rapid_reset_per_second: u32,
    /// Bytes that wait to be sent, for all streams together; writers wait for room. 256 KiB by default.
    pub transmit_buffer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inbound_streams_max: 128,
            outbound_streams_max: 128,
            unread_stream_pause: 256 * 1024,
            unread_pause: 2 * 1024 * 1024,
            unread_max: 4 * 1024 * 1024,
            stall_timeout: Duration::from_secs(5),
            rapid_reset_burst: 512,
            rapid_reset_per_second: 100,
            transmit_buffer: 256 * 1024,
        }
    }
}
