//! What is known of a connected peer.

use std::sync::Arc;

use peerkit_core::{
    ConnectionInfo, Envelope, Multiaddr, PeerId, PeerRecord, ProtocolId, PublicKey,
};

use crate::{IdentifyError, Message, RecordError};

/// What a connected peer says of itself, checked as far as that is possible.
///
/// Identity and key are proven by the secured connection. The signed record is
/// proven to be the peer's. All else is what the peer claims.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The authenticated peer.
    pub peer: PeerId,
    /// Its identity key, from the connection.
    pub public_key: PublicKey,
    /// What family of networks it belongs to, for example `ipfs/0.1.0`; for information only.
    pub protocol_version: Option<String>,
    /// Its program, usually `name/version`. Safe to print.
    pub agent_version: Option<String>,
    /// Where it says that it listens; not all of it may be reachable from here.
    pub listen_addrs: Vec<Multiaddr>,
    /// The protocols that it accepts.
    pub protocols: Vec<ProtocolId>,
    /// From where it sees this node come.
    pub observed_addr: Option<Multiaddr>,
    /// Its addresses under its signature, verified.
    pub signed_record: Option<PeerRecord>,
    /// Why the signed record that it sent last was not accepted.
    pub rejected_record: Option<Arc<RecordError>>,
}

impl Info {
    /// Whether the peer accepts a protocol.
    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols
            .iter()
            .any(|known| known.as_str() == protocol)
    }

    /// What the connection alone tells.
    pub(crate) fn of(connection: &ConnectionInfo) -> Self {
        Self {
            peer: connection.remote_peer,
            public_key: connection.remote_key.clone(),
            protocol_version: None,
            agent_version: None,
            listen_addrs: Vec::new(),
            protocols: Vec::new(),
            observed_addr: None,
            signed_record: None,
            rejected_record: None,
        }
    }

    /// Takes over what a message says; what it does not mention stays.
    pub(crate) fn update(&mut self, message: Message) -> Result<(), IdentifyError> {
        self.check_key(message.public_key.as_ref())?;
        if let Some(envelope) = message.signed_peer_record {
            let outcome = self.update_record(envelope);
            self.rejected_record = outcome.err().map(Arc::new);
        }
        let Message {
            protocol_version,
            agent_version,
            observed_addr,
            ..
        } = message;
        self.protocol_version = protocol_version.or(self.protocol_version.take());
        self.agent_version = agent_version.or(self.agent_version.take());
        self.observed_addr = observed_addr.or(self.observed_addr.take());
        if !message.listen_addrs.is_empty() {
            self.listen_addrs = message.listen_addrs;
        }
        if !message.protocols.is_empty() {
            self.protocols = message.protocols;
        }
        Ok(())
    }

    /// The addresses that count: the signed ones, if there are any.
    pub(crate) fn best_addrs(&self) -> &[Multiaddr] {
        let signed = self.signed_record.as_ref().map(PeerRecord::addresses);
        signed
            .filter(|addrs| !addrs.is_empty())
            .unwrap_or(&self.listen_addrs)
    }

    /// The connection has proven the key; a message can only agree with it.
    fn check_key(&self, claimed: Option<&PublicKey>) -> Result<(), IdentifyError> {
        match claimed.map(PublicKey::to_peer_id) {
            Some(claimed) if claimed != self.peer => Err(IdentifyError::WrongKey {
                peer: self.peer,
                claimed,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn update_record(&mut self, envelope: Envelope) -> Result<(), RecordError> {
        let known = self.signed_record.as_ref();
        if known.is_some_and(|known| *known.envelope() == envelope) {
            return Ok(());
        }
        let record = PeerRecord::from_envelope(envelope)?;
        if record.peer_id() != self.peer {
            return Err(RecordError::OtherPeer {
                signer: record.peer_id(),
            });
        }
        match known {
            Some(known) if !record.supersedes(known) => Err(RecordError::Outdated {
                seq: record.seq(),
                known: known.seq(),
            }),
            Some(_) | None => {
                self.signed_record = Some(record);
                Ok(())
            }
        }
    }
}
