//! More connections than needed.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::time::Duration;

use common::{ECHO, Net, Setup, ask, pause, run};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::Multiaddr;
use peerkit_swarm::{Events, Host, HostEvent, TrimConfig};

/// A listener that has enough at four connections and keeps two.
async fn listener(net: &Net, grace: Duration) -> (Host, Multiaddr) {
    let mut setup = Setup::default();
    setup.config.trim = trim(4, 2, grace);
    net.echo_host_with(setup).await
}

fn trim(high: usize, low: usize, grace: Duration) -> TrimConfig {
    let mut trim = TrimConfig::default();
    trim.high_watermark = high.into();
    trim.low_watermark = low.into();
    trim.grace_period = grace;
    trim.interval = Duration::from_millis(20);
    trim
}

async fn visitors(net: &Net, addr: &Multiaddr, count: usize) -> Vec<Host> {
    let mut visitors = Vec::new();
    for _ in 0..count {
        let visitor = net.host();
        visitor.connect(addr).await.unwrap();
        visitors.push(visitor);
    }
    visitors
}

async fn trimmed(events: &mut Events) -> (usize, usize) {
    loop {
        if let HostEvent::Trimmed {
            connections,
            closed,
            ..
        } = events.next().await.unwrap()
        {
            return (connections, closed);
        }
    }
}

#[test]
fn the_least_valuable_go_until_the_low_watermark() {
    run(async {
        let net = Net::new();
        let (host, addr) = listener(&net, Duration::ZERO).await;
        let mut events = host.events();
        let mut all = visitors(&net, &addr, 4).await;
        for (weight, visitor) in (1..).zip(&all) {
            host.trimming().tag(visitor.local_peer(), "test", weight);
        }
        pause(100).await;
        assert_eq!(host.connections().len(), 4, "that is not too many yet");

        let fifth = net.host();
        host.trimming().tag(fifth.local_peer(), "test", -1);
        let mut stream = fifth.open_stream(&addr, ECHO).await.unwrap();
        let told = async {
            stream.write_all(b"x").await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let told = told.await.unwrap_err().to_string();
        assert!(told.contains("code 0x1005: trimmed"), "{told}");
        assert_eq!(trimmed(&mut events).await, (5, 3));
        while host.connections().len() > 2 {
            pause(5).await;
        }
        all.push(fifth);
        let left: Vec<_> = all
            .iter()
            .map(|it| host.is_connected(&it.local_peer()))
            .collect();
        assert_eq!(left, [false, false, true, true, false]);
    });
}

#[test]
fn with_a_higher_watermark_all_stay() {
    run(async {
        let net = Net::new();
        let mut setup = Setup::default();
        setup.config.trim = trim(5, 2, Duration::ZERO);
        let (host, addr) = net.echo_host_with(setup).await;
        let _visitors = visitors(&net, &addr, 5).await;
        pause(100).await;
        assert_eq!(host.connections().len(), 5);
    });
}

#[test]
fn protected_peers_stay_even_above_the_low_watermark() {
    run(async {
        let net = Net::new();
        let (host, addr) = listener(&net, Duration::ZERO).await;
        let friends = visitors(&net, &addr, 4).await;
        for friend in &friends {
            host.trimming().protect(friend.local_peer(), "friend");
        }
        let stranger = net.host();
        stranger.connect(&addr).await.unwrap();
        while host.connections().len() > 4 {
            pause(5).await;
        }
        assert!(!host.is_connected(&stranger.local_peer()));
        assert!(friends.iter().all(|it| host.is_connected(&it.local_peer())));

        assert!(
            !host
                .trimming()
                .unprotect(&friends[0].local_peer(), "friend")
        );
        assert_eq!(host.trimming().trim_now(), 1);
    });
}

#[test]
fn new_connections_have_their_grace_and_go_after_it() {
    run(async {
        let net = Net::new();
        let (host, addr) = listener(&net, Duration::from_millis(400)).await;
        let mut events = host.events();
        let _visitors = visitors(&net, &addr, 5).await;
        pause(100).await;
        assert_eq!(host.connections().len(), 5);
        assert_eq!(trimmed(&mut events).await.0, 5);
        while host.connections().len() > 4 {
            pause(5).await;
        }
    });
}

#[test]
fn a_tag_that_fades_is_worth_less_and_less() {
    run(async {
        let net = Net::new();
        let (host, _) = net.echo_host().await;
        let peer = net.host().local_peer();
        let half_life = Duration::from_millis(50);
        host.trimming().tag_fading(peer, "seen", 1000, half_life);
        host.trimming().tag(peer, "service", 7);
        assert!(host.trimming().value(&peer) > 7);
        pause(2000).await;
        assert_eq!(host.trimming().value(&peer), 7);
    });
}

#[test]
fn a_crowd_is_served_again_after_it_was_trimmed() {
    run(async {
        let net = Net::new();
        let (host, addr) = listener(&net, Duration::ZERO).await;
        for _ in 0..30 {
            let visitor = net.host();
            visitor.connect(&addr).await.unwrap();
        }
        while host.connections().len() > 4 {
            pause(5).await;
        }
        assert_eq!(ask(&net.host(), &addr, b"hello").await, b"hello");
    });
}
