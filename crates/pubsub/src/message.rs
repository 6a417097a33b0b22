//! Messages and their ids.

use std::fmt;

use bytes::Bytes;

use crate::Topic;

/// A message as it came from the wire or goes there; shared as `Arc<Message>`, so that a router
/// forwards it to any number of peers without a copy.
///
/// The fields are what the author has sent, unchecked: whether they belong together is what the
/// signature policy says. Absent and empty are two things.
///
/// Source: the pubsub specification, section "The Message".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The binary peer id of the author.
    pub from: Option<Bytes>,
    /// What it is about.
    pub data: Bytes,
    /// 8 bytes, big-endian, unique and rising for each author.
    pub seqno: Option<Bytes>,
    /// Where it was published.
    pub topic: Topic,
    /// The author's signature.
    pub signature: Option<Bytes>,
    /// The author's public key, when the peer id doesn't contain it.
    pub key: Option<Bytes>,
    /// The encoded message (without tag and length), as it is signed but for signature and key. It is
    /// forwarded as it is, so that nothing that peerkit doesn't know gets lost.
    pub encoded: Bytes,
}

/// What makes a message the same message; a few raw bytes, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Bytes);

impl MessageId {
    /// The id itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl<T: Into<Bytes>> From<T> for MessageId {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}
