//! What peers send each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Message, MessageId, Topic};

/// One RPC: what stands in one frame. Everything in it is optional.
///
/// Source: the pubsub specification, section "The RPC", and gossipsub 1.0 to 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpc {
    /// Topics that the sender has joined and left, in order.
    pub subscriptions: Vec<SubscriptionChange>,
    /// Messages, none of them checked.
    pub messages: Vec<Arc<Message>>,
    /// What gossipsub routers say to each other.
    pub control: Control,
    /// Partial messages (gossipsub 1.3), undecoded.
    pub partial: Option<Partial>,
    /// The test extension's message (gossipsub 1.3) was there.
    pub test_extension: bool,
}

/// A topic was joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// Joined, not left.
    pub subscribe: bool,
    /// Which one.
    pub topic: Topic,
    /// The sender wants parts rather than whole messages (gossipsub 1.3).
    pub requests_partial: bool,
    /// The sender can send parts (gossipsub 1.3).
    pub supports_sending_partial: bool,
}

/// The control messages of one RPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// "I have these."
    pub ihave: Vec<IHave>,
    /// "Send me these": the ids of all IWANT messages, in order.
    pub iwant: Vec<MessageId>,
    /// "You are in my mesh now."
    pub graft: Vec<Topic>,
    /// "You are not in my mesh any more."
    pub prune: Vec<Prune>,
    /// "Don't send me these": the ids of all IDONTWANT messages, in order (gossipsub 1.2).
    pub idontwant: Vec<MessageId>,
    /// What the sender can do (gossipsub 1.3); only in its first RPC.
    pub extensions: Option<Extensions>,
}

/// An IHAVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IHave {
    /// Where the messages were published.
    pub topic: Topic,
    /// Which ones.
    pub ids: Vec<MessageId>,
}

/// A PRUNE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Of which mesh.
    pub topic: Topic,
    /// Others who might be grafted instead.
    pub peers: Vec<PeerInfo>,
    /// Seconds for which not to come back, as the sender says it: any number.
    pub backoff: Option<u64>,
}

/// A peer that a PRUNE recommends; unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its binary peer id.
    pub peer: Option<Bytes>,
    /// Its peer record in a signed envelope.
    pub signed_record: Option<Bytes>,
}

/// The extensions that a peer supports (gossipsub 1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Partial messages.
    pub partial_messages: bool,
    /// The extension with which implementations test extensions.
    pub test: bool,
}

/// A part of a message (gossipsub 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Where it is published.
    pub topic: Topic,
    /// Which message it is a part of.
    pub group: Bytes,
    /// Parts, in the application's encoding.
    pub message: Option<Bytes>,
    /// Which parts the sender has and wants, in the application's encoding.
    pub metadata: Option<Bytes>,
}
