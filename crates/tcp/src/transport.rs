//! The transport.

use std::{io, net::SocketAddr, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    DialRequest, Direction, ListenError, Listener, Multiaddr, NewConnection, Runtime, TcpOptions,
    Transport, TransportError, UpgradeRequest, Upgrader, with_deadline,
};

use crate::{
    Config,
    address::{Family, Target, dial_order, from_socket, parse},
    connect::Connector,
    listener::TcpTransportListener,
    ports::ListeningPorts,
};

/// Dials and listens over TCP.
///
/// Understands `/ip4/../tcp/..` and `/ip6/../tcp/..`, and for dialing also `/dns`, `/dns4` and
/// `/dns6` in place of the IP address. Clones share the list of listeners that
/// [`Config::reuse_port`] looks at.
///
/// Errors of [`dial`](Transport::dial): [`TransportError::UnsupportedAddress`];
/// [`TransportError::Resolve`], also when the name has no address of the wanted family or the
/// resolver takes longer than [`Config::resolve_timeout`]; [`TransportError::Connect`], which for a
/// name with several addresses holds [`ConnectAttempts`](crate::ConnectAttempts);
/// [`TransportError::Timeout`] after [`Config::connect_timeout`]; and those of the upgrade.
#[derive(Clone, Debug)]
pub struct Tcp {
    runtime: Arc<dyn Runtime>,
    upgrader: Arc<dyn Upgrader>,
    config: Arc<Config>,
    ports: ListeningPorts,
}

impl Tcp {
    /// A transport on the sockets of `runtime`. `upgrader` makes connections of them.
    pub fn new(runtime: Arc<dyn Runtime>, upgrader: Arc<dyn Upgrader>, config: Config) -> Self {
        Self {
            runtime,
            upgrader,
            config: Arc::new(config),
            ports: ListeningPorts::default(),
        }
    }

    async fn connect(&self, request: DialRequest) -> Result<NewConnection, TransportError> {
        let remotes = match parse(&request.addr) {
            None => return Err(TransportError::UnsupportedAddress(request.addr)),
            Some(Target::Socket(remote)) => vec![remote],
            Some(Target::Name { host, family, port }) => self.resolve(host, family, port).await?,
        };
        let connector = Connector {
            runtime: self.runtime.as_ref(),
            config: &self.config,
            ports: &self.ports,
        };
        let limit = self.config.connect_timeout;
        let connecting = connector.connect_any(remotes);
        let connection = with_deadline(self.runtime.as_ref(), limit, connecting)
            .await
            .ok_or(TransportError::Timeout(limit))?
            .map_err(TransportError::Connect)?;
        let upgrade = UpgradeRequest {
            local_addr: from_socket(connection.local_addr),
            remote_addr: from_socket(connection.remote_addr),
            direction: Direction::Outbound,
            role: request.role,
            expected_peer: request.expected_peer,
            optimism: request.optimism,
        };
        Ok(self.upgrader.upgrade(connection.io, upgrade).await?)
    }

    async fn resolve(
        &self,
        host: String,
        family: Family,
        port: u16,
    ) -> Result<Vec<SocketAddr>, TransportError> {
        let lookup = self.runtime.network().resolve(&host);
        let limit = self.config.resolve_timeout;
        let outcome = with_deadline(self.runtime.as_ref(), limit, lookup)
            .await
            .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
        let found = match outcome {
            Ok(found) => found,
            Err(source) => return Err(TransportError::Resolve { host, source }),
        };
        let order = dial_order(found, family, self.config.resolved_max);
        if order.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, family.missing());
            return Err(TransportError::Resolve { host, source });
        }
        Ok(order.into_iter().map(|ip| (ip, port).into()).collect())
    }

    fn open(&self, addr: Multiaddr) -> Result<Box<dyn Listener>, ListenError> {
        let Some(Target::Socket(local)) = parse(&addr) else {
            return Err(ListenError::UnsupportedAddress(addr));
        };
        let mut options = TcpOptions::default();
        options.nodelay = self.config.nodelay;
        options.backlog = self.config.backlog;
        options.reuse_port = self.config.reuse_port;
        let socket = self.runtime.network().listen_tcp(local, options);
        let bound = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Err(source) => Err(ListenError::Io { addr, source }),
            Ok((local, socket)) => Ok(Box::new(TcpTransportListener::new(
                self.runtime.clone(),
                self.upgrader.clone(),
                self.config.clone(),
                self.ports.add(local),
                (socket, local),
            ))),
        }
    }
}

impl Transport for Tcp {
    fn supports(&self, addr: &Multiaddr) -> bool {
        parse(addr).is_some()
    }

    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>> {
        self.connect(request).boxed()
    }

    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        std::future::ready(self.open(addr)).boxed()
    }
}
