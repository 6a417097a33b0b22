//! Remotes that break the rules, at each layer.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Net, Setup, ask, listening_side, run, secure, short_upgrade};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit_core::{
    DriverConfig, Fault, Keypair, Multiaddr, ProtocolId, SecurityError, StreamError,
};
use peerkit_memory::Pipe;
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;
use peerkit_swarm::{DialError, Host};

fn somewhere() -> Multiaddr {
    "/memory/1".parse().unwrap()
}

fn setup() -> Setup {
    Setup {
        upgrade: short_upgrade(),
        ..Setup::default()
    }
}

async fn failure(host: &Host) -> DialError {
    host.connect(somewhere()).await.unwrap_err()
}

#[test]
fn a_listener_that_stays_silent_costs_a_deadline() {
    run(async {
        let dials = Arc::new(AtomicUsize::new(0));
        let counted = dials.clone();
        let host = Net::new().host_facing(setup(), move |pipe: Pipe| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                futures::future::pending::<()>().await;
                drop(pipe);
            }
            .boxed()
        });
        let error = failure(&host).await;
        assert_eq!(error.fault(), Fault::Limit, "{error}");
        assert!(
            error.to_string().contains("the remote said nothing"),
            "{error}"
        );
        assert_eq!(
            dials.load(Ordering::Relaxed),
            1,
            "silence is not worth a second try"
        );
    });
}

#[test]
fn a_listener_that_talks_something_else_is_named_as_such() {
    run(async {
        for garbage in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &[0xff; 64],
            &[0; 64],
            b"\x13/multistream/1.0.0\n\x20garbage",
        ] {
            let host = Net::new().host_facing(setup(), move |mut pipe: Pipe| {
                async move {
                    // The dialer may have hung up by then.
                    let _ = pipe.write_all(garbage).await;
                    let _ = pipe.close().await;
                    let _ = pipe.read_to_end(&mut Vec::new()).await;
                }
                .boxed()
            });
            let error = failure(&host).await;
            assert!(
                matches!(error.fault(), Fault::PeerMisbehaved | Fault::Network),
                "{error}"
            );
        }
    });
}

#[test]
fn a_listener_that_speaks_garbage_instead_of_noise_is_at_fault() {
    run(async {
        let host = Net::new().host_facing(setup(), |mut pipe: Pipe| {
            async move {
                let answer = b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x60";
                let _ = pipe.write_all(answer).await;
                let _ = pipe.write_all(&[0x42; 0x60]).await;
                let _ = pipe.read_to_end(&mut Vec::new()).await;
            }
            .boxed()
        });
        let error = failure(&host).await;
        assert_eq!(error.fault(), Fault::PeerMisbehaved, "{error}");
    });
}

#[test]
fn a_listener_without_noise_is_incompatible() {
    run(async {
        let host = Net::new().host_facing(setup(), |mut pipe: Pipe| {
            async move {
                let _ = pipe.write_all(b"\x13/multistream/1.0.0\n\x03na\n").await;
                let _ = pipe.read_to_end(&mut Vec::new()).await;
            }
            .boxed()
        });
        let error = failure(&host).await;
        assert_eq!(error.fault(), Fault::Incompatible, "{error}");
        assert!(
            error.to_string().contains("supports none of: /noise"),
            "{error}"
        );
    });
}

#[test]
fn a_connection_cut_at_any_byte_of_the_set_up_is_an_error_and_nothing_more() {
    run(async {
        for cut in (0..420).step_by(7) {
            let net = Net::new();
            let listener = Setup::default();
            let upgrader = net.upgrader(&listener);
            let host = net.host_facing(setup(), move |pipe: Pipe| {
                let upgrader = upgrader.clone();
                async move {
                    let (mut near, far) = peerkit_memory::duplex(64 * 1024);
                    let upgrade = upgrader.upgrade(Box::new(far), listening_side());
                    let relay = async {
                        let (from_dialer, mut to_dialer) = pipe.split();
                        let (from_listener, mut to_listener) = (&mut near).split();
                        let mut limited = from_listener.take(cut);
                        let there = futures::io::copy(from_dialer, &mut to_listener);
                        let back = futures::io::copy(&mut limited, &mut to_dialer);
                        futures::future::select(Box::pin(there), Box::pin(back)).await;
                    };
                    futures::future::select(Box::pin(upgrade), Box::pin(relay)).await;
                }
                .boxed()
            });
            let outcome = host.connect(somewhere()).await;
            // Behind the listener's last handshake byte the dialer has all it needs; then the connection ends.
            assert!(outcome.is_err() || cut >= 240, "cut after {cut} bytes");
            while !host.peers().is_empty() {
                common::pause(1).await;
            }
        }
    });
}

/// Reads the proposal like an implementation that throws away what it read beyond it.
async fn swallow_the_first_flight(mut pipe: Pipe) {
    let mut flight = [0; 4096];
    let _ = pipe.read(&mut flight).await;
    let _ = pipe
        .write_all(b"\x13/multistream/1.0.0\n\x07/noise\n")
        .await;
    let _ = pipe.read_to_end(&mut Vec::new()).await;
}

#[test]
fn a_listener_that_loses_bytes_sent_ahead_is_dialed_again_and_remembered() {
    run(async {
        let net = Net::new();
        let listener = Setup::default();
        let peer = listener.keypair.public().to_peer_id();
        let upgrader = net.upgrader(&listener);
        let dials = Arc::new(AtomicUsize::new(0));
        let counted = dials.clone();
        let host = net.host_facing(setup(), move |pipe: Pipe| {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            let upgrader = upgrader.clone();
            async move {
                if first {
                    return swallow_the_first_flight(pipe).await;
                }
                let new = upgrader
                    .upgrade(Box::new(pipe), listening_side())
                    .await
                    .unwrap();
                new.driver.await;
            }
            .boxed()
        });
        assert_eq!(host.connect((peer, somewhere())).await.unwrap(), peer);
        assert_eq!(dials.load(Ordering::Relaxed), 2);
        host.disconnect(&peer);
        while host.is_connected(&peer) {
            common::pause(5).await;
        }
        host.connect((peer, somewhere())).await.unwrap();
        assert_eq!(
            dials.load(Ordering::Relaxed),
            3,
            "the next dial is careful at once"
        );
    });
}

/// A listening host and a raw pipe to it.
async fn raw_connection(net: &Net, setup: Setup) -> (Host, Multiaddr, Pipe) {
    let (host, addr) = net.echo_host_with(setup).await;
    let bare = host.listen_addrs().remove(0);
    let pipe = net.raw(&bare).await;
    (host, addr, pipe)
}

#[test]
fn dialers_that_send_garbage_or_nothing_do_not_disturb_others() {
    run(async {
        let net = Net::new();
        let (host, addr, mut garbage) = raw_connection(&net, setup()).await;
        let mut events = host.events();
        garbage.write_all(&[0xaa; 300]).await.unwrap();
        let bare = host.listen_addrs().remove(0);
        let _silent = net.raw(&bare).await;
        let honest = net.host();
        assert_eq!(ask(&honest, &addr, b"hello").await, b"hello");
        let mut failed = 0;
        while failed < 2 {
            match events.next().await {
                Some(peerkit_swarm::HostEvent::InboundFailed { .. }) => failed += 1,
                Some(_) => {}
                None => panic!("both failures are reported"),
            }
        }
        assert_eq!(ask(&honest, &addr, b"hello").await, b"hello");
    });
}

#[test]
fn half_open_connections_are_limited() {
    run(async {
        let net = Net::new();
        let mut setup = Setup::default();
        setup.config.limits.inbound_upgrades_max = 3;
        let (host, addr, _first) = raw_connection(&net, setup).await;
        let mut events = host.events();
        let bare = host.listen_addrs().remove(0);
        let mut pipes = Vec::new();
        for _ in 0..5 {
            pipes.push(net.raw(&bare).await);
        }
        let event = events.next().await;
        let limit = event.as_ref().and_then(|event| event.limit());
        let limit = limit.unwrap_or_else(|| panic!("{event:?}"));
        assert_eq!(limit.setting, "limits.inbound_upgrades_max");
        drop(pipes);
        common::pause(50).await;
        assert_eq!(ask(&net.host(), &addr, b"hello").await, b"hello");
    });
}

#[test]
fn a_stream_that_negotiates_garbage_is_reset_and_the_connection_goes_on() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let setup = Setup::default();
        let upgrader = net.upgrader(&setup);
        let pipe = net.raw(&addr).await;
        let mut request = listening_side();
        request.role = peerkit_core::Role::Dialer;
        let new = upgrader.upgrade(Box::new(pipe), request).await.unwrap();
        let connection = new.connection.clone();
        let talk = async {
            let stream = connection.open().await.unwrap();
            let write = |bytes: &'static [u8]| {
                let stream = &stream;
                async move { futures::future::poll_fn(|cx| stream.poll_write(cx, bytes)).await }
            };
            write(&[0x7f; 200]).await.unwrap();
            let mut buffer = [0; 64];
            loop {
                let read = futures::future::poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await;
                match read {
                    Ok(0) => panic!("garbage is not answered by a polite end"),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            assert!(connection.close_error().is_none());
        };
        futures::future::select(Box::pin(talk), new.driver).await;
        assert_eq!(ask(&net.host(), &addr, b"hello").await, b"hello");
    });
}

/// Noise without a word about muxers, then silence.
async fn secure_and_say_no_more(noise: Noise, pipe: Pipe) -> Result<(), SecurityError> {
    let mut channel = secure(noise, pipe).await?;
    loop {
        channel.read_more().await?;
        channel.early().clear();
    }
}

#[test]
fn a_listener_that_never_agrees_to_the_muxer_costs_a_deadline() {
    run(async {
        let mut driver = DriverConfig::default();
        driver.confirm_timeout = Duration::from_millis(200);
        let setup = Setup {
            muxers: vec![Arc::new(Mplex::default().with_driver_config(driver))],
            ..setup()
        };
        let host = Net::new().host_facing(setup, |pipe: Pipe| {
            let noise = Noise::new(&Keypair::generate_ed25519()).unwrap();
            secure_and_say_no_more(noise, pipe).map(drop).boxed()
        });
        let error = failure(&host).await;
        assert_eq!(error.fault(), Fault::Limit, "{error}");
        while !host.peers().is_empty() {
            common::pause(5).await;
        }
    });
}

#[test]
fn garbage_in_place_of_a_muxer_ends_that_connection_and_no_other() {
    run(async {
        let net = Net::new();
        let (host, addr) = net.echo_host().await;
        let honest = net.host();
        assert_eq!(ask(&honest, &addr, b"hello").await, b"hello");
        let bare = host.listen_addrs().remove(0);
        for muxer in ["/yamux/1.0.0", "/mplex/6.7.0"] {
            let mut events = host.events();
            let mut pipe = net.raw(&bare).await;
            let noise = ProtocolId::from_static("/noise");
            peerkit_multistream::dial(&mut pipe, vec![noise])
                .await
                .unwrap();
            let attacker = Noise::new(&Keypair::generate_ed25519()).unwrap();
            let (mut channel, _) = attacker.dial(pipe, None).await.unwrap();
            let muxer = ProtocolId::try_from(muxer).unwrap();
            peerkit_multistream::dial(&mut channel, vec![muxer])
                .await
                .unwrap();
            channel.write_all(&[0xff; 100]).await.unwrap();
            let reason = loop {
                match events.next().await {
                    Some(peerkit_swarm::HostEvent::Disconnected { reason, .. }) => break reason,
                    Some(_) => {}
                    None => panic!("the end of the connection is reported"),
                }
            };
            assert_eq!(reason.fault(), Fault::PeerMisbehaved, "{reason}");
            assert_eq!(ask(&honest, &addr, b"hello").await, b"hello");
            assert_eq!(honest.connections().len(), 1);
        }
    });
}

#[test]
fn a_connection_cut_in_the_middle_of_a_transfer_is_an_error_of_its_streams_only() {
    run(async {
        let net = std::sync::Arc::new(Net::new());
        let (_listener, addr) = net.echo_host().await;
        let (through, target) = (net.clone(), addr.clone());
        let host = net.host_facing(setup(), move |pipe: Pipe| {
            let (net, addr) = (through.clone(), target.clone());
            async move {
                let far = net.raw(&addr).await;
                let (from_dialer, mut to_dialer) = pipe.split();
                let (from_listener, mut to_listener) = far.split();
                let there = futures::io::copy(from_dialer, &mut to_listener);
                let back = futures::io::copy(from_listener.take(500_000), &mut to_dialer);
                futures::future::select(Box::pin(there), Box::pin(back)).await;
            }
            .boxed()
        });
        let stream = host.open_stream(&addr, "/echo/1.0.0").await.unwrap();
        let (mut read, mut write) = (&stream, &stream);
        let mut back = Vec::new();
        let block = vec![7; 2_000_000];
        let (_, received) = futures::join!(write.write_all(&block), read.read_to_end(&mut back));
        let error = received.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(matches!(inner, Some(StreamError::Connection(_))), "{error}");
        assert!(!back.is_empty() && back.len() < 500_000);
        assert_eq!(ask(&net.host(), &addr, b"hello").await, b"hello");
    });
}
