//! The one place that knows libraries for X25519.

#[cfg_attr(
    feature = "aws-lc",
    allow(dead_code, reason = "tests compare the other back end with it")
)]
mod portable;

#[cfg(feature = "aws-lc")]
mod aws_lc;

#[cfg(feature = "aws-lc")]
pub(crate) use self::aws_lc::Secret;
#[cfg(not(feature = "aws-lc"))]
pub(crate) use self::portable::Secret;

use zeroize::Zeroizing;

/// Bytes of a public key, and of a secret one.
pub(crate) const LEN: usize = 32;

/// A secret key for X25519 (RFC 7748), as some library offers it; wiped when the last copy is dropped.
pub(crate) trait Agreement: Clone + Send + Sync {
    /// The key of 32 random bytes.
    fn from_bytes(bytes: &[u8; LEN]) -> Self;

    /// The key that everybody may know.
    fn public(&self) -> [u8; LEN];

    /// The shared secret, or nothing when it would be all zeros: then the remote's point has a low
    /// order, and everybody would know the "secret".
    fn agree(&self, remote: &[u8; LEN]) -> Option<Zeroizing<[u8; LEN]>>;
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    fn agrees_with_rfc_7748<S: Agreement>() {
        let bob = S::from_bytes(&hex!(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
        ));
        let public = hex!("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(bob.public(), public);
        let alice = hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(*bob.agree(&alice).unwrap(), shared);
        assert!(bob.agree(&[0; LEN]).is_none());
    }

    #[test]
    fn the_portable_back_end_agrees_with_rfc_7748() {
        agrees_with_rfc_7748::<portable::Secret>();
    }

    #[test]
    fn the_back_end_in_use_agrees_with_rfc_7748() {
        agrees_with_rfc_7748::<Secret>();
    }

    #[test]
    fn the_back_ends_agree_with_each_other() {
        for seed in 0..50_u8 {
            let (ours, theirs) = (&[seed; LEN], &[seed ^ 0x55; LEN]);
            let one = (
                portable::Secret::from_bytes(ours),
                portable::Secret::from_bytes(theirs),
            );
            let other = Secret::from_bytes(ours);
            assert_eq!(other.public(), one.0.public());
            let remote = one.1.public();
            assert_eq!(other.agree(&remote), one.0.agree(&remote));
            // The highest bit of a public key has no meaning.
            let mut high = remote;
            high[LEN - 1] |= 0x80;
            assert_eq!(other.agree(&high), one.0.agree(&remote));
        }
    }
}
