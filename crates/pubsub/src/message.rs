//! Messages.

use bytes::Bytes;

use peerkit_core::PeerId;

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

impl Message {
    /// The author, if the message names one and the name is a peer id.
    pub fn author(&self) -> Option<PeerId> {
        PeerId::from_bytes(self.from.as_ref()?).ok()
    }

    /// The number among its author's messages, if it has one of 8 bytes at most.
    pub fn number(&self) -> Option<u64> {
        let seqno = self.seqno.as_deref()?;
        let fits = (1..=8).contains(&seqno.len());
        fits.then(|| {
            seqno
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        })
    }
}
