//! Configuration of ping.

use std::time::Duration;

/// Configuration of [`Ping`](crate::Ping). The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How long the answer to a ping may take, from its first byte out to its last byte in. 20 s by default.
    pub timeout: Duration,
    /// Ping streams that one peer may have open here; further ones are reset. 2 by default,
    /// as the specification says.
    pub streams_per_peer_max: usize,
    /// How long a remote may take for its next ping, or to read an answer; then its
    /// stream is reset. Stops peers that open streams and stay silent. 60 s by default.
    pub idle_timeout: Duration,
    /// Pings of one peer that are answered at once; at least one. 64 by default.
    pub burst: u32,
    /// Answers that one peer gets each second when it has used up its burst; at
    /// least one. Pings that come faster wait in the stream's flow-control window,
    /// so a flood slows down its sender only. 20 by default.
    pub answers_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(20),
            streams_per_peer_max: 2,
            idle_timeout: Duration::from_secs(60),
            burst: 64,
            answers_per_second: 20,
        }
    }
}
