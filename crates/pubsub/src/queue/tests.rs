use bytes::Bytes;

use super::*;
use crate::{
    Partial, Prune, Topic,
    codec::{FrameEncoder, WriteBuffer},
};

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as a beginning"
)]
fn start() -> Instant {
    Instant::now()
}

fn queue(now: Instant) -> PeerQueue {
    PeerQueue::new(
        QueueLimits {
            own_messages_max: 4,
            forwarded_messages_max: 4,
            ids_max: 10,
            partials_max: 2,
            ..QueueLimits::default()
        },
        now,
    )
}

fn message(text: &'static str) -> (MessageId, Arc<Message>) {
    let signer = crate::MessageSigner::new(
        &peerkit_core::Keypair::generate_ed25519(),
        crate::SignaturePolicy::StrictNoSign,
        0,
    );
    let message = signer.message(&Topic::from("news"), text.as_bytes());
    (
        MessageId::copy_from_slice(text.as_bytes()),
        Arc::new(message.unwrap()),
    )
}

fn own(text: &'static str) -> Outgoing {
    let (id, message) = message(text);
    Outgoing::Publish(id, message)
}

fn forward(text: &'static str) -> Outgoing {
    let (id, message) = message(text);
    Outgoing::Forward(id, message)
}

fn change(topic: &str, subscribe: bool) -> SubscriptionChange {
    SubscriptionChange {
        subscribe,
        topic: Topic::from(topic),
        requests_partial: false,
        supports_sending_partial: false,
    }
}

fn graft(topic: &str) -> Outgoing {
    Outgoing::Control(Control {
        graft: vec![Topic::from(topic)],
        ..Control::default()
    })
}

fn prune(topic: &str, backoff: u64) -> Outgoing {
    Outgoing::Control(Control {
        prune: vec![Prune {
            topic: Topic::from(topic),
            peers: Vec::new(),
            backoff: Some(backoff),
        }],
        ..Control::default()
    })
}

fn ids(count: u8) -> Control {
    Control {
        idontwant: (0..count)
            .map(|it| MessageId::copy_from_slice(&[it]))
            .collect(),
        ..Control::default()
    }
}

/// Adds something; returns what is lost.
fn push(queue: &PeerQueue, item: Outgoing, now: Instant) -> Vec<Outgoing> {
    let mut lost = Vec::new();
    match queue.push(item, now, &mut lost) {
        Pushed::Taken(_) => {}
        Pushed::Full(id, message) => lost.push(Outgoing::Publish(id, message)),
        Pushed::Dropped(item) => lost.push(item),
    }
    lost
}

/// Everything that waits, as the peer gets it, and what has waited too long.
fn fill(queue: &PeerQueue, now: Instant) -> (Vec<crate::Rpc>, usize) {
    let limits = QueueLimits::default();
    let mut encoder = FrameEncoder::new(limits.frame_len, limits.frame_subscriptions_max);
    let (mut out, mut lost) = (WriteBuffer::default(), Vec::new());
    let mut filling = Filling {
        portion: Portion::Frames { bytes: 1 << 20 },
        encoder: &mut encoder,
        out: &mut out,
        lost: &mut lost,
        log: None,
        ahead: false,
    };
    queue.fill(&mut filling, now, Waker::noop());
    let mut frames = crate::FrameDecoder::new(1 << 20);
    let mut decoder = crate::RpcDecoder::new(crate::DecodeLimits::default());
    let mut rpcs = Vec::new();
    while !out.is_empty() {
        let mut chunk = out.chunk();
        while let Some(frame) = frames.decode(&mut chunk).unwrap() {
            rpcs.push(decoder.decode(&frame).unwrap().rpc);
        }
        out.advance(out.chunk().len());
    }
    (rpcs, lost.len())
}

#[test]
fn the_last_word_on_a_topic_and_a_mesh_counts() {
    let now = start();
    let queue = queue(now);
    let hello = vec![change("a", true), change("b", true)];
    push(&queue, Outgoing::Hello(hello, None), now);
    for _ in 0..1000 {
        push(
            &queue,
            Outgoing::Subscriptions(vec![change("c", true)]),
            now,
        );
        push(
            &queue,
            Outgoing::Subscriptions(vec![change("c", false)]),
            now,
        );
        for item in [
            graft("a"),
            prune("a", 60),
            graft("b"),
            prune("b", 1),
            graft("b"),
        ] {
            assert!(push(&queue, item, now).is_empty());
        }
    }
    let (rpcs, _) = fill(&queue, now);
    let [rpc] = &rpcs[..] else { panic!("{rpcs:?}") };
    let topics: Vec<_> = rpc
        .subscriptions
        .iter()
        .map(|it| (it.topic.as_str(), it.subscribe))
        .collect();
    assert_eq!(topics, [("a", true), ("b", true), ("c", false)]);
    assert_eq!(rpc.control.graft, [Topic::from("b")]);
    let pruned: Vec<_> = rpc
        .control
        .prune
        .iter()
        .map(|it| (it.topic.as_str(), it.backoff))
        .collect();
    assert_eq!(pruned, [("a", Some(60))]);
    // On a new stream the peer is told what holds now.
    queue.restart();
    let topics: Vec<_> = fill(&queue, now).0[0].subscriptions.clone();
    assert_eq!(topics, [change("a", true), change("b", true)]);
}

#[test]
fn a_refusal_leaves_ahead_of_the_messages_that_wait() {
    let now = start();
    let queue = queue(now);
    push(&queue, forward("large"), now);
    push(&queue, Outgoing::Control(ids(1)), now);
    let first = fill(&queue, now).0;
    assert_eq!(first[0].control.idontwant.len(), 1);
    assert!(first[0].messages.is_empty());
    assert_eq!(fill(&queue, now).0[0].messages.len(), 1);
    // Nothing else is held up by control messages.
    push(&queue, forward("large"), now);
    push(&queue, graft("a"), now);
    let both = fill(&queue, now).0;
    assert_eq!(
        (both[0].control.graft.len(), both[0].messages.len()),
        (1, 1)
    );
}

#[test]
fn own_messages_wait_for_half_of_the_room_and_others_are_dropped() {
    let now = start();
    let queue = queue(now);
    for text in ["1", "22", "333", "4444"] {
        assert!(push(&queue, own(text), now).is_empty());
        assert!(push(&queue, forward(text), now).is_empty());
    }
    let mut lost = Vec::new();
    let refused = queue.push(own("5"), now, &mut lost);
    assert!(matches!(refused, Pushed::Full(..)), "{refused:?}");
    assert_eq!(push(&queue, forward("5"), now), [forward("5")]);
    let state = lock(&queue.state);
    assert_eq!((state.own.bytes, state.forwarded.bytes), (42, 42));
}

#[test]
fn what_has_waited_too_long_is_dropped() {
    let now = start();
    let queue = queue(now);
    push(&queue, own("1"), now);
    push(&queue, forward("1"), now);
    let later = now + Duration::from_secs(5);
    assert_eq!(push(&queue, forward("2"), later), [forward("1")]);
    assert_eq!(fill(&queue, later).1, 0);
    push(&queue, forward("3"), later);
    assert_eq!(fill(&queue, later + Duration::from_secs(5)).1, 1);
    push(&queue, own("2"), later);
    assert_eq!(fill(&queue, later + Duration::from_secs(10)).1, 1);
}

#[test]
fn a_forwarded_message_is_withdrawn_and_leaves_its_room() {
    let now = start();
    let queue = queue(now);
    push(&queue, own("1"), now);
    for text in ["1", "2", "3", "4"] {
        push(&queue, forward(text), now);
    }
    let id = |text: &str| MessageId::copy_from_slice(text.as_bytes());
    assert_eq!(queue.withdraw(&id("2")).unwrap().data, "2");
    assert_eq!(queue.withdraw(&id("2")), None);
    assert!(push(&queue, forward("5"), now).is_empty());
    let texts: Vec<_> = fill(&queue, now)
        .0
        .iter()
        .flat_map(|rpc| rpc.messages.iter().map(|it| it.data.clone()))
        .collect();
    // This node's own message stays.
    assert_eq!(texts, ["1", "1", "3", "4", "5"]);
    assert_eq!(lock(&queue.state).forwarded.bytes, 0);
}

#[test]
fn a_queue_that_stands_still_is_not_waited_for() {
    let now = start();
    let queue = queue(now);
    for text in ["1", "2", "3", "4"] {
        push(&queue, own(text), now);
    }
    queue.set_blocked(Some(now));
    let mut lost = Vec::new();
    let soon = queue.push(own("5"), now + Duration::from_secs(4), &mut lost);
    assert!(matches!(soon, Pushed::Full(..)));
    let later = queue.push(own("5"), now + Duration::from_secs(5), &mut lost);
    assert!(matches!(later, Pushed::Dropped(_)));
}

#[test]
fn ids_gossip_and_parts_are_bounded() {
    let now = start();
    let queue = queue(now);
    assert!(push(&queue, Outgoing::Control(ids(8)), now).is_empty());
    let rest = push(&queue, Outgoing::Control(ids(8)), now);
    assert!(matches!(&rest[..], [Outgoing::Control(it)] if it.idontwant.len() == 6));
    let lost: usize = (0..100)
        .map(|_| push(&queue, Outgoing::Gossip(ids(4)), now).len())
        .sum();
    assert_eq!(lost, 98);
    let partial = || {
        Outgoing::Partial(Partial {
            topic: Topic::from("news"),
            group: Bytes::new(),
            message: None,
            metadata: None,
        })
    };
    let lost: usize = (0..100).map(|_| push(&queue, partial(), now).len()).sum();
    assert_eq!(lost, 98);
}

#[test]
fn a_closed_queue_takes_nothing() {
    let now = start();
    let queue = queue(now);
    push(&queue, own("1"), now);
    queue.close();
    assert_eq!(push(&queue, own("2"), now), [own("2")]);
    assert!(fill(&queue, now).0.is_empty());
}
