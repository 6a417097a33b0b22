//! The exchange over a wire.

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    Channel, Handshake, Keypair, PeerId, PlainRecords, ProtocolId, PublicKey, Secured,
    SecurityError, SecurityUpgrade, Wire,
};

use crate::codec;

/// The name of the protocol.
pub static PROTOCOL: ProtocolId = ProtocolId::from_static("/plaintext/2.0.0");

/// **No security at all.** Both sides say who they are, nobody proves it, and nothing is encrypted.
///
/// For tests, for debugging with a packet sniffer, and for pipes that are protected by other
/// means. Never offer it beside a real security protocol: an attacker on the way can
/// then make both sides agree on this one.
#[derive(Clone, Debug)]
pub struct Plaintext {
    /// The whole message of this side.
    exchange: Bytes,
}

impl Plaintext {
    /// Calls itself by the public half of `identity`; the private half is not used.
    pub fn new(identity: &Keypair) -> Self {
        Self {
            exchange: codec::encode(&identity.public()).into(),
        }
    }

    async fn exchange(&self, handshake: Handshake) -> Result<Secured, SecurityError> {
        let Handshake {
            mut wire,
            expected_peer,
            ..
        } = handshake;
        // Both sides speak at once.
        wire.outbound().extend_from_slice(&self.exchange);
        let (found, remote_key) = read(&mut wire).await?;
        if let Some(expected) = expected_peer.filter(|expected| *expected != found) {
            return Err(SecurityError::PeerMismatch { expected, found });
        }
        Ok(Secured {
            channel: Channel::new(wire, Box::new(PlainRecords)),
            remote_peer: found,
            remote_key,
            early_muxer: None,
        })
    }
}

impl SecurityUpgrade for Plaintext {
    fn protocol(&self) -> &ProtocolId {
        &PROTOCOL
    }

    /// Exchanges names, with the same steps in both roles. The caller sets the deadline.
    ///
    /// Cancel safety: the wire is gone with the future.
    ///
    /// # Errors
    ///
    /// - [`Io`](SecurityError::Io), [`Negotiation`](SecurityError::Negotiation): the wire failed;
    /// - [`Malformed`](SecurityError::Malformed), [`BadIdentity`](SecurityError::BadIdentity): the remote broke the rules;
    /// - [`PeerMismatch`](SecurityError::PeerMismatch): somebody else answered.
    fn secure(&self, handshake: Handshake) -> BoxFuture<'_, Result<Secured, SecurityError>> {
        self.exchange(handshake).boxed()
    }
}

/// Reads one message, after sending what is pending if there is anything to wait for.
async fn read(wire: &mut Wire) -> Result<(PeerId, PublicKey), SecurityError> {
    loop {
        if let Some(remote) = codec::take(wire.inbound())? {
            return Ok(remote);
        }
        wire.read_more().await?;
    }
}
