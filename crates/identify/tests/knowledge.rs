//! Honest peers: what they learn of each other, and when.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{MOMENT, info, next_about, node, push, quick, says};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use peerkit_core::{ResetCode, sleep_until};
use peerkit_identify::{Identify, IdentifyEvent, Message, PROTOCOL, PUSH_PROTOCOL};
use peerkit_swarm::{HostConfig, HostEvent, Stream};
use peerkit_testkit::{listen, run};

#[test]
fn peers_that_connect_know_each_other() {
    run(|net| async move {
        let (one, of_one, _) = node(&net).await;
        let (two, of_two, addr) = node(&net).await;
        one.connect(&addr).await.unwrap();
        for (host, identify, other) in [(&one, &of_one, &two), (&two, &of_two, &one)] {
            let info = info(&net, identify, other.local_peer()).await;
            assert_eq!(info.peer, other.local_peer());
            assert_eq!(info.public_key, other.public_key());
            assert_eq!(info.protocol_version.as_deref(), Some("ipfs/0.1.0"));
            assert_eq!(
                info.agent_version.as_deref(),
                Some(concat!("peerkit/", env!("CARGO_PKG_VERSION")))
            );
            assert_eq!(info.listen_addrs, other.listen_addrs());
            assert_eq!(info.protocols, other.protocols());
            assert!(info.supports("/ipfs/id/1.0.0") && info.supports("/ipfs/id/push/1.0.0"));
            let record = info.signed_record.as_ref().unwrap();
            assert_eq!(record.peer_id(), other.local_peer());
            assert_eq!(record.addresses(), other.listen_addrs());
            assert!(info.rejected_record.is_none());
            let known = host.known_addresses(&other.local_peer());
            assert!(known.contains(&other.listen_addrs()[0]));
        }
        let seen = info(&net, &of_two, one.local_peer()).await;
        let connection = two.connections().remove(0);
        assert_eq!(seen.observed_addr, Some(connection.local_addr));
    });
}

#[test]
fn a_peer_may_be_asked_by_its_address_alone_and_again() {
    run(|net| async move {
        let (remote, _remote, mut addr) = node(&net).await;
        let host = net.host();
        let identify = Identify::spawn(&host, quick());
        let mut events = identify.events();
        addr.pop();
        let info = identify.identify(&addr).await.unwrap();
        assert_eq!(info.peer, remote.local_peer());
        let event = next_about(&mut events, info.peer).await;
        assert!(matches!(event, IdentifyEvent::Identified { .. }));

        remote.set_stream_handler("/new/1", |_: Stream| async {});
        let again = identify.identify(info.peer).await.unwrap();
        assert!(again.supports("/new/1"));
        assert_eq!(again.signed_record, info.signed_record);
    });
}

/// js-libp2p resets a second identify stream of a connection.
#[test]
fn a_remote_that_takes_one_question_at_a_time_is_never_asked_two() {
    run(|net| async move {
        let (remote, addr) = net.listener().await;
        let (open, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (runtime, count) = (net.runtime.clone(), asked.clone());
        remote.set_stream_handler(&PROTOCOL, move |mut stream: Stream| {
            let (runtime, open) = (runtime.clone(), open.clone());
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                if open.fetch_add(1, Ordering::SeqCst) > 0 {
                    stream.reset(ResetCode::LIMIT_EXCEEDED);
                    return Ok(());
                }
                sleep_until(runtime.as_ref(), runtime.now() + MOMENT).await;
                stream.write_all(&Message::default().encode()).await?;
                open.fetch_sub(1, Ordering::SeqCst);
                stream.close().await?;
                stream.read(&mut [0; 1]).await.map(drop)
            }
        });
        let identify = Identify::spawn(&net.host(), quick());
        let questions = [&addr; 5].map(|addr| identify.identify(addr));
        let answers = futures::future::join_all(questions).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        // All of them wanted the same. The node asks of its own accord as well, perhaps later.
        let first = asked.load(Ordering::SeqCst);
        assert!((1..=2).contains(&first), "{first}");
        identify.identify(remote.local_peer()).await.unwrap();
        let second = asked.load(Ordering::SeqCst);
        assert!((first + 1..=3).contains(&second), "{second}");
    });
}

#[test]
fn peers_that_were_connected_before_are_identified_too() {
    run(|net| async move {
        let (remote, _remote, addr) = node(&net).await;
        let host = net.host();
        host.connect(&addr).await.unwrap();
        let identify = Identify::spawn(&host, quick());
        info(&net, &identify, remote.local_peer()).await;
    });
}

#[test]
fn a_peer_is_forgotten_with_its_last_connection() {
    run(|net| async move {
        let (one, identify, _) = node(&net).await;
        let (two, _two, addr) = node(&net).await;
        one.connect(&addr).await.unwrap();
        info(&net, &identify, two.local_peer()).await;
        two.disconnect(&one.local_peer());
        net.until(|| identify.info(&two.local_peer()).is_none())
            .await;
        // And known again when it comes back; its address is remembered.
        one.connect(two.local_peer()).await.unwrap();
        info(&net, &identify, two.local_peer()).await;
    });
}

#[test]
fn new_protocols_and_addresses_are_pushed() {
    run(|net| async move {
        let (one, identify, _) = node(&net).await;
        let (two, _two, addr) = node(&net).await;
        one.connect(&addr).await.unwrap();
        let before = info(&net, &identify, two.local_peer()).await;
        net.sleep(MOMENT).await;

        let mut events = identify.events();
        two.set_stream_handler("/new/1", |_: Stream| async {});
        let info = pushed(&mut events, &two).await;
        assert!(info.supports("/new/1"));
        assert_eq!(info.listen_addrs, before.listen_addrs);

        two.remove_stream_handler("/new/1");
        let (listener, second) = two.listen("/memory/0".parse().unwrap()).await.unwrap();
        let info = pushed(&mut events, &two).await;
        assert!(!info.supports("/new/1"));
        assert!(info.listen_addrs.contains(&second));
        assert!(one.known_addresses(&two.local_peer()).contains(&second));
        let (old, new) = (seq(&before), seq(&info));
        assert!(new > old, "{new} {old}");

        assert!(two.stop_listening(listener));
        let info = pushed(&mut events, &two).await;
        assert_eq!(info.listen_addrs, before.listen_addrs);
        assert!(seq(&info) > new);
    });
}

#[test]
fn changes_that_come_together_are_pushed_once() {
    run(|net| async move {
        let (one, identify, _) = node(&net).await;
        let (two, _two, addr) = node(&net).await;
        one.connect(&addr).await.unwrap();
        info(&net, &identify, two.local_peer()).await;
        net.sleep(MOMENT).await;

        let mut events = identify.events();
        for _ in 0..1000 {
            two.set_stream_handler("/new/1", |_: Stream| async {});
            two.remove_stream_handler("/new/1");
        }
        two.set_stream_handler("/new/2", |_: Stream| async {});
        assert!(pushed(&mut events, &two).await.supports("/new/2"));
        net.sleep(MOMENT).await;
        assert!(futures::poll!(events.next().boxed()).is_pending());
    });
}

#[test]
fn what_changes_back_is_not_pushed() {
    run(|net| async move {
        let (one, identify, _) = node(&net).await;
        let (two, _two, addr) = node(&net).await;
        one.connect(&addr).await.unwrap();
        info(&net, &identify, two.local_peer()).await;
        net.sleep(MOMENT).await;
        let mut events = identify.events();
        two.set_stream_handler("/new/1", |_: Stream| async {});
        two.remove_stream_handler("/new/1");
        net.sleep(2 * MOMENT).await;
        assert!(futures::poll!(events.next().boxed()).is_pending());
    });
}

#[test]
fn those_who_do_not_know_push_are_left_alone() {
    run(|net| async move {
        let (remote, addr) = net.listener().await;
        let said = Message {
            protocols: vec![PROTOCOL.clone()],
            ..Message::default()
        };
        remote.set_stream_handler(&PROTOCOL, says(said.encode()));
        let (sender, mut received) = futures::channel::mpsc::channel(1);
        remote.set_stream_handler(&PUSH_PROTOCOL, move |_: Stream| {
            let mut sender = sender.clone();
            async move { drop(sender.try_send(())) }
        });
        let (host, identify, _) = node(&net).await;
        host.connect(&addr).await.unwrap();
        info(&net, &identify, remote.local_peer()).await;
        listen(&host).await;
        net.sleep(2 * MOMENT).await;
        assert!(futures::poll!(received.next()).is_pending());
    });
}

#[test]
fn a_push_changes_what_it_mentions() {
    run(|net| async move {
        let (host, identify, addr) = node(&net).await;
        let remote = net.host();
        let protocol = PROTOCOL.clone();
        let said = Message {
            agent_version: Some("a/1".into()),
            protocols: vec![protocol.clone()],
            ..Message::default()
        };
        remote.set_stream_handler(&PROTOCOL, says(said.encode()));
        remote.connect(&addr).await.unwrap();
        let peer = remote.local_peer();
        info(&net, &identify, peer).await;

        let mut events = identify.events();
        let change = Message {
            agent_version: Some("a/2".into()),
            ..Message::default()
        };
        push(&remote, host.local_peer(), &change.encode())
            .await
            .unwrap();
        let info = pushed(&mut events, &remote).await;
        assert_eq!(info.agent_version.as_deref(), Some("a/2"));
        assert_eq!(info.protocols, [protocol]);
        assert_eq!(
            identify.info(&peer).unwrap().agent_version,
            info.agent_version
        );
    });
}

#[test]
fn missed_events_are_made_up_for() {
    run(|net| async move {
        let mut config = HostConfig::default();
        config.event_capacity = 1;
        let host = net.host_with(config);
        let identify = Identify::spawn(&host, quick());
        let addr = listen(&host).await;
        let mut remotes = Vec::new();
        for _ in 0..20 {
            let remote = net.host();
            let service = Identify::spawn(&remote, quick());
            remotes.push((remote, service));
        }
        let dials = remotes.iter().map(|(remote, _)| remote.connect(&addr));
        futures::future::join_all(dials).await;
        for (remote, _) in &remotes {
            info(&net, &identify, remote.local_peer()).await;
        }
        for (remote, _) in &remotes {
            remote.disconnect(&host.local_peer());
        }
        let gone = |peer| identify.info(&peer).is_none();
        net.until(|| remotes.iter().all(|(remote, _)| gone(remote.local_peer())))
            .await;
    });
}

#[test]
fn a_slow_reader_of_events_is_told_what_it_missed() {
    run(|net| async move {
        let host = net.host();
        let mut config = quick();
        config.event_capacity = 2;
        let identify = Identify::spawn(&host, config);
        let mut events = identify.events();
        let (_remote, _service, addr) = node(&net).await;
        for _ in 0..6 {
            identify.identify(&addr).await.unwrap();
        }
        let event = events.next().await.unwrap();
        let missed = |missed| (4..=5).contains(&missed);
        assert!(matches!(event, IdentifyEvent::Lagged { missed: it } if missed(it)));
    });
}

#[test]
fn the_node_ends_with_its_last_handle_and_events_end_with_the_node() {
    run(|net| async move {
        let (listener, addr) = net.listener().await;
        let mut seen = listener.events();
        let host = net.host();
        let identify = Identify::spawn(&host, quick());
        host.connect(&addr).await.unwrap();
        let mut events = identify.events();
        drop((host, identify));
        while events.next().await.is_some() {}
        while !matches!(seen.next().await, Some(HostEvent::Disconnected { .. })) {}

        let (host, identify, _) = node(&net).await;
        let mut events = identify.events();
        host.close().await;
        assert!(events.next().await.is_none());
        assert!(identify.identify(&addr).await.is_err());
    });
}

#[test]
fn each_change_of_addresses_has_a_record_that_supersedes_the_last() {
    run(|net| async move {
        let (host, identify, _) = node(&net).await;
        let (remote, _remote, addr) = node(&net).await;
        host.connect(&addr).await.unwrap();
        let first = info(&net, &identify, remote.local_peer()).await;
        let mut last = seq(&first);
        for _ in 0..5 {
            listen(&remote).await;
            let info = identify.identify(&addr).await.unwrap();
            assert!(seq(&info) > last && info.rejected_record.is_none());
            last = seq(&info);
        }
    });
}

fn seq(info: &peerkit_identify::Info) -> u64 {
    info.signed_record.as_ref().unwrap().seq()
}

/// What the next push of a peer leads to.
async fn pushed(
    events: &mut peerkit_identify::IdentifyEvents,
    from: &peerkit_swarm::Host,
) -> Arc<peerkit_identify::Info> {
    loop {
        let event = next_about(events, from.local_peer()).await;
        if let IdentifyEvent::Pushed { info, .. } = event {
            return info;
        }
        assert!(
            matches!(event, IdentifyEvent::Identified { .. }),
            "{event:?}"
        );
    }
}
