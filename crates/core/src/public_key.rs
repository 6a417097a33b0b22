//! The identity keys that remotes show in a handshake.

use prost::Message;

use crate::{PublicKey, SecurityError};

/// Reads the public key with which a remote identifies itself in a security handshake.
///
/// Fails with [`KeyTypeOff`](SecurityError::KeyTypeOff) for a key of a type that this build leaves out, and with
/// [`BadIdentity`](SecurityError::BadIdentity) for everything else that is no key.
///
/// Source: libp2p peer-ids specification, *keys*.
pub fn decode_identity_key(encoded: &[u8]) -> Result<PublicKey, SecurityError> {
    PublicKey::try_decode_protobuf(encoded).map_err(|_| explain(encoded))
}

fn explain(encoded: &[u8]) -> SecurityError {
    let key_type = Fields::decode(encoded).ok().and_then(|it| it.key_type);
    match key_type.and_then(missing_feature) {
        Some(feature) => SecurityError::KeyTypeOff { feature },
        None => SecurityError::BadIdentity("its identity key is no valid key"),
    }
}

/// The feature that keys of this type need, if it is off.
fn missing_feature(key_type: i32) -> Option<&'static str> {
    match key_type {
        0 if !cfg!(feature = "rsa") => Some("rsa"),
        2 if !cfg!(feature = "secp256k1") => Some("secp256k1"),
        3 if !cfg!(feature = "ecdsa") => Some("ecdsa"),
        _ => None,
    }
}

/// spec: peer-ids, the first field of `PublicKey`.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(int32, optional, tag = "1")]
    key_type: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keypair;

    #[test]
    fn a_key_of_each_type_is_read_or_its_feature_named() {
        let ed25519 = Keypair::generate_ed25519().public();
        assert_eq!(
            decode_identity_key(&ed25519.encode_protobuf()).unwrap(),
            ed25519
        );
        // The tests have all types, so that only broken keys fail here.
        for (key_type, feature) in [(0, "rsa"), (2, "secp256k1"), (3, "ecdsa")] {
            let failed = decode_identity_key(&[0x08, key_type, 0x12, 0x01, 0xff]).unwrap_err();
            let text = failed.to_string();
            let off = missing_feature(key_type.into()).is_some();
            assert_eq!(text.contains(feature), off, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_a_bad_identity() {
        for bytes in [&b""[..], &[0xff; 8], &[0x08, 0x07, 0x12, 0x00]] {
            let failed = decode_identity_key(bytes).unwrap_err();
            assert!(matches!(failed, SecurityError::BadIdentity(_)), "{failed}");
        }
    }
}
