//! How many round trips of the link it takes from a dial to the first byte of the answer.
//!
//! The link is a pipe with a known delay. A TCP connect costs one more round trip, which a pipe
//! does not have; so two here are three on the network.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{ECHO, Net, Setup, mplex, run, yamux};
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, SinkExt, StreamExt,
    channel::mpsc,
    future::{BoxFuture, join},
};
use peerkit_core::{
    Handshake, Multiaddr, ProtocolId, Runtime, Secured, SecurityError, SecurityUpgrade, sleep_until,
};
use peerkit_memory::Pipe;
use peerkit_noise::Noise;
use peerkit_swarm::Host;

const ONE_WAY: Duration = Duration::from_millis(60);

/// Passes bytes on after a delay, in order.
async fn delayed(
    runtime: Arc<dyn Runtime>,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let (mut queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let at = runtime.now() + ONE_WAY;
            if queue.send((at, buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
        drop(queue);
    };
    let write = async {
        while let Some((at, bytes)) = due.next().await {
            sleep_until(runtime.as_ref(), at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.close().await;
    };
    join(read, write).await;
}

/// A host whose dials lead to the listener at `addr` over a slow link.
fn host_behind_a_slow_link(net: &Arc<Net>, setup: Setup, addr: Multiaddr) -> Host {
    let slow = net.clone();
    net.host_facing(setup, move |pipe: Pipe| {
        let (net, addr) = (slow.clone(), addr.clone());
        async move {
            let far = net.raw(&addr).await;
            let (from_dialer, to_dialer) = pipe.split();
            let (from_listener, to_listener) = far.split();
            let there = delayed(net.runtime.clone(), from_dialer, to_listener);
            let back = delayed(net.runtime.clone(), from_listener, to_dialer);
            join(there, back).await;
        }
        .boxed()
    })
}

/// Link round trips from the dial to the first byte of the answer.
async fn round_trips(net: &Net, host: &Host, addr: &Multiaddr) -> f64 {
    let begin = net.runtime.now();
    let mut stream = host.open_stream(addr, ECHO).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    let elapsed = net.runtime.now() - begin;
    elapsed.as_secs_f64() / (2.0 * ONE_WAY.as_secs_f64())
}

/// Noise that keeps the muxers to itself, like the implementations without that extension.
#[derive(Debug)]
struct WithoutMuxers(Noise);

impl SecurityUpgrade for WithoutMuxers {
    fn protocol(&self) -> &ProtocolId {
        self.0.protocol()
    }

    fn secure(&self, mut handshake: Handshake) -> BoxFuture<'_, Result<Secured, SecurityError>> {
        handshake.muxers.clear();
        self.0.secure(handshake)
    }
}

/// Measures again when it took too long: a busy machine adds to a time and never takes from it.
async fn assert_round_trips(expected: Range<f64>, mut measure: impl AsyncFnMut() -> f64) {
    let mut measured = Vec::new();
    for _ in 0..5 {
        let count = measure().await;
        assert!(count >= expected.start, "{count}");
        if count < expected.end {
            return;
        }
        measured.push(count);
    }
    panic!("{measured:?} are not below {}", expected.end);
}

#[test]
fn with_our_own_listener_it_takes_two_beside_the_connect() {
    run(async {
        let net = Arc::new(Net::new());
        let (_listener, addr) = net.echo_host().await;
        assert_round_trips(2.0..2.5, async || {
            let host = host_behind_a_slow_link(&net, Setup::default(), addr.clone());
            round_trips(&net, &host, &addr).await
        })
        .await;
        let host = host_behind_a_slow_link(&net, Setup::default(), addr.clone());
        host.connect(&addr).await.unwrap();
        let next_stream = async || round_trips(&net, &host, &addr).await;
        assert_round_trips(1.0..1.5, next_stream).await;
    });
}

#[test]
fn a_listener_that_does_not_choose_the_muxer_in_the_handshake_costs_no_more() {
    run(async {
        let net = Arc::new(Net::new());
        let setup = Setup::default();
        let security = WithoutMuxers(Noise::new(&setup.keypair).unwrap());
        let (_listener, addr) = net.echo_host_secured(setup, Arc::new(security)).await;
        assert_round_trips(2.0..2.5, async || {
            let host = host_behind_a_slow_link(&net, Setup::default(), addr.clone());
            round_trips(&net, &host, &addr).await
        })
        .await;
    });
}

#[test]
fn a_listener_that_refuses_the_muxer_costs_another_dial_once() {
    run(async {
        let net = Arc::new(Net::new());
        let setup = Setup {
            muxers: vec![mplex()],
            ..Setup::default()
        };
        let security = WithoutMuxers(Noise::new(&setup.keypair).unwrap());
        let (_listener, addr) = net.echo_host_secured(setup, Arc::new(security)).await;
        let dialer = || {
            let both = Setup {
                muxers: vec![yamux(), mplex()],
                ..Setup::default()
            };
            host_behind_a_slow_link(&net, both, addr.clone())
        };
        let first = async || round_trips(&net, &dialer(), &addr).await;
        assert_round_trips(5.0..8.5, first).await;
        let host = dialer();
        round_trips(&net, &host, &addr).await;
        let next_stream = async || round_trips(&net, &host, &addr).await;
        assert_round_trips(1.0..1.5, next_stream).await;
    });
}
