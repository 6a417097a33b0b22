//! The security protocol: the handshake over a wire.

use std::{fmt, io, sync::Mutex};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    Channel, Handshake, Io, Keypair, PeerId, ProtocolId, PublicKey, Role, Secured, SecurityError,
    SecurityUpgrade, Wire, lock,
};
use rand::{
    Rng, SeedableRng,
    rngs::{StdRng, SysRng},
};
use zeroize::Zeroizing;

use crate::{
    MAX_HANDSHAKE_MESSAGE, NoiseStream, frame, identity, muxers,
    payload::Payload,
    xx::{self, Finished, Initiator, KeyPair, Responder},
};

/// The name of the protocol.
pub static PROTOCOL: ProtocolId = ProtocolId::from_static("/noise");

/// The Noise security protocol of libp2p, ready for any number of handshakes.
///
/// It holds one static key, made when it is made and never stored, and the
/// proof that this key belongs to the local identity. The identity key itself
/// is used once, at construction.
pub struct Noise {
    static_key: KeyPair,
    proof: Payload,
    /// Makes the ephemeral key of each handshake.
    rng: Mutex<StdRng>,
}

impl Noise {
    /// Protects connections as `identity`, with randomness of the operating system.
    ///
    /// # Errors
    ///
    /// [`SecurityError::LocalKey`] if the key can't sign, [`SecurityError::Io`] if the system has no randomness.
    pub fn new(identity: &Keypair) -> Result<Self, SecurityError> {
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(io::Error::other)?;
        Self::with_rng(identity, rng)
    }

    /// As [`new`](Self::new), but all keys derive from `seed`: for simulations that replay.
    ///
    /// Whoever knows the seed can decrypt every connection.
    pub fn with_seed(identity: &Keypair, seed: [u8; 32]) -> Result<Self, SecurityError> {
        Self::with_rng(identity, StdRng::from_seed(seed))
    }

    /// Protects the dialing side of any byte pipe, for use without the rest of the stack.
    ///
    /// With `expected_peer` anybody else is refused; without it the returned id says who answered.
    /// There is no deadline: bring one, since a silent remote never answers.
    ///
    /// Cancel safety: dropping the future drops the pipe.
    ///
    /// # Errors
    ///
    /// As [`SecurityUpgrade::secure`].
    pub async fn dial(
        &self,
        io: impl Io,
        expected_peer: impl Into<Option<PeerId>>,
    ) -> Result<(NoiseStream, PeerId), SecurityError> {
        self.stream(Role::Dialer, Box::new(io), expected_peer.into())
            .await
    }

    /// Protects the listening side of any byte pipe, for use without the rest of the stack.
    ///
    /// The returned id says who dialed. There is no deadline: bring one.
    ///
    /// Cancel safety: dropping the future drops the pipe.
    ///
    /// # Errors
    ///
    /// As [`SecurityUpgrade::secure`].
    pub async fn accept(&self, io: impl Io) -> Result<(NoiseStream, PeerId), SecurityError> {
        self.stream(Role::Listener, Box::new(io), None).await
    }

    fn with_rng(identity: &Keypair, mut rng: StdRng) -> Result<Self, SecurityError> {
        let static_key = fresh_key(&mut rng);
        let proof = identity::prove(identity, &static_key.public())?;
        Ok(Self {
            static_key,
            proof,
            rng: Mutex::new(rng),
        })
    }

    async fn stream(
        &self,
        role: Role,
        io: Box<dyn Io>,
        expected_peer: Option<PeerId>,
    ) -> Result<(NoiseStream, PeerId), SecurityError> {
        let secured = self
            .secure(Handshake {
                wire: Wire::new(io),
                role,
                expected_peer,
                muxers: Vec::new(),
            })
            .await?;
        let stream = NoiseStream::start(secured.channel).await?;
        Ok((stream, secured.remote_peer))
    }

    // spec: libp2p noise r5: message 1 has no payload, and extensions MUST NOT be in it.
    async fn initiate(&self, handshake: Handshake) -> Result<Secured, SecurityError> {
        let Handshake {
            mut wire,
            expected_peer,
            muxers,
            ..
        } = handshake;
        let muxers = muxers::offer(&muxers);
        let state = Initiator::new(&[], self.static_key.clone(), self.ephemeral());
        let state = frame::put(wire.outbound(), |out| state.write(&[], out))?;
        let message = frame::read(&mut wire, xx::OVERHEAD_2..=MAX_HANDSHAKE_MESSAGE).await?;
        let (state, payload) = state.read(message)?;
        let payload = Payload::decode_bounded(payload)?;
        let remote = identity::verify(&payload, &state.remote_static(), expected_peer)?;
        let muxer = muxers::choose(Role::Dialer, muxers, payload.muxers())?;
        // Message 3 is not flushed: it travels with the first bytes of the next layer.
        let payload = self.proof.encode_with_muxers(muxers);
        let finished = frame::put(wire.outbound(), |out| state.write(&payload, out))?;
        Ok(secured(wire, finished, remote, muxer))
    }

    async fn respond(&self, handshake: Handshake) -> Result<Secured, SecurityError> {
        let Handshake {
            mut wire,
            expected_peer,
            muxers,
            ..
        } = handshake;
        let muxers = muxers::offer(&muxers);
        let message = frame::read(&mut wire, xx::OVERHEAD_1..=xx::OVERHEAD_1).await?;
        let state = Responder::new(&[], self.static_key.clone(), self.ephemeral());
        let (state, _) = state.read(message)?;
        let payload = self.proof.encode_with_muxers(muxers);
        let state = frame::put(wire.outbound(), |out| state.write(&payload, out))?;
        wire.flush().await?;
        let message = frame::read(&mut wire, xx::OVERHEAD_3..=MAX_HANDSHAKE_MESSAGE).await?;
        let (finished, payload) = state.read(message)?;
        let payload = Payload::decode_bounded(payload)?;
        let remote = identity::verify(&payload, &finished.remote_static(), expected_peer)?;
        let muxer = muxers::choose(Role::Listener, muxers, payload.muxers())?;
        Ok(secured(wire, finished, remote, muxer))
    }

    fn ephemeral(&self) -> KeyPair {
        fresh_key(&mut lock(&self.rng))
    }
}

impl SecurityUpgrade for Noise {
    fn protocol(&self) -> &ProtocolId {
        &PROTOCOL
    }

    /// Runs the handshake; the dialer's last message stays in the wire's outbound bytes.
    ///
    /// Cancel safety: the wire is gone with the future.
    ///
    /// # Errors
    ///
    /// - [`Io`](SecurityError::Io), [`Negotiation`](SecurityError::Negotiation): the wire failed;
    /// - [`Malformed`](SecurityError::Malformed), [`Authentication`](SecurityError::Authentication),
    ///   [`BadIdentity`](SecurityError::BadIdentity): the remote, or somebody between, broke the rules;
    /// - [`PeerMismatch`](SecurityError::PeerMismatch): somebody else answered;
    /// - [`NoCommonMuxer`](SecurityError::NoCommonMuxer): both offered muxers, and no muxer is in both offers.
    fn secure(&self, handshake: Handshake) -> BoxFuture<'_, Result<Secured, SecurityError>> {
        match handshake.role {
            Role::Dialer => self.initiate(handshake).boxed(),
            Role::Listener => self.respond(handshake).boxed(),
        }
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noise").finish_non_exhaustive()
    }
}

fn secured(
    wire: Wire,
    finished: Finished,
    (remote_peer, remote_key): (PeerId, PublicKey),
    early_muxer: Option<ProtocolId>,
) -> Secured {
    Secured {
        channel: Channel::new(wire, Box::new(finished.into_records())),
        remote_peer,
        remote_key,
        early_muxer,
    }
}

fn fresh_key(rng: &mut StdRng) -> KeyPair {
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(secret.as_mut_slice());
    KeyPair::from_secret(secret)
}
