//! Those who ping this node, well and badly.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Multiaddr, ResetCode};
use peerkit_ping::{Config, PROTOCOL, Ping};
use peerkit_swarm::{Host, Stream};
use peerkit_testkit::{Net, reset_code, run};

#[test]
fn pings_may_be_cut_up_in_any_way() {
    run(|net| async move {
        let (_responder, addr) = responder(&net, Config::default()).await;
        let host = net.host();
        let stream = host.open_stream(&addr, &PROTOCOL).await.unwrap();
        let sent: Vec<u8> = (0..32 * 10).map(|it| it as u8).collect();
        let (mut reader, mut writer) = stream.into_split();
        let write = async {
            let mut rest = &sent[..];
            for len in [1, 30, 2, 31, 33, 64, 95, 1, 63].into_iter().cycle() {
                let (piece, next) = rest.split_at(len.min(rest.len()));
                writer.write_all(piece).await.unwrap();
                writer.flush().await.unwrap();
                rest = next;
                if rest.is_empty() {
                    break;
                }
            }
            writer.close().await.unwrap();
        };
        let mut received = Vec::new();
        let (read, ()) = futures::join!(reader.read_to_end(&mut received), write);
        read.unwrap();
        assert_eq!(received, sent);
    });
}

#[test]
fn a_part_of_a_ping_is_a_violation_of_the_protocol() {
    run(|net| async move {
        let (_responder, addr) = responder(&net, Config::default()).await;
        let host = net.host();
        let mut stream = host.open_stream(&addr, &PROTOCOL).await.unwrap();
        stream.write_all(&[1; 31]).await.unwrap();
        let outcome = async {
            stream.close().await?;
            stream.read(&mut [0; 32]).await
        };
        assert_eq!(
            reset_code(&outcome.await),
            Some(ResetCode::PROTOCOL_VIOLATION)
        );
    });
}

#[test]
fn a_peer_has_two_streams_and_no_more() {
    run(|net| async move {
        let (_responder, addr) = responder(&net, Config::default()).await;
        let greedy = net.host();
        let mut first = pinged(&greedy, &addr).await;
        let _second = pinged(&greedy, &addr).await;
        for _ in 0..100 {
            let mut further = greedy.open_stream(&addr, &PROTOCOL).await.unwrap();
            further.write_all(&[3; 32]).await.unwrap();
            let outcome = further.read_exact(&mut [0; 32]).await;
            assert_eq!(reset_code(&outcome), Some(ResetCode::LIMIT_EXCEEDED));
        }
        let other = net.host();
        pinged(&other, &addr).await;

        first.close().await.unwrap();
        assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 0);
        // Its place is free as soon as the responder's task has ended.
        net.sleep(Duration::from_millis(100)).await;
        pinged(&greedy, &addr).await;
    });
}

#[test]
fn a_stream_without_pings_is_reset_after_a_while() {
    run(|net| async move {
        let mut config = Config::default();
        config.idle_timeout = Duration::from_millis(100);
        let (_responder, addr) = responder(&net, config).await;
        let host = net.host();
        let mut stream = pinged(&host, &addr).await;
        let mut slow = host.open_stream(&addr, &PROTOCOL).await.unwrap();
        slow.write_all(&[5; 31]).await.unwrap();
        assert!(reset_code(&stream.read(&mut [0; 1]).await).is_some());
        assert!(reset_code(&slow.read(&mut [0; 1]).await).is_some());
        pinged(&host, &addr).await;
    });
}

#[test]
fn a_flood_is_answered_slowly_and_others_do_not_notice() {
    run(|net| async move {
        let mut config = Config::default();
        config.burst = 10;
        config.answers_per_second = 50;
        let (_responder, addr) = responder(&net, config).await;
        let (flooder, other) = (net.host(), net.host());
        pinged(&other, &addr).await;
        let mut stream = flooder.open_stream(&addr, &PROTOCOL).await.unwrap();
        let start = net.runtime.now();
        stream.write_all(&[9; 32 * 30]).await.unwrap();

        pinged(&other, &addr).await;
        let meanwhile = net.runtime.now() - start;
        assert!(meanwhile < Duration::from_millis(300), "{meanwhile:?}");

        let mut answers = vec![0; 32 * 30];
        stream.read_exact(&mut answers).await.unwrap();
        assert_eq!(answers, [9; 32 * 30]);
        let elapsed = net.runtime.now() - start;
        assert!(elapsed >= Duration::from_millis(400), "{elapsed:?}");
    });
}

#[test]
fn another_stream_is_no_way_around_the_rate() {
    run(|net| async move {
        let mut config = Config::default();
        config.burst = 10;
        config.answers_per_second = 50;
        let (_responder, addr) = responder(&net, config).await;
        let host = net.host();
        let start = net.runtime.now();
        for _ in 0..30 {
            let mut stream = pinged(&host, &addr).await;
            stream.close().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
        let elapsed = net.runtime.now() - start;
        assert!(elapsed >= Duration::from_millis(380), "{elapsed:?}");
    });
}

#[test]
fn an_extreme_configuration_does_not_panic() {
    run(|net| async move {
        let mut config = Config::default();
        config.burst = 0;
        config.answers_per_second = 0;
        config.streams_per_peer_max = usize::MAX;
        let (_responder, addr) = responder(&net, config).await;
        let host = net.host();
        pinged(&host, &addr).await;

        let mut config = Config::default();
        config.streams_per_peer_max = 0;
        config.idle_timeout = Duration::ZERO;
        config.timeout = Duration::ZERO;
        let (_responder, addr) = responder(&net, config.clone()).await;
        let ping = Ping::spawn(&host, config);
        assert!(ping.ping(&addr).await.is_err());
    });
}

async fn responder(net: &Net, config: Config) -> (Ping, Multiaddr) {
    let (host, addr) = net.listener().await;
    (Ping::spawn(&host, config), addr)
}

/// A stream on which one ping was answered.
async fn pinged(host: &Host, addr: &Multiaddr) -> Stream {
    let mut stream = host.open_stream(addr, &PROTOCOL).await.unwrap();
    let (sent, mut answer) = ([6; 32], [0; 32]);
    stream.write_all(&sent).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, sent);
    stream
}
