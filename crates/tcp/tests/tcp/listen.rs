//! What a listener reports, and what does not stop it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::{
    FutureExt,
    executor::block_on,
    future::{join, join_all},
};
use peerkit_core::{
    Fault, ListenError, ListenerEvent, Runtime, TcpOptions, Transport, with_deadline,
};
use peerkit_tcp::Config;

use crate::{
    accept, addr, dial,
    fake::{FakeRuntime, Script},
    fake_tcp, listen, new_address, next, port, tcp,
};

#[test]
fn the_chosen_port_is_reported_once() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        assert_ne!(port(&address), 0);
        assert!(next(&mut listener).now_or_never().is_none());
    });
}

#[test]
fn all_interfaces_are_listed_one_by_one() {
    block_on(async {
        let tcp = tcp(Config::default());
        let mut listener = tcp.listen(addr("/ip4/0.0.0.0/tcp/0")).await.unwrap();
        let mut addresses = Vec::new();
        while let Some(ListenerEvent::NewAddress(address)) = next(&mut listener).now_or_never() {
            addresses.push(address);
        }
        let loopback = addresses
            .iter()
            .find(|address| address.to_string().starts_with("/ip4/127.0.0.1/tcp/"))
            .expect("loopback is an interface");
        assert!(
            addresses
                .iter()
                .all(|a| !a.to_string().contains("/0.0.0.0/"))
        );
        let (dialed, accepted) = join(dial(&tcp, loopback), accept(&mut listener)).await;
        assert_eq!(dialed.unwrap().info.remote_addr, *loopback);
        assert_eq!(accepted.unwrap().info.local_addr, *loopback);
    });
}

#[test]
fn addresses_that_come_and_go_are_reported() {
    block_on(async {
        let script = Script {
            interfaces: vec![[127, 0, 0, 1].into(), [192, 0, 2, 1].into()],
            ..Script::default()
        };
        let runtime = FakeRuntime::new(script);
        let mut config = Config::default();
        config.interface_interval = Duration::from_millis(20);
        let tcp = fake_tcp(&runtime, config);
        let mut listener = tcp.listen(addr("/ip4/0.0.0.0/tcp/0")).await.unwrap();
        let first = new_address(&mut listener).await;
        let own = |ip: &str| addr(&format!("/ip4/{ip}/tcp/{}", port(&first)));
        assert_eq!(first, own("127.0.0.1"));
        assert_eq!(new_address(&mut listener).await, own("192.0.2.1"));

        runtime.script(|script| {
            script.interfaces = vec![[127, 0, 0, 1].into(), [192, 0, 2, 9].into()];
        });
        match next(&mut listener).await {
            ListenerEvent::ExpiredAddress(gone) => assert_eq!(gone, own("192.0.2.1")),
            other => panic!("{other:?}"),
        }
        assert_eq!(new_address(&mut listener).await, own("192.0.2.9"));
    });
}

/// Does nothing on a machine without IPv6.
#[test]
fn both_wildcards_share_a_port_number() {
    block_on(async {
        let tcp = tcp(Config::default());
        if tcp.listen(addr("/ip6/::/tcp/0")).await.is_err() {
            return;
        }
        // Another test may hold the IPv4 port of one number, but not of ten.
        for _ in 0..10 {
            let mut ipv6 = tcp.listen(addr("/ip6/::/tcp/0")).await.unwrap();
            let port = port(&new_address(&mut ipv6).await);
            let ipv4 = tcp.listen(addr(&format!("/ip4/0.0.0.0/tcp/{port}"))).await;
            if ipv4.is_ok() {
                return;
            }
        }
        panic!("the IPv6 wildcard takes the IPv4 port");
    });
}

#[test]
fn too_many_open_files_do_not_end_the_listener_nor_make_it_spin() {
    block_on(async {
        let script = Script {
            accept_failures: [io::ErrorKind::Other; 3].into(),
            ..Script::default()
        };
        let runtime = FakeRuntime::new(script);
        let mut config = Config::default();
        config.accept_retry = Duration::from_millis(20);
        let tcp = fake_tcp(&runtime, config);
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let started = runtime.now();
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        assert!(dialed.is_ok() && accepted.is_ok());
        assert!(runtime.now() - started >= Duration::from_millis(20 + 40 + 80));
        let polls = runtime.script(|script| script.accept_polls);
        assert!(polls < 10, "{polls}");
    });
}

#[test]
fn connections_that_are_over_already_are_passed_over_at_once() {
    block_on(async {
        let script = Script {
            accept_failures: [io::ErrorKind::ConnectionAborted; 100].into(),
            ..Script::default()
        };
        let runtime = FakeRuntime::new(script);
        let mut config = Config::default();
        config.accept_retry = Duration::from_secs(3600);
        let tcp = fake_tcp(&runtime, config);
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        assert!(dialed.is_ok() && accepted.is_ok());
    });
}

#[test]
fn a_flood_of_connections_lets_others_have_a_turn() {
    block_on(async {
        let mut config = Config::default();
        config.accept_burst = 3;
        let tcp = tcp(config);
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let runtime = peerkit_runtime::default();
        let remote = format!("127.0.0.1:{}", port(&address)).parse().unwrap();
        let network = runtime.network();
        let clients = (0..5).map(|_| network.connect_tcp(remote, TcpOptions::default()));
        let clients = join_all(clients).await;
        assert!(clients.iter().all(Result::is_ok));

        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        let mut poll = || matches!(listener.poll_event(&mut cx), Poll::Ready(Some(_)));
        let turns = [poll(), poll(), poll(), poll()];
        assert_eq!(turns, [true, true, true, false]);
        assert_eq!(
            wakes.0.load(Ordering::Relaxed),
            1,
            "it asks for another turn"
        );
        let turns = [poll(), poll(), poll()];
        assert_eq!(turns, [true, true, false]);
    });
}

#[test]
fn a_client_that_says_nonsense_harms_only_itself() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let runtime = peerkit_runtime::default();
        let remote = format!("127.0.0.1:{}", port(&address)).parse().unwrap();
        let client = runtime.network().connect_tcp(remote, TcpOptions::default());
        drop(client.await.unwrap());
        let error = accept(&mut listener).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Network);
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        assert!(dialed.is_ok() && accepted.is_ok());
    });
}

#[test]
fn what_can_not_be_listened_on_is_an_error_that_says_so() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (_listener, taken) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        match tcp.listen(taken.clone()).await.unwrap_err() {
            ListenError::Io { addr, source } => {
                assert_eq!(addr, taken);
                assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
            }
            other => panic!("{other}"),
        }
        for text in [
            "/dns/localhost/tcp/0",
            "/ip4/127.0.0.1/udp/0",
            "/ip4/127.0.0.1/tcp/0/ws",
        ] {
            let error = tcp.listen(addr(text)).await.unwrap_err();
            assert!(matches!(&error, ListenError::UnsupportedAddress(a) if *a == addr(text)));
            assert_eq!(error.fault(), Fault::Misuse);
        }
        // 192.0.2.0/24 is for documentation: no interface has it.
        let error = tcp.listen(addr("/ip4/192.0.2.1/tcp/0")).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Network);
    });
}

#[test]
fn a_dropped_listener_gives_its_port_back() {
    block_on(async {
        let tcp = tcp(Config::default());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        drop(listener);
        assert!(tcp.listen(address).await.is_ok());
        assert!(dialed.is_ok() && accepted.is_ok());
    });
}

#[test]
fn an_idle_listener_sleeps() {
    block_on(async {
        let runtime = FakeRuntime::new(Script::default());
        let mut config = Config::default();
        config.interface_interval = Duration::ZERO;
        config.accept_retry = Duration::ZERO;
        let tcp = fake_tcp(&runtime, config);
        let mut listener = tcp.listen(addr("/ip4/0.0.0.0/tcp/0")).await.unwrap();
        let limit = Duration::from_millis(100);
        let event = with_deadline(runtime.as_ref(), limit, next(&mut listener)).await;
        assert!(event.is_none());
        let polls = runtime.script(|script| script.accept_polls);
        assert!(polls <= 200, "{polls}");
    });
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
