//! The one place that names a cipher library.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};

/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;

/// The back end in use; another one only has to implement [`Aead`].
pub(crate) type Cipher = ChaCha20Poly1305;

/// ChaCha20-Poly1305 (RFC 8439), in place, as some library offers it.
pub(crate) trait Aead: Sized + Send {
    /// A cipher that wipes its copy of the key when it is dropped.
    fn with_key(key: &[u8; 32]) -> Self;

    /// Encrypts `data` and returns the tag.
    fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG], Failed>;

    /// Checks the tag and decrypts `data`.
    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Failed>;
}

/// The tag is wrong, or the data is too long for the cipher.
#[derive(Debug)]
pub(crate) struct Failed;

impl Aead for ChaCha20Poly1305 {
    fn with_key(key: &[u8; 32]) -> Self {
        Self::new(key.into())
    }

    fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG], Failed> {
        let nonce: &Nonce<Self> = nonce.into();
        let tag = self.encrypt_inout_detached(nonce, associated, data.into());
        tag.map(Into::into).map_err(|_| Failed)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Failed> {
        let nonce: &Nonce<Self> = nonce.into();
        let tag: &Tag<Self> = tag.into();
        self.decrypt_inout_detached(nonce, associated, data.into(), tag)
            .map_err(|_| Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn the_back_end_agrees_with_rfc_8439() {
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce = hex!("070000004041424344454647");
        let associated = hex!("50515253c0c1c2c3c4c5c6c7");
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let mut data = text.to_vec();
        let cipher = Cipher::with_key(&key);
        let tag = cipher.seal(&nonce, &associated, &mut data).unwrap();
        assert_eq!(tag, hex!("1ae10b594f09e26a7e902ecbd0600691"));
        assert_eq!(data[..8], hex!("d31a8d34648e60db"));
        cipher.open(&nonce, &associated, &mut data, &tag).unwrap();
        assert_eq!(data, text);
    }
}
