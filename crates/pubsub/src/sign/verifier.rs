//! Others' messages.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use peerkit_core::{PeerId, PublicKey, lock};

use super::{
    InvalidMessage, PREFIX, SIGNATURE_MAX, SignaturePolicy,
    ed25519::{self, Author, Claim},
    inlined_key,
};
use crate::{Message, codec::wire::Reader};

/// Checks others' messages against the policy. Remembers the keys of the last authors, and more (some 11 kB) of up to
/// 64 of those who write often, whose signatures take less time then.
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
                busy: VecDeque::new(),
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

    /// The whole check. Takes 20 to 50 microseconds when it comes to a signature.
    pub fn verify(&self, message: &Message) -> Result<(), InvalidMessage> {
        self.verify_all([message])
            .pop()
            .expect("one message has one outcome")
    }

    /// The whole check of several messages, in their order; takes less time for each than one alone. The outcomes
    /// don't depend on what is checked together.
    pub fn verify_all<'a>(
        &self,
        messages: impl IntoIterator<Item = &'a Message>,
    ) -> Vec<Result<(), InvalidMessage>> {
        let begun = messages.into_iter().map(|message| self.begin(message));
        let begun: Vec<_> = begun.collect();
        let claims = begun
            .iter()
            .filter_map(|begun| begun.as_ref().ok()?.as_ref());
        let mut good = ed25519::check(claims);
        let outcomes = begun.iter().map(|begun| match begun {
            Err(error) => Err(*error),
            Ok(Some(_)) if good.next() != Some(true) => Err(InvalidMessage::BadSignature),
            Ok(_) => Ok(()),
        });
        outcomes.collect()
    }

    /// Checks all but a signature that takes less time together with others.
    fn begin(&self, message: &Message) -> Result<Option<Claim>, InvalidMessage> {
        if let Some(outcome) = self.verify_form(message) {
            return outcome.map(|()| None);
        }
        let from = message.from.as_deref().ok_or(InvalidMessage::NoAuthor)?;
        let signature = message.signature.as_deref();
        let signature = signature.ok_or(InvalidMessage::NoSignature)?;
        let signed = signed_bytes(message)?;
        let known = lock(&self.keys).known.get(from).cloned();
        let known = known.filter(|known| known.is_named(message.key.as_deref()));
        if let Some(author) = known.as_ref().and_then(|known| known.busy.as_ref()) {
            let claim = author.claim(&signed, signature);
            return claim.map(Some).ok_or(InvalidMessage::BadSignature);
        }
        let key = match known {
            Some(known) => known.key,
            None => Arc::new(author_key(from, message.key.as_deref())?),
        };
        if !key.verify(&signed, signature) {
            return Err(InvalidMessage::BadSignature);
        }
        self.remember(from, &key);
        Ok(None)
    }

    fn remember(&self, from: &[u8], key: &Arc<PublicKey>) {
        if !lock(&self.keys).remember(from, key) {
            return;
        }
        let ed25519 = PublicKey::clone(key).try_into_ed25519().ok();
        if let Some(author) = ed25519.and_then(|key| Author::new(key.to_bytes())) {
            lock(&self.keys).set_busy(from, Arc::new(author));
        }
    }
}

/// The keys of authors who have signed well.
#[derive(Debug)]
pub(super) struct Keys {
    capacity: usize,
    pub(super) known: HashMap<Box<[u8]>, Known>,
    pub(super) order: VecDeque<Box<[u8]>>,
    /// Those who have written often, in the order in which that was found out.
    pub(super) busy: VecDeque<Box<[u8]>>,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    key: Arc<PublicKey>,
    /// Good signatures before it was busy.
    good: u32,
    busy: Option<Arc<Author>>,
}

impl Known {
    /// Whether the key in a message, if there is one, is this.
    fn is_named(&self, named: Option<&[u8]>) -> bool {
        named.is_none_or(|named| self.key.encode_protobuf() == named)
    }
}

impl Keys {
    /// Notes a good signature; true if it makes the author a busy one.
    fn remember(&mut self, author: &[u8], key: &Arc<PublicKey>) -> bool {
        if let Some(known) = self.known.get_mut(author) {
            known.good = known.good.saturating_add(1);
            return known.good == BUSY_FROM;
        }
        while self.order.len() >= self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
                self.busy.retain(|it| *it != oldest);
            }
        }
        self.order.push_back(author.into());
        let known = Known {
            key: key.clone(),
            good: 1,
            busy: None,
        };
        self.known.insert(author.into(), known);
        false
    }

    fn set_busy(&mut self, author: &[u8], busy: Arc<Author>) {
        let Some(known) = self.known.get_mut(author) else {
            return;
        };
        if known.busy.replace(busy).is_some() {
            return;
        }
        self.busy.push_back(author.into());
        while self.busy.len() > BUSY_MAX {
            let oldest = self.busy.pop_front();
            if let Some(known) = oldest.and_then(|oldest| self.known.get_mut(&oldest)) {
                known.busy = None;
                known.good = 0;
            }
        }
    }
}

/// Signatures after which an author is worth the time of two more.
const BUSY_FROM: u32 = 8;
/// Authors for whom there is so much memory.
const BUSY_MAX: usize = 64;

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
