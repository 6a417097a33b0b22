//! Security: who is at the other end, and how the bytes are protected.

use std::fmt;

use futures::future::BoxFuture;

use crate::{Channel, PeerId, ProtocolId, PublicKey, Role, SecurityError, Wire};

/// A security protocol, for example Noise: turns a wire into a protected channel
/// whose remote is authenticated.
pub trait SecurityUpgrade: fmt::Debug + Send + Sync + 'static {
    /// The name under which it is negotiated.
    fn protocol(&self) -> &ProtocolId;

    /// Runs the handshake.
    ///
    /// The last message of a handshake may stay in the wire's outbound bytes, to
    /// travel with the first bytes of the next layer; the caller flushes.
    /// The caller also sets the deadline.
    fn secure(&self, handshake: Handshake) -> BoxFuture<'_, Result<Secured, SecurityError>>;
}

/// What a handshake starts from.
#[derive(Debug)]
pub struct Handshake {
    /// The wire, with bytes that earlier layers read or queued.
    pub wire: Wire,
    /// Which side this is.
    pub role: Role,
    /// Who has to answer. With `None` anybody may, and the handshake tells who did.
    pub expected_peer: Option<PeerId>,
    /// The muxers that can follow, best first, for protocols that choose one inside the handshake.
    pub muxers: Vec<ProtocolId>,
}

/// What a handshake results in.
#[derive(Debug)]
pub struct Secured {
    /// The protected channel.
    pub channel: Channel,
    /// The authenticated remote; it matches `remote_key`.
    pub remote_peer: PeerId,
    /// The remote's identity key.
    pub remote_key: PublicKey,
    /// The muxer on which both sides agreed inside the handshake, if they did.
    /// Then no multistream-select follows.
    pub early_muxer: Option<ProtocolId>,
}
