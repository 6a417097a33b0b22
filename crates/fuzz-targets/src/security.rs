//! noise and plaintext.

use std::{sync::LazyLock, task::Poll};

use bytes::BytesMut;
use futures::FutureExt;
use peerkit_core::{
    Handshake, ProtocolId, Records as _, Role, Secured, SecurityError, SecurityUpgrade, Wire,
};
use peerkit_noise::{
    Noise, NoiseRecords,
    xx::{Finished, Initiator, KeyPair, Responder},
};
use peerkit_plaintext::Plaintext;
use zeroize::Zeroizing;

use crate::{
    input::{Input, patch},
    io::{Script, poll},
    keys::keypair,
};

/// Both machines of XX, with a remote in between that changes messages: only untouched ones lead to a session.
pub fn noise_handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let payloads = [input.bytes(), input.bytes(), input.bytes()];
    let mut changed = false;
    let mut pass = |message: BytesMut| {
        let mut bytes = message.to_vec();
        patch(&mut input, &mut bytes);
        changed |= bytes != message;
        BytesMut::from(&bytes[..])
    };
    let outcome = exchange(payloads, &mut pass);
    assert_eq!(outcome.is_ok(), !changed, "{:?}", outcome.err());
    if let Ok((here, there)) = outcome {
        assert_eq!(here.handshake_hash(), there.handshake_hash());
        assert_eq!(here.remote_static(), static_key(2).public());
        assert_eq!(there.remote_static(), static_key(1).public());
    }
}

/// A remote that follows XX to the letter and says anything in its payload.
pub fn noise_payload(data: &[u8]) {
    let mut input = Input::new(data);
    let role = role(&mut input);
    let payload = input.rest();
    let outcome = match role {
        Role::Dialer => answer_with(payload),
        Role::Listener => dial_with(payload),
    };
    if let Ok(secured) = outcome {
        // Nobody else has ever signed the attacker's static key.
        assert_eq!(secured.remote_peer, keypair(ATTACKER).public().to_peer_id());
        assert_eq!(secured.remote_peer, secured.remote_key.to_peer_id());
        assert!(
            secured
                .early_muxer
                .is_none_or(|muxer| muxers().contains(&muxer))
        );
    }
}

/// A remote that sends anything and knows no key: never a session, and little memory.
pub fn noise_framing(data: &[u8]) {
    let mut input = Input::new(data);
    let (role, piece) = (role(&mut input), 1 + input.below(100));
    let script = Script::of(input.rest(), piece);
    let outcome = VICTIM.secure(handshake(&script, role)).now_or_never();
    assert!(outcome.expect("a script never lets anybody wait").is_err());
    assert!(script.take_written().len() < 1000);
}

/// Records of an established session that somebody changes, repeats or leaves out.
pub fn noise_records(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut sender, mut receiver) = session();
    let (mut wire, mut expected) = (BytesMut::new(), Vec::new());
    let mut damaged = false;
    while !input.is_empty() {
        let payload = input.bytes().to_vec();
        let honest = sealed(&mut sender, &payload);
        let mut record = honest.clone();
        patch(&mut input, &mut record);
        // What is only appended damages what follows.
        if !damaged && record.starts_with(&honest) {
            expected.push(payload);
        }
        damaged |= record != honest;
        wire.extend_from_slice(&record);
    }
    let mut opened = Vec::new();
    while let Ok(Some(payload)) = receiver.open(&mut wire) {
        opened.push(payload.to_vec());
    }
    assert_eq!(opened, expected);
    if damaged && wire.len() >= 65_537 {
        assert!(receiver.open(&mut wire).is_err());
    }
}

/// The exchange of plaintext: who answers is who the key says.
pub fn plaintext(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = 1 + input.below(100);
    let bytes = input.rest();
    let secure = |piece| {
        let script = Script::of(bytes, piece);
        let upgrade = Plaintext::new(keypair(VICTIM_KEY));
        let outcome = upgrade
            .secure(handshake(&script, Role::Dialer))
            .now_or_never();
        let outcome = outcome.expect("a script never lets anybody wait");
        outcome.map(|secured| (secured.remote_peer, secured.remote_key))
    };
    let (whole, cut) = (secure(usize::MAX), secure(piece));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    if let Ok((peer, key)) = whole {
        assert_eq!(peer, key.to_peer_id());
    }
}

const VICTIM_KEY: u8 = 1;
const ATTACKER: u8 = 2;

static VICTIM: LazyLock<Noise> = LazyLock::new(|| {
    Noise::with_seed(keypair(VICTIM_KEY), [7; 32]).expect("Ed25519 keys can sign")
});

/// The attacker listens.
fn answer_with(payload: &[u8]) -> Result<Secured, SecurityError> {
    let script = Script::default();
    let mut victim = VICTIM.secure(handshake(&script, Role::Dialer));
    assert!(poll(&mut victim).is_pending());
    let one = unframed(&script.take_written());
    let (ready, _) = Responder::new(&[], static_key(1), static_key(3)).read(one)?;
    let mut two = BytesMut::new();
    ready.write(payload, &mut two)?;
    finish(victim, &script, &two)
}

/// The attacker dials.
fn dial_with(payload: &[u8]) -> Result<Secured, SecurityError> {
    let script = Script::default();
    let mut victim = VICTIM.secure(handshake(&script, Role::Listener));
    let mut one = BytesMut::new();
    let sent = Initiator::new(&[], static_key(1), static_key(3)).write(&[], &mut one)?;
    script.give(&framed(&one));
    assert!(poll(&mut victim).is_pending());
    let (ready, _) = sent.read(unframed(&script.take_written()))?;
    let mut three = BytesMut::new();
    ready.write(payload, &mut three)?;
    finish(victim, &script, &three)
}

fn finish(
    mut victim: impl Future<Output = Result<Secured, SecurityError>> + Unpin,
    script: &Script,
    message: &[u8],
) -> Result<Secured, SecurityError> {
    if message.len() > usize::from(u16::MAX) {
        return Err(SecurityError::Malformed("it can't be sent at all"));
    }
    script.give(&framed(message));
    script.close();
    match poll(&mut victim) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

fn exchange(
    payloads: [&[u8]; 3],
    pass: &mut dyn FnMut(BytesMut) -> BytesMut,
) -> Result<(Finished, Finished), SecurityError> {
    let mut message = BytesMut::new();
    let initiator = Initiator::new(b"prologue", static_key(1), static_key(3));
    let responder = Responder::new(b"prologue", static_key(2), static_key(4));
    let sent = initiator.write(payloads[0], &mut message)?;
    let (ready, first) = responder.read(pass(message.split()))?;
    let waiting = ready.write(payloads[1], &mut message)?;
    let (ready, second) = sent.read(pass(message.split()))?;
    assert_eq!((&first[..], &second[..]), (payloads[0], payloads[1]));
    let here = ready.write(payloads[2], &mut message)?;
    let (there, third) = waiting.read(pass(message.split()))?;
    assert_eq!(third, payloads[2]);
    Ok((here, there))
}

fn session() -> (NoiseRecords, NoiseRecords) {
    let outcome = exchange([&[]; 3], &mut |message| message);
    let (here, there) = outcome.expect("both follow the rules");
    (here.into_records(), there.into_records())
}

fn sealed(records: &mut NoiseRecords, payload: &[u8]) -> Vec<u8> {
    let layout = records.layout();
    let mut record = vec![0; layout.header];
    record.extend_from_slice(payload);
    record.resize(record.len() + layout.trailer, 0);
    records
        .seal(&mut record)
        .expect("the record has its layout");
    record
}

fn handshake(script: &Script, role: Role) -> Handshake {
    Handshake {
        wire: Wire::new(Box::new(script.clone())),
        role,
        expected_peer: None,
        muxers: muxers(),
    }
}

fn muxers() -> Vec<ProtocolId> {
    ["/yamux/1.0.0", "/mplex/6.7.0"]
        .map(ProtocolId::from_static)
        .into()
}

fn static_key(number: u8) -> KeyPair {
    KeyPair::from_secret(Zeroizing::new([number; 32]))
}

fn role(input: &mut Input<'_>) -> Role {
    if input.flag() {
        Role::Listener
    } else {
        Role::Dialer
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("handshake messages are short");
    [&len.to_be_bytes()[..], message].concat()
}

fn unframed(frame: &[u8]) -> BytesMut {
    BytesMut::from(&frame[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_remote_gets_its_session() {
        let payload = honest_payload();
        assert!(answer_with(&payload).is_ok());
        assert!(dial_with(&payload).is_ok());
    }

    /// Identity key, its signature of the static key, muxers: the message of the specification.
    fn honest_payload() -> Vec<u8> {
        let identity = keypair(ATTACKER);
        let signed = [b"noise-libp2p-static-key:", &static_key(1).public()[..]].concat();
        let signature = identity.sign(&signed).expect("Ed25519 keys can sign");
        let key = identity.public().encode_protobuf();
        let muxer = b"/yamux/1.0.0";
        let mut extensions = vec![0x12, muxer.len() as u8];
        extensions.extend_from_slice(muxer);
        let mut payload = Vec::new();
        for (tag, field) in [(0x0a, &key), (0x12, &signature), (0x22, &extensions)] {
            payload.extend_from_slice(&[tag, field.len() as u8]);
            payload.extend_from_slice(field);
        }
        payload
    }
}
