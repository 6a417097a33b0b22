//! Dialing and listening inside one process.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{io, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    executor::block_on,
    future::{join, join_all, poll_fn},
};
use peerkit_core::{
    DialRequest, Direction, Fault, Incoming, ListenError, Listener, ListenerEvent, Multiaddr,
    NewConnection, Optimism, Role, Transport, TransportError, UpgradeError,
};
use peerkit_memory::{Config, Memory, MemoryNetwork};
use peerkit_testkit::FakeUpgrader;

#[test]
fn a_dialer_reaches_the_listener_and_both_know_the_addresses() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        let (mut listener, addr) = listen(&memory, "/memory/7").await;
        let (dialed, accepted) = join(dial(&memory, &addr), accept(&mut listener)).await;
        let (dialed, accepted) = (dialed.unwrap().info, accepted.unwrap().info);
        assert_eq!(dialed.remote_addr.to_string(), "/memory/7");
        assert_eq!(accepted.local_addr, dialed.remote_addr);
        assert_eq!(accepted.remote_addr, dialed.local_addr);
        assert_eq!(dialed.direction, Direction::Outbound);
        assert_eq!(accepted.direction, Direction::Inbound);
    });
}

#[test]
fn port_zero_chooses_a_free_one_each_time() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        let (_taken, _) = listen(&memory, "/memory/2").await;
        let (_one, first) = listen(&memory, "/memory/0").await;
        let (_two, second) = listen(&memory, "/memory/0").await;
        assert_eq!(first.to_string(), "/memory/1");
        assert_eq!(second.to_string(), "/memory/3");
    });
}

#[test]
fn a_port_is_taken_until_its_listener_is_dropped() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        let (listener, addr) = listen(&memory, "/memory/7").await;
        let error = memory.listen(addr.clone()).await.unwrap_err();
        let ListenError::Io { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(memory.listen(addr).await.is_ok());
    });
}

#[test]
fn a_number_nobody_listens_on_refuses() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        let (listener, addr) = listen(&memory, "/memory/7").await;
        drop(listener);
        assert_refused(dial(&memory, &addr).await);
    });
}

#[test]
fn two_networks_do_not_see_each_other() {
    block_on(async {
        let (here, there) = (MemoryNetwork::new(), MemoryNetwork::new());
        let (_listener, addr) = listen(&transport(&here), "/memory/7").await;
        assert_refused(dial(&transport(&there), &addr).await);
    });
}

#[test]
fn other_addresses_are_misuse() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        for text in ["/memory/7/ws", "/ip4/127.0.0.1/tcp/7", "/memory/0"] {
            let error = dial(&memory, &text.parse().unwrap()).await.unwrap_err();
            assert!(
                matches!(error, TransportError::UnsupportedAddress(_)),
                "{error}"
            );
            assert_eq!(error.fault(), Fault::Misuse);
        }
        let tcp = "/ip4/127.0.0.1/tcp/7".parse().unwrap();
        assert!(!memory.supports(&tcp));
        let error = memory.listen(tcp).await.unwrap_err();
        assert!(matches!(error, ListenError::UnsupportedAddress(_)));
    });
}

#[test]
fn dialers_beyond_the_backlog_wait_and_then_get_in() {
    block_on(async {
        let memory = transport(&small_network(Duration::from_secs(20)));
        let (mut listener, addr) = listen(&memory, "/memory/7").await;
        let dials = join_all((0..10).map(|_| dial(&memory, &addr)));
        let accepts = async {
            for _ in 0..10 {
                accept(&mut listener).await.unwrap();
            }
        };
        let (dialed, ()) = join(dials, accepts).await;
        assert!(dialed.iter().all(Result::is_ok));
    });
}

#[test]
fn dialers_beyond_the_backlog_give_up_in_time() {
    block_on(async {
        let limit = Duration::from_millis(50);
        let memory = transport(&small_network(limit));
        let (_listener, addr) = listen(&memory, "/memory/7").await;
        let mut waiting = [dial(&memory, &addr), dial(&memory, &addr)];
        for dial in &mut waiting {
            assert!(dial.now_or_never().is_none());
        }
        let error = dial(&memory, &addr).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout(after) if after == limit));
        assert_eq!(error.fault(), Fault::Limit);
    });
}

#[test]
fn a_dropped_listener_turns_away_those_who_wait() {
    block_on(async {
        let memory = transport(&small_network(Duration::from_secs(20)));
        let (listener, addr) = listen(&memory, "/memory/7").await;
        let mut dials: Vec<_> = (0..3).map(|_| dial(&memory, &addr)).collect();
        for dial in &mut dials {
            assert!(dial.now_or_never().is_none());
        }
        drop(listener);
        let outcomes = join_all(dials).await;
        for outcome in &outcomes[..2] {
            let error = outcome.as_ref().unwrap_err();
            assert!(
                matches!(error, TransportError::Upgrade(UpgradeError::Security(_))),
                "{error}"
            );
        }
        assert_refused(outcomes.into_iter().next_back().unwrap());
    });
}

#[test]
fn a_cancelled_dial_is_an_upgrade_that_fails() {
    block_on(async {
        let memory = transport(&MemoryNetwork::new());
        let (mut listener, addr) = listen(&memory, "/memory/7").await;
        assert!(dial(&memory, &addr).now_or_never().is_none());
        let error = accept(&mut listener).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Network);
        let (dialed, accepted) = join(dial(&memory, &addr), accept(&mut listener)).await;
        assert!(dialed.is_ok() && accepted.is_ok(), "the listener goes on");
    });
}

fn transport(network: &MemoryNetwork) -> Memory {
    Memory::new(
        network.clone(),
        peerkit_runtime::default(),
        Arc::new(FakeUpgrader),
    )
}

fn small_network(connect_timeout: Duration) -> MemoryNetwork {
    let mut config = Config::default();
    config.backlog = 2;
    config.connect_timeout = connect_timeout;
    MemoryNetwork::with_config(config)
}

async fn listen(memory: &Memory, addr: &str) -> (Box<dyn Listener>, Multiaddr) {
    let mut listener = memory.listen(addr.parse().unwrap()).await.unwrap();
    match poll_fn(|cx| listener.poll_event(cx)).await {
        Some(ListenerEvent::NewAddress(addr)) => (listener, addr),
        other => panic!("expected an address, not {other:?}"),
    }
}

fn dial<'a>(
    memory: &'a Memory,
    addr: &Multiaddr,
) -> futures::future::BoxFuture<'a, Result<NewConnection, TransportError>> {
    memory.dial(DialRequest {
        addr: addr.clone(),
        expected_peer: None,
        role: Role::Dialer,
        optimism: Optimism::default(),
    })
}

async fn accept(listener: &mut Box<dyn Listener>) -> Result<NewConnection, UpgradeError> {
    match poll_fn(|cx| listener.poll_event(cx)).await {
        Some(ListenerEvent::Incoming(Incoming { upgrade, .. })) => upgrade.await,
        other => panic!("expected a connection, not {other:?}"),
    }
}

fn assert_refused(outcome: Result<NewConnection, TransportError>) {
    let error = outcome.unwrap_err();
    let TransportError::Connect(source) = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.fault(), Fault::Network);
}
