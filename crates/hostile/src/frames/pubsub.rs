//! RPCs of publish/subscribe.

use std::sync::Arc;

use peerkit::{
    Keypair,
    pubsub::{Message, MessageSigner, SignaturePolicy, Topic},
};

use super::{
    prefixed,
    protobuf::{bytes, number},
};

/// Joins a topic or leaves it.
pub fn subscription(join: bool, topic: &str) -> Vec<u8> {
    let change = [number(1, u64::from(join)), bytes(2, topic.as_bytes())].concat();
    bytes(1, &change)
}

/// Carries an encoded message.
pub fn publish(message: &[u8]) -> Vec<u8> {
    bytes(2, message)
}

/// Carries control messages.
pub fn control(entries: &[u8]) -> Vec<u8> {
    bytes(3, entries)
}

/// Says which messages there are.
pub fn ihave(topic: &str, ids: &[Vec<u8>]) -> Vec<u8> {
    let ids = ids.iter().flat_map(|id| bytes(2, id));
    let entry: Vec<u8> = bytes(1, topic.as_bytes()).into_iter().chain(ids).collect();
    bytes(1, &entry)
}

/// Asks for messages.
pub fn iwant(ids: &[Vec<u8>]) -> Vec<u8> {
    bytes(
        2,
        &ids.iter().flat_map(|id| bytes(1, id)).collect::<Vec<_>>(),
    )
}

/// Joins the mesh.
pub fn graft(topic: &str) -> Vec<u8> {
    bytes(3, &bytes(1, topic.as_bytes()))
}

/// Leaves the mesh.
pub fn prune(topic: &str, backoff: Option<u64>) -> Vec<u8> {
    let backoff = backoff
        .map(|seconds| number(3, seconds))
        .unwrap_or_default();
    bytes(4, &[bytes(1, topic.as_bytes()), backoff].concat())
}

/// Wants no copies of messages.
pub fn idontwant(ids: &[Vec<u8>]) -> Vec<u8> {
    bytes(
        5,
        &ids.iter().flat_map(|id| bytes(1, id)).collect::<Vec<_>>(),
    )
}

/// A frame with these fields.
pub fn frame(fields: &[Vec<u8>]) -> Vec<u8> {
    prefixed(&fields.concat())
}

/// A message by its fields; those that are empty are left out.
pub fn message(from: &[u8], data: &[u8], seqno: &[u8], topic: &str, proof: &Proof) -> Vec<u8> {
    let fields = [
        (1, from),
        (2, data),
        (3, seqno),
        (4, topic.as_bytes()),
        (5, &proof.signature),
        (6, &proof.key),
    ];
    let present = fields.iter().filter(|(_, content)| !content.is_empty());
    present
        .flat_map(|(number, content)| bytes(*number, content))
        .collect()
}

/// What is to prove the author of a message.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// A signature.
    pub signature: Vec<u8>,
    /// A key.
    pub key: Vec<u8>,
}

/// What is signed is the message in front of its signature.
pub fn sign(keypair: &Keypair, unsigned: &[u8]) -> Vec<u8> {
    let signed = [b"libp2p-pubsub:", unsigned].concat();
    keypair.sign(&signed).expect("the key can sign")
}

/// A message as an honest author writes it.
pub fn honest(author: &Keypair, topic: &str, data: &[u8], seqno: u64) -> Arc<Message> {
    let signer = MessageSigner::new(author, SignaturePolicy::StrictSign, seqno);
    let message = signer.message(&Topic::from(topic), data);
    Arc::new(message.expect("the key can sign"))
}
