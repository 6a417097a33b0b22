//! The handshake `Noise_XX_25519_ChaChaPoly_SHA256` as a machine without I/O, clock and randomness.
//!
//! Each state consumes itself and returns the next, so that a step out of order
//! can't be written. Messages are bare: whoever drives the machine frames them.
//!
//! ```text
//! Initiator ──write e──────────▶ InitiatorSent  ──read e,ee,s,es──▶ InitiatorReady ──write s,se──▶ Finished
//! Responder ──read e──▶ ResponderReady ──write e,ee,s,es──▶ ResponderSent ──read s,se──▶ Finished
//! ```
//!
//! Any failure ends the handshake: the state is gone with it.
//!
//! Specification: <https://noiseprotocol.org/noise.html>, revision 34.

use std::fmt;

use bytes::BytesMut;
use peerkit_core::SecurityError;
use zeroize::Zeroizing;

use crate::{
    NoiseRecords,
    aead::TAG,
    curve::{self, Agreement, Secret},
    symmetric::Symmetric,
};

/// Bytes of an X25519 public key.
pub const KEY: usize = curve::LEN;

/// Bytes of message 1 beside its payload.
pub const OVERHEAD_1: usize = KEY;

/// Bytes of message 2 beside its payload.
pub const OVERHEAD_2: usize = KEY + KEY + TAG + TAG;

/// Bytes of message 3 beside its payload.
pub const OVERHEAD_3: usize = KEY + TAG + TAG;

/// An X25519 key pair; the secret is wiped when the last copy is dropped.
#[derive(Clone)]
pub struct KeyPair {
    secret: Secret,
    public: [u8; KEY],
}

impl KeyPair {
    /// The pair of a secret, which must be 32 bytes of a cryptographic random generator.
    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let secret = Secret::from_bytes(&secret);
        let public = secret.public();
        Self { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> [u8; KEY] {
        self.public
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

/// The side that speaks first, before it has spoken.
#[derive(Debug)]
pub struct Initiator(Local);

/// The initiator between message 1 and message 2.
#[derive(Debug)]
pub struct InitiatorSent(Local);

/// The initiator before message 3; it knows who answered.
#[derive(Debug)]
pub struct InitiatorReady {
    local: Local,
    remote_ephemeral: [u8; KEY],
    remote_static: [u8; KEY],
}

/// The side that answers, before message 1.
#[derive(Debug)]
pub struct Responder(Local);

/// The responder before message 2.
#[derive(Debug)]
pub struct ResponderReady {
    local: Local,
    remote_ephemeral: [u8; KEY],
}

/// The responder between message 2 and message 3.
#[derive(Debug)]
pub struct ResponderSent(Local);

/// A handshake that has come to its end.
#[derive(Debug)]
pub struct Finished {
    records: NoiseRecords,
    hash: [u8; 32],
    remote_static: [u8; KEY],
}

impl Initiator {
    /// Starts with the local static key and a fresh ephemeral key, which must not be used again.
    /// Both sides must have the same prologue; libp2p's is empty, except for WebRTC.
    pub fn new(prologue: &[u8], static_key: KeyPair, ephemeral: KeyPair) -> Self {
        Self(Local::new(prologue, static_key, ephemeral))
    }

    /// Appends message 1 to `out`. Everybody can read its payload.
    pub fn write(self, payload: &[u8], out: &mut BytesMut) -> Result<InitiatorSent, SecurityError> {
        let mut local = self.0;
        local.write_ephemeral(out);
        local.symmetric.encrypt_and_hash(payload, out)?;
        Ok(InitiatorSent(local))
    }
}

impl InitiatorSent {
    /// Takes message 2 and returns its payload, which only proves to come from the
    /// owner of [`remote_static`](InitiatorReady::remote_static).
    pub fn read(self, mut message: BytesMut) -> Result<(InitiatorReady, BytesMut), SecurityError> {
        let mut local = self.0;
        let remote_ephemeral = local.read_ephemeral(&mut message)?;
        local.mix_dh(Own::Ephemeral, &remote_ephemeral)?;
        let remote_static = local.read_static(&mut message)?;
        local.mix_dh(Own::Ephemeral, &remote_static)?;
        let payload = local.symmetric.decrypt_and_hash(message)?;
        let ready = InitiatorReady {
            local,
            remote_ephemeral,
            remote_static,
        };
        Ok((ready, payload))
    }
}

impl InitiatorReady {
    /// The static key of the responder.
    pub fn remote_static(&self) -> [u8; KEY] {
        self.remote_static
    }

    /// Appends message 3 to `out`. Only the responder can read its payload.
    pub fn write(self, payload: &[u8], out: &mut BytesMut) -> Result<Finished, SecurityError> {
        let mut local = self.local;
        local.write_static(out)?;
        local.mix_dh(Own::Static, &self.remote_ephemeral)?;
        local.symmetric.encrypt_and_hash(payload, out)?;
        let hash = local.symmetric.hash();
        let (send, receive) = local.symmetric.split();
        Ok(Finished {
            records: NoiseRecords::new(send, receive),
            hash,
            remote_static: self.remote_static,
        })
    }
}

impl Responder {
    /// As [`Initiator::new`].
    pub fn new(prologue: &[u8], static_key: KeyPair, ephemeral: KeyPair) -> Self {
        Self(Local::new(prologue, static_key, ephemeral))
    }

    /// Takes message 1 and returns its payload, which nothing protects.
    pub fn read(self, mut message: BytesMut) -> Result<(ResponderReady, BytesMut), SecurityError> {
        let mut local = self.0;
        let remote_ephemeral = local.read_ephemeral(&mut message)?;
        let payload = local.symmetric.decrypt_and_hash(message)?;
        let ready = ResponderReady {
            local,
            remote_ephemeral,
        };
        Ok((ready, payload))
    }
}

impl ResponderReady {
    /// Appends message 2 to `out`. Whoever sent message 1 can read its payload, and who that is is not yet known.
    pub fn write(self, payload: &[u8], out: &mut BytesMut) -> Result<ResponderSent, SecurityError> {
        let mut local = self.local;
        local.write_ephemeral(out);
        local.mix_dh(Own::Ephemeral, &self.remote_ephemeral)?;
        local.write_static(out)?;
        local.mix_dh(Own::Static, &self.remote_ephemeral)?;
        local.symmetric.encrypt_and_hash(payload, out)?;
        Ok(ResponderSent(local))
    }
}

impl ResponderSent {
    /// Takes message 3 and returns its payload, which comes from the owner of [`Finished::remote_static`].
    pub fn read(self, mut message: BytesMut) -> Result<(Finished, BytesMut), SecurityError> {
        let mut local = self.0;
        let remote_static = local.read_static(&mut message)?;
        local.mix_dh(Own::Ephemeral, &remote_static)?;
        let payload = local.symmetric.decrypt_and_hash(message)?;
        let hash = local.symmetric.hash();
        let (receive, send) = local.symmetric.split();
        let finished = Finished {
            records: NoiseRecords::new(send, receive),
            hash,
            remote_static,
        };
        Ok((finished, payload))
    }
}

impl Finished {
    /// The static key of the remote.
    pub fn remote_static(&self) -> [u8; KEY] {
        self.remote_static
    }

    /// The hash of the whole handshake: equal on both sides and different for each session.
    pub fn handshake_hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The ciphers for what follows.
    pub fn into_records(self) -> NoiseRecords {
        self.records
    }
}

/// What both roles hold while the handshake runs.
#[derive(Debug)]
struct Local {
    symmetric: Symmetric,
    static_key: KeyPair,
    ephemeral: KeyPair,
}

enum Own {
    Static,
    Ephemeral,
}

impl Local {
    fn new(prologue: &[u8], static_key: KeyPair, ephemeral: KeyPair) -> Self {
        Self {
            symmetric: Symmetric::new(prologue),
            static_key,
            ephemeral,
        }
    }

    fn write_ephemeral(&mut self, out: &mut BytesMut) {
        let key = self.ephemeral.public();
        out.extend_from_slice(&key);
        self.symmetric.mix_hash(&key);
    }

    fn read_ephemeral(&mut self, message: &mut BytesMut) -> Result<[u8; KEY], SecurityError> {
        let key = as_key(&take(message, KEY)?)?;
        self.symmetric.mix_hash(&key);
        Ok(key)
    }

    fn write_static(&mut self, out: &mut BytesMut) -> Result<(), SecurityError> {
        self.symmetric
            .encrypt_and_hash(&self.static_key.public(), out)
    }

    fn read_static(&mut self, message: &mut BytesMut) -> Result<[u8; KEY], SecurityError> {
        let sealed = take(message, KEY + TAG)?;
        as_key(&self.symmetric.decrypt_and_hash(sealed)?)
    }

    /// Mixes in a Diffie-Hellman result. One that is all zeros means that the remote sent a
    /// point of low order, so that the "secret" would be known to everybody.
    fn mix_dh(&mut self, own: Own, remote: &[u8; KEY]) -> Result<(), SecurityError> {
        let own = match own {
            Own::Static => &self.static_key.secret,
            Own::Ephemeral => &self.ephemeral.secret,
        };
        let shared = own.agree(remote);
        let shared = shared.ok_or(SecurityError::Malformed("a public key of low order"))?;
        self.symmetric.mix_key(shared.as_slice());
        Ok(())
    }
}

fn take(message: &mut BytesMut, len: usize) -> Result<BytesMut, SecurityError> {
    if message.len() < len {
        return Err(TOO_SHORT);
    }
    Ok(message.split_to(len))
}

fn as_key(bytes: &[u8]) -> Result<[u8; KEY], SecurityError> {
    bytes.try_into().map_err(|_| TOO_SHORT)
}

const TOO_SHORT: SecurityError = SecurityError::Malformed("a handshake message that is too short");

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> KeyPair {
        KeyPair::from_secret(Zeroizing::new([byte; 32]))
    }

    fn initiator() -> Initiator {
        Initiator::new(&[], key(1), key(2))
    }

    fn responder() -> Responder {
        Responder::new(&[], key(3), key(4))
    }

    /// A key pair that shows another public key than its own.
    fn showing(public: [u8; 32]) -> KeyPair {
        KeyPair { public, ..key(5) }
    }

    fn message<T>(write: impl FnOnce(&mut BytesMut) -> Result<T, SecurityError>) -> (T, BytesMut) {
        let mut out = BytesMut::new();
        let next = write(&mut out).unwrap();
        (next, out)
    }

    #[test]
    fn the_overheads_are_those_of_real_messages() {
        let (sent, one) = message(|out| initiator().write(&[], out));
        assert_eq!(one.len(), OVERHEAD_1);
        let (ready, _) = responder().read(one).unwrap();
        let (_, two) = message(|out| ready.write(&[], out));
        assert_eq!(two.len(), OVERHEAD_2);
        let (ready, _) = sent.read(two).unwrap();
        let (_, three) = message(|out| ready.write(&[], out));
        assert_eq!(three.len(), OVERHEAD_3);
    }

    #[test]
    fn points_of_low_order_are_refused_in_every_place() {
        for point in LOW_ORDER {
            let point = showing(point);

            let ephemeral = Initiator::new(&[], key(1), point.clone());
            let (_, one) = message(|out| ephemeral.write(&[], out));
            let (ready, _) = responder().read(one).unwrap();
            assert_low_order(ready.write(&[], &mut BytesMut::new()).map(drop));

            for hostile in [
                Responder::new(&[], key(3), point.clone()),
                Responder::new(&[], point.clone(), key(4)),
            ] {
                let (sent, one) = message(|out| initiator().write(&[], out));
                let (ready, _) = hostile.read(one).unwrap();
                let (_, two) = message(|out| ready.write(&[], out));
                assert_low_order(sent.read(two).map(drop));
            }

            let hostile = Initiator::new(&[], point, key(2));
            let (sent, one) = message(|out| hostile.write(&[], out));
            let (ready, _) = responder().read(one).unwrap();
            let (waiting, two) = message(|out| ready.write(&[], out));
            let (ready, _) = sent.read(two).unwrap();
            let (_, three) = message(|out| ready.write(&[], out));
            assert_low_order(waiting.read(three).map(drop));
        }
    }

    proptest! {
        #[test]
        fn garbage_in_place_of_a_message_is_an_error(
            garbage in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let garbage = BytesMut::from(&garbage[..]);
            let (sent, one) = message(|out| initiator().write(&[], out));
            prop_assert!(sent.read(garbage.clone()).is_err());
            let (ready, _) = responder().read(one).unwrap();
            let (waiting, _) = message(|out| ready.write(&[], out));
            prop_assert!(waiting.read(garbage.clone()).is_err());
            // Any 32 bytes are a message 1.
            prop_assert_eq!(responder().read(garbage.clone()).is_ok(), garbage.len() >= OVERHEAD_1);
        }
    }

    fn assert_low_order(outcome: Result<(), SecurityError>) {
        assert!(
            matches!(
                outcome,
                Err(SecurityError::Malformed("a public key of low order"))
            ),
            "{outcome:?}"
        );
    }

    /// The points for which the result is zero whatever the secret is, and two that are not reduced.
    const LOW_ORDER: [[u8; 32]; 7] = [
        [0; 32],
        hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ];
}
