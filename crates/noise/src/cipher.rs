//! A cipher key with its message counter.

use std::fmt;

use peerkit_core::SecurityError;

use crate::aead::{Aead, Cipher, TAG};

/// One direction of a protected conversation: a key and the number of the next message.
pub(crate) struct CipherState {
    cipher: Cipher,
    nonce: u64,
}

impl CipherState {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: Cipher::with_key(key),
            nonce: 0,
        }
    }

    /// Encrypts `data` in place and returns its tag.
    pub(crate) fn seal(
        &mut self,
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG], SecurityError> {
        let nonce = self.next_nonce()?;
        self.cipher
            .seal(&nonce, associated, data)
            .map_err(|_| SecurityError::Exhausted)
    }

    /// Decrypts `data`, whose last [`TAG`] bytes are the tag, in place and returns the length of the plaintext.
    pub(crate) fn open(
        &mut self,
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<usize, SecurityError> {
        let Some((body, tag)) = data.split_last_chunk_mut::<TAG>() else {
            return Err(SecurityError::Authentication);
        };
        let nonce = self.next_nonce()?;
        self.cipher
            .open(&nonce, associated, body, tag)
            .map_err(|_| SecurityError::Authentication)?;
        Ok(body.len())
    }

    // spec: noise revision 34, section 5.1: the nonce 2^64-1 is reserved, and
    // section 12.3: ChaChaPoly has 32 zero bits, then the counter little-endian.
    fn next_nonce(&mut self) -> Result<[u8; 12], SecurityError> {
        let number = self.nonce;
        self.nonce = number.checked_add(1).ok_or(SecurityError::Exhausted)?;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        Ok(nonce)
    }

    /// As if `nonce` messages had passed.
    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, nonce: u64) {
        self.nonce = nonce;
    }
}

impl fmt::Debug for CipherState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CipherState")
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_stops_before_the_reserved_nonce() {
        let mut state = CipherState::new(&[7; 32]);
        state.skip_to(u64::MAX - 1);
        assert!(state.seal(&[], &mut []).is_ok());
        assert!(matches!(
            state.seal(&[], &mut []),
            Err(SecurityError::Exhausted)
        ));
        assert!(matches!(
            state.open(&[], &mut [0; TAG]),
            Err(SecurityError::Exhausted)
        ));
    }

    #[test]
    fn the_counter_stands_little_endian_behind_four_zero_bytes() {
        let mut state = CipherState::new(&[7; 32]);
        state.skip_to(0x0102);
        let nonce = state.next_nonce().unwrap();
        assert_eq!(nonce, [0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
