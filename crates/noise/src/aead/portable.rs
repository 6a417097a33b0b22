//! Pure Rust: runs everywhere, needs no tool beside the compiler.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};

use super::{Aead, Failed, TAG};

pub(crate) type Cipher = ChaCha20Poly1305;

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
