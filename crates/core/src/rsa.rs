//! RSA private keys from other programs.

use zeroize::Zeroizing;

use crate::{KeyError, KeyType, MAX_KEY_LEN, load_keypair};

/// Brings an RSA private key that another program made into the form that
/// [`write_encoded_key_file`](crate::write_encoded_key_file) stores.
///
/// `der` is PKCS#8 or PKCS#1 in binary form, unencrypted. OpenSSL writes one of them with
/// `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out key.der`.
/// The key has 2048 to 4096 bits.
///
/// Source: RFC 5208 (PKCS#8), RFC 8017 appendix A.1.2 (PKCS#1).
pub fn import_rsa_key(der: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if der.len() > MAX_KEY_LEN {
        return Err(KeyError::TooLarge);
    }
    if der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(KeyError::Pem);
    }
    let pkcs1 = pkcs1_within(der).unwrap_or(der);
    let mut encoded = Zeroizing::new(Vec::with_capacity(pkcs1.len() + HEADER_MAX));
    encoded.extend_from_slice(&[0x08, 0x00, 0x12]);
    prost::encode_length_delimiter(pkcs1.len(), &mut *encoded).expect("a Vec grows as needed");
    encoded.extend_from_slice(pkcs1);
    let keypair = load_keypair(&encoded)?;
    debug_assert_eq!(keypair.key_type(), KeyType::RSA);
    Ok(encoded)
}

/// The PKCS#1 key inside a PKCS#8 key:
/// `SEQUENCE { INTEGER 0, SEQUENCE { rsaEncryption, NULL }, OCTET STRING { key }, .. }`.
fn pkcs1_within(der: &[u8]) -> Option<&[u8]> {
    let (fields, rest) = element(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (version, fields) = element(fields, INTEGER)?;
    let (algorithm, fields) = element(fields, SEQUENCE)?;
    let (key, _attributes) = element(fields, OCTET_STRING)?;
    (version == [0] && algorithm == RSA_ENCRYPTION).then_some(key)
}

/// The content of the first element, if it has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, der) = der.split_first()?;
    let (first, der) = der.split_first()?;
    let (len, der) = match first {
        0..=0x7f => (usize::from(*first), der),
        0x81 => {
            let (len, der) = der.split_first()?;
            (usize::from(*len), der)
        }
        0x82 => {
            let (len, der) = der.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), der)
        }
        // Longer than any key here.
        _ => return None,
    };
    (*found == tag).then_some(())?;
    der.split_at_checked(len)
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// The object identifier 1.2.840.113549.1.1.1, and its parameter NULL.
const RSA_ENCRYPTION: [u8; 13] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// Type and length in front of the key.
const HEADER_MAX: usize = 8;
