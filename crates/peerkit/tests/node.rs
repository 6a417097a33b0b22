//! The five lines of the README, and what stands around them.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, HostEvent, Keypair, Multiaddr, Runtime, Stream};

fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

async fn echo(stream: Stream) -> std::io::Result<()> {
    futures::io::copy(&stream, &mut &stream).await.map(drop)
}

/// Two hosts on a runtime: echo, ping, identify, close.
async fn two_hosts_talk(runtime: impl Runtime + Clone) {
    let listener = Host::builder()
        .runtime(runtime.clone())
        .listen_on(loopback())
        .build()
        .await
        .unwrap();
    listener.set_stream_handler("/echo/1.0.0", echo);
    let addr = listener.addrs().remove(0);
    let dialer = Host::builder().runtime(runtime).build().await.unwrap();
    let mut stream = dialer.open_stream(&addr, "/echo/1.0.0").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.close().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello");
    dialer.ping().ping(listener.local_peer()).await.unwrap();
    let info = dialer.identify().identify(&addr).await.unwrap();
    assert!(info.protocols.iter().any(|it| it.as_str() == "/echo/1.0.0"));
    assert_eq!(dialer.connections().len(), 1);
    dialer.close().await;
    listener.close().await;
}

#[test]
fn hosts_talk_on_the_default_runtime() {
    peerkit::runtime::block_on(two_hosts_talk(peerkit::runtime::AsyncIo::new()));
}

#[cfg(feature = "async-std")]
#[test]
fn hosts_talk_on_async_std() {
    async_std::task::block_on(two_hosts_talk(peerkit::runtime::AsyncStd::new()));
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread")]
async fn hosts_talk_on_tokio() {
    two_hosts_talk(peerkit::runtime::Tokio::current()).await;
}

#[test]
fn hosts_on_different_muxers_first_find_the_common_one() {
    peerkit::runtime::block_on(async {
        let listener = Host::builder()
            .mplex(Default::default())
            .listen_on(loopback())
            .build()
            .await
            .unwrap();
        let dialer = Host::builder().build().await.unwrap();
        let addr = listener.addrs().remove(0);
        dialer.ping().ping(&addr).await.unwrap();
        assert_eq!(dialer.connections()[0].muxer.as_str(), "/mplex/6.7.0");
    });
}

#[test]
fn an_identity_is_kept_and_an_address_in_use_is_an_error() {
    peerkit::runtime::block_on(async {
        let keypair = Keypair::generate_ed25519();
        let first = Host::builder()
            .identity(keypair.clone())
            .listen_on(loopback())
            .build()
            .await
            .unwrap();
        assert_eq!(first.local_peer(), keypair.public().to_peer_id());
        let taken = first.listen_addrs().remove(0);
        let error = Host::builder().listen_on(taken.clone()).build().await;
        let error = error
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains(&taken.to_string()), "{error}");
    });
}

#[test]
fn events_are_seen_through_the_facade() {
    peerkit::runtime::block_on(async {
        let listener = Host::builder().listen_on(loopback()).build().await.unwrap();
        let mut events = listener.events();
        let dialer = Host::builder().build().await.unwrap();
        dialer.connect(&listener.addrs()[0]).await.unwrap();
        let event = events.next().await;
        assert!(
            matches!(event, Some(HostEvent::Connected { .. })),
            "{event:?}"
        );
    });
}
