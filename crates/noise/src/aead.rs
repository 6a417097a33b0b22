//! The one place that knows cipher libraries.

#[cfg(feature = "portable")]
#[cfg_attr(
    feature = "ring",
    allow(dead_code, reason = "tests compare the other back ends with it")
)]
mod portable;
#[cfg(feature = "ring")]
mod ring;

/// The back end in use: the portable one, unless a feature names another one.
#[cfg(feature = "portable")]
#[cfg_attr(
    feature = "ring",
    allow(unused_imports, reason = "the other name hides this one")
)]
pub(crate) use self::portable::*;
#[cfg(feature = "ring")]
pub(crate) use self::ring::Cipher;

#[cfg(not(any(feature = "portable", feature = "ring")))]
compile_error!("peerkit-noise needs a cipher: turn on the feature `portable` or `ring`");

/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;

/// ChaCha20-Poly1305 (RFC 8439), in place, as some library offers it.
pub(crate) trait Aead: Sized + Send {
    /// A cipher that wipes the copy of the key that it keeps when it is dropped.
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

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn agrees_with_rfc_8439<C: Aead>() {
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce = hex!("070000004041424344454647");
        let associated = hex!("50515253c0c1c2c3c4c5c6c7");
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let mut data = text.to_vec();
        let cipher = C::with_key(&key);
        let tag = cipher.seal(&nonce, &associated, &mut data).unwrap();
        assert_eq!(tag, hex!("1ae10b594f09e26a7e902ecbd0600691"));
        assert_eq!(data[..8], hex!("d31a8d34648e60db"));
        cipher.open(&nonce, &associated, &mut data, &tag).unwrap();
        assert_eq!(data, text);
        assert!(cipher.open(&nonce, &[], &mut data, &tag).is_err());
    }

    #[cfg(feature = "portable")]
    #[test]
    fn the_portable_back_end_agrees_with_rfc_8439() {
        agrees_with_rfc_8439::<portable::Cipher>();
    }

    #[test]
    fn the_back_end_in_use_agrees_with_rfc_8439() {
        agrees_with_rfc_8439::<Cipher>();
    }

    /// What one seals, the other one opens, whatever the length.
    #[cfg(feature = "portable")]
    #[test]
    fn the_back_ends_agree_with_each_other() {
        let (one, other) = (
            portable::Cipher::with_key(&[7; 32]),
            Cipher::with_key(&[7; 32]),
        );
        for len in (0..300).chain([1024, 65_519]) {
            let nonce = std::array::from_fn(|at| (len >> at) as u8);
            let text: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut data = text.clone();
            let tag = one.seal(&nonce, &[1, 2], &mut data).unwrap();
            let mut again = text.clone();
            assert_eq!(other.seal(&nonce, &[1, 2], &mut again).unwrap(), tag);
            assert_eq!(again, data);
            other.open(&nonce, &[1, 2], &mut data, &tag).unwrap();
            assert_eq!(data, text);
        }
    }
}
