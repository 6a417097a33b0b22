//! Peer records: the addresses of a peer, signed by that peer.

use std::{error::Error, time::Duration};

use prost::Message;

use crate::{Envelope, EnvelopeError, Fault, Keypair, Multiaddr, PeerId, PublicKey};

/// The addresses of a peer, signed by its own key, so that anybody may pass them on.
///
/// Values of this type are verified: the key that signed is that of
/// [`peer_id`](Self::peer_id). Records are made in the form that Go, JavaScript and
/// Nim deploy ([`DOMAIN`](Self::DOMAIN)) and read in that form and in that of the RFC,
/// which Rust peers use ([`LEGACY_DOMAIN`](Self::LEGACY_DOMAIN)).
///
/// Source: libp2p RFC 0003.
///
/// ```
/// use std::time::Duration;
/// use peerkit_core::{Envelope, Keypair, PeerRecord};
///
/// let keypair = Keypair::generate_ed25519();
/// let seq = PeerRecord::seq_at(Duration::from_secs(1_700_000_000));
/// let record = PeerRecord::sign(&keypair, seq, vec!["/ip4/192.0.2.1/tcp/4001".parse()?])?;
///
/// let received = PeerRecord::from_envelope(Envelope::decode(record.envelope().encoded().clone())?)?;
/// assert_eq!(received.peer_id(), keypair.public().to_peer_id());
/// assert_eq!(received.addresses(), record.addresses());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    peer_id: PeerId,
    key: PublicKey,
    seq: u64,
    addresses: Vec<Multiaddr>,
    envelope: Envelope,
}

impl PeerRecord {
    /// The domain of the deployed form.
    pub const DOMAIN: &'static str = "libp2p-peer-record";
    /// The payload type of the deployed form: the multicodec 0x0301 as two bytes.
    pub const PAYLOAD_TYPE: &'static [u8] = &[0x03, 0x01];
    /// The domain of the form that the RFC describes.
    pub const LEGACY_DOMAIN: &'static str = "libp2p-routing-state";
    /// The payload type of the form that the RFC describes.
    pub const LEGACY_PAYLOAD_TYPE: &'static [u8] = b"/libp2p/routing-state-record";
    /// The most addresses that a record is made with, and that are read from one.
    pub const MAX_ADDRESSES: usize = 64;
    /// The most bytes of one address; the longest in use have about 300.
    pub const MAX_ADDRESS_LEN: usize = 512;

    /// Signs a record.
    ///
    /// `seq` has to grow from record to record of one key; see [`seq_at`](Self::seq_at).
    /// Fails when there are too many addresses, or when one is too long or all
    /// together don't fit an envelope.
    pub fn sign(
        keypair: &Keypair,
        seq: u64,
        addresses: Vec<Multiaddr>,
    ) -> Result<Self, PeerRecordError> {
        check_addresses(&addresses)?;
        let key = keypair.public();
        let peer_id = key.to_peer_id();
        let payload = Fields {
            peer_id: peer_id.to_bytes(),
            seq,
            addresses: addresses.iter().map(AddressInfo::from).collect(),
        }
        .encode_to_vec();
        let envelope = Envelope::sign(keypair, Self::DOMAIN, Self::PAYLOAD_TYPE, &payload)?;
        Ok(Self {
            peer_id,
            key,
            seq,
            addresses,
            envelope,
        })
    }

    /// Verifies the signature, and that the record is about the peer that signed it.
    ///
    /// Addresses that can't be read, that are longer than
    /// [`MAX_ADDRESS_LEN`](Self::MAX_ADDRESS_LEN) bytes or that follow the first
    /// [`MAX_ADDRESSES`](Self::MAX_ADDRESSES) are left out; the envelope keeps them.
    pub fn from_envelope(envelope: Envelope) -> Result<Self, PeerRecordError> {
        let domain = domain_of(envelope.payload_type())?;
        let verified = envelope.verify(domain, envelope.payload_type())?;
        let key = verified.key.clone();
        let peer_id = key.to_peer_id();
        let Fields {
            peer_id: claimed,
            seq,
            addresses,
        } = Fields::decode(verified.payload.clone())
            .map_err(|error| PeerRecordError::Malformed(error.into()))?;
        check_claim(&claimed, peer_id)?;
        Ok(Self {
            peer_id,
            key,
            seq,
            addresses: read_addresses(addresses),
            envelope,
        })
    }

    /// Whose addresses these are.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The key that signed, that of [`peer_id`](Self::peer_id).
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The number of this record; the highest of a peer counts. It is no time.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The addresses, in the signer's order.
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// The signed bytes, to pass on.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether this record takes the place of `other`: of the same peer, with a higher number.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.peer_id == other.peer_id && self.seq > other.seq
    }

    /// A number that grows with the time: nanoseconds since the Unix epoch.
    ///
    /// Among the units in use this has the largest numbers, so that records
    /// keep growing when a key moves here from another implementation.
    pub fn seq_at(unix_time: Duration) -> u64 {
        u64::try_from(unix_time.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Why a peer record could not be made or accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRecordError {
    /// The envelope could not be made, is no peer record or has a bad signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The signed payload is no peer record.
    #[error("the signed payload is no peer record: {0}")]
    Malformed(#[source] Box<dyn Error + Send + Sync>),
    /// The record is about somebody else than its signer.
    #[error("the record is about peer {claimed} but was signed by {signer}")]
    PeerMismatch {
        /// Whom the record names.
        claimed: PeerId,
        /// Whose key signed it.
        signer: PeerId,
    },
    /// More than [`PeerRecord::MAX_ADDRESSES`] addresses to sign.
    #[error(
        "a peer record has at most {} addresses, not {count}",
        PeerRecord::MAX_ADDRESSES
    )]
    TooManyAddresses {
        /// How many there are.
        count: usize,
    },
    /// An address to sign that has more than [`PeerRecord::MAX_ADDRESS_LEN`] bytes.
    #[error(
        "an address in a peer record has at most {} bytes, not {len}",
        PeerRecord::MAX_ADDRESS_LEN
    )]
    AddressTooLong {
        /// How many bytes it has.
        len: usize,
    },
}

impl PeerRecordError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Envelope(error) => error.fault(),
            Self::Malformed(_) | Self::PeerMismatch { .. } => Fault::PeerMisbehaved,
            Self::TooManyAddresses { .. } | Self::AddressTooLong { .. } => Fault::Misuse,
        }
    }
}

/// The payload on the wire.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(bytes = "vec", tag = "1")]
    peer_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(message, repeated, tag = "3")]
    addresses: Vec<AddressInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct AddressInfo {
    #[prost(bytes = "vec", tag = "1")]
    multiaddr: Vec<u8>,
}

impl From<&Multiaddr> for AddressInfo {
    fn from(address: &Multiaddr) -> Self {
        Self {
            multiaddr: address.to_vec(),
        }
    }
}

fn check_addresses(addresses: &[Multiaddr]) -> Result<(), PeerRecordError> {
    if addresses.len() > PeerRecord::MAX_ADDRESSES {
        return Err(PeerRecordError::TooManyAddresses {
            count: addresses.len(),
        });
    }
    match addresses.iter().map(Multiaddr::len).max() {
        Some(len) if len > PeerRecord::MAX_ADDRESS_LEN => {
            Err(PeerRecordError::AddressTooLong { len })
        }
        _ => Ok(()),
    }
}

/// Which purpose a signature has to be for. The type chooses among the two
/// forms of one and the same record, so a signer loses nothing by this.
fn domain_of(payload_type: &[u8]) -> Result<&'static str, EnvelopeError> {
    match payload_type {
        PeerRecord::PAYLOAD_TYPE => Ok(PeerRecord::DOMAIN),
        PeerRecord::LEGACY_PAYLOAD_TYPE => Ok(PeerRecord::LEGACY_DOMAIN),
        other => Err(EnvelopeError::wrong_type(other)),
    }
}

fn check_claim(claimed: &[u8], signer: PeerId) -> Result<(), PeerRecordError> {
    let claimed =
        PeerId::from_bytes(claimed).map_err(|error| PeerRecordError::Malformed(error.into()))?;
    if claimed != signer {
        return Err(PeerRecordError::PeerMismatch { claimed, signer });
    }
    Ok(())
}

fn read_addresses(infos: Vec<AddressInfo>) -> Vec<Multiaddr> {
    infos
        .into_iter()
        .map(|info| info.multiaddr)
        .filter(|bytes| !bytes.is_empty() && bytes.len() <= PeerRecord::MAX_ADDRESS_LEN)
        .filter_map(|bytes| Multiaddr::try_from(bytes).ok())
        .take(PeerRecord::MAX_ADDRESSES)
        .collect()
}
