//! This node's own messages.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use peerkit_core::Keypair;

use super::{PREFIX, SEQNO_LEN, SIGNATURE_MAX, SignaturePolicy, inlined_key};
use crate::{
    Message, Topic,
    codec::wire::{field_len, put_bytes},
};

/// A message could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message could not be signed with this node's key")]
pub struct SigningFailed;

/// Makes this node's own messages.
#[derive(Debug)]
pub struct MessageSigner {
    /// What to sign with, if messages are signed.
    identity: Option<Identity>,
    next_seqno: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Identity {
    keypair: Keypair,
    pub(super) from: Bytes,
    /// Present when the peer id does not contain it.
    pub(super) key: Option<Bytes>,
}

impl MessageSigner {
    /// The numbers begin with `first_seqno`; the time in nanoseconds never goes back between two runs.
    pub fn new(keypair: &Keypair, policy: SignaturePolicy, first_seqno: u64) -> Self {
        let identity = policy.signs().then(|| Identity::new(keypair));
        Self {
            identity,
            next_seqno: AtomicU64::new(first_seqno),
        }
    }

    /// A complete message, signed if the policy wants that. The data is copied once.
    pub fn message(&self, topic: &Topic, data: &[u8]) -> Result<Message, SigningFailed> {
        match &self.identity {
            Some(identity) => {
                let seqno = self.next_seqno.fetch_add(1, Ordering::Relaxed);
                identity.message(topic, data, seqno)
            }
            None => Ok(unsigned(topic, data)),
        }
    }

    /// How many bytes the encoded form of a message will have, at most.
    pub fn message_len_max(&self, topic: &Topic, data: &[u8]) -> usize {
        let content = field_len(2, data.len()) + field_len(4, topic.as_str().len());
        let identity = self.identity.as_ref().map_or(0, Identity::len_max);
        content + identity
    }
}

impl Identity {
    pub(super) fn new(keypair: &Keypair) -> Self {
        let (peer, public) = (keypair.public().to_peer_id(), keypair.public());
        let key = inlined_key(&peer).is_none();
        Self {
            keypair: keypair.clone(),
            from: peer.to_bytes().into(),
            key: key.then(|| public.encode_protobuf().into()),
        }
    }

    fn len_max(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| field_len(6, key.len()));
        field_len(1, self.from.len()) + field_len(3, SEQNO_LEN) + field_len(5, SIGNATURE_MAX) + key
    }

    pub(super) fn message(
        &self,
        topic: &Topic,
        data: &[u8],
        seqno: u64,
    ) -> Result<Message, SigningFailed> {
        let mut bytes = Vec::with_capacity(PREFIX.len() + data.len() + topic.as_str().len() + 192);
        bytes.extend_from_slice(PREFIX);
        let from = field(&mut bytes, 1, &self.from);
        let data = field(&mut bytes, 2, data);
        let seqno = field(&mut bytes, 3, &seqno.to_be_bytes());
        put_bytes(&mut bytes, 4, topic.as_str().as_bytes());
        let signature = self.keypair.sign(&bytes).map_err(|_| SigningFailed)?;
        let signature = field(&mut bytes, 5, &signature);
        let key = self.key.as_ref().map(|key| field(&mut bytes, 6, key));
        let bytes = Bytes::from(bytes);
        Ok(Message {
            from: Some(bytes.slice(from)),
            data: bytes.slice(data),
            seqno: Some(bytes.slice(seqno)),
            topic: topic.clone(),
            signature: Some(bytes.slice(signature)),
            key: key.map(|key| bytes.slice(key)),
            encoded: bytes.slice(PREFIX.len()..),
        })
    }
}

fn unsigned(topic: &Topic, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + topic.as_str().len() + 16);
    let data = field(&mut bytes, 2, data);
    put_bytes(&mut bytes, 4, topic.as_str().as_bytes());
    let bytes = Bytes::from(bytes);
    Message {
        from: None,
        data: bytes.slice(data),
        seqno: None,
        topic: topic.clone(),
        signature: None,
        key: None,
        encoded: bytes,
    }
}

/// Writes a field and returns where its content stands.
fn field(bytes: &mut Vec<u8>, number: u32, content: &[u8]) -> std::ops::Range<usize> {
    put_bytes(bytes, number, content);
    bytes.len() - content.len()..bytes.len()
}
