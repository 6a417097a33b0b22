//! What both sides of a handshake know: the chaining key, the transcript hash and the current cipher.

use std::fmt;

use bytes::BytesMut;
use peerkit_core::SecurityError;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cipher::CipherState;

/// The "SymmetricState" of the Noise specification, revision 34, section 5.2.
pub(crate) struct Symmetric {
    chaining_key: Secret,
    hash: [u8; 32],
    cipher: Option<CipherState>,
}

type Secret = Zeroizing<[u8; 32]>;

impl Symmetric {
    pub(crate) fn new(prologue: &[u8]) -> Self {
        let mut state = Self {
            chaining_key: Zeroizing::new(*NAME),
            hash: *NAME,
            cipher: None,
        };
        state.mix_hash(prologue);
        state
    }

    /// The hash of everything that was said so far.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(crate) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new()
            .chain_update(self.hash)
            .chain_update(data)
            .finalize()
            .into();
    }

    pub(crate) fn mix_key(&mut self, input: &[u8]) {
        let (chaining_key, key) = hkdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.cipher = Some(CipherState::new(&key));
    }

    /// Appends `plaintext` to `out`, encrypted once there is a key.
    pub(crate) fn encrypt_and_hash(
        &mut self,
        plaintext: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), SecurityError> {
        let start = out.len();
        out.extend_from_slice(plaintext);
        if let Some(cipher) = &mut self.cipher {
            let tag = cipher.seal(&self.hash, &mut out[start..])?;
            out.extend_from_slice(&tag);
        }
        self.mix_hash(&out[start..]);
        Ok(())
    }

    /// The reverse of [`encrypt_and_hash`](Self::encrypt_and_hash), in place.
    pub(crate) fn decrypt_and_hash(
        &mut self,
        mut message: BytesMut,
    ) -> Result<BytesMut, SecurityError> {
        let before = self.hash;
        self.mix_hash(&message);
        if let Some(cipher) = &mut self.cipher {
            let len = cipher.open(&before, &mut message)?;
            message.truncate(len);
        }
        Ok(message)
    }

    /// The ciphers from initiator to responder and from responder to initiator.
    pub(crate) fn split(self) -> (CipherState, CipherState) {
        let (first, second) = hkdf(&self.chaining_key, &[]);
        (CipherState::new(&first), CipherState::new(&second))
    }
}

impl fmt::Debug for Symmetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symmetric").finish_non_exhaustive()
    }
}

/// Two keys from one, as the Noise specification defines `HKDF`.
fn hkdf(key: &[u8; 32], input: &[u8]) -> (Secret, Secret) {
    let temporary = hmac(key, &[input]);
    let first = hmac(&temporary, &[&[1]]);
    let second = hmac(&temporary, &[first.as_slice(), &[2]]);
    (first, second)
}

/// HMAC-SHA-256 (RFC 2104) of the concatenated parts.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Secret {
    let mut inner = Sha256::new_with_prefix(pad(key, 0x36).as_slice());
    for part in parts {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(pad(key, 0x5c).as_slice());
    Zeroizing::new(outer.chain_update(inner.finalize()).finalize().into())
}

fn pad(key: &[u8; 32], byte: u8) -> Zeroizing<[u8; 64]> {
    let mut block = Zeroizing::new([byte; 64]);
    for (padded, key) in block.iter_mut().zip(key) {
        *padded ^= key;
    }
    block
}

/// The suite; at 32 bytes it is its own first hash.
const NAME: &[u8; 32] = b"Noise_XX_25519_ChaChaPoly_SHA256";

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let mut key = [0; 32];
        // RFC 4231 case 2 has a shorter key; HMAC pads with zeros anyway.
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac(&key, &[b"what do ya want ", b"for nothing?"]);
        let expected = hex!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(*mac, expected);
    }
}
