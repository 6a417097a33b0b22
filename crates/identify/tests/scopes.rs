//! Peers that are near or far: what they are told, and what is believed of them.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::time::Duration;

use common::{ask, far, info, push, quick, says};
use peerkit_core::{Multiaddr, PeerRecord, ResetCode};
use peerkit_identify::{Identify, Message, PROTOCOL};
use peerkit_testkit::{reset_code, run};

const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/4001";
const PRIVATE: &str = "/ip4/192.168.1.5/tcp/4001";
const PUBLIC: &str = "/ip4/203.0.113.9/tcp/4001";

#[test]
fn a_peer_is_told_the_addresses_that_it_can_use() {
    run(|net| async move {
        let table = [
            ("/ip4/198.51.100.1/tcp/9", &[PUBLIC][..]),
            ("/ip4/192.168.1.7/tcp/9", &[PUBLIC, PRIVATE]),
            ("/ip4/127.0.0.1/tcp/9", &[PUBLIC, PRIVATE, LOOPBACK]),
            ("/memory/9", &[PUBLIC, PRIVATE, LOOPBACK]),
        ];
        for (from, expected) in table {
            let listening = [LOOPBACK, PRIVATE, PUBLIC];
            let (host, addr) = far::host(&net, &listening, &[from.into()]).await;
            let _identify = Identify::spawn(&host, quick());
            let stranger = net.host();
            stranger.connect(&addr).await.unwrap();
            let message = ask(&stranger, host.local_peer()).await;
            let expected: Vec<Multiaddr> = expected.iter().map(|it| it.parse().unwrap()).collect();
            assert_eq!(message.listen_addrs, expected, "{from}");
            let record = PeerRecord::from_envelope(message.signed_peer_record.unwrap()).unwrap();
            assert_eq!(record.addresses(), expected, "{from}");
            assert_eq!(message.observed_addr, Some(from.parse().unwrap()));
        }
    });
}

#[test]
fn the_near_addresses_of_a_peer_far_away_are_not_remembered() {
    run(|net| async move {
        let remotes = ["/ip4/198.51.100.1/tcp/9".into()];
        let (host, addr) = far::host(&net, &[PUBLIC], &remotes).await;
        let identify = Identify::spawn(&host, quick());
        let remote = net.host();
        let listening = ["/ip4/198.51.100.1/tcp/1", LOOPBACK, PRIVATE, "/memory/5"];
        let said = Message {
            listen_addrs: listening.map(|it| it.parse().unwrap()).into(),
            ..Message::default()
        };
        remote.set_stream_handler(&PROTOCOL, says(said.encode()));
        remote.connect(&addr).await.unwrap();
        let info = info(&net, &identify, remote.local_peer()).await;
        assert_eq!(info.listen_addrs, said.listen_addrs);
        let known = host.known_addresses(&remote.local_peer());
        for (addr, expected) in said.listen_addrs.iter().zip([true, false, false, false]) {
            assert_eq!(known.contains(addr), expected, "{addr}");
        }
    });
}

#[test]
fn an_observed_address_counts_when_four_observers_agree_and_as_long_as_they_stay() {
    run(|net| async move {
        let remotes: Vec<_> = (1..=4)
            .map(|it| format!("/ip4/198.51.100.{it}/tcp/9"))
            .collect();
        let (host, addr) = far::host(&net, &["/ip4/10.0.0.2/tcp/4001"], &remotes).await;
        let identify = Identify::spawn(&host, quick());
        let mut observers = Vec::new();
        for count in 1..=4 {
            let observer = net.host();
            observer.set_stream_handler(&PROTOCOL, says(observation(PUBLIC)));
            observer.connect(&addr).await.unwrap();
            info(&net, &identify, observer.local_peer()).await;
            observers.push(observer);
            let expected: &[Multiaddr] = match count {
                4 => &[PUBLIC.parse().unwrap()],
                _ => &[],
            };
            assert_eq!(identify.observed_addrs(), expected);
        }
        observers[0].disconnect(&host.local_peer());
        net.until(|| identify.observed_addrs().is_empty()).await;
    });
}

#[test]
fn observers_that_may_be_one_do_not_count() {
    run(|net| async move {
        let one_network = (1..=8).map(|it| format!("/ip6/2001:db8:0:1::{it}/tcp/9"));
        let private = (1..=12).map(|it| format!("/ip4/10.0.0.{it}/tcp/9"));
        let remotes: Vec<_> = one_network.chain(private).collect();
        let (host, addr) = far::host(&net, &["/ip4/10.0.0.2/tcp/4001"], &remotes).await;
        let identify = Identify::spawn(&host, quick());
        let mut observers = Vec::new();
        for _ in 0..remotes.len() {
            let observer = net.host();
            observer.set_stream_handler(&PROTOCOL, says(observation(PUBLIC)));
            observer.connect(&addr).await.unwrap();
            info(&net, &identify, observer.local_peer()).await;
            observers.push(observer);
        }
        assert!(identify.observed_addrs().is_empty());
    });
}

#[test]
fn pushes_from_one_network_are_counted_together() {
    run(|net| async move {
        let remotes = [
            "/ip4/198.51.100.1/tcp/9".into(),
            "/ip4/198.51.100.2/tcp/9".into(),
            "/ip4/198.51.101.1/tcp/9".into(),
        ];
        let (host, addr) = far::host(&net, &[PUBLIC], &remotes).await;
        let mut config = quick();
        config.push_burst = 1;
        config.push_interval = Duration::from_secs(60);
        let _identify = Identify::spawn(&host, config);
        let expected = [None, Some(ResetCode::RATE_LIMITED), None];
        let mut pushers = Vec::new();
        for expected in expected {
            let pusher = net.host();
            pusher.connect(&addr).await.unwrap();
            let outcome = push(&pusher, host.local_peer(), &observation(PUBLIC)).await;
            assert_eq!(reset_code(&outcome), expected);
            assert_eq!(outcome.is_ok(), expected.is_none());
            pushers.push(pusher);
        }
    });
}

fn observation(of: &str) -> Vec<u8> {
    let said = Message {
        observed_addr: Some(of.parse().unwrap()),
        ..Message::default()
    };
    said.encode().into()
}
