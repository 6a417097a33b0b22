//! The payload of libp2p inside messages 2 and 3.

use bytes::{Bytes, BytesMut};
use peerkit_core::{ProtocolId, SecurityError};
use prost::Message;

use crate::muxers::MAX_MUXERS;

/// What one side says about itself. Unknown fields are ignored.
///
/// spec: libp2p noise r5, "The libp2p Handshake Payload". Field 3 belonged to an old draft.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payload {
    /// The identity key as libp2p encodes it. Repeated, so that a second one is seen and refused.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    identity_key: Vec<Bytes>,
    /// A signature of that key. Repeated for the same reason.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    identity_sig: Vec<Bytes>,
    #[prost(message, optional, tag = "4")]
    extensions: Option<Extensions>,
}

/// The registered extensions.
#[derive(Clone, PartialEq, Message)]
struct Extensions {
    /// Certificate hashes, for the WebTransport that is below; without meaning elsewhere.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    webtransport_certhashes: Vec<Bytes>,
    #[prost(string, repeated, tag = "2")]
    stream_muxers: Vec<String>,
}

impl Payload {
    pub(crate) fn new(identity_key: Vec<u8>, identity_sig: Vec<u8>) -> Self {
        Self {
            identity_key: vec![identity_key.into()],
            identity_sig: vec![identity_sig.into()],
            extensions: None,
        }
    }

    /// The bytes for the wire, with an offer of muxers if there is any.
    pub(crate) fn encode_with_muxers(&self, muxers: &[ProtocolId]) -> Vec<u8> {
        let mut payload = self.clone();
        if !muxers.is_empty() {
            payload.extensions = Some(Extensions {
                stream_muxers: muxers.iter().map(ToString::to_string).collect(),
                ..Extensions::default()
            });
        }
        payload.encode_to_vec()
    }

    /// Decodes what a remote sent; the caller has bounded its length.
    pub(crate) fn decode_bounded(bytes: BytesMut) -> Result<Self, SecurityError> {
        let payload = Self::decode(bytes.freeze())
            .map_err(|_| SecurityError::Malformed("an undecodable handshake payload"))?;
        if payload.muxers().len() > MAX_MUXERS {
            return Err(SecurityError::Malformed("too many muxers"));
        }
        Ok(payload)
    }

    /// The identity key and its signature.
    pub(crate) fn identity(&self) -> Result<(&[u8], &[u8]), SecurityError> {
        let key = only(&self.identity_key).ok_or(SecurityError::BadIdentity(
            "there is not exactly one identity key",
        ))?;
        let signature = only(&self.identity_sig).ok_or(SecurityError::BadIdentity(
            "there is not exactly one signature",
        ))?;
        Ok((key, signature))
    }

    /// The muxers that are offered, best first.
    pub(crate) fn muxers(&self) -> &[String] {
        self.extensions
            .as_ref()
            .map_or(&[], |extensions| &extensions.stream_muxers)
    }
}

fn only(values: &[Bytes]) -> Option<&[u8]> {
    match values {
        [value] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Payload, SecurityError> {
        Payload::decode_bounded(BytesMut::from(bytes))
    }

    #[test]
    fn fields_have_the_numbers_of_the_specification() {
        let payload = Payload::new(vec![0xaa], vec![0xbb, 0xcc]);
        assert_eq!(payload.encode_with_muxers(&[]), hex!("0a01aa 1202bbcc"));
        let muxers = [ProtocolId::from_static("/y"), ProtocolId::from_static("/m")];
        let encoded = payload.encode_with_muxers(&muxers);
        assert_eq!(encoded, hex!("0a01aa 1202bbcc 2208 12022f79 12022f6d"));
    }

    #[test]
    fn unknown_fields_and_certificate_hashes_are_ignored() {
        // Field 3 (an old draft), extension 3 (two drafts) and extension 1030 (experiments).
        let bytes = hex!("0a01aa 1a0100 1202bbcc 220c 0a0199 1801 12022f79 b04000");
        let payload = decode(&bytes).unwrap();
        assert_eq!(
            payload.identity().unwrap(),
            (&[0xaa][..], &[0xbb, 0xcc][..])
        );
        assert_eq!(payload.muxers(), ["/y"]);
    }

    #[test]
    fn missing_and_doubled_fields_are_no_identity() {
        for bytes in [
            &hex!("")[..],
            &hex!("0a01aa"),
            &hex!("1201bb"),
            &hex!("0a01aa 1201bb 0a01aa"),
            &hex!("0a01aa 1201bb 1201bb"),
        ] {
            let identity = decode(bytes).unwrap().identity().map(drop);
            assert!(matches!(identity, Err(SecurityError::BadIdentity(_))));
        }
    }

    #[test]
    fn a_hundred_muxers_are_read_and_one_more_is_refused() {
        let muxer = ProtocolId::from_static("/m");
        let offer = |count| {
            let payload = Payload::new(vec![1], vec![2]);
            payload.encode_with_muxers(&vec![muxer.clone(); count])
        };
        assert_eq!(decode(&offer(MAX_MUXERS)).unwrap().muxers().len(), 100);
        let refused = decode(&offer(MAX_MUXERS + 1));
        assert!(matches!(refused, Err(SecurityError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn payloads_round_trip_and_no_cut_one_is_taken_for_whole(
            key in prop::collection::vec(any::<u8>(), 1..100),
            signature in prop::collection::vec(any::<u8>(), 1..100),
            muxers in prop::collection::vec("/[a-z]{1,9}", 0..5),
        ) {
            let muxers: Vec<ProtocolId> = muxers.iter().map(|name| name.parse().unwrap()).collect();
            let bytes = Payload::new(key.clone(), signature.clone()).encode_with_muxers(&muxers);
            let payload = decode(&bytes).unwrap();
            prop_assert_eq!(payload.identity().unwrap(), (&key[..], &signature[..]));
            prop_assert!(payload.muxers().iter().eq(muxers.iter().map(ProtocolId::as_str)));
            for end in 0..bytes.len() {
                let cut = decode(&bytes[..end]).ok();
                prop_assert_ne!(cut.as_ref(), Some(&payload));
            }
        }

        #[test]
        fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&garbage).and_then(|payload| payload.identity().map(drop));
        }
    }
}
