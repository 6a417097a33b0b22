//! What all handles of a host share.

use std::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_lock::Semaphore;
use event_listener::Event;
use peerkit_core::{
    CloseReason, ConnectionError, ConnectionInfo, Direction, Keypair, Multiaddr, NewConnection,
    PeerId, ProtocolId, Runtime, TaskGroup, Transport, lock, with_deadline,
};

use crate::{
    ConnectionGate, ConnectionId, DialError, HostConfig, HostEvent, LimitExceeded, Refusal,
    access::Lists,
    address_book::AddressBook,
    bus::EventBus,
    connections::{Connections, Entry},
    dial::Dialer,
    handlers::Handlers,
    inbound,
    listen::Listeners,
    resources::{Accounts, Admission, StreamPermit},
    trim::Trimmer,
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
    pub(crate) events: EventBus<HostEvent>,
    /// Connections and their goodbyes.
    pub(crate) connection_tasks: TaskGroup,
    /// Listeners, upgrades, handlers and services.
    pub(crate) tasks: TaskGroup,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) trimmer: Trimmer,
    pub(crate) access: RwLock<Lists>,
    pub(crate) gate: Arc<dyn ConnectionGate>,
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
        gate: Arc<dyn ConnectionGate>,
        config: HostConfig,
    ) -> Self {
        let accounts = Arc::new(Accounts::new(&config.limits, runtime.machine()));
        let limits = &accounts.limits;
        let trimmer = Trimmer::new(&config.trim, limits.connections_max.amount());
        Self {
            local_peer: keypair.public().to_peer_id(),
            keypair,
            runtime,
            transports,
            handlers: Handlers::new(accounts.clone()),
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
            trimmer,
            access: RwLock::default(),
            gate,
            closing: Event::new(),
            closed: AtomicBool::new(false),
            next_connection: AtomicU64::new(1),
            accounts,
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

    /// Takes a finished connection over. One that is refused ends with a goodbye that says why,
    /// where the muxer can; it counts as half-open until that is said. `dialed` is the address that
    /// led to it, if this side made it.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        new: NewConnection,
        admission: Admission,
        dialed: Option<Multiaddr>,
    ) -> Result<Arc<Entry>, NotAdopted> {
        self.check_secured(&new.info)?;
        if let Err(denied) = self.check_upgraded(&new.info) {
            self.turn_away(new, admission, CloseReason::Denied);
            return Err(denied.into());
        }
        let id = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        let scope = self.accounts.connection(id, new.info.remote_peer);
        let (permit, socket) = match admission.establish(&scope, &self.accounts.limits) {
            Ok(permits) => permits,
            Err(refused) => {
                let (limit, admission) = *refused;
                self.turn_away(new, admission, CloseReason::LimitExceeded);
                return Err(limit.into());
            }
        };
        let entry = Arc::new(Entry {
            id,
            info: Arc::new(new.info),
            connection: new.connection,
            opened_at: self.runtime.now(),
            dialed,
            negotiations: Arc::new(Semaphore::new(
                self.config.limits.inbound_negotiations_max.max(1),
            )),
            scope,
            permit: Mutex::new(Some(permit)),
        });
        let connections = self.register(&entry)?;
        // A closed group drops the futures, which closes the connection.
        let serve = inbound::serve(self.clone(), entry.clone());
        let driver = new.driver;
        let driver = async move {
            driver.await;
            drop(socket);
        };
        self.connection_tasks.spawn(self.runtime.as_ref(), driver);
        self.connection_tasks.spawn(self.runtime.as_ref(), serve);
        self.trim_if_needed(connections);
        Ok(entry)
    }

    fn turn_away(&self, new: NewConnection, admission: Admission, reason: CloseReason) {
        new.connection.close(reason);
        let driver = new.driver;
        let goodbye = async move {
            driver.await;
            drop(admission);
        };
        self.connection_tasks.spawn(self.runtime.as_ref(), goodbye);
    }

    /// Puts a connection into the table; returns how many there are.
    fn register(&self, entry: &Arc<Entry>) -> Result<usize, NotAdopted> {
        let mut connections = lock(&self.connections);
        if self.is_closed() {
            return Err(NotAdopted::Closed);
        }
        let count = connections.insert(entry.clone());
        let total = connections.total();
        // Under the table's lock, so that events have the order of what they tell.
        self.events.emit(HostEvent::Connected {
            connection: entry.id,
            info: entry.info.clone(),
            count,
        });
        drop(connections);
        log_connected(&entry.info);
        Ok(total)
    }

    /// One more stream of a connection, or the limit that speaks against it, which is reported.
    pub(crate) fn admit_stream(
        &self,
        entry: &Entry,
        direction: Direction,
        protocol: Option<&ProtocolId>,
    ) -> Result<StreamPermit, LimitExceeded> {
        let permit = StreamPermit::new(&entry.scope, direction, &self.accounts.limits);
        let outcome = permit.and_then(|mut permit| {
            if let Some(protocol) = protocol {
                permit.enter(self.accounts.protocol(protocol))?;
            }
            Ok(permit)
        });
        outcome.inspect_err(|limit| self.report_stream(entry, direction, protocol, limit.clone()))
    }

    pub(crate) fn report_stream(
        &self,
        entry: &Entry,
        direction: Direction,
        protocol: Option<&ProtocolId>,
        limit: LimitExceeded,
    ) {
        let peer = entry.info.remote_peer;
        tracing::debug!(target: "peerkit::stream", %peer, ?direction, %limit, "a stream was refused");
        self.events.emit(HostEvent::StreamRefused {
            connection: entry.id,
            peer,
            direction,
            protocol: protocol.cloned(),
            limit: Arc::new(limit),
        });
    }

    /// Takes an ended connection off the table.
    pub(crate) fn departed(&self, entry: &Entry, reason: ConnectionError) {
        if let ConnectionError::Negotiation(_) = reason {
            self.remember_careful(entry.info.remote_peer);
        }
        drop(lock(&entry.permit).take());
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

/// Why a finished connection was not taken over.
#[derive(Debug)]
pub(crate) enum NotAdopted {
    Refused(Refusal),
    Closed,
}

impl<R: Into<Refusal>> From<R> for NotAdopted {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

fn log_connected(info: &ConnectionInfo) {
    tracing::debug!(
        target: "peerkit::connection",
        peer = %info.remote_peer, addr = %info.remote_addr, direction = ?info.direction,
        security = %info.security, muxer = %info.muxer, "connected"
    );
}
