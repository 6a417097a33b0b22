use std::sync::Arc;

use bytes::Bytes;
use peerkit_core::{Keypair, lock};

use super::{signer::Identity, *};
use crate::{DecodeLimits, Message, Rpc, RpcDecoder, Topic, codec::wire::put_bytes, encode_rpc};

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

/// Attack R41.
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

/// Messages of one author.
fn numbered(keypair: &Keypair, count: usize) -> Vec<Message> {
    let signer = MessageSigner::new(keypair, SignaturePolicy::StrictSign, 7);
    let messages = (0..count).map(|_| signer.message(&Topic::from("news"), b"data"));
    messages.map(Result::unwrap).collect()
}

#[test]
fn messages_of_busy_authors_are_judged_like_all_others() {
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
    for keypair in keypairs() {
        let messages = numbered(&keypair, 20);
        for message in &messages {
            assert_eq!(verifier.verify(message), Ok(()));
        }
        let mut forged = messages[0].clone();
        forged.data = Bytes::from_static(b"other");
        let mut short = messages[1].clone();
        short.signature = Some(Bytes::from_static(&[1; 63]));
        let mut unsigned = messages[2].clone();
        unsigned.signature = None;
        let mixed = [
            messages[3].clone(),
            rewritten(forged),
            rewritten(short),
            messages[4].clone(),
            rewritten(unsigned),
            signed(&Keypair::generate_ed25519()),
        ];
        let (bad, none) = (InvalidMessage::BadSignature, InvalidMessage::NoSignature);
        let expected = [Ok(()), Err(bad), Err(bad), Ok(()), Err(none), Ok(())];
        assert_eq!(verifier.verify_all(&mixed), expected);
        assert_eq!(mixed.each_ref().map(|it| verifier.verify(it)), expected);
    }
    // Only with Ed25519 is there something to prepare.
    assert_eq!(lock(&verifier.keys).busy.len(), 1);
}

#[test]
fn a_busy_authors_messages_are_not_those_of_another_key() {
    let (author, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
    for message in numbered(&author, 20) {
        assert_eq!(verifier.verify(&message), Ok(()));
    }
    let mut identity = Identity::new(&other);
    identity.from = author.public().to_peer_id().to_bytes().into();
    let topic = Topic::from("news");
    let forged = identity.message(&topic, b"data", 8).unwrap();
    let bad = Err(InvalidMessage::BadSignature);
    assert_eq!(verifier.verify(&forged), bad);
    identity.key = Some(other.public().encode_protobuf().into());
    let forged = identity.message(&topic, b"data", 8).unwrap();
    let foreign = Err(InvalidMessage::ForeignKey);
    assert_eq!(verifier.verify(&forged), foreign);
}

#[test]
fn only_so_many_authors_are_busy() {
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 70);
    for _ in 0..80 {
        for message in numbered(&Keypair::generate_ed25519(), 8) {
            assert_eq!(verifier.verify(&message), Ok(()));
        }
    }
    let keys = lock(&verifier.keys);
    assert_eq!((keys.known.len(), keys.busy.len()), (70, 64));
}

/// Attack G10: a key that takes long to read is not read.
#[test]
fn giant_keys_are_refused_unread() {
    let mut identity = Identity::new(&Keypair::generate_ecdsa());
    identity.key = Some(vec![1; 2049].into());
    let message = identity.message(&Topic::from("news"), b"data", 8).unwrap();
    let verifier = MessageVerifier::new(SignaturePolicy::StrictSign, 10);
    assert_eq!(verifier.verify(&message), Err(InvalidMessage::BadKey));
}
