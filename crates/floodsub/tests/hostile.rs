#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! What peers do that mean harm, or are broken.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    Node, next, node, node_with,
    raw::{Raw, Reading, frame, joining, publishing, unsigned},
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit_core::Keypair;
use peerkit_floodsub::FloodsubConfig;
use peerkit_pubsub::{
    DropReason, MessageSigner, PubsubEvent, Received, RejectReason, ReplayProtection,
    SignaturePolicy, Topic, Verdict, encode_rpc,
};
use peerkit_testkit::{Net, run};

/// Whether the remote has ended a stream.
async fn ended(stream: &mut peerkit_swarm::Stream) -> bool {
    matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_))
}

/// The node still works with this peer.
async fn assert_alive(node: &Node, raw: &Raw, seqno: u64) {
    let mut news = node.flood.subscribe("alive").await.unwrap();
    let message = raw.signed("alive", b"still here", seqno);
    raw.send_alone(node, &publishing(&[&message])).await;
    assert_eq!(next(&mut news).await.data, "still here");
    assert!(raw.host.is_connected(&node.host.local_peer()));
}

/// Attacks F03, G01, R39.
#[test]
fn a_flood_of_subscriptions_is_cut_off_and_forgotten() {
    run(|net| async move {
        let node = node(&net).await;
        let raw = Raw::new(&net, Reading::All).await;
        let mut body = Vec::new();
        for number in 0..87_000 {
            let topic = format!("{number:05}");
            body.extend_from_slice(&[0x0a, 9, 0x08, 1, 0x12, 5]);
            body.extend_from_slice(topic.as_bytes());
        }
        assert!(body.len() < 1024 * 1024);
        let mut stream = raw.stream(&node).await;
        for _ in 0..10 {
            stream.write_all(&frame(&body)).await.unwrap();
        }
        net.until(|| node.flood.metrics().skipped == 10 * 86_900)
            .await;
        let known = (0..87_000).filter(|it| !node.flood.peers(format!("{it:05}")).is_empty());
        assert_eq!(known.count(), 100);
        assert_alive(&node, &raw, 1).await;

        raw.host.close().await;
        net.until(|| node.flood.peers("00000").is_empty()).await;
        assert!((0..100).all(|it| node.flood.peers(format!("{it:05}")).is_empty()));
    });
}

#[test]
fn one_topic_after_the_other_does_not_get_around_the_limit() {
    run(|net| async move {
        let node = node(&net).await;
        let raw = Raw::new(&net, Reading::All).await;
        let mut stream = raw.stream(&node).await;
        for number in 0..1000 {
            let frame = encode_rpc(&joining(&number.to_string()));
            stream.write_all(&frame).await.unwrap();
        }
        net.until(|| node.flood.metrics().rpcs == 1000).await;
        let known = (0..1000).filter(|it| !node.flood.peers(it.to_string()).is_empty());
        assert_eq!(known.count(), 100);
    });
}

#[test]
fn garbage_ends_the_stream_and_not_the_connection() {
    run(|net| async move {
        let node = node(&net).await;
        let raw = Raw::new(&net, Reading::All).await;
        let mut events = node.flood.events();
        let garbage = [
            frame(&[0xff; 100]),
            frame(&[0x12, 0x7f]),
            vec![0xff; 11],
            // A mebibyte and one byte.
            vec![0x81, 0x80, 0x40],
            // 4 GiB.
            vec![0x80, 0x80, 0x80, 0x80, 0x10],
        ];
        for (at, garbage) in garbage.iter().enumerate() {
            let mut stream = raw.stream(&node).await;
            stream.write_all(garbage).await.unwrap();
            assert!(ended(&mut stream).await);
            assert_eq!(node.flood.metrics().bad_frames, at as u64 + 1);
        }
        let is_bad = |event: &PubsubEvent| matches!(event, PubsubEvent::BadFrame { .. });
        let mut bad = 0;
        while let Some(Some(event)) = events.next().now_or_never() {
            bad += usize::from(is_bad(&event));
        }
        assert_eq!(bad, garbage.len());
        assert_alive(&node, &raw, 1).await;
    });
}

#[test]
fn topics_that_are_no_text_or_too_long_are_left_out() {
    run(|net| async move {
        let node = node(&net).await;
        let raw = Raw::new(&net, Reading::All).await;
        let mut stream = raw.stream(&node).await;
        // A subscription and a message with a topic that is no UTF-8.
        let body = [
            0x0a, 6, 0x08, 1, 0x12, 2, 0xff, 0xfe, 0x12, 4, 0x22, 2, 0xff, 0xfe,
        ];
        stream.write_all(&frame(&body)).await.unwrap();
        stream
            .write_all(&encode_rpc(&joining(&"x".repeat(65_536))))
            .await
            .unwrap();
        // And empty frames and messages.
        stream.write_all(&[0, 0, 0, 2, 0x12, 0]).await.unwrap();
        net.until(|| node.flood.metrics().skipped == 4).await;
        assert!(node.flood.peers("x".repeat(65_536)).is_empty());
        assert_alive(&node, &raw, 1).await;
    });
}

/// Attacks F05, G10.
#[test]
fn forged_messages_are_rejected_and_hide_nothing() {
    run(|net| async move {
        let node = node(&net).await;
        let mut news = node.flood.subscribe("news").await.unwrap();
        let mut events = node.flood.events();
        let [raw, honest] = [
            Raw::new(&net, Reading::All).await,
            Raw::new(&net, Reading::All).await,
        ];
        let truth = honest.signed("news", b"true", 7);
        // The same author and number, with another text, with no signature, and with another author.
        let forged = [
            edited(&truth, |it| it.data = b"lies".as_slice().into()),
            edited(&truth, |it| it.signature = None),
            edited(&truth, |it| {
                it.from = Some(raw.host.local_peer().to_bytes().into())
            }),
            edited(&truth, |it| it.seqno = None),
            edited(&truth, |it| it.signature = Some(vec![0; 64].into())),
        ];
        for (at, forged) in forged.iter().enumerate() {
            raw.send_alone(&node, &publishing(&[forged])).await;
            net.until(|| node.flood.metrics().rejected == at as u64 + 1)
                .await;
        }
        honest.send_alone(&node, &publishing(&[&truth])).await;
        assert_eq!(next(&mut news).await.data, "true");
        let mut rejected = 0;
        while let Some(Some(event)) = events.next().now_or_never() {
            if let PubsubEvent::Rejected { source, reason, .. } = event {
                assert_eq!(source, raw.host.local_peer());
                assert!(matches!(reason, RejectReason::Invalid(_)));
                rejected += 1;
            }
        }
        assert_eq!(rejected, forged.len());
        assert_eq!(node.flood.metrics().topics[0].1.rejected, 5);
    });
}

/// Attack F02.
#[test]
fn the_same_number_with_other_data_is_the_same_message() {
    run(|net| async move {
        let node = node(&net).await;
        let mut news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let messages = [
            raw.signed("news", b"one", 7),
            raw.signed("news", b"other", 7),
        ];
        for (at, message) in messages.iter().enumerate() {
            raw.send_alone(&node, &publishing(&[message])).await;
            net.until(|| node.flood.metrics().topics[0].1.received == at as u64 + 1)
                .await;
        }
        assert_eq!(next(&mut news).await.data, "one");
        assert_eq!(node.flood.metrics().topics[0].1.duplicates(), 1);
        assert!(net.soon(news.next()).await.is_none());
    });
}

/// Attack G11.
#[test]
fn old_messages_that_come_back_are_told_by_their_numbers() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.seen_ttl = Duration::from_millis(50);
        config.pubsub.replay = ReplayProtection::HighestSeqno { authors_max: 10 };
        let node = node_with(&net, config).await;
        let mut news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let messages = [5, 9, 7, 9].map(|seqno| raw.signed("news", &[seqno as u8], seqno));
        for message in &messages {
            raw.send_alone(&node, &publishing(&[message])).await;
            net.sleep(Duration::from_millis(100)).await;
        }
        net.until(|| node.flood.metrics().topics[0].1.ignored == 2)
            .await;
        assert_eq!(next(&mut news).await.seqno, Some(5));
        assert_eq!(next(&mut news).await.seqno, Some(9));
        assert!(net.soon(news.next()).await.is_none());
    });
}

#[test]
fn a_forwarder_does_not_hear_its_own_messages_from_others() {
    run(|net| async move {
        let node = node(&net).await;
        let mut news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let policy = SignaturePolicy::StrictSign;
        let signer = MessageSigner::new(node.host.keypair(), policy, 1);
        let own = Arc::new(signer.message(&Topic::from("news"), b"mine").unwrap());
        raw.send_alone(&node, &publishing(&[&own])).await;
        assert!(net.soon(news.next()).await.is_none());
    });
}

#[test]
fn validators_accept_reject_ignore_and_may_take_their_time() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.validation.timeout = Duration::from_millis(200);
        let [a, c] = [node(&net).await, node(&net).await];
        let b = node_with(&net, config).await;
        a.connect(&b).await;
        b.connect(&c).await;
        let runtime = net.runtime.clone();
        b.flood.set_validator("news", move |message: Received| {
            let runtime = runtime.clone();
            async move {
                match &message.data[..] {
                    b"bad" => Verdict::Reject,
                    b"dull" => Verdict::Ignore,
                    b"slow" => {
                        let until = runtime.now() + Duration::from_millis(20);
                        peerkit_core::sleep_until(runtime.as_ref(), until).await;
                        Verdict::Accept
                    }
                    b"never" => std::future::pending().await,
                    b"panic" => panic!("a validator of the application has a bug"),
                    _ => Verdict::Accept,
                }
            }
        });
        let mut at_b = b.join("news", &[&a, &c]).await;
        let mut at_c = c.join("news", &[&b]).await;
        for text in ["bad", "dull", "never", "panic", "good", "slow"] {
            a.flood.publish("news", text).await.unwrap();
        }
        for subscription in [&mut at_b, &mut at_c] {
            let mut texts = [next(subscription).await.data, next(subscription).await.data];
            texts.sort();
            assert_eq!(texts, ["good", "slow"]);
        }
        net.until(|| b.flood.metrics().topics[0].1.ignored == 3)
            .await;
        let topic = b.flood.metrics().topics[0].1;
        assert_eq!((topic.rejected, topic.delivered), (1, 2));
        assert!(b.flood.remove_validator("news"));
        a.flood.publish("news", "bad").await.unwrap();
        assert_eq!(next(&mut at_c).await.data, "bad");
    });
}

#[test]
fn validations_are_limited_in_number_and_what_is_too_much_is_ignored() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.validation.concurrent_max = 4;
        config.pubsub.validation.waiting_max = 10;
        let node = node_with(&net, config).await;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (runtime, peak) = (net.runtime.clone(), most.clone());
        let all_came = Arc::new(AtomicBool::new(false));
        let go = all_came.clone();
        node.flood.set_validator("news", move |_: Received| {
            let (runtime, running, peak) = (runtime.clone(), running.clone(), peak.clone());
            let go = go.clone();
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while !go.load(Ordering::SeqCst) {
                    let soon = runtime.now() + Duration::from_millis(5);
                    peerkit_core::sleep_until(runtime.as_ref(), soon).await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Verdict::Accept
            }
        });
        let mut news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let messages: Vec<_> = (0..100)
            .map(|at| raw.signed("news", &[at as u8], at))
            .collect();
        let all: Vec<_> = messages.iter().collect();
        raw.send_alone(&node, &publishing(&all)).await;
        net.until(|| node.flood.metrics().validations_dropped == 86)
            .await;
        all_came.store(true, Ordering::SeqCst);
        for _ in 0..14 {
            next(&mut news).await;
        }
        assert!(net.soon(news.next()).await.is_none());
        assert_eq!(most.load(Ordering::SeqCst), 4);
        let metrics = node.flood.metrics();
        assert_eq!(
            (metrics.validations_dropped, metrics.topics[0].1.ignored),
            (86, 86)
        );
    });
}

/// Attack G16.
#[test]
fn a_frame_that_does_not_end_is_given_up() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.frame_timeout = Duration::from_millis(200);
        let node = node_with(&net, config).await;
        let raw = Raw::new(&net, Reading::All).await;
        for beginning in [&[0x90_u8][..], &[100, 1, 2, 3], &[0x80, 0x80, 0x20, 1]] {
            let mut stream = raw.stream(&node).await;
            stream.write_all(beginning).await.unwrap();
            assert!(ended(&mut stream).await);
        }
        // Silence between frames is fine, and so are frames that come byte by byte.
        let mut stream = raw.stream(&node).await;
        stream
            .write_all(&encode_rpc(&joining("one")))
            .await
            .unwrap();
        net.sleep(Duration::from_millis(400)).await;
        for byte in encode_rpc(&joining("two")) {
            stream.write_all(&[byte]).await.unwrap();
            net.sleep(Duration::from_millis(2)).await;
        }
        assert!(node.flood.wait_for_peers("two", 1).await);
    });
}

#[test]
fn a_peer_that_opens_many_streams_keeps_the_newest() {
    run(|net| async move {
        let node = node(&net).await;
        let raw = Raw::new(&net, Reading::All).await;
        let mut streams = Vec::new();
        for number in 0..100 {
            let mut stream = raw.stream(&node).await;
            let topic = number.to_string();
            stream
                .write_all(&encode_rpc(&joining(&topic)))
                .await
                .unwrap();
            assert!(node.flood.wait_for_peers(topic, 1).await);
            streams.push(stream);
        }
        for stream in &mut streams[..68] {
            assert!(ended(stream).await);
        }
        assert!(net.soon(streams[99].read(&mut [0])).await.is_none());
    });
}

/// Attack G14.
#[test]
fn a_peer_that_never_reads_costs_nobody_else() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.queue.own_bytes_max = 1024 * 1024;
        let reader = node(&net).await;
        let node = node_with(&net, config).await;
        node.connect(&reader).await;
        let mut news = reader.join("news", &[&node]).await;
        let data = vec![7; 16 * 1024];
        let alone = rate(&net, &node, &mut news, &data, 1000).await;

        let stuck = Raw::new(&net, Reading::Nothing).await;
        stuck.send_alone(&node, &joining("news")).await;
        assert!(node.flood.wait_for_peers("news", 2).await);
        // The queue fills first.
        rate(&net, &node, &mut news, &data, 200).await;
        let beside = rate(&net, &node, &mut news, &data, 1000).await;
        println!("alone {alone:.0}/s, beside a peer that never reads {beside:.0}/s");
        // Less than a tenth is lost; a machine that has other things to do as well is no exact clock.
        assert!(beside > alone / 2.0, "{alone} {beside}");

        let metrics = node.flood.metrics();
        assert!(metrics.dropped.own > 100, "{metrics:?}");
        assert_eq!(metrics.topics[0].1.dropped, metrics.dropped.own);
        let report = node.flood.publish("news", &data).await.unwrap();
        assert_eq!(
            report.dropped,
            [(stuck.host.local_peer(), DropReason::QueueFull)]
        );
        assert_eq!(report.peers, 1);
    });
}

/// Messages per second, all of which arrive.
async fn rate(
    net: &Net,
    node: &Node,
    news: &mut peerkit_pubsub::Subscription,
    data: &[u8],
    count: usize,
) -> f64 {
    let start: Instant = net.runtime.now();
    let publish = async {
        for _ in 0..count {
            node.flood.publish("news", data).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..count {
            next(news).await;
        }
    };
    futures::join!(publish, read);
    count as f64 / (net.runtime.now() - start).as_secs_f64()
}

#[test]
fn a_stream_that_takes_nothing_is_reset_and_opened_again() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.write_timeout = Duration::from_millis(200);
        config.pubsub.reopen_backoff_min = Duration::from_millis(50);
        let node = node_with(&net, config).await;
        let stuck = Raw::new(&net, Reading::Nothing).await;
        let mut stream = stuck.stream(&node).await;
        for topic in ["news", "olds"] {
            stream
                .write_all(&encode_rpc(&joining(topic)))
                .await
                .unwrap();
        }
        assert!(node.flood.wait_for_peers("olds", 1).await);
        for _ in 0..20 {
            let _ = node.flood.publish("news", vec![0; 65_536]).await;
        }
        net.until(|| peerkit_core::lock(&stuck.heard).streams >= 3)
            .await;
        assert_eq!(node.flood.peers("news").len(), 1);
    });
}

#[test]
fn publishing_to_peers_that_all_stand_still_ends_after_a_while() {
    run(|net| async move {
        let mut config = FloodsubConfig::default();
        config.pubsub.queue.publish_timeout = Duration::from_millis(300);
        config.pubsub.queue.own_bytes_max = 256 * 1024;
        let node = node_with(&net, config).await;
        let stuck = Raw::new(&net, Reading::Nothing).await;
        stuck.send_alone(&node, &joining("news")).await;
        assert!(node.flood.wait_for_peers("news", 1).await);
        let start = net.runtime.now();
        let mut dropped = 0;
        for _ in 0..200 {
            let report = node.flood.publish("news", vec![0; 65_536]).await.unwrap();
            dropped += report.dropped.len();
            assert_eq!(report.peers + report.dropped.len(), 1);
        }
        let elapsed = net.runtime.now() - start;
        assert!(dropped > 150, "{dropped}");
        assert!(elapsed >= Duration::from_millis(290), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    });
}

/// Attack R41.
#[test]
fn a_key_of_somebody_else_proves_nothing() {
    run(|net| async move {
        let node = node(&net).await;
        let _news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let (victim, attacker) = (Keypair::generate_ecdsa(), Keypair::generate_ecdsa());
        let signer = MessageSigner::new(&attacker, SignaturePolicy::StrictSign, 1);
        let message = signer.message(&Topic::from("news"), b"lies").unwrap();
        let forged = edited(&message, |it| {
            it.from = Some(victim.public().to_peer_id().to_bytes().into());
        });
        raw.send_alone(&node, &publishing(&[&forged])).await;
        net.until(|| node.flood.metrics().rejected == 1).await;
    });
}

#[test]
fn a_strict_node_rejects_unsigned_messages_of_any_form() {
    run(|net| async move {
        let node = node(&net).await;
        let _news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::All).await;
        let from = raw.host.local_peer().to_bytes();
        let forms = [
            unsigned(&from, &[1; 8], "news", b""),
            unsigned(&from, &[1; 20], "news", b""),
            unsigned(b"", b"", "news", b""),
            unsigned(&[0xff; 200], &[1; 8], "news", b""),
        ];
        for (at, form) in forms.iter().enumerate() {
            raw.send_alone(&node, &publishing(&[form])).await;
            net.until(|| node.flood.metrics().rejected == at as u64 + 1)
                .await;
        }
        assert_alive(&node, &raw, 1).await;
    });
}

/// A message written anew with other content.
fn edited(
    message: &peerkit_pubsub::Message,
    edit: impl FnOnce(&mut peerkit_pubsub::Message),
) -> Arc<peerkit_pubsub::Message> {
    let mut message = message.clone();
    edit(&mut message);
    let fields = [
        (0x0a, message.from.as_deref()),
        (0x12, Some(&message.data[..])),
        (0x1a, message.seqno.as_deref()),
        (0x22, Some(message.topic.as_str().as_bytes())),
        (0x2a, message.signature.as_deref()),
        (0x32, message.key.as_deref()),
    ];
    let mut encoded = Vec::new();
    for (tag, content) in fields {
        if let Some(content) = content {
            encoded.push(tag);
            encoded.extend_from_slice(&frame(content));
        }
    }
    message.encoded = encoded.into();
    Arc::new(message)
}
