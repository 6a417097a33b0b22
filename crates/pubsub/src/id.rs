//! The ids of messages.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::Message;

/// What makes a message the same message; a few raw bytes, cheap to clone.
#[derive(Clone)]
pub struct MessageId(Repr);

/// The usual ids (46 bytes with an Ed25519 author, 32 for a hash) live without an allocation.
#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Shared(Bytes),
}

const INLINE_MAX: usize = 54;

impl MessageId {
    /// The id itself.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The id as bytes of their own.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline { len, bytes } => Bytes::copy_from_slice(&bytes[..usize::from(len)]),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// An id made of two parts, one behind the other.
    pub fn concat(first: &[u8], second: &[u8]) -> Self {
        let len = first.len() + second.len();
        if len > INLINE_MAX {
            return Self(Repr::Shared([first, second].concat().into()));
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..len].copy_from_slice(second);
        Self(Repr::Inline {
            len: u8::try_from(len).expect("it is at most INLINE_MAX"),
            bytes,
        })
    }

    /// A copy of these bytes.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        Self::concat(bytes, &[])
    }
}

impl<T: Into<Bytes>> From<T> for MessageId {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        if bytes.len() > INLINE_MAX {
            Self(Repr::Shared(bytes))
        } else {
            Self::copy_from_slice(&bytes)
        }
    }
}

impl PartialEq for MessageId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for MessageId {}

impl Hash for MessageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for MessageId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MessageId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// How the id of a message is found; all nodes of a topic have to do it the same way. Cheap to clone.
///
/// By default the id is the author followed by the sequence number, as they are on the wire (the form of
/// the specification and of go), or, for a message that lacks either, the SHA-256 of its data.
#[derive(Clone, Default)]
pub struct MessageIdFn(Option<Arc<IdOf>>);

type IdOf = dyn Fn(&Message) -> MessageId + Send + Sync;

impl MessageIdFn {
    /// Ids as the application wants them. The function must be pure: the same message, the same id.
    pub fn new(of: impl Fn(&Message) -> MessageId + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(of)))
    }

    /// The SHA-256 of the data, whoever the author is. The same data is the same message then, so that it
    /// passes only once while it is remembered.
    pub fn content_hash() -> Self {
        Self::new(hash_of_data)
    }

    /// The id of a message.
    pub fn id(&self, message: &Message) -> MessageId {
        match &self.0 {
            Some(of) => of(message),
            None => default_id(message),
        }
    }
}

impl fmt::Debug for MessageIdFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.is_some() {
            "custom"
        } else {
            "default"
        };
        write!(f, "MessageIdFn({kind})")
    }
}

fn default_id(message: &Message) -> MessageId {
    match (&message.from, &message.seqno) {
        (Some(from), Some(seqno)) => MessageId::concat(from, seqno),
        _ => hash_of_data(message),
    }
}

fn hash_of_data(message: &Message) -> MessageId {
    MessageId::copy_from_slice(&Sha256::digest(&message.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    fn message(from: Option<&'static [u8]>, seqno: Option<&'static [u8]>) -> Message {
        Message {
            from: from.map(Bytes::from_static),
            data: Bytes::from_static(b"data"),
            seqno: seqno.map(Bytes::from_static),
            topic: Topic::from("news"),
            signature: None,
            key: None,
            encoded: Bytes::new(),
        }
    }

    #[test]
    fn the_default_is_author_and_number_or_else_the_hash_of_the_data() {
        let of = MessageIdFn::default();
        let signed = of.id(&message(Some(b"author"), Some(b"12345678")));
        assert_eq!(signed.as_bytes(), b"author12345678");
        let hash = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
        for lacking in [message(None, None), message(Some(b"a"), None)] {
            assert_eq!(of.id(&lacking).to_string(), hash);
        }
        let content = MessageIdFn::content_hash();
        assert_eq!(
            content.id(&message(Some(b"a"), Some(b"1"))).to_string(),
            hash
        );
    }

    #[test]
    fn ids_of_every_length_are_themselves() {
        for len in [0, 1, 46, INLINE_MAX, INLINE_MAX + 1, 300] {
            let bytes = vec![7; len];
            let id = MessageId::from(bytes.clone());
            assert_eq!(id.as_bytes(), bytes);
            assert_eq!(id, MessageId::copy_from_slice(&bytes));
            assert_eq!(id.into_bytes(), bytes);
        }
    }
}
