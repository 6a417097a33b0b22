//! The seam between a router and the service that moves its bytes.

use std::{net::IpAddr, sync::Arc, time::Instant};

use peerkit_core::{Direction, PeerId, PeerRecord, ProtocolId};

use crate::{Control, Message, MessageId, Partial, Rpc, SubscriptionChange, Topic};

/// Who gets which message: a machine without clock, I/O, hidden randomness, tasks or locks.
///
/// Each `handle_*`, and each call of the user, may leave things to do, which the service takes with
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) until both are
/// empty. It calls [`handle_timeout`](Self::handle_timeout) at the time that
/// [`poll_timeout`](Self::poll_timeout) names. `now` never goes back.
pub trait Router: Send + 'static {
    /// The protocols that it speaks, the best first.
    fn protocols(&self) -> Vec<ProtocolId>;

    /// A peer speaks one of the protocols and can be sent to. Comes once for each peer until it is
    /// [disconnected](Self::handle_disconnected); the service has no state of its own about it.
    fn handle_connected(&mut self, peer: PeerId, link: PeerLink, now: Instant);

    /// A peer is gone.
    fn handle_disconnected(&mut self, peer: &PeerId, now: Instant);

    /// The peer has begun a stream: what it sends next is the first on it, with its hello. A peer may begin
    /// another one whenever it likes, for example since the former broke.
    fn handle_stream(&mut self, _peer: &PeerId, _now: Instant) {}

    /// A peer has sent something. Also what the hello of a peer contains, before it is connected here: in
    /// that case the service waits with it until [`handle_connected`](Self::handle_connected).
    fn handle_rpc(&mut self, peer: &PeerId, rpc: Rpc, now: Instant);

    /// What was to go to a peer was dropped, since the peer takes it too slowly.
    fn handle_dropped(&mut self, peer: &PeerId, dropped: &Outgoing, now: Instant);

    /// The user joins a topic; nothing happens if it has joined.
    fn subscribe(&mut self, topic: &Topic, now: Instant);

    /// The user leaves a topic.
    fn unsubscribe(&mut self, topic: &Topic, now: Instant);

    /// The user publishes a message that is complete (signed, if the policy wants it). Says to how many
    /// peers it goes.
    fn publish(&mut self, message: Arc<Message>, now: Instant)
    -> Result<Published, PublishRefused>;

    /// The answer to [`RouterEvent::Validate`]. Ids that the router does not (any longer) wait for
    /// are ignored.
    fn handle_verdict(&mut self, id: &MessageId, verdict: Verdict, now: Instant);

    /// The time that [`poll_timeout`](Self::poll_timeout) has named is there.
    fn handle_timeout(&mut self, now: Instant);

    /// What to send next.
    fn poll_transmit(&mut self) -> Option<(PeerId, Outgoing)>;

    /// What to tell the service next.
    fn poll_event(&mut self) -> Option<RouterEvent>;

    /// When something is to be done without a cause from outside.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What a router knows of the way to a peer.
#[derive(Clone, Debug)]
pub struct PeerLink {
    /// What was agreed upon for what this node sends.
    pub protocol: ProtocolId,
    /// Who has opened the connection.
    pub direction: Direction,
    /// The remote's address, if it has one.
    pub ip: Option<IpAddr>,
}

/// One thing to send. The service gathers what waits for a peer into few RPCs, the most urgent first:
/// a kind that stands further up here goes before those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// What the peer must know before all else: this node's topics and extensions. Never dropped.
    Hello(Vec<SubscriptionChange>, Option<crate::Extensions>),
    /// Topics joined or left. Never dropped.
    Subscriptions(Vec<SubscriptionChange>),
    /// GRAFT, PRUNE, IDONTWANT. GRAFT and PRUNE are never dropped.
    Control(Control),
    /// A message of this node's own.
    Publish(MessageId, Arc<Message>),
    /// A message of somebody else, or one that was asked for.
    Forward(MessageId, Arc<Message>),
    /// IHAVE and IWANT: the first to be dropped.
    Gossip(Control),
    /// Parts of messages (gossipsub 1.3).
    Partial(Partial),
    /// The empty message of the test extension (gossipsub 1.3).
    TestExtension,
}

/// What a router tells the service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouterEvent {
    /// A message that was not seen before: is it valid? The service answers with
    /// [`Router::handle_verdict`], in any order, and each of them once.
    Validate {
        /// Its id.
        id: MessageId,
        /// The message.
        message: Arc<Message>,
        /// Who has sent it (not always the author).
        source: PeerId,
    },
    /// A valid message of a topic that the user has joined.
    Deliver {
        /// Its id.
        id: MessageId,
        /// The message.
        message: Arc<Message>,
        /// Who has sent it first.
        source: PeerId,
    },
    /// A peer has joined a topic.
    Subscribed {
        /// Who.
        peer: PeerId,
        /// Which one.
        topic: Topic,
    },
    /// A peer has left a topic (also because it is gone).
    Unsubscribed {
        /// Who.
        peer: PeerId,
        /// Which one.
        topic: Topic,
    },
    /// A connection to this peer would help: a direct peer, or one that was recommended with a record.
    Connect {
        /// Whom.
        peer: PeerId,
        /// Its verified record, if one came with the recommendation.
        record: Option<Box<PeerRecord>>,
    },
    /// A peer has this message already, or does not want it: a forwarded copy that still waits for the peer is
    /// not to be sent.
    Withdraw {
        /// Whose queue.
        peer: PeerId,
        /// The message's id.
        id: MessageId,
    },
    /// Part of a message (gossipsub 1.3).
    Partial {
        /// Who has sent it.
        source: PeerId,
        /// What.
        partial: Partial,
    },
}

/// Whether a message is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered and forwarded.
    Accept,
    /// It is neither; who has sent it is at fault. Its id is to be forgotten: a forged message must
    /// not hide the true one.
    Reject,
    /// It is neither; nobody is at fault.
    Ignore,
}

/// What became of a message of this node's own, so far as the router decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: MessageId,
    /// To how many peers it goes.
    pub peers: usize,
}

/// Why a router does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishRefused {
    /// A message with this id was published or received already.
    #[error("a message with this id is known already")]
    Duplicate,
    /// Nobody is there to take it.
    #[error("no peer has joined the topic")]
    NoPeers,
}
