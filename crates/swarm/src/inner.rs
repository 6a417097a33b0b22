//! What all handles of a host share.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_lock::Semaphore;
use event_listener::Event;
use peerkit_core::{
    CloseReason, ConnectionError, ConnectionInfo, Keypair, Multiaddr, NewConnection, PeerId,
    Runtime, TaskGroup, Transport, lock, with_deadline,
};

use crate::{
    ConnectionId, DialError, HostConfig, HostEvent,
    address_book::AddressBook,
    connections::{Connections, Entry},
    dial::Dialer,
    event::EventBus,
    half_open::HalfOpen,
    handlers::Handlers,
    inbound,
    listen::Listeners,
    permits::Permits,
};

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) keypair: Keypair,
    pub(crate) local_peer: PeerId,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) transports: Vec<Arc<dyn Transport>>,
    pub(crate) config: HostConfig,
    pub(crate) handlers: Handlers,
    pub(crate) connections: Mutex<Connections>,
    pub(crate) addresses: Mutex<AddressBook>,
    pub(crate) dialer: Dialer,
    pub(crate) listeners: Listeners,
    pub(crate) events: EventBus,
    /// Connections and their goodbyes.
    pub(crate) connection_tasks: TaskGroup,
    /// Listeners, upgrades, handlers and services.
    pub(crate) tasks: TaskGroup,
    pub(crate) half_open: HalfOpen,
    /// Told when the host begins to close.
    pub(crate) closing: Event,
    closed: AtomicBool,
    next_connection: AtomicU64,
}

impl Inner {
    pub(crate) fn new(
        keypair: Keypair,
        runtime: Arc<dyn Runtime>,
        transports: Vec<Arc<dyn Transport>>,
        config: HostConfig,
    ) -> Self {
        let limits = &config.limits;
        Self {
            local_peer: keypair.public().to_peer_id(),
            keypair,
            runtime,
            transports,
            handlers: Handlers::new(limits.handlers_per_protocol_max),
            connections: Mutex::default(),
            addresses: Mutex::new(AddressBook::new(
                limits.known_peers_max,
                limits.known_addresses_max,
            )),
            dialer: Dialer::new(&config.dial),
            listeners: Listeners::default(),
            events: EventBus::new(config.event_capacity),
            connection_tasks: TaskGroup::default(),
            tasks: TaskGroup::default(),
            half_open: HalfOpen::new(limits),
            closing: Event::new(),
            closed: AtomicBool::new(false),
            next_connection: AtomicU64::new(1),
            config,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<(), DialError> {
        if self.is_closed() {
            Err(DialError::Closed)
        } else {
            Ok(())
        }
    }

    /// Takes a finished connection over, or names the limit that speaks against it.
    /// `dialed` is the address that led to it, if this side made it.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        new: NewConnection,
        dialed: Option<Multiaddr>,
    ) -> Result<Arc<Entry>, &'static str> {
        let entry = Arc::new(Entry {
            id: ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed)),
            info: Arc::new(new.info),
            connection: new.connection,
            opened_at: self.runtime.now(),
            dialed,
            negotiations: Arc::new(Semaphore::new(
                self.config.limits.inbound_negotiations_max.max(1),
            )),
            handlers: Permits::new(self.config.limits.handlers_per_connection_max),
        });
        self.register(&entry)?;
        // A closed group drops the futures, which closes the connection.
        let serve = inbound::serve(self.clone(), entry.clone());
        self.connection_tasks
            .spawn(self.runtime.as_ref(), new.driver);
        self.connection_tasks.spawn(self.runtime.as_ref(), serve);
        Ok(entry)
    }

    fn register(&self, entry: &Arc<Entry>) -> Result<(), &'static str> {
        let mut connections = lock(&self.connections);
        if self.is_closed() {
            return Err("the host is closed");
        }
        connections.check(&entry.info, &self.config.limits)?;
        let count = connections.insert(entry.clone());
        // Under the table's lock, so that events have the order of what they tell.
        self.events.emit(HostEvent::Connected {
            connection: entry.id,
            info: entry.info.clone(),
            count,
        });
        drop(connections);
        log_connected(&entry.info);
        Ok(())
    }

    /// Takes an ended connection off the table.
    pub(crate) fn departed(&self, entry: &Entry, reason: ConnectionError) {
        if let ConnectionError::Negotiation(_) = reason {
            self.dialer.remember_careful(entry.info.remote_peer);
        }
        tracing::debug!(
            target: "peerkit::connection",
            peer = %entry.info.remote_peer, %reason, "disconnected"
        );
        // Under the table's lock, as in `register`.
        let mut connections = lock(&self.connections);
        let remaining = connections.remove(entry);
        self.events.emit(HostEvent::Disconnected {
            connection: entry.id,
            peer: entry.info.remote_peer,
            reason,
            remaining,
        });
    }

    /// Begins to close; true for the first caller.
    pub(crate) fn begin_close(&self) -> bool {
        let first = {
            // Under the table's lock, so that no connection slips in unseen.
            let _connections = lock(&self.connections);
            !self.closed.swap(true, Ordering::AcqRel)
        };
        self.closing.notify(usize::MAX);
        self.listeners.close_all();
        let entries = lock(&self.connections).all();
        for entry in entries {
            entry.connection.close(CloseReason::Normal);
        }
        first
    }

    /// Waits for connections to say goodbye, then ends what is left.
    pub(crate) async fn finish_close(&self) {
        let limit = self.config.close_timeout;
        let goodbyes = self.connection_tasks.join();
        // Whether they were in time does not matter: what is left is ended.
        let _ = with_deadline(self.runtime.as_ref(), limit, goodbyes).await;
        self.connection_tasks.cancel();
        self.tasks.cancel();
        let panics = self.connection_tasks.join().await + self.tasks.join().await;
        if panics > 0 {
            tracing::error!(target: "peerkit::host", panics, "tasks of this host have panicked");
        }
        self.events.close();
    }
}

fn log_connected(info: &ConnectionInfo) {
    tracing::debug!(
        target: "peerkit::connection",
        peer = %info.remote_peer, addr = %info.remote_addr, direction = ?info.direction,
        security = %info.security, muxer = %info.muxer, "connected"
    );
}
