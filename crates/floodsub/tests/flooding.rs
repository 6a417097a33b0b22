#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! What honest peers do.

mod common;

use std::time::Duration;

use common::{
    next, node, node_with,
    raw::{Raw, Reading, joining, publishing, unsigned},
};
use futures::FutureExt;
use peerkit_floodsub::{Floodsub, FloodsubConfig};
use peerkit_pubsub::{Lagged, PublishError, PubsubEvent, SignaturePolicy, SpawnError};
use peerkit_testkit::run;

fn policy(policy: SignaturePolicy) -> FloodsubConfig {
    let mut config = FloodsubConfig::default();
    config.pubsub.signature_policy = policy;
    config
}

#[test]
fn a_message_crosses_a_line_of_three() {
    run(|net| async move {
        let [a, b, c] = [node(&net).await, node(&net).await, node(&net).await];
        a.connect(&b).await;
        b.connect(&c).await;
        let mut at_b = b.join("news", &[&a, &c]).await;
        let mut at_c = c.join("news", &[&b]).await;
        for number in 0..100_u32 {
            let report = a.flood.publish("news", number.to_be_bytes()).await.unwrap();
            assert_eq!((report.peers, &report.dropped[..]), (1, &[][..]));
        }
        for number in 0..100_u32 {
            for (subscription, source) in [(&mut at_b, &a), (&mut at_c, &b)] {
                let message = next(subscription).await;
                assert_eq!(message.data, number.to_be_bytes()[..]);
                assert_eq!(message.from, Some(a.host.local_peer()));
                assert_eq!(message.source, source.host.local_peer());
                assert!(message.signed);
            }
        }
        let topic = b.flood.metrics().topics[0].1;
        assert_eq!((topic.received, topic.new), (100, 100));
        assert_eq!((topic.delivered, topic.sent), (100, 100));
    });
}

/// Attack F01.
#[test]
fn in_a_triangle_each_message_is_delivered_once() {
    run(|net| async move {
        let nodes = [node(&net).await, node(&net).await, node(&net).await];
        for [from, to] in [[0, 1], [1, 2], [2, 0]] {
            nodes[from].connect(&nodes[to]).await;
        }
        let mut subscriptions = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let others: Vec<_> = (0..3).filter(|it| *it != at).map(|it| &nodes[it]).collect();
            subscriptions.push(node.join("news", &others).await);
        }
        for number in 0..50_u32 {
            let sender = &nodes[number as usize % 3];
            let report = sender
                .flood
                .publish("news", number.to_be_bytes())
                .await
                .unwrap();
            assert_eq!(report.peers, 2);
        }
        for (at, subscription) in subscriptions.iter_mut().enumerate() {
            let mut numbers: Vec<_> = Vec::new();
            let expected: Vec<_> = (0..50_u32).filter(|it| *it as usize % 3 != at).collect();
            for _ in &expected {
                let data = next(subscription).await.data;
                numbers.push(u32::from_be_bytes(data[..].try_into().unwrap()));
            }
            numbers.sort_unstable();
            assert_eq!(numbers, expected);
        }
        net.sleep(Duration::from_millis(100)).await;
        for subscription in &mut subscriptions {
            assert!(subscription.next().now_or_never().is_none());
        }
    });
}

#[test]
fn who_drops_the_last_subscription_leaves_the_topic() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        a.connect(&b).await;
        let mut events = a.flood.events();
        let first = b.join("news", &[&a]).await;
        let mut second = b.flood.subscribe("news").await.unwrap();
        drop(first);
        a.flood.publish("news", "still there").await.unwrap();
        assert_eq!(next(&mut second).await.data, "still there");
        assert_eq!(b.flood.topics(), ["news".into()]);
        drop(second);
        net.until(|| a.flood.peers("news").is_empty()).await;
        let refused = a.flood.publish("news", "anybody?").await.unwrap_err();
        assert_eq!(refused, PublishError::NoPeers);
        assert!(b.flood.topics().is_empty());
        let mut seen = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            if let PubsubEvent::Subscribed { topic, .. } = &event {
                seen.push(format!("joined {topic}"));
            } else if let PubsubEvent::Unsubscribed { topic, .. } = &event {
                seen.push(format!("left {topic}"));
            }
        }
        assert!(seen == ["joined news", "left news"], "{seen:?}");
    });
}

#[test]
fn topics_joined_before_and_after_connecting_are_told() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        let _early = b.flood.subscribe("early").await.unwrap();
        a.connect(&b).await;
        assert!(a.flood.wait_for_peers("early", 1).await);
        let _late = b.flood.subscribe("late").await.unwrap();
        assert!(a.flood.wait_for_peers("late", 1).await);
        b.host.close().await;
        net.until(|| a.flood.peers("early").is_empty() && a.flood.peers("late").is_empty())
            .await;
        assert_eq!(a.flood.metrics().peers, 0);
    });
}

#[test]
fn more_topics_than_fit_one_frame_are_told_in_several() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        let mut held = Vec::new();
        for number in 0..100 {
            let topic = format!("{number}-{}", "x".repeat(900));
            held.push(b.flood.subscribe(topic).await.unwrap());
        }
        a.connect(&b).await;
        for subscription in &held {
            assert!(a.flood.wait_for_peers(subscription.topic(), 1).await);
        }
    });
}

#[test]
fn unsigned_messages_pass_where_nobody_signs() {
    run(|net| async move {
        let a = node_with(&net, policy(SignaturePolicy::StrictNoSign)).await;
        let b = node_with(&net, policy(SignaturePolicy::StrictNoSign)).await;
        a.connect(&b).await;
        let mut news = b.join("news", &[&a]).await;
        a.flood.publish("news", "hello").await.unwrap();
        let message = next(&mut news).await;
        assert_eq!(
            (message.from, message.seqno, message.signed),
            (None, None, false)
        );
        let again = a.flood.publish("news", "hello").await.unwrap_err();
        assert_eq!(again, PublishError::Duplicate);
    });
}

#[test]
fn each_policy_accepts_what_it_should() {
    use SignaturePolicy::{LaxNoSign, LaxSign, StrictNoSign, StrictSign};
    let all = [StrictSign, StrictNoSign, LaxSign, LaxNoSign];
    let signs = |policy| matches!(policy, StrictSign | LaxSign);
    run(|net| async move {
        for sender in all {
            for receiver in all {
                let a = node_with(&net, policy(sender)).await;
                let b = node_with(&net, policy(receiver)).await;
                a.connect(&b).await;
                let mut news = b.join("news", &[&a]).await;
                let mut events = b.flood.events();
                a.flood.publish("news", "hello").await.unwrap();
                let accepts = match receiver {
                    StrictSign => signs(sender),
                    StrictNoSign => !signs(sender),
                    LaxSign | LaxNoSign => true,
                };
                if accepts {
                    assert_eq!(next(&mut news).await.signed, signs(sender));
                } else {
                    let rejected = events.next().await.unwrap();
                    assert!(
                        matches!(rejected, PubsubEvent::Rejected { .. }),
                        "{rejected:?}"
                    );
                    assert_eq!(b.flood.metrics().rejected, 1);
                }
                a.host.close().await;
                b.host.close().await;
            }
        }
    });
}

#[test]
fn who_reads_too_slowly_is_told_how_much_was_missed() {
    run(|net| async move {
        let a = node(&net).await;
        let mut config = FloodsubConfig::default();
        config.pubsub.subscription_capacity = 10;
        let b = node_with(&net, config).await;
        a.connect(&b).await;
        let mut news = b.join("news", &[&a]).await;
        for number in 0..100_u8 {
            a.flood.publish("news", [number]).await.unwrap();
        }
        net.until(|| b.flood.metrics().topics[0].1.delivered == 100)
            .await;
        assert_eq!(news.next().await, Some(Err(Lagged { missed: 90 })));
        for number in 90..100_u8 {
            assert_eq!(next(&mut news).await.data[..], [number]);
        }
        assert_eq!(b.flood.metrics().topics[0].1.lagged, 90);
    });
}

/// Attack F04.
#[test]
fn messages_of_every_size_up_to_the_limit_arrive() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        a.connect(&b).await;
        let mut news = b.join("news", &[&a]).await;
        let limit = 1024 * 1024 - 1200;
        for size in [0, 1, 127, 128, 2000, 8191, 65_536, 300_000, limit] {
            let data = vec![size as u8; size];
            a.flood.publish("news", &data).await.unwrap();
            assert_eq!(next(&mut news).await.data, data);
        }
        let refused = a
            .flood
            .publish("news", vec![0; 1024 * 1024])
            .await
            .unwrap_err();
        assert!(
            matches!(refused, PublishError::TooLarge { max: 1_048_576, .. }),
            "{refused}"
        );
        let refused = a.flood.publish("x".repeat(1025), "").await.unwrap_err();
        assert_eq!(
            refused,
            PublishError::TopicTooLong {
                len: 1025,
                max: 1024
            }
        );
    });
}

#[test]
fn what_was_published_arrives_when_the_node_closes_in_good_order() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        a.connect(&b).await;
        let mut news = b.join("news", &[&a]).await;
        for number in 0..500_u32 {
            a.flood.publish("news", number.to_be_bytes()).await.unwrap();
        }
        a.flood.flush().await;
        a.flood.close(Duration::from_secs(10)).await;
        a.host.close().await;
        for number in 0..500_u32 {
            assert_eq!(next(&mut news).await.data, number.to_be_bytes()[..]);
        }
    });
}

#[test]
fn a_peer_that_comes_back_hears_and_is_heard_again() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        let mut news = b.flood.subscribe("news").await.unwrap();
        for round in 0..5_u8 {
            a.connect(&b).await;
            a.flood.wait_for_peers("news", 1).await;
            a.flood.publish("news", [round]).await.unwrap();
            assert_eq!(next(&mut news).await.data[..], [round]);
            a.host.disconnect(&b.host.local_peer());
            net.until(|| a.flood.peers("news").is_empty()).await;
        }
    });
}

/// Attack G18.
#[test]
fn connections_that_cross_do_no_harm() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        let mut news = b.flood.subscribe("news").await.unwrap();
        futures::join!(a.connect(&b), b.connect(&a));
        a.flood.wait_for_peers("news", 1).await;
        for number in 0..200_u8 {
            a.flood.publish("news", [number]).await.unwrap();
            net.sleep(Duration::from_millis(1)).await;
        }
        // While the newer connection takes over, messages may overtake each other.
        let mut numbers = Vec::new();
        for _ in 0..200 {
            numbers.push(next(&mut news).await.data[0]);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..200).collect::<Vec<u8>>());
    });
}

#[test]
fn everything_ends_with_the_host() {
    run(|net| async move {
        let [a, b] = [node(&net).await, node(&net).await];
        a.connect(&b).await;
        let mut news = b.join("news", &[&a]).await;
        let mut events = b.flood.events();
        b.host.close().await;
        assert!(news.next().await.is_none());
        while events.next().await.is_some() {}
        assert!(!b.flood.wait_for_peers("news", 1).await);
        assert_eq!(b.flood.publish("news", "").await, Err(PublishError::Closed));
        assert!(b.flood.subscribe("news").await.is_err());
        b.flood.flush().await;
        let refused = Floodsub::spawn(&b.host, FloodsubConfig::default()).unwrap_err();
        assert_eq!(refused, SpawnError::Closed);
        let refused = Floodsub::spawn(&a.host, FloodsubConfig::default()).unwrap_err();
        assert!(matches!(refused, SpawnError::ProtocolTaken(_)), "{refused}");
    });
}

#[test]
fn a_peer_that_opens_a_stream_for_each_message_is_heard() {
    run(|net| async move {
        let node = node_with(&net, FloodsubConfig::default()).await;
        let mut news = node.flood.subscribe("news").await.unwrap();
        let raw = Raw::new(&net, Reading::OneFrame).await;
        let from = raw.host.local_peer().to_bytes();
        for number in 0..100_u8 {
            let message = unsigned(&from, &[number; 20], "news", &[number]);
            raw.send_alone(&node, &publishing(&[&message])).await;
        }
        for _ in 0..100 {
            let message = next(&mut news).await;
            assert_eq!(message.from, Some(raw.host.local_peer()));
            assert_eq!((message.seqno, message.signed), (None, false));
        }
    });
}

#[test]
fn a_peer_that_reads_one_frame_of_each_stream_hears_all() {
    run(|net| async move {
        let node = node(&net).await;
        let _topics = node.flood.subscribe("other").await.unwrap();
        let raw = Raw::new(&net, Reading::OneFrame).await;
        raw.send_alone(&node, &joining("news")).await;
        node.flood.wait_for_peers("news", 1).await;
        for number in 0..100_u8 {
            let report = node.flood.publish("news", [number; 100]).await.unwrap();
            assert_eq!(report.peers, 1);
        }
        // What is sent again may come twice.
        let heard = |number: u8| raw.messages().iter().any(|it| it[..] == [number; 100]);
        net.until(|| (0..100).all(heard)).await;
        // One after the other, too.
        for number in 100..110_u8 {
            node.flood.publish("news", [number; 100]).await.unwrap();
            net.until(|| heard(number)).await;
        }
    });
}
