//! From an address to a connection, or to an error that says what was wrong.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt,
    executor::block_on,
    future::{join, join_all},
};
use peerkit_core::{
    Direction, Fault, ListenerEvent, Multiaddr, NewConnection, Runtime, Transport, TransportError,
};
use peerkit_tcp::{Config, ConnectAttempts};

use crate::{
    accept, addr, dial,
    fake::{FakeRuntime, Rule, Script},
    fake_tcp, listen, next, port, tcp,
};

#[test]
fn both_sides_of_an_ipv4_connection_know_the_addresses() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        let (dialed, accepted) = (dialed.unwrap().info, accepted.unwrap().info);
        assert_eq!(dialed.remote_addr, address);
        assert_eq!(accepted.local_addr, address);
        assert_eq!(accepted.remote_addr, dialed.local_addr);
        assert_eq!(dialed.direction, Direction::Outbound);
        assert_eq!(accepted.direction, Direction::Inbound);
    });
}

/// Does nothing on a machine without IPv6.
#[test]
fn ipv6_works_as_well() {
    block_on(async {
        let tcp = tcp(Config::default());
        if tcp.listen(addr("/ip6/::1/tcp/0")).await.is_err() {
            return;
        }
        let (mut listener, address) = listen(&tcp, "/ip6/::1/tcp/0").await;
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        assert_eq!(dialed.unwrap().info.remote_addr, address);
        assert_eq!(accepted.unwrap().info.local_addr, address);
    });
}

#[test]
fn a_peer_id_behind_the_address_does_not_matter() {
    block_on(async {
        let tcp = tcp(Config::default());
        let peer = "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let listening = format!("/ip4/127.0.0.1/tcp/0{peer}");
        let (mut listener, address) = listen(&tcp, &listening).await;
        assert!(!address.to_string().contains("p2p"));
        let with_peer = addr(&format!("{address}{peer}"));
        let (dialed, accepted) = join(dial(&tcp, &with_peer), accept(&mut listener)).await;
        assert_eq!(dialed.unwrap().info.remote_addr, address);
        assert!(accepted.is_ok());
    });
}

#[test]
fn localhost_is_found_by_name() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        for kind in ["dns", "dns4"] {
            let by_name = addr(&format!("/{kind}/localhost/tcp/{}", port(&address)));
            assert!(tcp.supports(&by_name));
            let (dialed, accepted) = join(dial(&tcp, &by_name), accept(&mut listener)).await;
            assert_eq!(dialed.unwrap().info.remote_addr, address);
            assert!(accepted.is_ok());
        }
    });
}

#[test]
fn a_port_nobody_listens_on_refuses() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        drop(listener);
        let error = dial(&tcp, &address).await.unwrap_err();
        assert_eq!(
            connect_error(&error).kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(error.fault(), Fault::Network);
        assert!(
            error.to_string().starts_with("could not connect: "),
            "{error}"
        );
    });
}

#[test]
fn addresses_of_other_transports_are_misuse() {
    block_on(async {
        let tcp = tcp(Config::default());
        for text in [
            "/ip4/127.0.0.1/tcp/7/ws",
            "/ip4/127.0.0.1/udp/7",
            "/memory/7",
        ] {
            assert!(!tcp.supports(&addr(text)));
            let error = dial(&tcp, &addr(text)).await.unwrap_err();
            assert!(
                matches!(&error, TransportError::UnsupportedAddress(given) if *given == addr(text))
            );
            assert_eq!(error.fault(), Fault::Misuse);
        }
    });
}

#[test]
fn a_silent_host_is_given_up_in_time() {
    let runtime = FakeRuntime::new(with_rule("192.0.2.1:7", Rule::Silent));
    let mut config = Config::default();
    config.connect_timeout = Duration::from_millis(60);
    let started = runtime.now();
    let error = dial_fake(&runtime, config, "/ip4/192.0.2.1/tcp/7").unwrap_err();
    assert!(
        matches!(error, TransportError::Timeout(limit) if limit == Duration::from_millis(60)),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Limit);
    assert!(runtime.now() - started < Duration::from_secs(5));
}

#[test]
fn a_silent_resolver_is_given_up_in_time() {
    let runtime = FakeRuntime::new(Script::default());
    let mut config = Config::default();
    config.resolve_timeout = Duration::from_millis(60);
    let error = dial_fake(&runtime, config, "/dns/a.example/tcp/7").unwrap_err();
    let (host, source) = resolve_error(&error);
    assert_eq!(host, "a.example");
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    assert_eq!(
        error.to_string(),
        "a.example could not be resolved: no answer in time"
    );
}

#[test]
fn a_name_that_does_not_exist_is_named() {
    block_on(async {
        let error = dial(&tcp(Config::default()), &addr("/dns/no such name/tcp/7")).await;
        let error = error.unwrap_err();
        assert_eq!(resolve_error(&error).0, "no such name");
        assert_eq!(error.fault(), Fault::Network);
    });
}

#[test]
fn a_name_without_an_address_of_the_family_says_so() {
    let runtime = FakeRuntime::new(with_name(&["192.0.2.1"]));
    let error = dial_fake(&runtime, Config::default(), "/dns6/a.example/tcp/7").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.example could not be resolved: the name has no IPv6 address"
    );
    assert_eq!(resolve_error(&error).1.kind(), io::ErrorKind::NotFound);
    assert!(runtime.script(|script| script.dialed.is_empty()));
}

#[test]
fn a_silent_first_address_costs_only_the_delay() {
    block_on(async {
        let mut script = with_name(&["192.0.2.1", "2001:db8::1"]);
        script.rules.insert(socket("[2001:db8::1]:7"), Rule::Silent);
        let runtime = FakeRuntime::new(script);
        let mut config = Config::default();
        config.attempt_delay = Duration::from_millis(50);
        let tcp = fake_tcp(&runtime, config);
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let to = Rule::To(SocketAddr::new(socket("127.0.0.1:0").ip(), port(&address)));
        runtime.script(|script| script.rules.insert(socket("192.0.2.1:7"), to));

        let started = runtime.now();
        let name = addr("/dns/a.example/tcp/7");
        let (dialed, accepted) = join(dial(&tcp, &name), accept(&mut listener)).await;
        assert!(dialed.is_ok() && accepted.is_ok());
        let took = runtime.now() - started;
        assert!(took >= Duration::from_millis(50), "{took:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
        let order = [socket("[2001:db8::1]:7"), socket("192.0.2.1:7")];
        assert_eq!(dialed_order(&runtime), order);
    });
}

#[test]
fn after_a_failure_the_next_address_follows_at_once() {
    let mut script = with_name(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    for last in 1..=3 {
        let remote = socket(&format!("192.0.2.{last}:7"));
        let rule = Rule::Fail(io::ErrorKind::ConnectionRefused);
        script.rules.insert(remote, rule);
    }
    let runtime = FakeRuntime::new(script);
    let mut config = Config::default();
    config.attempt_delay = Duration::from_secs(3600);
    let error = dial_fake(&runtime, config, "/dns/a.example/tcp/7").unwrap_err();
    let source = connect_error(&error);
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    let attempts = source.get_ref().unwrap().downcast_ref::<ConnectAttempts>();
    let remotes: Vec<_> = attempts
        .unwrap()
        .attempts()
        .iter()
        .map(|a| a.remote)
        .collect();
    assert_eq!(remotes, dialed_order(&runtime));
    assert_eq!(
        error.to_string(),
        "could not connect: 192.0.2.1:7: connection refused, \
         192.0.2.2:7: connection refused, 192.0.2.3:7: connection refused"
    );
}

#[test]
fn a_name_with_endless_addresses_is_tried_sixteen_times() {
    let ips: Vec<String> = (0..200).map(|last| format!("192.0.2.{last}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let mut script = with_name(&ips);
    for ip in script.names["a.example"].clone() {
        let rule = Rule::Fail(io::ErrorKind::HostUnreachable);
        script.rules.insert(SocketAddr::new(ip, 7), rule);
    }
    let runtime = FakeRuntime::new(script);
    let outcome = dial_fake(&runtime, Config::default(), "/dns4/a.example/tcp/7");
    assert!(outcome.is_err());
    assert_eq!(dialed_order(&runtime).len(), 16);
}

#[test]
fn a_listener_that_hangs_up_is_an_upgrade_error() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let hang_up = async { drop(next(&mut listener).await) };
        let (dialed, ()) = join(dial(&tcp, &address), hang_up).await;
        let error = dialed.unwrap_err();
        assert!(matches!(error, TransportError::Upgrade(_)), "{error}");
        assert_eq!(error.fault(), Fault::Network);
    });
}

#[test]
fn a_cancelled_dial_closes_its_socket() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let mut cancelled = dial(&tcp, &address);
        assert!((&mut cancelled).now_or_never().is_none());
        // The system has connected the socket by itself.
        let incoming = next(&mut listener).await;
        drop(cancelled);
        let ListenerEvent::Incoming(incoming) = incoming else {
            panic!("{incoming:?}");
        };
        assert_eq!(incoming.upgrade.await.unwrap_err().fault(), Fault::Network);
    });
}

#[test]
fn many_dials_at_once_all_get_through() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let dials = join_all((0..100).map(|_| dial(&tcp, &address)));
        let accepts = async {
            let mut upgrades = Vec::new();
            while upgrades.len() < 100 {
                if let ListenerEvent::Incoming(incoming) = next(&mut listener).await {
                    upgrades.push(incoming.upgrade);
                }
            }
            join_all(upgrades).await
        };
        let (dialed, accepted) = join(dials, accepts).await;
        assert!(dialed.iter().all(Result::is_ok));
        assert!(accepted.iter().all(Result::is_ok));
    });
}

fn dial_fake(
    runtime: &Arc<FakeRuntime>,
    config: Config,
    text: &str,
) -> Result<NewConnection, TransportError> {
    let address: Multiaddr = addr(text);
    block_on(dial(&fake_tcp(runtime, config), &address))
}

fn dialed_order(runtime: &FakeRuntime) -> Vec<SocketAddr> {
    runtime.script(|script| script.dialed.iter().map(|(remote, _)| *remote).collect())
}

fn with_rule(remote: &str, rule: Rule) -> Script {
    let mut script = Script::default();
    script.rules.insert(socket(remote), rule);
    script
}

/// The name `a.example` with these addresses.
fn with_name(ips: &[&str]) -> Script {
    let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    let mut script = Script::default();
    script.names.insert("a.example".to_owned(), ips);
    script
}

fn connect_error(error: &TransportError) -> &io::Error {
    match error {
        TransportError::Connect(source) => source,
        other => panic!("{other}"),
    }
}

fn resolve_error(error: &TransportError) -> (&str, &io::Error) {
    match error {
        TransportError::Resolve { host, source } => (host, source),
        other => panic!("{other}"),
    }
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
