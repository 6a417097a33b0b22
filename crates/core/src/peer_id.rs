//! Peer ids as text.

use crate::PeerId;

/// Reads a peer id in both of its text forms: the plain one (`12D3KooW..`, `Qm..`), and the
/// content identifier (`bafz..`, or another multibase) that `PeerId`'s own `FromStr` does not know.
///
/// A peer id is shown in the plain form, by `Display`.
///
/// Source: libp2p peer-ids specification, *string representation*.
///
/// ```
/// let plain = peerkit_core::parse_peer_id("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")?;
/// let cid = peerkit_core::parse_peer_id("bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe")?;
/// assert_eq!(plain, cid);
/// # Ok::<_, peerkit_core::InvalidPeerId>(())
/// ```
pub fn parse_peer_id(text: &str) -> Result<PeerId, InvalidPeerId> {
    if text.len() > LONGEST_TEXT {
        return Err(InvalidPeerId::TooLong { len: text.len() });
    }
    let multihash = if text.starts_with('1') || text.starts_with("Qm") {
        multibase::Base::Base58Btc
            .decode(text)
            .map_err(|_| InvalidPeerId::NotText)?
    } else {
        multihash_of_cid(text)?
    };
    peer_id_of(&multihash)
}

/// Text that is no peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPeerId {
    /// Far more characters than any peer id has.
    #[error("a peer id has at most {LONGEST_TEXT} characters, not {len}")]
    TooLong {
        /// How many there are, in bytes.
        len: usize,
    },
    /// Characters that neither form allows.
    #[error("a peer id is base58 text that starts with 1 or Qm, or a CID such as bafz..")]
    NotText,
    /// A content identifier of something else.
    #[error("the CID does not name a libp2p key (codec 0x72)")]
    NotAKey,
    /// A hash that no peer id has.
    #[error("a peer id is a SHA-256 hash of 32 bytes or a key of at most 42 bytes")]
    BadHash,
}

/// The longest form, base2 aside, is the hexadecimal CID of an inlined key: 93 characters.
const LONGEST_TEXT: usize = 128;

/// spec: peer-ids, a CIDv1 with the multicodec `libp2p-key`.
fn multihash_of_cid(text: &str) -> Result<Vec<u8>, InvalidPeerId> {
    let (_, bytes) = multibase::decode(text).map_err(|_| InvalidPeerId::NotText)?;
    match bytes.strip_prefix(&[0x01, 0x72]) {
        Some(multihash) => Ok(multihash.to_vec()),
        None => Err(InvalidPeerId::NotAKey),
    }
}

fn peer_id_of(multihash: &[u8]) -> Result<PeerId, InvalidPeerId> {
    let peer_id = PeerId::from_bytes(multihash).map_err(|_| InvalidPeerId::BadHash)?;
    let hash = peer_id.as_ref();
    if hash.code() == SHA2_256 && hash.digest().len() != 32 {
        return Err(InvalidPeerId::BadHash);
    }
    Ok(peer_id)
}

const SHA2_256: u64 = 0x12;
