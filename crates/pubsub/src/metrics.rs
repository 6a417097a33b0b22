//! Counters.

use crate::Topic;

/// What has happened so far; from [`Pubsub::metrics`](crate::Pubsub::metrics).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// The topics that this node has joined or published to, in order.
    pub topics: Vec<(Topic, TopicMetrics)>,
    /// Peers that can be sent to.
    pub peers: usize,
    /// RPCs that were received.
    pub rpcs: u64,
    /// Parts of RPCs that were skipped: beyond a limit, or with a topic that is missing, too long or no
    /// UTF-8.
    pub skipped: u64,
    /// Streams that were reset because of a frame that is no RPC or too long.
    pub bad_frames: u64,
    /// Messages that were rejected, of all topics.
    pub rejected: u64,
    /// Messages that validators were too slow for, and that were ignored therefore.
    pub validations_dropped: u64,
    /// Copies of others' messages that waited for a peer and were taken back, since it got the message from
    /// somebody else or does not want it.
    pub withdrawn: u64,
    /// Things that were dropped because peers take them too slowly.
    pub dropped: Dropped,
}

/// What happened in a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// Messages of this node's own.
    pub published: u64,
    /// Copies of messages that were received.
    pub received: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// Messages among them that were not seen before.
    pub new: u64,
    /// Messages that were valid and given to the user.
    pub delivered: u64,
    /// Messages that were rejected.
    pub rejected: u64,
    /// Messages that were ignored.
    pub ignored: u64,
    /// Copies of messages that were handed over to be sent, own ones and others.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Copies among these that were taken back before they were sent, since the peer did not need them any more.
    pub withdrawn: u64,
    /// Copies that were dropped because a peer takes them too slowly.
    pub dropped: u64,
    /// Messages that were dropped because a [`Subscription`](crate::Subscription) was not read in time.
    pub lagged: u64,
}

impl TopicMetrics {
    /// Copies of messages that were seen before, or that the router did not want.
    pub fn duplicates(&self) -> u64 {
        self.received.saturating_sub(self.new)
    }
}

/// What was dropped because peers take it too slowly, or were gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Copies of this node's own messages.
    pub own: u64,
    /// Copies of others' messages.
    pub forwarded: u64,
    /// Control messages, gossip and parts.
    pub other: u64,
}
