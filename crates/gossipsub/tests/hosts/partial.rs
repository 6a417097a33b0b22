//! Messages in parts.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use bytes::Bytes;
use peerkit_gossipsub::{GossipsubConfig, PartialMessage, PartialMode, Parts};
use peerkit_pubsub::PubsubEvent;
use peerkit_testkit::{Net, run};

use crate::memory::Node;

/// Each bit is a part, and says of itself whether it is there.
#[derive(Clone, Default)]
struct Bits(Arc<AtomicU8>);

impl Bits {
    fn with(parts: u8) -> Self {
        Self(Arc::new(AtomicU8::new(parts)))
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

impl PartialMessage for Bits {
    fn metadata(&self) -> Bytes {
        vec![self.get()].into()
    }

    fn parts_for(&self, known: Option<&[u8]>) -> Option<Parts> {
        let known = *known?.first()?;
        let lacking = self.get() & !known;
        (lacking > 0).then(|| Parts {
            encoded: vec![lacking].into(),
            known: vec![known | lacking].into(),
        })
    }
}

fn config(mode: PartialMode) -> GossipsubConfig {
    let mut config = GossipsubConfig::default();
    config.router.partial.topics.insert("news".into(), mode);
    config
}

/// Takes parts, and passes on what is new; returns a counter of parts that came in vain.
fn exchange(node: &Node, bits: &Bits) -> Arc<AtomicUsize> {
    let in_vain = Arc::new(AtomicUsize::new(0));
    let (gossip, bits, counter) = (node.gossip.clone(), bits.clone(), in_vain.clone());
    let mut events = gossip.events();
    node.host.spawn(async move {
        while let Some(event) = events.next().await {
            let PubsubEvent::Partial { partial, .. } = event else {
                continue;
            };
            if let Some(parts) = &partial.message {
                let before = bits.0.fetch_or(parts[0], Ordering::SeqCst);
                counter.fetch_add(usize::from(before & parts[0] != 0), Ordering::SeqCst);
            }
            gossip
                .publish_partial("news", partial.group, &bits)
                .unwrap();
        }
    });
    in_vain
}

#[test]
fn two_hosts_complete_each_others_message() {
    run(|net: Net| async move {
        let (one, other) = (
            Node::spawn(&net, config(PartialMode::Requests)).await,
            Node::spawn(&net, config(PartialMode::Requests)).await,
        );
        let _here = one.gossip.subscribe("news").await.unwrap();
        let _there = other.gossip.subscribe("news").await.unwrap();
        let (left, right) = (Bits::with(0b0000_1111), Bits::with(0b1111_1100));
        let in_vain = [exchange(&one, &left), exchange(&other, &right)];
        one.join(&net, &other).await;
        net.until(|| {
            let sent = one.gossip.publish_partial("news", "block 1", &left);
            sent.is_ok()
        })
        .await;
        net.until(|| left.get() == 0xff && right.get() == 0xff)
            .await;
        assert!(in_vain.iter().all(|it| it.load(Ordering::SeqCst) == 0));
        let counts = other.gossip.router_metrics().counts;
        assert_eq!(counts.partials_refused, 0);
        // Each got what it lacked at one go; the rest is metadata, and no more than a few.
        assert!((1..=4).contains(&counts.partials_received), "{counts:?}");
    });
}

#[test]
fn who_wants_whole_messages_still_gets_them() {
    run(|net: Net| async move {
        let one = Node::spawn(&net, config(PartialMode::Requests)).await;
        let other = Node::spawn(&net, GossipsubConfig::default()).await;
        let _here = one.gossip.subscribe("news").await.unwrap();
        let mut there = other.gossip.subscribe("news").await.unwrap();
        one.join(&net, &other).await;
        one.gossip.publish("news", "whole").await.unwrap();
        assert_eq!(crate::memory::next(&mut there).await.data, "whole");
        let refused = one
            .gossip
            .publish_partial("news", "block 1", &Bits::default());
        assert_eq!(refused, Err(peerkit_gossipsub::PartialRefused::NoPeers));
    });
}
