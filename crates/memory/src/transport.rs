//! The transport `/memory/N`.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    DialRequest, Direction, Incoming, ListenError, Listener, ListenerEvent, Multiaddr,
    NewConnection, Optimism, Role, Runtime, Transport, TransportError, UpgradeRequest, Upgrader,
    multiaddr::Protocol, with_deadline,
};

use crate::{MemoryNetwork, backlog::Arrival, network::Binding};

/// Dials and listens on `/memory/N` inside one [`MemoryNetwork`].
///
/// Listening on `/memory/0` chooses a free number. Dialing a number that
/// nobody listens on fails with [`TransportError::Connect`]. When a listener's
/// queue is full, dialers wait until it accepts, at most for
/// [`Config::connect_timeout`](crate::Config::connect_timeout).
#[derive(Clone, Debug)]
pub struct Memory {
    network: MemoryNetwork,
    runtime: Arc<dyn Runtime>,
    upgrader: Arc<dyn Upgrader>,
}

impl Memory {
    /// A transport on `network`. The runtime is for deadlines.
    pub fn new(
        network: MemoryNetwork,
        runtime: Arc<dyn Runtime>,
        upgrader: Arc<dyn Upgrader>,
    ) -> Self {
        Self {
            network,
            runtime,
            upgrader,
        }
    }

    async fn connect(&self, request: DialRequest) -> Result<NewConnection, TransportError> {
        let port = match parse(&request.addr) {
            Some(port) if port != 0 => port,
            Some(_) | None => return Err(TransportError::UnsupportedAddress(request.addr)),
        };
        let limit = self.network.config().connect_timeout;
        let connecting = self.network.connect(port);
        let (from, pipe) = with_deadline(self.runtime.as_ref(), limit, connecting)
            .await
            .ok_or(TransportError::Timeout(limit))?
            .map_err(TransportError::Connect)?;
        let upgrade = UpgradeRequest {
            local_addr: address(from),
            remote_addr: address(port),
            direction: Direction::Outbound,
            role: request.role,
            expected_peer: request.expected_peer,
            optimism: request.optimism,
        };
        Ok(self.upgrader.upgrade(Box::new(pipe), upgrade).await?)
    }
}

impl Transport for Memory {
    fn supports(&self, addr: &Multiaddr) -> bool {
        parse(addr).is_some()
    }

    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>> {
        self.connect(request).boxed()
    }

    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        let outcome = match parse(&addr) {
            None => Err(ListenError::UnsupportedAddress(addr)),
            Some(port) => match self.network.bind(port) {
                Err(source) => Err(ListenError::Io { addr, source }),
                Ok(binding) => Ok(Box::new(MemoryListener {
                    announced: false,
                    binding,
                    upgrader: self.upgrader.clone(),
                }) as Box<dyn Listener>),
            },
        };
        std::future::ready(outcome).boxed()
    }
}

struct MemoryListener {
    announced: bool,
    binding: Binding,
    upgrader: Arc<dyn Upgrader>,
}

impl Listener for MemoryListener {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListenerEvent>> {
        let local_addr = address(self.binding.port);
        if !self.announced {
            self.announced = true;
            return Poll::Ready(Some(ListenerEvent::NewAddress(local_addr)));
        }
        let Arrival { from, pipe } = ready!(self.binding.backlog.poll_pop(cx));
        let remote_addr = address(from);
        let request = UpgradeRequest {
            local_addr: local_addr.clone(),
            remote_addr: remote_addr.clone(),
            direction: Direction::Inbound,
            role: Role::Listener,
            expected_peer: None,
            optimism: Optimism::default(),
        };
        Poll::Ready(Some(ListenerEvent::Incoming(Incoming {
            local_addr,
            remote_addr,
            upgrade: self.upgrader.upgrade(Box::new(pipe), request),
        })))
    }
}

impl fmt::Debug for MemoryListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryListener")
            .field("port", &self.binding.port)
            .finish_non_exhaustive()
    }
}

/// The number in `/memory/N` or `/memory/N/p2p/..`.
fn parse(addr: &Multiaddr) -> Option<u64> {
    let mut parts = addr.iter();
    let Some(Protocol::Memory(port)) = parts.next() else {
        return None;
    };
    match (parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None) => Some(port),
        _ => None,
    }
}

fn address(port: u64) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Memory(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_addresses_are_understood() {
        let peer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let table = [
            ("/memory/7", Some(7)),
            ("/memory/0", Some(0)),
            ("/memory/18446744073709551615", Some(u64::MAX)),
            ("/memory/7/ws", None),
            ("/memory/7/memory/8", None),
            ("/ip4/127.0.0.1/tcp/7", None),
            ("", None),
        ];
        for (text, expected) in table {
            let addr: Multiaddr = text.parse().unwrap();
            assert_eq!(parse(&addr), expected, "{text}");
        }
        let with_peer: Multiaddr = format!("/memory/7/p2p/{peer}").parse().unwrap();
        assert_eq!(parse(&with_peer), Some(7));
        let relayed: Multiaddr = format!("/memory/7/p2p/{peer}/p2p-circuit").parse().unwrap();
        assert_eq!(parse(&relayed), None);
    }
}
