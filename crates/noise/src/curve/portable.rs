//! Pure Rust: runs everywhere, needs no tool beside the compiler.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{Agreement, LEN};

#[derive(Clone)]
pub(crate) struct Secret(StaticSecret);

impl Agreement for Secret {
    fn from_bytes(bytes: &[u8; LEN]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    fn public(&self) -> [u8; LEN] {
        PublicKey::from(&self.0).to_bytes()
    }

    fn agree(&self, remote: &[u8; LEN]) -> Option<Zeroizing<[u8; LEN]>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*remote));
        shared
            .was_contributory()
            .then(|| Zeroizing::new(shared.to_bytes()))
    }
}
