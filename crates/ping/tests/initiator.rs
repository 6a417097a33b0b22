//! Pings and those who answer them, well and badly.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use peerkit_core::{Fault, Multiaddr, ResetCode, with_deadline};
use peerkit_ping::{Config, PROTOCOL, Ping, PingError};
use peerkit_swarm::{Host, HostEvent, Stream};
use peerkit_testkit::{Net, run};

#[test]
fn a_ping_measures_a_round_trip() {
    run(|net| async move {
        let (listener, addr) = net.listener().await;
        let _responder = Ping::spawn(&listener, Config::default());
        let (host, ping) = pinging(&net, Config::default());

        let first = ping.ping(&addr).await.unwrap();
        let again = ping.ping(listener.local_peer()).await.unwrap();
        assert!(first > Duration::ZERO && again > Duration::ZERO);
        assert!(host.is_connected(&listener.local_peer()));
        // Both sides may ping.
        let back = Ping::spawn(&listener, Config::default());
        assert!(back.ping(host.local_peer()).await.is_ok());
    });
}

#[test]
fn a_peer_need_not_be_known_by_its_id() {
    run(|net| async move {
        let (listener, mut addr) = net.listener().await;
        let _responder = Ping::spawn(&listener, Config::default());
        addr.pop();
        let (_host, ping) = pinging(&net, Config::default());
        let mut pinger = ping.open(addr).await.unwrap();
        assert_eq!(pinger.peer(), listener.local_peer());
        assert!(pinger.ping().await.is_ok());
    });
}

#[test]
fn all_who_ping_a_peer_share_one_stream() {
    run(|net| async move {
        let counts = Counts::default();
        let (addr, _remote) = remote(&net, counts.counting(echo)).await;
        let (_host, ping) = pinging(&net, Config::default());
        let pinger = ping.open(&addr).await.unwrap();
        let pings = (0..50).map(|_| ping.ping(pinger.peer()));
        let outcomes = join_all(pings).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(counts.opened.load(SeqCst), 1);
    });
}

#[test]
fn there_is_never_more_than_one_stream_even_when_each_is_closed_again() {
    run(|net| async move {
        let counts = Counts::default();
        let (addr, _remote) = remote(&net, counts.counting(echo)).await;
        let (_host, ping) = pinging(&net, Config::default());
        for _ in 0..20 {
            ping.ping(&addr).await.unwrap();
        }
        assert_eq!(counts.most.load(SeqCst), 1);
        net.until(|| counts.open.load(SeqCst) == 0).await;
    });
}

#[test]
fn the_last_one_to_go_closes_the_stream_in_good_order() {
    run(|net| async move {
        let closed = Arc::new(AtomicUsize::new(0));
        let seen = closed.clone();
        let handler = move |stream: Stream| {
            let seen = seen.clone();
            async move {
                echo(stream).await.unwrap();
                seen.fetch_add(1, SeqCst);
            }
        };
        let (addr, _remote) = remote(&net, handler).await;
        let (_host, ping) = pinging(&net, Config::default());
        let mut one = ping.open(&addr).await.unwrap();
        let two = ping.open(&addr).await.unwrap();
        one.ping().await.unwrap();
        drop(one);
        net.sleep(Duration::from_millis(20)).await;
        assert_eq!(closed.load(SeqCst), 0);
        drop(two);
        net.until(|| closed.load(SeqCst) == 1).await;
    });
}

#[test]
fn a_stream_that_the_remote_closed_meanwhile_is_replaced() {
    run(|net| async move {
        let counts = Counts::default();
        let (addr, _remote) = remote(&net, counts.counting(echo_once)).await;
        let (_host, ping) = pinging(&net, Config::default());
        let mut pinger = ping.open(&addr).await.unwrap();
        for _ in 0..3 {
            pinger.ping().await.unwrap();
        }
        assert_eq!(counts.opened.load(SeqCst), 3);
    });
}

#[test]
fn a_cancelled_ping_does_not_spoil_the_next_one() {
    run(|net| async move {
        let counts = Counts::default();
        let opened = counts.opened.clone();
        let silent_at_first = move |stream: Stream| {
            let first = opened.load(SeqCst) == 1;
            async move {
                if first {
                    silent(stream).await
                } else {
                    echo(stream).await
                }
            }
        };
        let (addr, _remote) = remote(&net, counts.counting(silent_at_first)).await;
        let (_host, ping) = pinging(&net, Config::default());
        let mut pinger = ping.open(&addr).await.unwrap();
        let limit = Duration::from_millis(50);
        let cancelled = with_deadline(net.runtime.as_ref(), limit, pinger.ping()).await;
        assert!(cancelled.is_none());
        assert!(pinger.ping().await.is_ok());
    });
}

#[test]
fn a_wrong_answer_is_an_error() {
    run(|net| async move {
        let lie = |mut stream: Stream| async move {
            stream.read_exact(&mut [0; 32]).await?;
            stream.write_all(&[7; 32]).await?;
            silent(stream).await
        };
        let error = failed_ping(&net, lie).await;
        assert!(matches!(error, PingError::Mismatch { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::PeerMisbehaved);
    });
}

#[test]
fn a_short_answer_is_an_error() {
    run(|net| async move {
        let short = |mut stream: Stream| async move {
            let mut ping = [0; 32];
            stream.read_exact(&mut ping).await?;
            stream.write_all(&ping[..31]).await?;
            stream.close().await?;
            silent(stream).await
        };
        let error = failed_ping(&net, short).await;
        assert!(matches!(error, PingError::Unanswered { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::PeerMisbehaved);
    });
}

#[test]
fn a_remote_that_stays_silent_is_given_up() {
    run(|net| async move {
        let error = failed_ping(&net, silent).await;
        assert!(matches!(error, PingError::Timeout { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::Limit);
    });
}

#[test]
fn a_remote_that_resets_the_stream_is_named() {
    run(|net| async move {
        let reset = |stream: Stream| async move { stream.reset(ResetCode::LIMIT_EXCEEDED) };
        let error = failed_ping(&net, reset).await;
        assert!(matches!(error, PingError::Stream { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::Closed);
        assert!(error.to_string().contains("limit"), "{error}");
    });
}

#[test]
fn a_remote_that_answers_without_end_does_no_harm() {
    run(|net| async move {
        let flood = |mut stream: Stream| async move {
            let mut ping = [0; 32];
            stream.read_exact(&mut ping).await?;
            loop {
                stream.write_all(&ping).await?;
            }
            #[expect(unreachable_code, reason = "it says what the outcome would be")]
            std::io::Result::Ok(())
        };
        let (addr, _remote) = remote(&net, flood).await;
        let (_host, ping) = pinging(&net, Config::default());
        let mut pinger = ping.open(&addr).await.unwrap();
        assert!(pinger.ping().await.is_ok());
        let error = pinger.ping().await.expect_err("those are old answers");
        assert!(matches!(error, PingError::Mismatch { .. }), "{error:?}");
    });
}

#[test]
fn a_remote_that_knows_no_ping_is_incompatible() {
    run(|net| async move {
        let (_remote, addr) = net.listener().await;
        let (_host, ping) = pinging(&net, Config::default());
        let error = ping.ping(&addr).await.expect_err("there is no handler");
        assert!(matches!(error, PingError::Unsupported { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::Incompatible);
    });
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    run(|net| async move {
        let (_host, ping) = pinging(&net, Config::default());
        let addr: Multiaddr = "/memory/99".parse().unwrap();
        let error = ping.ping(addr).await.expect_err("nobody listens there");
        assert!(matches!(error, PingError::Open(_)), "{error:?}");
        assert!(error.to_string().contains("/memory/99"), "{error}");
    });
}

#[test]
fn a_connection_that_ends_ends_the_ping() {
    run(|net| async move {
        let (addr, remote) = remote(&net, silent).await;
        let (host, ping) = pinging(&net, Config::default());
        let mut pinger = ping.open(&addr).await.unwrap();
        let peer = pinger.peer();
        let (outcome, ()) = futures::join!(pinger.ping(), async {
            net.sleep(Duration::from_millis(50)).await;
            remote.disconnect(&host.local_peer());
        });
        let error = outcome.expect_err("the connection has ended");
        assert!(matches!(error, PingError::Stream { .. }), "{error:?}");
        net.until(|| !host.is_connected(&peer)).await;
    });
}

#[test]
fn the_node_ends_with_its_last_handle() {
    run(|net| async move {
        let (listener, addr) = net.listener().await;
        let mut events = listener.events();
        let _responder = Ping::spawn(&listener, Config::default());
        let (host, ping) = pinging(&net, Config::default());
        ping.ping(&addr).await.unwrap();
        drop((host, ping));
        while let Some(event) = events.next().await {
            if matches!(event, HostEvent::Disconnected { .. }) {
                return;
            }
        }
        panic!("the listener has ended");
    });
}

/// How many streams a remote has seen.
#[derive(Clone, Default)]
struct Counts {
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Counts {
    fn counting<Answer>(
        &self,
        handler: impl Fn(Stream) -> Answer + Send + Sync + 'static,
    ) -> impl Fn(Stream) -> futures::future::BoxFuture<'static, ()> + Send + Sync + 'static
    where
        Answer: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let counts = self.clone();
        move |stream| {
            counts.opened.fetch_add(1, SeqCst);
            let now = counts.open.fetch_add(1, SeqCst) + 1;
            counts.most.fetch_max(now, SeqCst);
            let (open, answer) = (counts.open.clone(), handler(stream));
            Box::pin(async move {
                let _ = answer.await;
                open.fetch_sub(1, SeqCst);
            })
        }
    }
}

/// A host that answers pings in its own way.
async fn remote(net: &Net, handler: impl peerkit_swarm::StreamHandler) -> (Multiaddr, Host) {
    let (host, addr) = net.listener().await;
    host.set_stream_handler(&PROTOCOL, handler);
    (addr, host)
}

fn pinging(net: &Net, config: Config) -> (Host, Ping) {
    let host = net.host();
    let ping = Ping::spawn(&host, config);
    (host, ping)
}

/// Pings such a remote; afterwards the connection is as good as before.
async fn failed_ping(net: &Net, handler: impl peerkit_swarm::StreamHandler) -> PingError {
    let (addr, remote) = remote(net, handler).await;
    let mut config = Config::default();
    config.timeout = Duration::from_millis(500);
    let (host, ping) = pinging(net, config);
    let error = ping.ping(&addr).await.expect_err("the answer is bad");
    remote.set_stream_handler(&PROTOCOL, echo);
    assert!(ping.ping(remote.local_peer()).await.is_ok());
    assert_eq!(host.connections().len(), 1);
    error
}

async fn echo(stream: Stream) -> std::io::Result<()> {
    futures::io::copy(&stream, &mut &stream).await?;
    (&stream).close().await
}

async fn echo_once(mut stream: Stream) -> std::io::Result<()> {
    let mut ping = [0; 32];
    stream.read_exact(&mut ping).await?;
    stream.write_all(&ping).await?;
    stream.close().await
}

/// Reads until the other side has had enough.
async fn silent(stream: Stream) -> std::io::Result<()> {
    futures::io::copy(&stream, &mut futures::io::sink())
        .await
        .map(drop)
}
