//! What all publish/subscribe protocols share: frames, RPCs, signatures, seen messages.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peerkit_pubsub::{
    DecodeError, DecodeLimits, FrameDecoder, Message, MessageId, MessageSigner, MessageVerifier,
    Rpc, RpcDecoder, SeenCache, SignaturePolicy, Topic, encode_rpc,
};
use prost::Message as _;

use crate::{
    clock,
    input::{Input, patch},
    keys::keypair,
    oracle,
};

/// Frames: how the bytes are cut, and into which memory they are read, makes no difference.
pub fn pubsub_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = 1 + input.below(80);
    let direct = input.flag();
    let bytes = input.rest();
    let whole = read_frames(bytes, bytes.len().max(1), false);
    let cut = read_frames(bytes, piece, direct);
    assert_eq!(whole, cut);
}

const FRAME_MAX: usize = 2000;

fn read_frames(bytes: &[u8], piece: usize, direct: bool) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut decoder = FrameDecoder::new(FRAME_MAX);
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            if direct && decoder.missing() > 0 {
                assert!(decoder.is_within_frame());
                frames.extend(fill(&mut decoder, &mut piece));
                continue;
            }
            match decoder.decode(&mut piece) {
                Ok(frame) => frames.extend(frame),
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    assert!(
        frames
            .iter()
            .all(|frame| (1..=FRAME_MAX).contains(&frame.len()))
    );
    (frames, None)
}

fn fill(decoder: &mut FrameDecoder, piece: &mut &[u8]) -> Option<Bytes> {
    let space = decoder.space();
    let count = space.len().min(piece.len());
    assert!(count > 0, "a frame that lacks bytes has room for them");
    let (now, later) = piece.split_at(count);
    space[..count].copy_from_slice(now);
    *piece = later;
    decoder.filled(count)
}

/// RPCs, beside what prost makes of the same bytes.
pub fn pubsub_rpc(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let ours = RpcDecoder::new(limits()).decode(&frame);
    let theirs = oracle::Rpc::decode(data);
    match (ours, theirs) {
        (Ok(ours), theirs) => {
            check_limits(&ours.rpc);
            check_encoding(&ours.rpc);
            if let Ok(theirs) = theirs
                && ours.skipped == 0
            {
                let ours = oracle::Rpc::of(&ours.rpc).normalized();
                assert_eq!(ours, theirs.normalized());
            }
        }
        // Groups, which nobody has sent for twenty years, are read by prost only.
        (Err(DecodeError::BadTag), _) | (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => panic!("prost reads it: {error}"),
    }
}

fn limits() -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.subscriptions_max = 5;
    limits.messages_max = 5;
    limits.control_entries_max = 4;
    limits.ids_max = 8;
    limits.id_len_max = 60;
    limits.recommended_peers_max = 2;
    limits.topic_len_max = 40;
    limits
}

fn check_limits(rpc: &Rpc) {
    let (control, limits) = (&rpc.control, limits());
    assert!(rpc.subscriptions.len() <= limits.subscriptions_max);
    assert!(rpc.messages.len() <= limits.messages_max);
    for entries in [
        control.ihave.len(),
        control.graft.len(),
        control.prune.len(),
    ] {
        assert!(entries <= limits.control_entries_max);
    }
    let have = control.ihave.iter().map(|it| it.ids.len()).sum();
    for ids in [have, control.iwant.len(), control.idontwant.len()] {
        assert!(ids <= limits.ids_max);
    }
    for prune in &control.prune {
        assert!(prune.peers.len() <= limits.recommended_peers_max);
    }
    for change in &rpc.subscriptions {
        assert!(change.topic.as_str().len() <= limits.topic_len_max);
    }
}

/// What is sent on is read as the same.
fn check_encoding(rpc: &Rpc) {
    let encoded = encode_rpc(rpc);
    let frame = FrameDecoder::new(1 << 24).decode(&mut &encoded[..]);
    let frame = frame.expect("it was encoded here").unwrap_or_default();
    let again = RpcDecoder::new(limits()).decode(&frame);
    let mut again = again.expect("it was encoded here").rpc;
    // An empty list of ids says nothing and is not sent.
    again.control.ihave.retain(|it| !it.ids.is_empty());
    let mut rpc = rpc.clone();
    rpc.control.ihave.retain(|it| !it.ids.is_empty());
    assert_eq!(again, rpc);
}

/// Messages and their signatures: forged ones are found under each policy.
pub fn pubsub_signatures(data: &[u8]) {
    let mut input = Input::new(data);
    let (signer, verifiers) = &*PARTIES;
    let topic = Topic::from(["news", "", "a topic"][input.below(3)]);
    let signed = signer.message(&topic, input.bytes());
    let honest = signed.expect("Ed25519 keys can sign");
    let mut encoded = honest.encoded.to_vec();
    patch(&mut input, &mut encoded);
    for (forged, encoded) in [(true, &encoded[..]), (false, input.rest())] {
        let Some(message) = read_message(encoded) else {
            continue;
        };
        let outcomes = verifiers.each_ref().map(|it| it.verify(&message));
        for (verifier, outcome) in verifiers.iter().zip(&outcomes) {
            if let Some(form) = verifier.verify_form(&message) {
                assert_eq!(form, *outcome);
            }
        }
        let [strict, anonymous, lax, _] = outcomes;
        assert!(strict.is_err() || (anonymous.is_err() && lax.is_ok()));
        if strict.is_ok() && forged {
            assert_eq!(message.author(), Some(keypair(5).public().to_peer_id()));
            assert_eq!(
                (&message.data, &message.topic),
                (&honest.data, &honest.topic)
            );
            assert_eq!(message.seqno, honest.seqno);
        }
    }
}

type Parties = (MessageSigner, [MessageVerifier; 4]);

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let signer = MessageSigner::new(keypair(5), SignaturePolicy::StrictSign, 1);
    let policies = [
        SignaturePolicy::StrictSign,
        SignaturePolicy::StrictNoSign,
        SignaturePolicy::LaxSign,
        SignaturePolicy::LaxNoSign,
    ];
    (
        signer,
        policies.map(|policy| MessageVerifier::new(policy, 2)),
    )
});

/// The message in its encoded form, as an RPC with nothing else has it.
fn read_message(encoded: &[u8]) -> Option<std::sync::Arc<Message>> {
    let mut frame = vec![0x12];
    crate::muxers::varint(encoded.len() as u64, &mut frame);
    frame.extend_from_slice(encoded);
    let decoded = RpcDecoder::new(DecodeLimits::default()).decode(&frame.into());
    decoded.ok()?.rpc.messages.pop()
}

/// The memory of seen messages beside a list of everything that was ever put there.
pub fn seen_cache(data: &[u8]) {
    let mut input = Input::new(data);
    let (ttl, capacity) = (Duration::from_secs(100), 1 + input.below(6));
    let mut cache = SeenCache::new(ttl, capacity);
    let mut inserted: Vec<Inserted> = Vec::new();
    let mut now = clock();
    while !input.is_empty() {
        let action = input.byte();
        let number = action >> 2 & 7;
        let id = MessageId::copy_from_slice(&[number]);
        match action % 4 {
            0 | 1 => {
                let alive = |it: &Inserted| it.number == number && !it.removed && now - it.at < ttl;
                let known = inserted.iter().any(alive);
                let first = inserted.iter().position(|it| it.number == number);
                let later = first.map_or(0, |first| inserted.len() - first);
                let new = cache.insert(&id, now);
                assert!(known || new, "a new message was taken for an old one");
                // Only when it is full may it forget before the time.
                assert!(!known || !new || later >= capacity, "it has forgotten");
                if new {
                    inserted.push(Inserted {
                        number,
                        at: now,
                        removed: false,
                    });
                }
            }
            2 => {
                cache.remove(&id);
                let same = inserted.iter_mut().filter(|it| it.number == number);
                same.for_each(|it| it.removed = true);
            }
            _ => now += Duration::from_secs(u64::from(input.byte() % 64)),
        }
        cache.expire(now);
        assert!(cache.len() <= capacity);
    }
}

struct Inserted {
    number: u8,
    at: Instant,
    removed: bool,
}
