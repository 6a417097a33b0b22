//! Others' messages.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use peerkit_core::{PeerId, PublicKey, lock};

use super::{InvalidMessage, PREFIX, SIGNATURE_MAX, SignaturePolicy, inlined_key};
use crate::{Message, codec::wire::Reader};

/// Checks others' messages against the policy. Remembers the keys of the last authors.
#[derive(Debug)]
pub struct MessageVerifier {
    policy: SignaturePolicy,
    pub(super) keys: Mutex<Keys>,
}

impl MessageVerifier {
    /// Remembers so many decoded keys (at least one).
    pub fn new(policy: SignaturePolicy, keys_max: usize) -> Self {
        Self {
            policy,
            keys: Mutex::new(Keys {
                capacity: keys_max.max(1),
                known: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// What can be said without checking a signature; `None` when it takes [`verify`](Self::verify).
    pub fn verify_form(&self, message: &Message) -> Option<Result<(), InvalidMessage>> {
        let signed = message.signature.is_some();
        match self.policy {
            SignaturePolicy::StrictNoSign => Some(check_anonymous(message)),
            SignaturePolicy::LaxSign | SignaturePolicy::LaxNoSign if !signed => Some(Ok(())),
            SignaturePolicy::StrictSign | SignaturePolicy::LaxSign | SignaturePolicy::LaxNoSign => {
                check_signed_form(message, self.policy).err().map(Err)
            }
        }
    }

    /// The whole check. Takes some 50 microseconds when it comes to a signature.
    pub fn verify(&self, message: &Message) -> Result<(), InvalidMessage> {
        if let Some(outcome) = self.verify_form(message) {
            return outcome;
        }
        let from = message.from.as_deref().ok_or(InvalidMessage::NoAuthor)?;
        let signature = message.signature.as_deref();
        let signature = signature.ok_or(InvalidMessage::NoSignature)?;
        let known = lock(&self.keys).known.get(from).cloned();
        let key = match (known, message.key.as_deref()) {
            (Some(key), None) => key,
            (Some(key), Some(named)) if key.encode_protobuf() == named => key,
            (_, named) => Arc::new(author_key(from, named)?),
        };
        if !key.verify(&signed_bytes(message)?, signature) {
            return Err(InvalidMessage::BadSignature);
        }
        lock(&self.keys).remember(from, &key);
        Ok(())
    }
}

/// The keys of authors who have signed well.
#[derive(Debug)]
pub(super) struct Keys {
    capacity: usize,
    pub(super) known: HashMap<Box<[u8]>, Arc<PublicKey>>,
    pub(super) order: VecDeque<Box<[u8]>>,
}

impl Keys {
    fn remember(&mut self, author: &[u8], key: &Arc<PublicKey>) {
        if self.known.contains_key(author) {
            return;
        }
        while self.order.len() >= self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.order.push_back(author.into());
        self.known.insert(author.into(), key.clone());
    }
}

fn check_anonymous(message: &Message) -> Result<(), InvalidMessage> {
    let fields = [
        &message.from,
        &message.seqno,
        &message.signature,
        &message.key,
    ];
    if fields.iter().any(|field| field.is_some()) {
        return Err(InvalidMessage::Unwanted);
    }
    Ok(())
}

fn check_signed_form(message: &Message, policy: SignaturePolicy) -> Result<(), InvalidMessage> {
    if message.from.is_none() {
        return Err(InvalidMessage::NoAuthor);
    }
    let seqno = message.seqno.as_ref().ok_or(InvalidMessage::NoSeqno)?;
    if !policy.seqno_lens().contains(&seqno.len()) {
        return Err(InvalidMessage::BadSeqno);
    }
    let signature = message.signature.as_ref();
    let signature = signature.ok_or(InvalidMessage::NoSignature)?;
    if signature.is_empty() || signature.len() > SIGNATURE_MAX {
        return Err(InvalidMessage::BadSignature);
    }
    Ok(())
}

/// The author's key, from the peer id or from the message; it has to be the author's.
fn author_key(from: &[u8], key: Option<&[u8]>) -> Result<PublicKey, InvalidMessage> {
    let author = PeerId::from_bytes(from).map_err(|_| InvalidMessage::BadAuthor)?;
    let encoded = match (key, inlined_key(&author)) {
        (Some(key), _) if key.len() > KEY_LEN_MAX => return Err(InvalidMessage::BadKey),
        (Some(key), _) => key,
        (None, Some(inlined)) => inlined,
        (None, None) => return Err(InvalidMessage::NoKey),
    };
    let key = PublicKey::try_decode_protobuf(encoded).map_err(|_| InvalidMessage::BadKey)?;
    if key.to_peer_id() != author {
        return Err(InvalidMessage::ForeignKey);
    }
    Ok(key)
}

/// What the author has signed: the message as it came, without signature and key.
///
/// Cutting them out of the received bytes instead of writing the message anew keeps fields that are
/// not known here, and encodings that are not ours.
fn signed_bytes(message: &Message) -> Result<Vec<u8>, InvalidMessage> {
    let mut bytes = Vec::with_capacity(PREFIX.len() + message.encoded.len());
    bytes.extend_from_slice(PREFIX);
    let mut fields = Reader::new(&message.encoded);
    // Decoding has gone through the same bytes, so this can't fail for a message from the wire.
    let bad = |_| InvalidMessage::BadSignature;
    while let Some(field) = fields.next_field().map_err(bad)? {
        if field.number != 5 && field.number != 6 {
            bytes.extend_from_slice(&message.encoded[field.start..fields.position()]);
        }
    }
    Ok(bytes)
}

/// RSA with 8192 bits has 1.1 kB.
const KEY_LEN_MAX: usize = 2048;
