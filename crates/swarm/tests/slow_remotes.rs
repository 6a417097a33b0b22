//! Remotes that take their time.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Net, Setup, run, secure};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit_core::{DriverConfig, Fault, Keypair, Multiaddr};
use peerkit_memory::Pipe;
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;

fn somewhere() -> Multiaddr {
    "/memory/1".parse().unwrap()
}

#[test]
fn a_listener_that_sends_only_a_header_costs_less_than_two_deadlines() {
    run(async {
        let time = async |address_timeout| {
            let dials = Arc::new(AtomicUsize::new(0));
            let counted = dials.clone();
            let mut setup = Setup::default();
            setup.upgrade.timeout = Duration::from_millis(600);
            setup.config.dial.address_timeout = address_timeout;
            let net = Net::new();
            let host = net.host_facing(setup, move |mut pipe: Pipe| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    let _ = pipe.write_all(b"\x13/multistream/1.0.0\n").await;
                    futures::future::pending::<()>().await;
                }
                .boxed()
            });
            let begin = net.runtime.now();
            assert_eq!(
                host.connect(somewhere()).await.unwrap_err().fault(),
                Fault::Limit
            );
            assert_eq!(dials.load(Ordering::Relaxed), 2);
            net.runtime.now() - begin
        };
        let limited = time(Duration::from_millis(800)).await;
        assert!(limited < Duration::from_millis(1150), "{limited:?}");
        let unlimited = time(Duration::MAX).await;
        assert!(unlimited >= Duration::from_millis(1200), "{unlimited:?}");
    });
}

#[test]
fn addresses_that_never_answer_hold_only_a_share_of_the_dials() {
    run(async {
        for (share, expected) in [(2, 2), (100, 20)] {
            let dials = Arc::new(AtomicUsize::new(0));
            let counted = dials.clone();
            let mut setup = Setup::default();
            setup.config.dial.concurrent_per_peer_max = share;
            let host = Net::new().host_facing(setup, move |pipe: Pipe| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    futures::future::pending::<()>().await;
                    drop(pipe);
                }
                .boxed()
            });
            let peer = Keypair::generate_ed25519().public().to_peer_id();
            let addr = |port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
            let tarpit: Vec<Multiaddr> = (1..=20).map(addr).collect();
            for addr in tarpit {
                host.add_address(peer, addr);
            }
            let dial = host.connect(peer);
            futures::future::select(Box::pin(dial), Box::pin(common::pause(1200))).await;
            assert_eq!(dials.load(Ordering::Relaxed), expected);
        }
    });
}

#[test]
fn a_remote_that_reads_byte_by_byte_is_given_up() {
    run(async {
        let ends = async |write_min| {
            let mut driver = DriverConfig::default();
            driver.write_timeout = Duration::from_millis(300);
            driver.write_min = write_min;
            let setup = Setup {
                muxers: vec![Arc::new(Mplex::default().with_driver_config(driver))],
                ..Setup::default()
            };
            let host = Net::new().host_facing(setup, |mut pipe: Pipe| {
                let noise = Noise::new(&Keypair::generate_ed25519()).unwrap();
                async move {
                    let (near, mut far) = peerkit_memory::duplex(64 * 1024);
                    let agreed = async {
                        let muxer = b"\x13/multistream/1.0.0\n\x0d/mplex/6.7.0\n";
                        let mut channel = secure(noise, near).await.ok()?;
                        channel.queue(muxer).ok()?;
                        channel.flush().await.ok()?;
                        futures::future::pending::<Option<()>>().await
                    };
                    let relay = async {
                        let mut buffer = [0; 4096];
                        let mut passed = 0;
                        loop {
                            let mut back = [0; 4096];
                            // The handshake is among the first bytes.
                            let slow = passed >= 16 * 1024;
                            let limit = if slow { 1 } else { buffer.len() };
                            futures::select_biased! {
                                read = far.read(&mut back).fuse() => {
                                    pipe.write_all(&back[..read.ok()?]).await.ok()?;
                                }
                                read = pipe.read(&mut buffer[..limit]).fuse() => {
                                    let read = read.ok()?;
                                    passed += read;
                                    if slow {
                                        common::pause(50).await;
                                    } else {
                                        far.write_all(&buffer[..read]).await.ok()?;
                                    }
                                }
                            }
                        }
                        #[allow(unreachable_code, reason = "names the type")]
                        Some(())
                    };
                    futures::future::select(Box::pin(agreed), Box::pin(relay)).await;
                }
                .boxed()
            });
            let Ok(mut stream) = host.open_stream(somewhere(), "/x/1").await else {
                panic!("the muxer was agreed on")
            };
            let flood = async {
                loop {
                    if let Err(error) = stream.write_all(&[0; 65536]).await {
                        return error.to_string();
                    }
                }
            };
            let patience = Box::pin(common::pause(2000));
            match futures::future::select(Box::pin(flood), patience).await {
                futures::future::Either::Left((error, _)) => Some(error),
                futures::future::Either::Right(_) => None,
            }
        };
        let error = ends(4096).await.expect("it is given up");
        assert!(error.contains("did not react"), "{error}");
        assert_eq!(ends(1).await, None);
    });
}
