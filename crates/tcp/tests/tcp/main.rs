//! Dialing and listening, on loopback and on a network that does what a test says.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a step that fails is a test that fails"
)]

mod dial;
mod end_to_end;
mod fake;
mod listen;
mod reuse;

use std::sync::Arc;

use fake::FakeRuntime;
use futures::future::{BoxFuture, poll_fn};
use peerkit_core::{
    DialRequest, Incoming, Listener, ListenerEvent, Multiaddr, NewConnection, Optimism, Role,
    Runtime, Transport, TransportError, UpgradeError, multiaddr::Protocol,
};
use peerkit_tcp::{Config, Tcp};
use peerkit_testkit::FakeUpgrader;

/// TCP on real sockets.
fn tcp(config: Config) -> Tcp {
    Tcp::new(peerkit_runtime::default(), Arc::new(FakeUpgrader), config)
}

/// TCP on a network that a test controls.
fn fake_tcp(runtime: &Arc<FakeRuntime>, config: Config) -> Tcp {
    let runtime: Arc<dyn Runtime> = runtime.clone();
    Tcp::new(runtime, Arc::new(FakeUpgrader), config)
}

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

async fn listen(tcp: &Tcp, text: &str) -> (Box<dyn Listener>, Multiaddr) {
    let mut listener = tcp.listen(addr(text)).await.unwrap();
    let address = new_address(&mut listener).await;
    (listener, address)
}

async fn new_address(listener: &mut Box<dyn Listener>) -> Multiaddr {
    match next(listener).await {
        ListenerEvent::NewAddress(address) => address,
        other => panic!("expected an address, not {other:?}"),
    }
}

async fn accept(listener: &mut Box<dyn Listener>) -> Result<NewConnection, UpgradeError> {
    match next(listener).await {
        ListenerEvent::Incoming(Incoming { upgrade, .. }) => upgrade.await,
        other => panic!("expected a connection, not {other:?}"),
    }
}

async fn next(listener: &mut Box<dyn Listener>) -> ListenerEvent {
    let event = poll_fn(|cx| listener.poll_event(cx)).await;
    event.expect("a TCP listener does not end")
}

fn dial<'a>(
    tcp: &'a Tcp,
    addr: &Multiaddr,
) -> BoxFuture<'a, Result<NewConnection, TransportError>> {
    tcp.dial(DialRequest {
        addr: addr.clone(),
        expected_peer: None,
        role: Role::Dialer,
        optimism: Optimism::default(),
    })
}

fn port(addr: &Multiaddr) -> u16 {
    let port = addr.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    port.expect("a TCP address")
}
