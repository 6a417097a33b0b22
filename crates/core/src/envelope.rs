//! Signed envelopes: bytes, who signed them, and for which purpose.

use std::{error::Error, fmt};

use bytes::Bytes;
use prost::Message;

use crate::{Fault, Keypair, PublicKey};

/// A payload with the key and the signature of the peer that vouches for it.
///
/// A signature holds for one *domain*, a text that names the purpose and does not
/// travel: whoever verifies has to know what the envelope is for, so that a
/// signature made for one purpose is worthless for another.
///
/// Key and payload can only be reached through [`verify`](Self::verify). The bytes
/// that came in are kept, since others can check only those.
///
/// Source: libp2p RFC 0002.
///
/// ```
/// use peerkit_core::{Envelope, Keypair};
///
/// let keypair = Keypair::generate_ed25519();
/// let sent = Envelope::sign(&keypair, "my-app-greeting", b"/greeting", b"hello")?;
/// let received = Envelope::decode(sent.encoded().clone())?;
/// let verified = received.verify("my-app-greeting", b"/greeting")?;
/// assert_eq!(&verified.payload[..], b"hello");
/// assert_eq!(verified.key, &keypair.public());
/// # Ok::<_, peerkit_core::EnvelopeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    encoded: Bytes,
    key: PublicKey,
    payload_type: Bytes,
    payload: Bytes,
    signature: Bytes,
}

/// What an [`Envelope`] holds, once its signature was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The key that signed. Its peer id is [`PublicKey::to_peer_id`].
    pub key: &'a PublicKey,
    /// What was signed.
    pub payload: &'a Bytes,
}

impl Envelope {
    /// The most bytes of an encoded envelope: as much as the largest message in
    /// which peers exchange them, that of identify.
    pub const MAX_LEN: usize = 8 * 1024;

    /// Signs `payload` for a purpose.
    ///
    /// Fails with [`EmptyDomain`](EnvelopeError::EmptyDomain), with
    /// [`TooLarge`](EnvelopeError::TooLarge) or when the key can't sign.
    pub fn sign(
        keypair: &Keypair,
        domain: &str,
        payload_type: &[u8],
        payload: &[u8],
    ) -> Result<Self, EnvelopeError> {
        check_len(payload_type.len().saturating_add(payload.len()))?;
        let signature = keypair
            .sign(&signed_bytes(domain, payload_type, payload)?)
            .map_err(|error| EnvelopeError::LocalKey(error.into()))?;
        let key = keypair.public();
        let message = Fields {
            public_key: key.encode_protobuf().into(),
            payload_type: Bytes::copy_from_slice(payload_type),
            payload: Bytes::copy_from_slice(payload),
            signature: signature.into(),
        };
        let encoded = message.encode_to_vec();
        check_len(encoded.len())?;
        Ok(Self::new(encoded.into(), key, message))
    }

    /// Reads an envelope without checking the signature.
    ///
    /// Fails when there are more than [`MAX_LEN`](Self::MAX_LEN) bytes, and when they are
    /// no envelope or hold no key that is supported here.
    pub fn decode(encoded: impl Into<Bytes>) -> Result<Self, EnvelopeError> {
        let encoded = encoded.into();
        check_len(encoded.len())?;
        let message = Fields::decode(encoded.clone())
            .map_err(|error| EnvelopeError::Malformed(error.into()))?;
        let key = PublicKey::try_decode_protobuf(&message.public_key)
            .map_err(|error| EnvelopeError::BadKey(error.into()))?;
        Ok(Self::new(encoded, key, message))
    }

    /// The envelope as it was signed here, or as it came in: fit to be passed on.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// What the payload is said to be. Not to be trusted before [`verify`](Self::verify).
    pub fn payload_type(&self) -> &[u8] {
        &self.payload_type
    }

    /// Checks that the payload has the given type and was signed for the given domain.
    pub fn verify(&self, domain: &str, payload_type: &[u8]) -> Result<Verified<'_>, EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::wrong_type(&self.payload_type));
        }
        let signed = signed_bytes(domain, payload_type, &self.payload)?;
        if !self.key.verify(&signed, &self.signature) {
            return Err(EnvelopeError::BadSignature);
        }
        Ok(Verified {
            key: &self.key,
            payload: &self.payload,
        })
    }

    fn new(encoded: Bytes, key: PublicKey, message: Fields) -> Self {
        Self {
            encoded,
            key,
            payload_type: message.payload_type,
            payload: message.payload,
            signature: message.signature,
        }
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("payload_type", &Hex(&self.payload_type))
            .field("len", &self.encoded.len())
            .finish_non_exhaustive()
    }
}

/// Why an envelope could not be made, read or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// More than [`Envelope::MAX_LEN`] bytes.
    #[error("a signed envelope has at most {} bytes, not {len}", Envelope::MAX_LEN)]
    TooLarge {
        /// How many bytes there are.
        len: usize,
    },
    /// The bytes are no envelope.
    #[error("the bytes are no signed envelope: {0}")]
    Malformed(#[source] Box<dyn Error + Send + Sync>),
    /// The signer's key is broken, or of a type that is not supported here.
    #[error("the envelope's public key can't be used: {0}")]
    BadKey(#[source] Box<dyn Error + Send + Sync>),
    /// The payload is something else than was asked for.
    #[error("the envelope holds a payload of another type: {}", Hex(.found))]
    WrongType {
        /// The beginning of the payload type.
        found: Vec<u8>,
    },
    /// The signature is not that of the key over this payload in this domain.
    #[error("the envelope's signature does not match its key, payload and purpose")]
    BadSignature,
    /// No purpose was named.
    #[error("a signed envelope needs a domain that is not empty")]
    EmptyDomain,
    /// The local key failed to sign.
    #[error("the local identity key failed to sign: {0}")]
    LocalKey(#[source] Box<dyn Error + Send + Sync>),
}

impl EnvelopeError {
    /// Who is at fault, for an envelope that came from a remote.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { .. } | Self::Malformed(_) | Self::BadSignature => {
                Fault::PeerMisbehaved
            }
            Self::BadKey(_) | Self::WrongType { .. } => Fault::Incompatible,
            Self::EmptyDomain | Self::LocalKey(_) => Fault::Misuse,
        }
    }

    pub(crate) fn wrong_type(found: &[u8]) -> Self {
        let shown = found.len().min(TYPE_SHOWN);
        Self::WrongType {
            found: found[..shown].to_vec(),
        }
    }
}

/// An error names this much of a payload type; known ones are shorter.
const TYPE_SHOWN: usize = 32;

/// The envelope on the wire. Number 4 is not in use.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(bytes = "bytes", tag = "1")]
    public_key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    payload_type: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    signature: Bytes,
}

/// spec: RFC 0002, the signature covers domain, type and payload, each behind its length.
fn signed_bytes(
    domain: &str,
    payload_type: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    if domain.is_empty() {
        return Err(EnvelopeError::EmptyDomain);
    }
    let mut signed = Vec::with_capacity(domain.len() + payload_type.len() + payload.len() + 30);
    for part in [domain.as_bytes(), payload_type, payload] {
        prost::encode_length_delimiter(part.len(), &mut signed).expect("a Vec grows as needed");
        signed.extend_from_slice(part);
    }
    Ok(signed)
}

fn check_len(len: usize) -> Result<(), EnvelopeError> {
    if len > Envelope::MAX_LEN {
        return Err(EnvelopeError::TooLarge { len });
    }
    Ok(())
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stand_before_each_signed_part() {
        let signed = signed_bytes("ab", &[3, 1], &[7; 200]).unwrap();
        assert_eq!(&signed[..8], &[2, b'a', b'b', 2, 3, 1, 0xc8, 0x01]);
        assert_eq!(signed.len(), 8 + 200);
    }

    #[test]
    fn a_type_is_shown_as_hex_and_cut_off() {
        let error = EnvelopeError::wrong_type(&[0xab; 1000]);
        let text = error.to_string();
        assert!(text.ends_with(&"ab".repeat(TYPE_SHOWN)), "{text}");
        assert!(text.len() < 200);
    }
}
