//! Transports: from addresses to connections.

use std::{
    fmt,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use multiaddr::Multiaddr;

use crate::{
    Direction, Io, ListenError, NewConnection, PeerId, Role, TransportError, UpgradeError,
};

/// A way to reach peers: dials and listens on the addresses it understands and
/// delivers finished connections.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Whether this transport understands the address, for dialing and listening.
    /// A trailing `/p2p` component does not matter.
    fn supports(&self, addr: &Multiaddr) -> bool;

    /// Connects, secures and multiplexes.
    ///
    /// Every step has a deadline. Cancel safety: dropping the future closes the socket.
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>>;

    /// Starts to listen. Port 0 lets the system choose.
    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>>;
}

/// What to dial, and how.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// Where. A trailing `/p2p` component is ignored; see `expected_peer`.
    pub addr: Multiaddr,
    /// Who has to answer; `None` accepts anybody and tells who did.
    pub expected_peer: Option<PeerId>,
    /// Which side to be in the protocols. [`Role::Dialer`] but for hole punching.
    pub role: Role,
    /// Whether to send ahead of the remote's agreement.
    pub optimism: Optimism,
}

/// Whether a dialer sends the first bytes of a protocol together with its proposal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimism {
    /// Yes: fewest round trips. A remote that takes the proposal's bytes apart may fail.
    #[default]
    Eager,
    /// No: wait for each answer. Works with everybody.
    Careful,
}

/// A listening socket.
pub trait Listener: fmt::Debug + Send + 'static {
    /// The next thing that happens. `Ready(None)` means that the listener is closed.
    ///
    /// Temporary failures to accept are dealt with inside, with a delay.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListenerEvent>>;
}

/// What a [`Listener`] reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerEvent {
    /// It can be reached here, without `/p2p`.
    NewAddress(Multiaddr),
    /// It can't be reached there any more.
    ExpiredAddress(Multiaddr),
    /// Somebody has connected.
    Incoming(Incoming),
}

/// A connection that somebody has begun and that is yet to be upgraded.
/// Dropping it closes the socket.
pub struct Incoming {
    /// The address on this side.
    pub local_addr: Multiaddr,
    /// The address on the other side.
    pub remote_addr: Multiaddr,
    /// Secures and multiplexes; has a deadline of its own.
    pub upgrade: BoxFuture<'static, Result<NewConnection, UpgradeError>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("remote_addr", &self.remote_addr)
            .finish_non_exhaustive()
    }
}

/// Secures and multiplexes a raw pipe. Stream transports own one.
pub trait Upgrader: fmt::Debug + Send + Sync + 'static {
    /// Runs security and muxer negotiation within a deadline.
    ///
    /// Cancel safety: dropping the future closes the pipe.
    fn upgrade(
        &self,
        io: Box<dyn Io>,
        request: UpgradeRequest,
    ) -> BoxFuture<'static, Result<NewConnection, UpgradeError>>;
}

/// What an [`Upgrader`] has to know of a pipe.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    /// The address on this side.
    pub local_addr: Multiaddr,
    /// The address on the other side.
    pub remote_addr: Multiaddr,
    /// Which side connected.
    pub direction: Direction,
    /// Which side to be in the protocols.
    pub role: Role,
    /// Who has to answer.
    pub expected_peer: Option<PeerId>,
    /// Whether to send ahead of the remote's agreement.
    pub optimism: Optimism,
}
