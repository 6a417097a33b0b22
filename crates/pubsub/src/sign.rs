//! Who has written a message: signing and checking.

mod ed25519;
mod signer;
#[cfg(test)]
mod tests;
mod verifier;

use std::ops::RangeInclusive;

use peerkit_core::{Fault, PeerId};

pub use signer::{MessageSigner, SigningFailed};
pub use verifier::MessageVerifier;

/// Whether messages carry their author's signature.
///
/// Source: the pubsub specification, section "Message Signing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// Messages are signed, and others are rejected.
    #[default]
    StrictSign,
    /// Messages name neither author nor number nor signature, and those that do are rejected.
    StrictNoSign,
    /// Messages are signed; unsigned ones are accepted, and what they say of their author is
    /// anybody's claim. The numbers of signed ones may be shorter than 8 bytes, since js-libp2p's
    /// floodsub leaves out leading zeros.
    LaxSign,
    /// Messages are not signed; those that are have to be signed well, with numbers as above.
    LaxNoSign,
}

impl SignaturePolicy {
    fn signs(self) -> bool {
        matches!(self, Self::StrictSign | Self::LaxSign)
    }

    /// How many bytes the number of a signed message may have.
    fn seqno_lens(self) -> RangeInclusive<usize> {
        match self {
            Self::StrictSign | Self::StrictNoSign => SEQNO_LEN..=SEQNO_LEN,
            Self::LaxSign | Self::LaxNoSign => 1..=SEQNO_LEN,
        }
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// It names no author.
    #[error("it names no author")]
    NoAuthor,
    /// The author's name is no peer id.
    #[error("its author's name is no peer id")]
    BadAuthor,
    /// It has no number.
    #[error("it has no sequence number")]
    NoSeqno,
    /// Its number has not the 8 bytes that it should have.
    #[error("its sequence number has not 8 bytes")]
    BadSeqno,
    /// It is not signed.
    #[error("it is not signed")]
    NoSignature,
    /// It has fields that it should not have.
    #[error("it names an author, a number, a signature or a key, none of which is wanted")]
    Unwanted,
    /// The author's key is neither in it nor in the author's peer id.
    #[error("its author's key is missing")]
    NoKey,
    /// The key is broken or of a type that is not known here.
    #[error("its author's key is not valid")]
    BadKey,
    /// The key is somebody else's.
    #[error("its key is not its author's")]
    ForeignKey,
    /// The signature is not the author's.
    #[error("its signature is not its author's")]
    BadSignature,
}

impl InvalidMessage {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoSignature | Self::Unwanted => Fault::Incompatible,
            Self::NoAuthor
            | Self::BadAuthor
            | Self::NoSeqno
            | Self::BadSeqno
            | Self::NoKey
            | Self::BadKey
            | Self::ForeignKey
            | Self::BadSignature => Fault::PeerMisbehaved,
        }
    }
}

/// A peer id whose hash is the identity contains the key itself.
fn inlined_key(peer: &PeerId) -> Option<&[u8]> {
    let hash = peer.as_ref();
    (hash.code() == IDENTITY_HASH).then(|| hash.digest())
}

const PREFIX: &[u8] = b"libp2p-pubsub:";
const SEQNO_LEN: usize = 8;
const IDENTITY_HASH: u64 = 0;
/// RSA with 8192 bits.
const SIGNATURE_MAX: usize = 1024;
