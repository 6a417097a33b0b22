//! The handle of a node.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use futures::FutureExt;
use peerkit_core::{
    CloseReason, Keypair, ListenError, Multiaddr, PeerId, PeerRecord, ProtocolId, PublicKey,
    Runtime, Transport, lock,
};

use crate::{
    Access, ConnectionGate, ConnectionId, ConnectionSummary, DialError, DialTarget, Events,
    HostConfig, HostEvent, LimitExceeded, ListenerId, MemoryReservation, OpenStreamError,
    Protocols, Resources, Stream, StreamHandler, Trimming, gate, inner::Inner, listen,
};

/// A node: it listens, dials, opens streams and answers them.
///
/// Clones are the same node; cloning is cheap and every method takes `&self`.
/// Nothing has to be polled: the node runs in tasks of its runtime until
/// [`close`](Self::close), or until the last clone is dropped.
#[derive(Clone)]
pub struct Host {
    handle: Arc<Handle>,
}

/// Closes the node, in the background, when the last handle goes.
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.inner.begin_close() {
            finish_in_background(&self.inner);
        }
    }
}

/// A close under way; it goes on in the background when whoever waits for it gives up.
struct Closing<'a> {
    inner: Option<&'a Arc<Inner>>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner {
            finish_in_background(inner);
        }
    }
}

fn finish_in_background(inner: &Arc<Inner>) {
    let goodbye = inner.clone();
    let goodbye = async move { goodbye.finish_close().await };
    inner.runtime.spawn(goodbye.boxed());
}

/// A handle that does not keep the node alive; for tasks of the node's own services.
#[derive(Clone)]
pub struct WeakHost {
    handle: Weak<Handle>,
}

impl WeakHost {
    /// The node, unless it is gone.
    pub fn upgrade(&self) -> Option<Host> {
        self.handle.upgrade().map(|handle| Host { handle })
    }
}

impl Host {
    /// A node with the given identity on the given runtime; transports are added to the builder.
    pub fn builder(keypair: Keypair, runtime: Arc<dyn Runtime>) -> HostBuilder {
        HostBuilder {
            keypair,
            runtime,
            transports: Vec::new(),
            gate: Arc::new(gate::Open),
            config: HostConfig::default(),
        }
    }

    /// This node's identity.
    pub fn local_peer(&self) -> PeerId {
        self.inner().local_peer
    }

    /// This node's public key.
    pub fn public_key(&self) -> PublicKey {
        self.inner().keypair.public()
    }

    /// This node's key pair, for services that sign.
    pub fn keypair(&self) -> &Keypair {
        &self.inner().keypair
    }

    /// The runtime on which this node runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner().runtime
    }

    /// The configuration with which this node was built.
    pub fn config(&self) -> &HostConfig {
        &self.inner().config
    }

    /// A handle that does not keep the node alive.
    pub fn downgrade(&self) -> WeakHost {
        WeakHost {
            handle: Arc::downgrade(&self.handle),
        }
    }

    /// Listens on an address and returns the first address at which the listener can be
    /// reached; port 0 lets the system choose. An unspecified IP address listens on all
    /// interfaces; [`listen_addrs`](Self::listen_addrs) has them all. Fails when there is no
    /// such address within 5 s.
    ///
    /// Cancel safety: a cancelled call may leave a listener open.
    pub async fn listen(&self, addr: Multiaddr) -> Result<(ListenerId, Multiaddr), ListenError> {
        listen::listen(self.inner(), addr).await
    }

    /// Stops a listener; its connections go on. False when it was closed before.
    pub fn stop_listening(&self, listener: ListenerId) -> bool {
        self.inner().listeners.close(listener)
    }

    /// The addresses at which this node listens, without `/p2p`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.inner().listeners.addrs()
    }

    /// The addresses to give to others: those of [`listen_addrs`](Self::listen_addrs) with this node's `/p2p`.
    pub fn addrs(&self) -> Vec<Multiaddr> {
        let peer = self.local_peer();
        let with_peer = |addr: Multiaddr| addr.with(peerkit_core::multiaddr::Protocol::P2p(peer));
        self.listen_addrs().into_iter().map(with_peer).collect()
    }

    /// Answers the streams of one protocol, or of several, with `handler`; a former handler is replaced.
    ///
    /// Each stream gets a task of its own; [`StreamHandler`] says what becomes of it when the
    /// handler succeeds, fails or panics. Beyond the limits on running handlers
    /// ([`Limits`](crate::Limits)) further streams are reset. Streams that are answered already stay with
    /// the former handler.
    ///
    /// ```
    /// # fn example(host: &peerkit_swarm::Host) {
    /// use peerkit_swarm::Stream;
    ///
    /// host.set_stream_handler("/echo/1.0.0", |stream: Stream| async move {
    ///     futures::io::copy(&stream, &mut &stream).await.map(drop)
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If a name is not a valid [`ProtocolId`]. Parse names that come from outside first.
    pub fn set_stream_handler(&self, protocols: impl Protocols, handler: impl StreamHandler) {
        let protocols = protocols
            .into_protocols()
            .unwrap_or_else(|error| panic!("{error}"));
        self.inner().handlers.set(protocols, Arc::new(handler));
        self.inner().events.emit(HostEvent::ProtocolsChanged);
    }

    /// Answers a protocol no longer; running handlers go on. False when there was no handler.
    pub fn remove_stream_handler(&self, protocol: &str) -> bool {
        let removed = self.inner().handlers.remove(protocol);
        if removed {
            self.inner().events.emit(HostEvent::ProtocolsChanged);
        }
        removed
    }

    /// The protocols that this node answers, in order.
    pub fn protocols(&self) -> Vec<ProtocolId> {
        self.inner().handlers.snapshot().ids().to_vec()
    }

    /// Connects to a peer, or returns the connection that there is. An address that names no peer
    /// stands for the connection that dialing it has led to, as long as that is open.
    ///
    /// Several addresses are raced, and calls for the same peer share one attempt.
    /// Returns once the remote has confirmed the connection. Every step has a deadline.
    ///
    /// Cancel safety: dropping the future ends the attempt, unless others wait for it.
    pub async fn connect(&self, target: impl Into<DialTarget>) -> Result<PeerId, DialError> {
        let entry = self.inner().reach_confirmed(target.into()).await?;
        Ok(entry.info.remote_peer)
    }

    /// Opens a stream to a peer; connects first if need be.
    ///
    /// With one protocol the stream is ready at once: the proposal travels with the
    /// first bytes, and a remote that does not support it shows in the first read (see
    /// [`Stream`]). With several protocols the call waits for the remote's choice. It also waits
    /// for a place among the concurrent dials, and while the muxer has no room for one more stream.
    ///
    /// # Errors
    ///
    /// - [`Dial`](OpenStreamError::Dial): there is no connection and none could be made; it names
    ///   each address that was tried and why it failed.
    /// - [`Connection`](OpenStreamError::Connection): the connection ended meanwhile.
    /// - [`Timeout`](OpenStreamError::Timeout): the muxer had no room, or the remote made no choice,
    ///   within [`HostConfig::negotiation_timeout`].
    /// - [`Unsupported`](OpenStreamError::Unsupported), [`Negotiation`](OpenStreamError::Negotiation):
    ///   the remote has none of several protocols, or gave no proper answer.
    /// - [`Limit`](OpenStreamError::Limit): a limit of this node was reached.
    /// - [`NoProtocol`](OpenStreamError::NoProtocol),
    ///   [`InvalidProtocol`](OpenStreamError::InvalidProtocol): the call itself is wrong.
    ///
    /// Cancel safety: dropping the future leaves no stream behind, and ends a dial for which
    /// nobody else waits.
    pub async fn open_stream(
        &self,
        target: impl Into<DialTarget>,
        protocols: impl Protocols,
    ) -> Result<Stream, OpenStreamError> {
        let protocols = protocols.into_protocols()?;
        self.inner().open_stream(target.into(), protocols).await
    }

    /// Opens a stream on one given connection, for protocols that are about the connection
    /// itself. Otherwise as [`open_stream`](Self::open_stream) with one protocol.
    pub async fn open_stream_on(
        &self,
        connection: ConnectionId,
        protocol: impl Protocols,
    ) -> Result<Stream, OpenStreamError> {
        let protocols = protocol.into_protocols()?;
        self.inner().open_stream_on(connection, protocols).await
    }

    /// What happens from now on: connections, listeners, failed dials.
    ///
    /// Each call gives a reader of its own. A reader holds at most
    /// [`HostConfig::event_capacity`] events; one that lags behind loses the oldest and gets
    /// [`HostEvent::Lagged`] with their number. It never slows the node down, and it ends when
    /// the node is closed.
    pub fn events(&self) -> Events {
        self.inner().events.subscribe()
    }

    /// The peers with which there is a connection, in order.
    pub fn peers(&self) -> Vec<PeerId> {
        lock(&self.inner().connections).peers()
    }

    /// Whether there is a connection with the peer.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        lock(&self.inner().connections).count(peer) > 0
    }

    /// All open connections, by peer.
    pub fn connections(&self) -> Vec<ConnectionSummary> {
        let entries = lock(&self.inner().connections).all();
        entries.iter().map(|entry| entry.summary()).collect()
    }

    /// Closes all connections with a peer.
    pub fn disconnect(&self, peer: &PeerId) {
        let entries = lock(&self.inner().connections).of(peer);
        for entry in entries {
            entry.connection.close(CloseReason::Normal);
        }
    }

    /// Closes one connection.
    pub fn close_connection(&self, connection: ConnectionId) {
        let entry = lock(&self.inner().connections).by_id(connection);
        if let Some(entry) = entry {
            entry.connection.close(CloseReason::Normal);
        }
    }

    /// Remembers where a peer may be, for later dials. Bounded; the oldest give way.
    pub fn add_address(&self, peer: PeerId, addr: Multiaddr) {
        let (addr, named) = crate::target::split_peer(addr);
        if named.is_none_or(|named| named == peer) {
            lock(&self.inner().addresses).add(peer, addr);
        }
    }

    /// The known addresses of a peer, the most recently confirmed first.
    pub fn known_addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        lock(&self.inner().addresses).of(peer)
    }

    /// Keeps what a connected peer has signed about its addresses until its last connection ends, so that other
    /// services can recommend the peer with it; identify brings such records. It is not used to dial the peer:
    /// see [`add_address`](Self::add_address). False, and nothing happens, if the peer is not connected or the
    /// record does not supersede the one that is known.
    pub fn set_peer_record(&self, record: PeerRecord) -> bool {
        lock(&self.inner().connections).set_record(record)
    }

    /// The newest record that a connected peer has signed, if somebody has brought one.
    pub fn peer_record(&self, peer: &PeerId) -> Option<Arc<PeerRecord>> {
        lock(&self.inner().connections).record(peer)
    }

    /// What the node uses now, and how much it may: for each scope and each limit.
    pub fn resources(&self) -> Resources {
        let entries = lock(&self.inner().connections).all();
        let scopes: Vec<_> = entries.iter().map(|entry| entry.scope.clone()).collect();
        self.inner().accounts.snapshot(&scopes)
    }

    /// Counts memory that a service is about to spend, in the scope of the whole node; it is given
    /// back when the result is dropped. [`Stream::reserve_memory`] is for what one stream needs.
    pub fn reserve_memory(&self, bytes: usize) -> Result<MemoryReservation, LimitExceeded> {
        MemoryReservation::of_system(&self.inner().accounts.system, bytes)
    }

    /// What peers are worth, and whose connections stay when there are too many.
    pub fn trimming(&self) -> Trimming<'_> {
        Trimming::new(self.inner())
    }

    /// Which peers and networks may connect.
    pub fn access(&self) -> Access<'_> {
        Access::new(self.inner())
    }

    /// Runs a task that ends with the node; for services. Hold a [`WeakHost`] in it.
    /// False when the node is closed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        self.inner().tasks.spawn(self.runtime().as_ref(), task)
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.inner().is_closed()
    }

    /// Stops listening and dialing, lets connections say goodbye, ends every task and waits for it.
    ///
    /// It never fails; tasks that have panicked are logged. Streams that are still open report
    /// [`StreamError`](peerkit_core::StreamError), later calls report that the host is closed.
    ///
    /// Idempotent; bounded by [`HostConfig::close_timeout`] plus the time that tasks
    /// need to reach their next await. Called from within a task of the node, that task ends here.
    ///
    /// Cancel safety: closing goes on; call again to wait for its end.
    pub async fn close(&self) {
        let inner = self.inner();
        inner.begin_close();
        let mut closing = Closing { inner: Some(inner) };
        inner.finish_close().await;
        closing.inner = None;
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("local_peer", &self.local_peer())
            .field("listen_addrs", &self.listen_addrs())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakHost").finish_non_exhaustive()
    }
}

/// Builds a [`Host`].
#[derive(Debug)]
pub struct HostBuilder {
    keypair: Keypair,
    runtime: Arc<dyn Runtime>,
    transports: Vec<Arc<dyn Transport>>,
    gate: Arc<dyn ConnectionGate>,
    config: HostConfig,
}

impl HostBuilder {
    /// Adds a transport; the first that supports an address is used for it.
    pub fn transport(self, transport: impl Transport) -> Self {
        self.shared_transport(Arc::new(transport))
    }

    /// Adds a transport that others may hold as well.
    pub fn shared_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// Asks `gate` about every connection; without one all are allowed.
    pub fn gate(mut self, gate: impl ConnectionGate) -> Self {
        self.gate = Arc::new(gate);
        self
    }

    /// Replaces the configuration.
    pub fn config(mut self, config: HostConfig) -> Self {
        self.config = config;
        self
    }

    /// The node; it begins to run at once.
    pub fn build(self) -> Host {
        let inner = Inner::new(
            self.keypair,
            self.runtime,
            self.transports,
            self.gate,
            self.config,
        );
        Host {
            handle: Arc::new(Handle {
                inner: Arc::new(inner),
            }),
        }
    }
}
