//! Who has written a message: signing and checking.

use std::{
    collections::{HashMap, VecDeque},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use peerkit_core::{Fault, Keypair, PeerId, PublicKey, lock};

use crate::{
    Message, Topic,
    codec::wire::{Reader, field_len, put_bytes},
};

/// Whether messages carry their author's signature.
///
/// Source: the pubsub specification, section "Message Signing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// Messages are signed, and others are rejected.
    #[default]
    StrictSign,
    /// Messages name neither author nor number nor signature, and those that do are rejected.
    StrictNoSign,
    /// Messages are signed; unsigned ones are accepted, and what they say of their author is
    /// anybody's claim. The numbers of signed ones may be shorter than 8 bytes, since js-libp2p's
    /// floodsub leaves out leading zeros.
    LaxSign,
    /// Messages are not signed; those that are have to be signed well, with numbers as above.
    LaxNoSign,
}

impl SignaturePolicy {
    fn signs(self) -> bool {
        matches!(self, Self::StrictSign | Self::LaxSign)
    }

    /// How many bytes the number of a signed message may have.
    fn seqno_lens(self) -> RangeInclusive<usize> {
        match self {
            Self::StrictSign | Self::StrictNoSign => SEQNO_LEN..=SEQNO_LEN,
            Self::LaxSign | Self::LaxNoSign => 1..=SEQNO_LEN,
        }
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// It names no author.
    #[error("it names no author")]
    NoAuthor,
    /// The author's name is no peer id.
    #[error("its author's name is no peer id")]
    BadAuthor,
    /// It has no number.
    #[error("it has no sequence number")]
    NoSeqno,
    /// Its number has not the 8 bytes that it should have.
    #[error("its sequence number has not 8 bytes")]
    BadSeqno,
    /// It is not signed.
    #[error("it is not signed")]
    NoSignature,
    /// It has fields that it should not have.
    #[error("it names an author, a number, a signature or a key, none of which is wanted")]
    Unwanted,
    /// The author's key is neither in it nor in the author's peer id.
    #[error("its author's key is missing")]
    NoKey,
    /// The key is broken or of a type that is not known here.
    #[error("its author's key is not valid")]
    BadKey,
    /// The key is somebody else's.
    #[error("its key is not its author's")]
    ForeignKey,
    /// The signature is not the author's.
    #[error("its signature is not its author's")]
    BadSignature,
}

impl InvalidMessage {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoSignature | Self::Unwanted => Fault::Incompatible,
            Self::NoAuthor
            | Self::BadAuthor
            | Self::NoSeqno
            | Self::BadSeqno
            | Self::NoKey
            | Self::BadKey
            | Self::ForeignKey
            | Self::BadSignature => Fault::PeerMisbehaved,
        }
    }
}

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
struct Identity {
    keypair: Keypair,
    from: Bytes,
    /// Present when the peer id does not contain it.
    key: Option<Bytes>,
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
    fn new(keypair: &Keypair) -> Self {
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

    fn message(&self, topic: &Topic, data: &[u8], seqno: u64) -> Result<Message, SigningFailed> {
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

/// Checks others' messages against the policy. Remembers the keys of the last authors.
#[derive(Debug)]
pub struct MessageVerifier {
    policy: SignaturePolicy,
    keys: Mutex<Keys>,
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
struct Keys {
    capacity: usize,
    known: HashMap<Box<[u8]>, Arc<PublicKey>>,
    order: VecDeque<Box<[u8]>>,
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

/// A peer id whose hash is the identity contains the key itself.
fn inlined_key(peer: &PeerId) -> Option<&[u8]> {
    let hash = peer.as_ref();
    (hash.code() == IDENTITY_HASH).then(|| hash.digest())
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

const PREFIX: &[u8] = b"libp2p-pubsub:";
const SEQNO_LEN: usize = 8;
const IDENTITY_HASH: u64 = 0;
/// RSA with 8192 bits.
const SIGNATURE_MAX: usize = 1024;
/// RSA with 8192 bits has 1.1 kB.
const KEY_LEN_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeLimits, Rpc, RpcDecoder, encode_rpc};

    const POLICIES: [SignaturePolicy; 4] = [
        SignaturePolicy::StrictSign,
        SignaturePolicy::StrictNoSign,
        SignaturePolicy::LaxSign,
        SignaturePolicy::LaxNoSign,
    ];

    fn signed(keypair: &Keypair) -> Message {
        let signer = MessageSigner::new(keypair, SignaturePolicy::StrictSign, 7);
        signer.message(&Topic::from("news"), b"data").unwrap()
    }

    fn verdicts(message: &Message) -> [Result<(), InvalidMessage>; 4] {
        POLICIES.map(|policy| MessageVerifier::new(policy, 10).verify(message))
    }

    /// As it looks on the other side.
    fn received(message: &Message) -> Message {
        let rpc = Rpc {
            messages: vec![Arc::new(message.clone())],
            ..Rpc::default()
        };
        let frame = encode_rpc(&rpc);
        let mut input = &*frame;
        let mut frames = crate::FrameDecoder::new(1 << 20);
        let frame = frames.decode(&mut input).unwrap().unwrap();
        let mut decoder = RpcDecoder::new(DecodeLimits::default());
        decoder.decode(&frame).unwrap().rpc.messages[0]
            .as_ref()
            .clone()
    }

    /// Written anew after its fields were changed.
    fn rewritten(mut message: Message) -> Message {
        let mut bytes = Vec::new();
        let fields = [
            (1, message.from.as_deref()),
            (2, Some(&*message.data)),
            (3, message.seqno.as_deref()),
            (4, Some(message.topic.as_str().as_bytes())),
            (5, message.signature.as_deref()),
            (6, message.key.as_deref()),
        ];
        for (number, content) in fields {
            if let Some(content) = content {
                put_bytes(&mut bytes, number, content);
            }
        }
        message.encoded = bytes.into();
        message
    }

    fn keypairs() -> Vec<Keypair> {
        vec![
            Keypair::generate_ed25519(),
            Keypair::generate_secp256k1(),
            Keypair::generate_ecdsa(),
        ]
    }

    #[test]
    fn signed_messages_verify_with_keys_of_every_kind() {
        use InvalidMessage::Unwanted;
        for keypair in keypairs() {
            let message = signed(&keypair);
            assert_eq!(message.author(), Some(keypair.public().to_peer_id()));
            assert_eq!(
                message.seqno.as_deref(),
                Some(&[0, 0, 0, 0, 0, 0, 0, 7][..])
            );
            let arrived = received(&message);
            assert_eq!(arrived, message);
            assert_eq!(verdicts(&arrived), [Ok(()), Err(Unwanted), Ok(()), Ok(())]);
        }
    }

    #[test]
    fn the_key_is_sent_only_when_the_peer_id_lacks_it() {
        let kinds = keypairs()
            .iter()
            .map(signed)
            .map(|it| it.key.is_some())
            .collect::<Vec<_>>();
        assert_eq!(kinds, [false, false, true]);
    }

    #[test]
    fn unsigned_messages_name_nobody() {
        let signer = MessageSigner::new(
            &Keypair::generate_ed25519(),
            SignaturePolicy::StrictNoSign,
            0,
        );
        let message = signer.message(&Topic::from("news"), b"data").unwrap();
        let arrived = received(&message);
        assert_eq!(arrived, message);
        let no_author = Err(InvalidMessage::NoAuthor);
        assert_eq!(verdicts(&arrived), [no_author, Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn any_change_is_found_out() {
        type Change = fn(&mut Message);
        let message = signed(&Keypair::generate_ed25519());
        let bad = InvalidMessage::BadSignature;
        let changes: [(Change, InvalidMessage); 9] = [
            (|it| it.data = Bytes::from_static(b"other"), bad),
            (|it| it.topic = Topic::from("olds"), bad),
            (|it| it.seqno = Some(Bytes::from_static(&[9; 8])), bad),
            (|it| it.signature = Some(Bytes::from_static(&[0; 64])), bad),
            (|it| it.signature = Some(Bytes::from_static(&[])), bad),
            (
                |it| {
                    it.from = Some(
                        Keypair::generate_ed25519()
                            .public()
                            .to_peer_id()
                            .to_bytes()
                            .into(),
                    )
                },
                bad,
            ),
            (
                |it| it.from = Some(Bytes::from_static(b"nobody")),
                InvalidMessage::BadAuthor,
            ),
            (
                |it| it.seqno = Some(Bytes::from_static(&[9; 20])),
                InvalidMessage::BadSeqno,
            ),
            (|it| it.seqno = None, InvalidMessage::NoSeqno),
        ];
        for (change, expected) in changes {
            let mut changed = message.clone();
            change(&mut changed);
            let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
            assert_eq!(verifier.verify(&rewritten(changed)), Err(expected));
        }
    }

    /// js-libp2p's floodsub leaves out leading zeros.
    #[test]
    fn short_numbers_are_signed_well_enough_for_the_lax() {
        let keypair = Keypair::generate_ed25519();
        let identity = Identity::new(&keypair);
        let (mut bytes, topic) = (Vec::new(), Topic::from("news"));
        put_bytes(&mut bytes, 1, &identity.from);
        put_bytes(&mut bytes, 2, b"data");
        put_bytes(&mut bytes, 3, &[7; 7]);
        put_bytes(&mut bytes, 4, topic.as_str().as_bytes());
        let signature = keypair.sign(&[PREFIX, &bytes].concat()).unwrap();
        put_bytes(&mut bytes, 5, &signature);
        let message = Message {
            from: Some(identity.from.clone()),
            data: Bytes::from_static(b"data"),
            seqno: Some(Bytes::from_static(&[7; 7])),
            topic,
            signature: Some(signature.into()),
            key: None,
            encoded: bytes.into(),
        };
        assert_eq!(message.number(), Some(0x0007_0707_0707_0707));
        for (policy, expected) in [
            (SignaturePolicy::LaxSign, Ok(())),
            (SignaturePolicy::LaxNoSign, Ok(())),
            (SignaturePolicy::StrictSign, Err(InvalidMessage::BadSeqno)),
        ] {
            assert_eq!(MessageVerifier::new(policy, 10).verify(&message), expected);
        }
    }

    #[test]
    fn a_key_has_to_be_the_authors() {
        let (victim, attacker) = (Keypair::generate_ecdsa(), Keypair::generate_ecdsa());
        let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
        assert_eq!(verifier.verify(&signed(&victim)), Ok(()));

        let mut identity = Identity::new(&attacker);
        identity.from = victim.public().to_peer_id().to_bytes().into();
        let forged = identity.message(&Topic::from("news"), b"data", 8).unwrap();
        // Both with and without the victim's key at hand.
        assert_eq!(verifier.verify(&forged), Err(InvalidMessage::ForeignKey));
        let fresh = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
        assert_eq!(fresh.verify(&forged), Err(InvalidMessage::ForeignKey));

        let mut without = signed(&victim);
        without.key = None;
        assert_eq!(
            fresh.verify(&rewritten(without)),
            Err(InvalidMessage::NoKey)
        );
    }

    #[test]
    fn unknown_fields_are_part_of_what_is_signed() {
        let keypair = Keypair::generate_ed25519();
        let plain = signed(&keypair);
        let mut bytes = Vec::new();
        // An unknown field in front, the signature in the middle.
        put_bytes(&mut bytes, 9, b"extra");
        put_bytes(&mut bytes, 1, plain.from.as_deref().unwrap());
        let mut to_sign = [PREFIX, &bytes].concat();
        let mut rest = Vec::new();
        put_bytes(&mut rest, 3, plain.seqno.as_deref().unwrap());
        put_bytes(&mut rest, 4, b"news");
        to_sign.extend_from_slice(&rest);
        let signature = keypair.sign(&to_sign).unwrap();
        put_bytes(&mut bytes, 5, &signature);
        bytes.extend_from_slice(&rest);
        let message = Message {
            signature: Some(signature.into()),
            encoded: bytes.into(),
            ..plain
        };
        let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
        assert_eq!(verifier.verify(&message), Ok(()));
    }

    #[test]
    fn random_signatures_never_pass() {
        let message = signed(&Keypair::generate_ed25519());
        let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
        for byte in 0..=255 {
            let mut changed = message.clone();
            changed.signature = Some(vec![byte; 64].into());
            assert!(verifier.verify(&rewritten(changed)).is_err());
        }
    }

    #[test]
    fn only_the_last_authors_keys_are_remembered() {
        let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 2);
        for _ in 0..5 {
            let message = signed(&Keypair::generate_ed25519());
            for _ in 0..2 {
                assert_eq!(verifier.verify(&message), Ok(()));
            }
        }
        let keys = lock(&verifier.keys);
        assert_eq!((keys.known.len(), keys.order.len()), (2, 2));
    }
}
