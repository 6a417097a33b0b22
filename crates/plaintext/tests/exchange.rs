//! The exchange between two peers, and against remotes that break the rules.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, FutureExt, executor::block_on};
use peerkit_core::{
    Handshake, Keypair, PeerId, Role, Secured, SecurityError, SecurityUpgrade, Wire, lock,
};
use peerkit_plaintext::{MAX_EXCHANGE, Plaintext};

#[test]
fn both_sides_speak_at_once_and_learn_each_others_name() {
    let (local, remote) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    for role in [Role::Dialer, Role::Listener] {
        let wire = Recorded::with(&message_of(&remote));
        let sent = wire.sent.clone();
        let secured = run(&local, role, wire, Some(id_of(&remote))).unwrap();
        assert_eq!(secured.remote_peer, id_of(&remote));
        assert_eq!(secured.remote_key, remote.public());
        assert_eq!(secured.early_muxer, None);
        assert_eq!(*lock(&sent), message_of(&local));
    }
}

#[test]
fn all_four_kinds_of_identity_keys_are_understood() {
    let mut rsa = include_bytes!("testdata/rsa-2048.pk8").to_vec();
    for remote in [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa).unwrap(),
    ] {
        let wire = Recorded::with(&message_of(&remote));
        let secured = run(&Keypair::generate_ed25519(), Role::Dialer, wire, None).unwrap();
        assert_eq!(secured.remote_key, remote.public());
    }
}

#[test]
fn what_follows_the_exchange_is_left_as_it_is() {
    let remote = Keypair::generate_ed25519();
    let wire = Recorded::with(&[&message_of(&remote), &b"next layer"[..]].concat());
    let mut secured = run(&Keypair::generate_ed25519(), Role::Dialer, wire, None).unwrap();
    block_on(secured.channel.read_more()).unwrap();
    assert_eq!(secured.channel.early()[..], *b"next layer");
}

#[test]
fn bytes_after_the_exchange_go_out_unchanged() {
    let (local, remote) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let wire = Recorded::with(&message_of(&remote));
    let sent = wire.sent.clone();
    let mut channel = run(&local, Role::Dialer, wire, None).unwrap().channel;
    channel.queue(b"in the open").unwrap();
    let mut wire = channel.into_parts().wire;
    block_on(wire.flush()).unwrap();
    assert_eq!(
        *lock(&sent),
        [message_of(&local), b"in the open".to_vec()].concat()
    );
}

#[test]
fn somebody_else_than_expected_is_refused_in_both_roles() {
    let remote = Keypair::generate_ed25519();
    for role in [Role::Dialer, Role::Listener] {
        let wanted = PeerId::random();
        let wire = Recorded::with(&message_of(&remote));
        let outcome = run(&Keypair::generate_ed25519(), role, wire, Some(wanted));
        let Err(SecurityError::PeerMismatch { expected, found }) = outcome else {
            panic!("somebody else was expected");
        };
        assert_eq!((expected, found), (wanted, id_of(&remote)));
    }
}

#[test]
fn an_exchange_that_is_cut_anywhere_is_an_unexpected_end() {
    let message = message_of(&Keypair::generate_ed25519());
    for end in 0..message.len() {
        let wire = Recorded::with(&message[..end]);
        let outcome = run(&Keypair::generate_ed25519(), Role::Dialer, wire, None);
        let Err(SecurityError::Io(error)) = outcome else {
            panic!("cut at {end}: {outcome:?}");
        };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_changed_bit_never_passes_for_the_same_peer() {
    let remote = Keypair::generate_ed25519();
    let message = message_of(&remote);
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        let wire = Recorded::with(&changed);
        let outcome = run(
            &Keypair::generate_ed25519(),
            Role::Dialer,
            wire,
            Some(id_of(&remote)),
        );
        assert!(outcome.is_err(), "bit {at} was not missed");
    }
}

#[test]
fn an_oversized_exchange_is_refused_before_it_arrives() {
    // The length alone: no byte of the message ever comes, and neither does the end.
    let mut wire = Recorded::with(&[0x81, 0x80, 0x04]);
    wire.silent = true;
    let outcome = run(&Keypair::generate_ed25519(), Role::Listener, wire, None);
    assert!(matches!(outcome, Err(SecurityError::Malformed(_))));
    assert_eq!(MAX_EXCHANGE, 65_536);
}

#[test]
fn a_long_exchange_within_the_limit_is_read() {
    let remote = Keypair::generate_ed25519();
    let message = message_of(&remote);
    // An unknown field 15 of 60,000 bytes behind the known ones.
    let filler = [&[0x7a, 0xe0, 0xd4, 0x03][..], &[0; 60_000]].concat();
    let body = [&message[1..], &filler].concat();
    let mut len = unsigned_varint::encode::usize_buffer();
    let len = unsigned_varint::encode::usize(body.len(), &mut len);
    let wire = Recorded::with(&[len, &body].concat());
    let secured = run(&Keypair::generate_ed25519(), Role::Dialer, wire, None).unwrap();
    assert_eq!(secured.remote_peer, id_of(&remote));
}

#[test]
fn a_silent_remote_is_waited_for() {
    let mut wire = Recorded::with(&[]);
    wire.silent = true;
    let sent = wire.sent.clone();
    let plaintext = Plaintext::new(&Keypair::generate_ed25519());
    let outcome = plaintext.secure(handshake(Role::Listener, wire, None));
    assert!(outcome.now_or_never().is_none());
    assert!(!lock(&sent).is_empty());
}

fn run(
    local: &Keypair,
    role: Role,
    wire: Recorded,
    expected: Option<PeerId>,
) -> Result<Secured, SecurityError> {
    block_on(Plaintext::new(local).secure(handshake(role, wire, expected)))
}

fn handshake(role: Role, wire: Recorded, expected_peer: Option<PeerId>) -> Handshake {
    Handshake {
        wire: Wire::new(Box::new(wire)),
        role,
        expected_peer,
        muxers: Vec::new(),
    }
}

/// Written without the code under test.
fn message_of(identity: &Keypair) -> Vec<u8> {
    let field = |number: u8, value: Vec<u8>| {
        let mut len = unsigned_varint::encode::usize_buffer();
        let len = unsigned_varint::encode::usize(value.len(), &mut len);
        [&[number << 3 | 2], len, &value].concat()
    };
    let id = field(1, id_of(identity).to_bytes());
    let body = [id, field(2, identity.public().encode_protobuf())].concat();
    let mut len = unsigned_varint::encode::usize_buffer();
    let len = unsigned_varint::encode::usize(body.len(), &mut len);
    [len, &body].concat()
}

fn id_of(identity: &Keypair) -> PeerId {
    identity.public().to_peer_id()
}

/// A remote that says fixed bytes, then ends or stays silent; what it is told is kept.
struct Recorded {
    input: io::Cursor<Vec<u8>>,
    silent: bool,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorded {
    fn with(input: &[u8]) -> Self {
        Self {
            input: io::Cursor::new(input.to_vec()),
            silent: false,
            sent: Arc::default(),
        }
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = io::Read::read(&mut self.input, buffer)?;
        if count == 0 && self.silent {
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.sent).extend_from_slice(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
