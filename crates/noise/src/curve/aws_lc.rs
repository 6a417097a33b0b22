//! Hand-written assembly with proofs of correctness; needs a C compiler and takes long to build.

use std::sync::Arc;

use aws_lc_rs::{
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
    error::Unspecified,
};
use zeroize::Zeroizing;

use super::{Agreement, LEN};

/// The library's keys can't be copied; it wipes them when they are dropped.
#[derive(Clone)]
pub(crate) struct Secret(Arc<PrivateKey>);

impl Agreement for Secret {
    fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let key = PrivateKey::from_private_key(&X25519, bytes);
        Self(Arc::new(key.expect("any 32 bytes are a key")))
    }

    fn public(&self) -> [u8; LEN] {
        let public = self.0.compute_public_key();
        let public = public.expect("a whole key has a public half");
        public.as_ref().try_into().expect("32 bytes, by RFC 7748")
    }

    fn agree(&self, remote: &[u8; LEN]) -> Option<Zeroizing<[u8; LEN]>> {
        let remote = UnparsedPublicKey::new(&X25519, remote);
        let outcome = agree(&self.0, remote, Unspecified, |shared| {
            let shared: &[u8; LEN] = shared.try_into().map_err(|_| Unspecified)?;
            Ok(Zeroizing::new(*shared))
        });
        outcome.ok()
    }
}
