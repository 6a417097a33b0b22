//! Accepting connections.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use peerkit_core::{
    Direction, Incoming, Listener, ListenerEvent, Optimism, Role, Runtime, TcpConnection,
    TcpListener, Timer, UpgradeRequest, Upgrader,
};

use crate::{
    Config,
    address::from_socket,
    interfaces::{Changes, Interfaces},
    ports::Registration,
};

/// A listening socket, the addresses it stands for, and the patience to go on after failures.
pub(crate) struct TcpTransportListener {
    runtime: Arc<dyn Runtime>,
    upgrader: Arc<dyn Upgrader>,
    config: Arc<Config>,
    socket: Box<dyn TcpListener>,
    local: SocketAddr,
    /// At most what one look at the interfaces has found.
    addresses: VecDeque<ListenerEvent>,
    watch: Option<Watch>,
    pause: Option<Pin<Box<dyn Timer>>>,
    /// The length of the next pause.
    patience: Duration,
    /// Connections accepted since others had a turn.
    burst: usize,
    _registration: Registration,
}

/// Looks at the interfaces now and then.
struct Watch {
    interfaces: Interfaces,
    timer: Pin<Box<dyn Timer>>,
}

impl TcpTransportListener {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        upgrader: Arc<dyn Upgrader>,
        config: Arc<Config>,
        registration: Registration,
        (socket, local): (Box<dyn TcpListener>, SocketAddr),
    ) -> Self {
        let watch = local.ip().is_unspecified().then(|| Watch {
            interfaces: Interfaces::new(local.ip()),
            timer: runtime.timer(runtime.now()),
        });
        let address = ListenerEvent::NewAddress(from_socket(local));
        let addresses = if watch.is_none() {
            VecDeque::from([address])
        } else {
            VecDeque::new()
        };
        Self {
            patience: config.accept_retry,
            runtime,
            upgrader,
            config,
            socket,
            local,
            addresses,
            watch,
            pause: None,
            burst: 0,
            _registration: registration,
        }
    }

    /// Looks at the interfaces when it is time to.
    fn poll_interfaces(&mut self, cx: &mut Context<'_>) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        while watch.timer.poll_unpin(cx).is_ready() {
            let interval = self.config.interface_interval.max(SHORTEST_INTERVAL);
            watch.timer.as_mut().reset(self.runtime.now() + interval);
            match self.runtime.network().interfaces() {
                Ok(found) => {
                    let Changes { gone, new } = watch.interfaces.update(found);
                    let port = self.local.port();
                    let addr = |ip| from_socket(SocketAddr::new(ip, port));
                    let gone = gone.into_iter().map(addr);
                    self.addresses
                        .extend(gone.map(ListenerEvent::ExpiredAddress));
                    let new = new.into_iter().map(addr);
                    self.addresses.extend(new.map(ListenerEvent::NewAddress));
                }
                Err(error) => tracing::debug!(%error, "could not list the network interfaces"),
            }
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        while self.burst < self.config.accept_burst.max(1) {
            if !self.is_rested(cx) {
                return Poll::Pending;
            }
            match self.socket.poll_accept(cx) {
                Poll::Pending => {
                    self.burst = 0;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(connection)) => {
                    self.burst += 1;
                    self.patience = self.config.accept_retry;
                    return Poll::Ready(self.incoming(connection));
                }
                Poll::Ready(Err(error)) => {
                    self.burst += 1;
                    self.handle_failure(&error);
                }
            }
        }
        self.burst = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the pause after a failure, if there was one, is over.
    fn is_rested(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pause) = &mut self.pause else {
            return true;
        };
        let over = pause.poll_unpin(cx).is_ready();
        if over {
            self.pause = None;
        }
        over
    }

    fn handle_failure(&mut self, error: &io::Error) {
        if is_the_remotes_end(error) {
            return;
        }
        let pause = self.patience.max(SHORTEST_INTERVAL);
        tracing::warn!(%error, ?pause, local = %self.local, "could not accept a connection");
        self.pause = Some(self.runtime.timer(self.runtime.now() + pause));
        let longest = self.config.accept_retry.saturating_mul(LONGEST_RETRY);
        self.patience = pause.saturating_mul(2).min(longest);
    }

    fn incoming(&self, connection: TcpConnection) -> Incoming {
        let local_addr = from_socket(connection.local_addr);
        let remote_addr = from_socket(connection.remote_addr);
        let request = UpgradeRequest {
            local_addr: local_addr.clone(),
            remote_addr: remote_addr.clone(),
            direction: Direction::Inbound,
            role: Role::Listener,
            expected_peer: None,
            optimism: Optimism::default(),
        };
        Incoming {
            local_addr,
            remote_addr,
            upgrade: self.upgrader.upgrade(connection.io, request),
        }
    }
}

impl Listener for TcpTransportListener {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListenerEvent>> {
        if self.addresses.is_empty() {
            self.poll_interfaces(cx);
        }
        if let Some(event) = self.addresses.pop_front() {
            return Poll::Ready(Some(event));
        }
        self.poll_incoming(cx)
            .map(|incoming| Some(ListenerEvent::Incoming(incoming)))
    }
}

impl fmt::Debug for TcpTransportListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransportListener")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// The connection was over before it was accepted; the next one may be fine.
fn is_the_remotes_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Waits of zero in a configuration must not become a busy loop.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_RETRY: u32 = 32;
