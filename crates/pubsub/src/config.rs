//! Configuration of the service.

use std::time::Duration;

use crate::{DecodeLimits, SignaturePolicy};

/// Configuration of [`Pubsub`](crate::Pubsub), whatever its router. The defaults are safe for a node that
/// talks to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubsubConfig {
    /// Whether messages are signed. [`StrictSign`](SignaturePolicy::StrictSign) by default.
    pub signature_policy: SignaturePolicy,
    /// Whether old messages are told from new ones by their numbers. Off by default.
    pub replay: ReplayProtection,
    /// What one received RPC may contain. No message of this node's own may be longer than a frame
    /// of these.
    pub limits: DecodeLimits,
    /// What waits for one peer.
    pub queue: QueueLimits,
    /// How validators are run.
    pub validation: ValidationLimits,
    /// Messages that a [`Subscription`](crate::Subscription) holds for a slow reader; older ones are
    /// dropped then, and the reader is told how many. 4096 by default.
    pub subscription_capacity: usize,
    /// Likewise, the bytes of their data. 32 MiB by default.
    pub subscription_bytes_max: usize,
    /// Events that are held for a slow reader. 256 by default.
    pub event_capacity: usize,
    /// Decoded public keys of authors that are remembered. 1024 by default.
    pub author_keys_max: usize,
    /// Streams of one peer that are read at the same time; the oldest is reset for one more. Some
    /// peers open one for each message. 32 by default.
    pub inbound_streams_per_peer_max: usize,
    /// How long a frame may take from its first byte to its last, and how long a peer may take to accept this
    /// node's own stream. Stops peers that begin and do not end. 30 s by default.
    pub frame_timeout: Duration,
    /// How long a peer may take nothing of what is written; then the stream is reset and opened
    /// again. 30 s by default.
    pub write_timeout: Duration,
    /// How long to wait before a stream that broke is opened again; it doubles with each failure. 1 s by default.
    pub reopen_backoff_min: Duration,
    /// The longest such wait. 60 s by default.
    pub reopen_backoff_max: Duration,
    /// Which addresses of recommended peers are dialed. Public ones by default, so that
    /// nobody can have this node knock at doors in its own network.
    pub recommended_addresses: AddressScope,
    /// Recommended peers that are dialed at the same time. 8 by default.
    pub connects_max: usize,
    /// Recommended peers that wait to be dialed; further ones are forgotten. 128 by default.
    pub pending_connects_max: usize,
}

impl Default for PubsubConfig {
    fn default() -> Self {
        Self {
            signature_policy: SignaturePolicy::default(),
            replay: ReplayProtection::default(),
            limits: DecodeLimits::default(),
            queue: QueueLimits::default(),
            validation: ValidationLimits::default(),
            subscription_capacity: 4096,
            subscription_bytes_max: 32 * 1024 * 1024,
            event_capacity: 256,
            author_keys_max: 1024,
            inbound_streams_per_peer_max: 32,
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            reopen_backoff_min: Duration::from_secs(1),
            reopen_backoff_max: Duration::from_secs(60),
            recommended_addresses: AddressScope::default(),
            connects_max: 8,
            pending_connects_max: 128,
        }
    }
}

/// What waits for one peer, at most. What waits too long is dropped, counted and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Messages of this node's own; [`publish`](crate::Pubsub::publish) waits for room. 1024 by default.
    pub own_messages_max: usize,
    /// Bytes of these. 4 MiB by default.
    pub own_bytes_max: usize,
    /// How long one of these may wait. 10 s by default.
    pub own_timeout: Duration,
    /// How long `publish` waits for room when every peer of the topic is full. 5 s by default.
    pub publish_timeout: Duration,
    /// Messages of others; what finds no room is dropped. 1024 by default.
    pub forwarded_messages_max: usize,
    /// Bytes of these. 4 MiB by default.
    pub forwarded_bytes_max: usize,
    /// How long one of these may wait. 5 s by default.
    pub forwarded_timeout: Duration,
    /// Message ids in IDONTWANT, and in IHAVE and IWANT; what finds no room is dropped. 10,000 by default.
    pub ids_max: usize,
    /// Parts of messages; the oldest gives way. 64 by default.
    pub partials_max: usize,
    /// Frames are filled up to this length. Others accept frames of 64 KiB at least. 32 KiB by default.
    pub frame_len: usize,
    /// Subscriptions in one frame; more go into several. Others may refuse more than 100. 100 by default.
    pub frame_subscriptions_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            own_messages_max: 1024,
            own_bytes_max: 4 * 1024 * 1024,
            own_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(5),
            forwarded_messages_max: 1024,
            forwarded_bytes_max: 4 * 1024 * 1024,
            forwarded_timeout: Duration::from_secs(5),
            ids_max: 10_000,
            partials_max: 64,
            frame_len: 32 * 1024,
            frame_subscriptions_max: 100,
        }
    }
}

/// How validators are run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationLimits {
    /// Validations that are under way at the same time. 64 by default.
    pub concurrent_max: usize,
    /// Messages that wait for one; further ones are ignored. 1024 by default.
    pub waiting_max: usize,
    /// How long a validation may take; then the message is ignored. 5 s by default.
    pub timeout: Duration,
}

impl Default for ValidationLimits {
    fn default() -> Self {
        Self {
            concurrent_max: 64,
            waiting_max: 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Whether a message that comes back after the router has forgotten its id is told from a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayProtection {
    /// It is not.
    #[default]
    Off,
    /// The highest number of each author is remembered, and a message whose number is not higher is ignored.
    /// Messages of one author that overtake each other on their way are lost with this.
    HighestSeqno {
        /// Authors that are remembered; the oldest give way.
        authors_max: usize,
    },
}

/// Which addresses are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressScope {
    /// Those that are reachable from everywhere.
    #[default]
    Public,
    /// Those in this machine and in private networks as well.
    Any,
}
