//! Configuration of identify.

use std::time::Duration;

/// Configuration of [`Identify`](crate::Identify). The defaults are safe for a node that talks to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What family of networks this node says it belongs to; for information only.
    /// `ipfs/0.1.0` by default, as most nodes say. Cut off at
    /// [`Message::MAX_TEXT_LEN`](crate::Message::MAX_TEXT_LEN) bytes when it is sent.
    pub protocol_version: String,
    /// What this node calls its program: `peerkit/VERSION` by default. Cut off likewise.
    pub agent_version: String,
    /// How long one exchange may take, in either direction. Stops peers that stay
    /// silent or send byte by byte. 5 s by default.
    pub timeout: Duration,
    /// Exchanges that this side may have under way; further peers wait. 64 by default.
    pub concurrent_max: usize,
    /// Streams of one peer that are answered at the same time, of each of the two
    /// protocols; further ones are reset. 8 by default.
    pub streams_per_peer_max: usize,
    /// How long changes of addresses and protocols are collected before they are
    /// pushed. It is also the shortest time between two pushes, so that changes
    /// without end can't flood others. 1 s by default.
    pub push_debounce: Duration,
    /// Pushes that one observer group is granted at once; at least one. 10 by default.
    /// A group is an IPv4 /24, an IPv6 /56, or one peer where there is no public IP address.
    pub push_burst: u32,
    /// How long it takes until an observer group that has used up its burst is
    /// granted another push. Earlier ones are reset. 5 s by default.
    pub push_interval: Duration,
    /// Observer groups (IPv4 addresses, IPv6 /56) that have to see this node at the
    /// same address before [`Identify::observed_addrs`](crate::Identify::observed_addrs) has it.
    /// Stops a few liars. 4 by default.
    pub observers_min: usize,
    /// Events that an [`IdentifyEvents`](crate::IdentifyEvents) holds for a slow reader;
    /// older ones are dropped then, and the reader is told how many. 256 by default.
    pub event_capacity: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocol_version: "ipfs/0.1.0".into(),
            agent_version: concat!("peerkit/", env!("CARGO_PKG_VERSION")).into(),
            timeout: Duration::from_secs(5),
            concurrent_max: 64,
            streams_per_peer_max: 8,
            push_debounce: Duration::from_secs(1),
            push_burst: 10,
            push_interval: Duration::from_secs(5),
            observers_min: 4,
            event_capacity: 256,
        }
    }
}
