//! Limits and times of a session.

use std::time::Duration;

/// Limits and times of a session. The defaults suit a node on the open internet.
///
/// Sizes are in bytes. A value that the protocol does not allow is replaced by the nearest one
/// that it does, for example a window smaller than the 256 KiB that every stream starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Streams that the remote may have open. One more is reset, the connection lives.
    /// 256 by default.
    pub inbound_streams_max: usize,
    /// Streams in both directions, those that only wait for the remote's end included.
    /// More than that wait in `open`, or are reset when the remote opens them. 512 by default.
    pub streams_max: usize,
    /// Streams of this side that the remote has not acknowledged; more wait in `open`.
    /// 256 by default, as the specification recommends.
    pub unacknowledged_streams_max: usize,
    /// The largest receive window of one stream, and so the most that is buffered for it.
    /// 128 MiB by default, which is enough for 5 Gbit/s over 120 ms; at least 256 KiB.
    pub stream_window_max: u32,
    /// How much all windows of the session together may grow beyond the 256 KiB that
    /// each starts with. 128 MiB by default.
    pub window_growth_max: usize,
    /// How much of that growth the session can always have. What goes beyond comes out of
    /// [`window_growth_shared_max`](Self::window_growth_shared_max). 16 MiB by default.
    pub window_growth_own: usize,
    /// What all sessions of one [`Yamux`](crate::Yamux) may have together beyond their own. Stops many
    /// peers that make windows grow and are then read no longer. 512 MiB by default.
    pub window_growth_shared_max: usize,
    /// The largest payload of a frame that this side sends. 64 KiB by default.
    pub frame_payload_max: usize,
    /// Payload that may wait in the transmit buffer before writers have to wait. 256 KiB by default.
    pub transmit_buffer_max: usize,
    /// Streams that the remote may open and reset before the application could accept them
    /// (the attack known as rapid reset). More end the connection. 256 in 10 s by default.
    pub rapid_resets: RateLimit,
    /// Frames that neither carry anything nor change anything. More end the connection.
    /// 1000 in 10 s by default.
    pub empty_frames: RateLimit,
    /// Pings that the remote may send. More end the connection. 1000 in 10 s by default.
    pub pings: RateLimit,
    /// Answers to pings that may wait in the transmit buffer. More are left out, and counted.
    /// 32 by default.
    pub unsent_pongs_max: usize,
    /// How long the remote may be silent before it is pinged. 30 s by default.
    pub keep_alive_interval: Duration,
    /// How long the remote may be silent after a ping before the connection is given up. 10 s by
    /// default, and three times as long while this side sends much, since the ping then waits
    /// behind that data on a slow link.
    pub keep_alive_timeout: Duration,
    /// How long a stream that the application has finished and let go of waits for the
    /// remote's end before it is reset. 5 min by default.
    pub linger_timeout: Duration,
}

/// So many within so much time. Time is cut into windows of this length, so that a
/// burst across the cut may be twice as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many are allowed.
    pub count: u32,
    /// Within what time.
    pub per: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inbound_streams_max: 256,
            streams_max: 512,
            unacknowledged_streams_max: 256,
            stream_window_max: 128 * 1024 * 1024,
            window_growth_max: 128 * 1024 * 1024,
            window_growth_own: 16 * 1024 * 1024,
            window_growth_shared_max: 512 * 1024 * 1024,
            frame_payload_max: 64 * 1024,
            transmit_buffer_max: 256 * 1024,
            rapid_resets: RateLimit::per_ten_seconds(256),
            empty_frames: RateLimit::per_ten_seconds(1000),
            pings: RateLimit::per_ten_seconds(1000),
            unsent_pongs_max: 32,
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The nearest configuration that the protocol allows.
    pub(crate) fn allowed(mut self) -> Self {
        self.stream_window_max = self.stream_window_max.max(INITIAL_WINDOW);
        self.frame_payload_max = self.frame_payload_max.clamp(1, INITIAL_WINDOW as usize);
        self.transmit_buffer_max = self.transmit_buffer_max.max(1);
        self.streams_max = self.streams_max.max(1);
        self.unacknowledged_streams_max = self.unacknowledged_streams_max.max(1);
        self
    }
}

impl RateLimit {
    const fn per_ten_seconds(count: u32) -> Self {
        Self {
            count,
            per: Duration::from_secs(10),
        }
    }
}

/// What both sides may send on a new stream, whatever they are configured to.
// spec: yamux "Both sides assume the initial 256KB window".
pub(crate) const INITIAL_WINDOW: u32 = 256 * 1024;
