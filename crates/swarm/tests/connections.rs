//! Dialing, connections and the life of a host.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    ECHO, Net, Setup, ask, listening_side, mplex, pause, peer_of, run, short_upgrade, yamux,
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use peerkit_core::{
    Fault, Keypair, Multiaddr, PeerId, PeerRecord, SecurityError, TransportError, UpgradeError,
};
use peerkit_memory::Pipe;
use peerkit_swarm::{AttemptError, DialError, HostConfig, HostEvent};

#[test]
fn a_dial_without_a_peer_id_tells_who_answered() {
    run(async {
        let net = Net::new();
        let (listener, _) = net.echo_host().await;
        let bare = listener.listen_addrs().remove(0);
        let dialer = net.host();
        assert_eq!(dialer.connect(bare).await.unwrap(), listener.local_peer());
    });
}

#[test]
fn an_address_without_a_peer_id_is_dialed_once_and_again_when_the_connection_has_ended() {
    run(async {
        let net = Net::new();
        let (listener, _) = net.echo_host().await;
        let bare = listener.listen_addrs().remove(0);
        let dialer = net.host();
        for _ in 0..20 {
            let stream = dialer.open_stream(&bare, ECHO).await.unwrap();
            stream.confirmed().await.unwrap();
        }
        let [first] = &dialer.connections()[..] else {
            panic!("one connection is enough: {:?}", dialer.connections());
        };
        dialer.disconnect(&listener.local_peer());
        assert_eq!(dialer.connect(&bare).await.unwrap(), listener.local_peer());
        let connections = dialer.connections();
        assert!(connections.iter().any(|it| it.id != first.id));
    });
}

#[test]
fn the_newest_record_of_a_peer_is_kept_while_it_is_connected() {
    run(async {
        let net = Net::new();
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let record = |seq| PeerRecord::sign(&keypair, seq, Vec::new()).unwrap();
        let listener = net.host_with(Setup {
            keypair: keypair.clone(),
            ..Setup::default()
        });
        let addr = "/memory/0".parse().unwrap();
        let (_, addr) = listener.listen(addr).await.unwrap();
        let dialer = net.host();
        assert!(!dialer.set_peer_record(record(1)));
        dialer.connect(&addr).await.unwrap();
        for (seq, taken) in [(2, true), (1, false), (3, true)] {
            assert_eq!(dialer.set_peer_record(record(seq)), taken);
        }
        assert_eq!(dialer.peer_record(&peer).unwrap().seq(), 3);
        dialer.disconnect(&peer);
        while dialer.is_connected(&peer) {
            pause(5).await;
        }
        assert_eq!(dialer.peer_record(&peer), None);
    });
}

#[test]
fn a_wrong_peer_behind_an_address_is_named() {
    run(async {
        let net = Net::new();
        let (listener, _) = net.echo_host().await;
        let dialer = net.host();
        let expected = PeerId::random();
        let target = (expected, listener.listen_addrs().remove(0));
        let error = dialer.connect(target).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Incompatible);
        let DialError::Failed { attempts, .. } = &error else {
            panic!("{error:?}")
        };
        let AttemptError::Transport(cause) = &attempts[0].error else {
            panic!("{error:?}")
        };
        assert!(matches!(
            cause.as_ref(),
            TransportError::Upgrade(UpgradeError::Security(SecurityError::PeerMismatch { found, .. }))
                if *found == listener.local_peer()
        ));
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    });
}

#[test]
fn an_address_that_nobody_listens_on_is_named_with_the_reason() {
    run(async {
        let net = Net::new();
        let dialer = net.host();
        let addr: Multiaddr = "/memory/4711".parse().unwrap();
        let error = dialer.connect(&addr).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Network);
        assert!(
            error
                .to_string()
                .contains("/memory/4711: could not connect"),
            "{error}"
        );
    });
}

#[test]
fn an_address_of_another_kind_is_refused() {
    run(async {
        let net = Net::new();
        let dialer = net.host();
        let addr: Multiaddr = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
        let error = dialer.connect(&addr).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Misuse);
        assert!(
            error.to_string().contains("no transport can dial"),
            "{error}"
        );
    });
}

#[test]
fn a_peer_without_addresses_and_the_own_peer_are_refused() {
    run(async {
        let net = Net::new();
        let (host, addr) = net.echo_host().await;
        let stranger = PeerId::random();
        let error = host.connect(stranger).await.unwrap_err();
        assert!(matches!(error, DialError::NoAddress(peer) if peer == stranger));
        assert!(matches!(host.connect(&addr).await, Err(DialError::OwnPeer)));
        let bare = host.listen_addrs().remove(0);
        let error = host.connect(bare).await.unwrap_err();
        assert!(
            error.to_string().contains("this node itself answered"),
            "{error}"
        );
    });
}

#[test]
fn many_calls_for_one_peer_share_one_dial() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let asks = (0..20).map(|_| ask(&dialer, &addr, b"hello"));
        futures::future::join_all(asks).await;
        assert_eq!(dialer.connections().len(), 1);
        assert_eq!(listener.connections().len(), 1);
    });
}

#[test]
fn an_address_is_tried_although_a_dial_without_it_was_under_way() {
    run(async {
        let net = Net::new();
        let listener = Setup::default();
        let peer = listener.keypair.public().to_peer_id();
        let upgrader = net.upgrader(&listener);
        let dials = Arc::new(AtomicUsize::new(0));
        let setup = Setup {
            upgrade: short_upgrade(),
            ..Setup::default()
        };
        let dialer = net.host_facing(setup, move |mut pipe: Pipe| {
            let first = dials.fetch_add(1, Ordering::Relaxed) == 0;
            let upgrader = upgrader.clone();
            async move {
                if first {
                    let _ = pipe.read_to_end(&mut Vec::new()).await;
                    return;
                }
                let new = upgrader.upgrade(Box::new(pipe), listening_side()).await;
                new.unwrap().driver.await;
            }
            .boxed()
        });
        let [silent, good] = ["/memory/1", "/memory/2"].map(|addr| addr.parse::<Multiaddr>());
        let (first, second) = futures::join!(
            dialer.connect((peer, silent.unwrap())),
            dialer.connect((peer, good.unwrap()))
        );
        assert!(first.is_err());
        assert_eq!(second.unwrap(), peer);
    });
}

#[test]
fn a_dial_that_nobody_waits_for_is_ended() {
    run(async {
        let (told, mut ended) = futures::channel::mpsc::channel(1);
        let dialer = Net::new().host_facing(Setup::default(), move |mut pipe| {
            let mut told = told.clone();
            async move {
                let _ = pipe.read_to_end(&mut Vec::new()).await;
                told.try_send(()).unwrap();
            }
            .boxed()
        });
        let target: Multiaddr = "/memory/1".parse().unwrap();
        let mut first = Box::pin(dialer.connect(&target));
        let mut second = Box::pin(dialer.connect(&target));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        pause(20).await;
        assert!(ended.next().now_or_never().is_none(), "one still waits");
        drop(second);
        ended.next().await.unwrap();
    });
}

#[test]
fn a_known_peer_is_reached_by_its_id() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        dialer.add_address(listener.local_peer(), "/memory/9999".parse().unwrap());
        dialer.add_address(listener.local_peer(), addr);
        assert_eq!(
            ask(&dialer, listener.local_peer(), b"hello").await,
            b"hello"
        );
    });
}

#[test]
fn a_peer_that_failed_is_left_alone_for_a_while_unless_an_address_is_named() {
    run(async {
        let net = Net::new();
        let dialer = net.host();
        let (listener, addr) = net.echo_host().await;
        let peer = listener.local_peer();
        dialer.add_address(peer, "/memory/9999".parse().unwrap());
        assert!(matches!(
            dialer.connect(peer).await,
            Err(DialError::Failed { .. })
        ));
        let error = dialer.connect(peer).await.unwrap_err();
        assert!(matches!(error, DialError::BackingOff { .. }), "{error}");
        dialer.connect(&addr).await.unwrap();
        dialer.connect(peer).await.unwrap();
    });
}

#[test]
fn a_remote_that_only_speaks_mplex_is_reached_at_the_first_try() {
    run(async {
        let net = Net::new();
        let only_mplex = || Setup {
            muxers: vec![mplex()],
            ..Setup::default()
        };
        let (listener, addr) = net.echo_host_with(only_mplex()).await;
        let dialer = net.host_with(Setup {
            muxers: vec![yamux(), mplex()],
            ..Setup::default()
        });
        assert_eq!(ask(&dialer, &addr, b"hello").await, b"hello");
        assert_eq!(listener.connections()[0].muxer.as_str(), "/mplex/6.7.0");
    });
}

#[test]
fn peers_without_a_common_muxer_say_so() {
    run(async {
        let net = Net::new();
        let with = |muxer| Setup {
            muxers: vec![muxer],
            ..Setup::default()
        };
        let (_listener, addr) = net.echo_host_with(with(mplex())).await;
        let dialer = net.host_with(with(yamux()));
        let error = dialer.connect(&addr).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Incompatible, "{error}");
    });
}

#[test]
fn events_tell_of_connections_and_their_ends() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let mut events = dialer.events();
        dialer.connect(&addr).await.unwrap();
        let Some(HostEvent::Connected { info, count: 1, .. }) = events.next().await else {
            panic!("connected comes first")
        };
        assert_eq!(info.remote_peer, listener.local_peer());
        assert_eq!(info.security.as_str(), "/noise");
        dialer.disconnect(&listener.local_peer());
        let event = events.next().await;
        assert!(
            matches!(event, Some(HostEvent::Disconnected { remaining: 0, .. })),
            "{event:?}"
        );
        dialer.close().await;
        assert!(events.next().await.is_none());
    });
}

#[test]
fn connections_of_one_peer_are_limited() {
    run(async {
        let net = Net::new();
        let mut config = HostConfig::default();
        config.limits.connections_per_peer_max = 1;
        let (listener, addr) = net
            .echo_host_with(Setup {
                config,
                ..Setup::default()
            })
            .await;
        let keypair = Keypair::generate_ed25519();
        let twins: Vec<_> = (0..2)
            .map(|_| {
                net.host_with(Setup {
                    keypair: keypair.clone(),
                    ..Setup::default()
                })
            })
            .collect();
        let mut events = listener.events();
        twins[0].connect(&addr).await.unwrap();
        // The second one is closed by the listener right after the handshake.
        let _ = twins[1].connect(&addr).await;
        loop {
            match events.next().await {
                Some(HostEvent::InboundRefused { peer, reason, .. }) => {
                    assert_eq!(peer, Some(keypair.public().to_peer_id()));
                    assert!(
                        reason
                            .to_string()
                            .contains("limits.connections_per_peer_max"),
                        "{reason}"
                    );
                    break;
                }
                Some(_) => {}
                None => panic!("the refusal is reported"),
            }
        }
        assert_eq!(listener.connections().len(), 1);
    });
}

#[test]
fn closing_ends_every_task_and_may_be_repeated() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, ECHO).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let alive = Arc::new(());
        let held = alive.clone();
        dialer.spawn(async move {
            let _held = held;
            futures::future::pending::<()>().await;
        });
        futures::join!(dialer.close(), dialer.close());
        dialer.close().await;
        assert_eq!(Arc::strong_count(&alive), 1, "the task is gone");
        assert!(stream.read(&mut [0; 8]).await.is_err());
        assert!(matches!(
            dialer.connect(&addr).await,
            Err(DialError::Closed)
        ));
        assert!(dialer.listen("/memory/0".parse().unwrap()).await.is_err());
        for _ in 0..100 {
            if listener.peers().is_empty() {
                return;
            }
            pause(10).await;
        }
        panic!("the remote has noticed");
    });
}

#[test]
fn a_close_that_is_given_up_goes_on() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        dialer.connect(&addr).await.unwrap();
        let alive = Arc::new(());
        let held = alive.clone();
        dialer.spawn(async move {
            let _held = held;
            futures::future::pending::<()>().await;
        });
        // Polled once, then dropped; with luck it is over by then.
        let _ = dialer.close().now_or_never();
        while Arc::strong_count(&alive) > 1 {
            pause(5).await;
        }
    });
}

#[test]
fn a_host_that_is_closed_by_one_of_its_own_tasks_ends_its_events() {
    run(async {
        let net = Net::new();
        let host = net.host();
        let mut events = host.events();
        let closer = host.downgrade();
        host.spawn(async move { closer.upgrade().unwrap().close().await });
        while events.next().await.is_some() {}
        assert!(host.is_closed());
    });
}

#[test]
fn an_idle_connection_lives_on() {
    run(async {
        let net = Net::new();
        let muxer = || {
            let config = peerkit_yamux::Config {
                keep_alive_interval: Duration::from_millis(100),
                keep_alive_timeout: Duration::from_millis(400),
                ..peerkit_yamux::Config::default()
            };
            Setup {
                muxers: vec![Arc::new(peerkit_yamux::Yamux::new(config))],
                ..Setup::default()
            }
        };
        let (listener, addr) = net.echo_host_with(muxer()).await;
        let dialer = net.host_with(muxer());
        let peer = dialer.connect(&addr).await.unwrap();
        pause(1500).await;
        assert!(dialer.is_connected(&peer));
        assert!(listener.is_connected(&dialer.local_peer()));
    });
}

#[test]
fn what_was_written_before_closing_still_arrives() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let (told, heard) = futures::channel::oneshot::channel();
        let told = Arc::new(futures::lock::Mutex::new(Some(told)));
        listener.set_stream_handler("/notice/1", move |mut stream: peerkit_swarm::Stream| {
            let told = told.clone();
            async move {
                let mut notice = Vec::new();
                stream.read_to_end(&mut notice).await.unwrap();
                told.lock()
                    .await
                    .take()
                    .unwrap()
                    .send(notice.len())
                    .unwrap();
            }
        });
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/notice/1").await.unwrap();
        stream.write_all(&[1; 100_000]).await.unwrap();
        stream.close().await.unwrap();
        dialer.close().await;
        assert_eq!(heard.await.unwrap(), 100_000);
    });
}

#[test]
fn dropping_the_last_handle_closes_the_host() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        dialer.connect(&addr).await.unwrap();
        let weak = dialer.downgrade();
        drop(dialer);
        assert!(weak.upgrade().is_none());
        for _ in 0..100 {
            if listener.peers().is_empty() {
                return;
            }
            pause(10).await;
        }
        panic!("the connection is still there");
    });
}

#[test]
fn a_host_that_stops_listening_keeps_its_connections() {
    run(async {
        let net = Net::new();
        let listener = net.host();
        listener.set_stream_handler(ECHO, common::echo);
        let (id, _) = listener.listen("/memory/0".parse().unwrap()).await.unwrap();
        let addr = listener.addrs().remove(0);
        let dialer = net.host();
        dialer.connect(&addr).await.unwrap();
        assert!(listener.stop_listening(id));
        assert!(!listener.stop_listening(id));
        pause(50).await;
        assert_eq!(ask(&dialer, peer_of(&addr), b"hello").await, b"hello");
        assert!(listener.listen_addrs().is_empty());
        let late = net.host();
        assert!(late.connect(&addr).await.is_err());
    });
}

#[test]
fn a_panicking_handler_costs_only_its_stream() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        listener.set_stream_handler("/panic/1", |stream: peerkit_swarm::Stream| async move {
            assert!(stream.protocol().as_str().is_empty(), "a test of panics");
        });
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/panic/1").await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(ask(&dialer, &addr, b"hello").await, b"hello");
    });
}

#[test]
fn handlers_per_connection_are_limited() {
    run(async {
        let net = Net::new();
        let mut config = HostConfig::default();
        config.limits.handlers_per_connection_max = 2;
        let (_listener, addr) = net
            .echo_host_with(Setup {
                config,
                ..Setup::default()
            })
            .await;
        let dialer = net.host();
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = dialer.open_stream(&addr, ECHO).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            held.push(stream);
        }
        let mut refused = dialer.open_stream(&addr, ECHO).await.unwrap();
        let _ = refused.write_all(b"x").await;
        assert!(refused.read_exact(&mut [0]).await.is_err());
        drop(held);
        pause(100).await;
        assert_eq!(ask(&dialer, &addr, b"hello").await, b"hello");
    });
}

/// The first dial ends at a remote that stays silent, every further one at a listener.
fn host_whose_first_dial_is_silent(net: &Net, setup: Setup) -> (peerkit_swarm::Host, PeerId) {
    let listener = Setup::default();
    let peer = listener.keypair.public().to_peer_id();
    let upgrader = net.upgrader(&listener);
    let dials = AtomicUsize::new(0);
    let host = net.host_facing(setup, move |mut pipe| {
        let first = dials.fetch_add(1, Ordering::Relaxed) == 0;
        let upgrader = upgrader.clone();
        async move {
            if first {
                let _ = pipe.read_to_end(&mut Vec::new()).await;
                return;
            }
            let upgrade = upgrader.upgrade(Box::new(pipe), common::listening_side());
            upgrade.await.unwrap().driver.await;
        }
        .boxed()
    });
    (host, peer)
}

#[test]
fn a_silent_address_does_not_hold_up_the_next_one() {
    run(async {
        let (host, peer) = host_whose_first_dial_is_silent(&Net::new(), Setup::default());
        let addrs = ["/memory/1", "/memory/2"].map(|addr| addr.parse::<Multiaddr>().unwrap());
        let begin = host.runtime().now();
        host.connect((peer, addrs.to_vec())).await.unwrap();
        let elapsed = host.runtime().now() - begin;
        assert!(elapsed < std::time::Duration::from_secs(5), "{elapsed:?}");
    });
}

#[test]
fn beyond_the_limit_of_concurrent_dials_callers_wait() {
    run(async {
        let mut setup = Setup::default();
        setup.config.dial.concurrent_max = 1;
        let (host, _) = host_whose_first_dial_is_silent(&Net::new(), setup);
        let [silent, good] =
            ["/memory/1", "/memory/2"].map(|addr| addr.parse::<Multiaddr>().unwrap());
        let mut first = Box::pin(host.connect(silent));
        let mut second = Box::pin(host.connect(good));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        pause(100).await;
        assert!(
            second.as_mut().now_or_never().is_none(),
            "there is one slot"
        );
        drop(first);
        second.await.unwrap();
    });
}
