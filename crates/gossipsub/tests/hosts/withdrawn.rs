//! What waits for a peer that does not want it any more.

use std::sync::Arc;

use peerkit_gossipsub::GossipsubConfig;
use peerkit_pubsub::{
    Control, Message, MessageIdFn, MessageSigner, Metrics, Rpc, SignaturePolicy, Topic,
};
use peerkit_testkit::{Net, run};

use crate::{
    memory::{Node, next},
    raw::Raw,
};

const MESSAGES: usize = 100;
const LEN: usize = 16 * 1024;

struct Scene {
    node: Node,
    /// Who does not read.
    slow: Raw,
    messages: Vec<Arc<Message>>,
}

/// A node that has messages waiting for a member of its mesh that does not read.
async fn scene(net: &Net) -> Scene {
    let publisher = Node::spawn(net, GossipsubConfig::default()).await;
    let node = Node::spawn(net, GossipsubConfig::default()).await;
    let _news = publisher.gossip.subscribe("news").await.unwrap();
    let mut inbox = node.gossip.subscribe("news").await.unwrap();
    publisher.join(net, &node).await;
    let mut slow = Raw::new(net, &node, "/meshsub/1.2.0").await;
    slow.join("news").await;
    let id = slow.host.local_peer();
    net.until(|| node.gossip.mesh_peers("news").contains(&id))
        .await;
    let mut messages = Vec::new();
    let policy = SignaturePolicy::StrictSign;
    let signer = MessageSigner::new(publisher.host.keypair(), policy, 1);
    for number in 0..MESSAGES {
        let data = vec![number as u8; LEN];
        messages.push(Arc::new(
            signer.message(&Topic::from("news"), &data).unwrap(),
        ));
    }
    let mut source = Raw::new(net, &node, "/meshsub/1.1.0").await;
    for message in &messages {
        let rpc = Rpc {
            messages: vec![message.clone()],
            ..Rpc::default()
        };
        source.send(&rpc).await;
        next(&mut inbox).await;
    }
    Scene {
        node,
        slow,
        messages,
    }
}

impl Scene {
    fn metrics(&self) -> Metrics {
        self.node.gossip.metrics()
    }
}

#[test]
fn a_refusal_empties_the_queue_of_a_peer_that_got_the_messages_elsewhere() {
    run(|net| async move {
        let mut scene = scene(&net).await;
        assert_eq!(scene.metrics().withdrawn, 0);
        let ids = MessageIdFn::default();
        let idontwant = scene.messages.iter().map(|it| ids.id(it)).collect();
        let control = Control {
            idontwant,
            ..Control::default()
        };
        scene.slow.control(control).await;
        // All but what has left the queue for the stream: its window, a portion that is being written.
        let least = (MESSAGES - 512 * 1024 / LEN) as u64;
        net.until(|| scene.metrics().withdrawn >= least).await;
        let metrics = scene.metrics();
        let topic = &metrics.topics.iter().find(|(it, _)| it.as_str() == "news");
        assert_eq!(topic.unwrap().1.withdrawn, metrics.withdrawn);
        assert_eq!(metrics.dropped.forwarded, 0);
    });
}

#[test]
fn a_copy_from_the_peer_itself_takes_back_the_one_that_waits_for_it() {
    run(|net| async move {
        let mut scene = scene(&net).await;
        for message in scene.messages.iter().rev().take(10) {
            let rpc = Rpc {
                messages: vec![message.clone()],
                ..Rpc::default()
            };
            scene.slow.send(&rpc).await;
        }
        net.until(|| scene.metrics().withdrawn == 10).await;
    });
}
