//! Hosts with gossipsub in one process.

use peerkit_core::Multiaddr;
use peerkit_gossipsub::{Gossipsub, GossipsubConfig, GossipsubError, Version};
use peerkit_pubsub::{PubsubEvent, Received, SignaturePolicy, SpawnError, Subscription, Verdict};
use peerkit_swarm::Host;
use peerkit_testkit::{Net, run};

/// A host with gossipsub.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) gossip: Gossipsub,
    pub(crate) addr: Multiaddr,
}

impl Node {
    pub(crate) async fn spawn(net: &Net, config: GossipsubConfig) -> Self {
        let (host, addr) = net.listener().await;
        let gossip = Gossipsub::spawn(&host, config).unwrap();
        Self { host, gossip, addr }
    }

    /// Connects with another node that has joined the topic too, until each has the other in its mesh.
    pub(crate) async fn join(&self, net: &Net, other: &Self) {
        self.host.connect(&other.addr).await.unwrap();
        let (here, there) = (self.host.local_peer(), other.host.local_peer());
        net.until(|| {
            self.gossip.mesh_peers("news").contains(&there)
                && other.gossip.mesh_peers("news").contains(&here)
        })
        .await;
    }
}

pub(crate) async fn next(subscription: &mut Subscription) -> Received {
    subscription.next().await.unwrap().unwrap()
}

fn unsigned() -> GossipsubConfig {
    let mut config = GossipsubConfig::default();
    config.pubsub.signature_policy = SignaturePolicy::StrictNoSign;
    config
}

#[test]
fn a_hundred_messages_go_each_way_signed_and_unsigned() {
    for config in [GossipsubConfig::default(), unsigned()] {
        run(|net| async move {
            let (one, other) = (
                Node::spawn(&net, config.clone()).await,
                Node::spawn(&net, config).await,
            );
            let mut here = one.gossip.subscribe("news").await.unwrap();
            let mut there = other.gossip.subscribe("news").await.unwrap();
            one.join(&net, &other).await;
            assert_eq!(
                one.gossip.connected_peers(),
                [(other.host.local_peer(), Version::V1_3)]
            );
            for number in 0..100 {
                let report = one
                    .gossip
                    .publish("news", format!("a{number}"))
                    .await
                    .unwrap();
                assert_eq!(report.peers, 1);
                other
                    .gossip
                    .publish("news", format!("b{number}"))
                    .await
                    .unwrap();
            }
            for number in 0..100 {
                assert_eq!(next(&mut there).await.data, format!("a{number}"));
                assert_eq!(next(&mut here).await.data, format!("b{number}"));
            }
            let score = other.gossip.score(&one.host.local_peer()).unwrap();
            assert!(score.total > 10.0);
            let metrics = other.gossip.router_metrics();
            assert_eq!(metrics.counts.delivered, 100);
            assert_eq!(metrics.topics.len(), 1);
        });
    }
}

#[test]
fn messages_cross_the_node_in_the_middle() {
    run(|net| async move {
        let nodes = [
            Node::spawn(&net, GossipsubConfig::default()).await,
            Node::spawn(&net, GossipsubConfig::default()).await,
            Node::spawn(&net, GossipsubConfig::default()).await,
        ];
        let mut inboxes = Vec::new();
        for node in &nodes {
            inboxes.push(node.gossip.subscribe("news").await.unwrap());
        }
        nodes[0].join(&net, &nodes[1]).await;
        nodes[1].join(&net, &nodes[2]).await;
        nodes[0].gossip.publish("news", "across").await.unwrap();
        let received = next(&mut inboxes[2]).await;
        assert_eq!(received.from, Some(nodes[0].host.local_peer()));
        assert_eq!(received.source, nodes[1].host.local_peer());
        assert_eq!(next(&mut inboxes[1]).await.data, "across");
    });
}

#[test]
fn rejected_messages_cost_their_sender_its_place() {
    run(|net| async move {
        let (good, bad) = (
            Node::spawn(&net, GossipsubConfig::default()).await,
            Node::spawn(&net, GossipsubConfig::default()).await,
        );
        good.gossip
            .set_validator("news", |_: Received| async { Verdict::Reject });
        let _here = good.gossip.subscribe("news").await.unwrap();
        let _there = bad.gossip.subscribe("news").await.unwrap();
        good.join(&net, &bad).await;
        for number in 0..40 {
            // At last nobody is left to publish to: the mesh is gone, but the topic's peers are not.
            bad.gossip
                .publish("news", format!("{number}"))
                .await
                .unwrap();
        }
        let sender = bad.host.local_peer();
        net.until(|| {
            good.gossip
                .score(&sender)
                .is_some_and(|score| score.total < 0.0)
        })
        .await;
        net.until(|| good.gossip.mesh_peers("news").is_empty())
            .await;
        assert!(good.gossip.router_metrics().counts.rejected > 0);
    });
}

#[test]
fn who_leaves_is_out_of_the_mesh() {
    run(|net| async move {
        let (one, other) = (
            Node::spawn(&net, GossipsubConfig::default()).await,
            Node::spawn(&net, GossipsubConfig::default()).await,
        );
        let _here = one.gossip.subscribe("news").await.unwrap();
        let there = other.gossip.subscribe("news").await.unwrap();
        one.join(&net, &other).await;
        let mut events = one.gossip.events();
        drop(there);
        net.until(|| {
            one.gossip.mesh_peers("news").is_empty() && one.gossip.peers("news").is_empty()
        })
        .await;
        let left = async {
            loop {
                let event = futures::StreamExt::next(&mut events).await.unwrap();
                if matches!(event, PubsubEvent::Unsubscribed { .. }) {
                    break;
                }
            }
        };
        left.await;
    });
}

#[test]
fn it_runs_once_on_a_host_and_not_with_a_bad_configuration() {
    run(|net| async move {
        let node = Node::spawn(&net, GossipsubConfig::default()).await;
        let again = Gossipsub::spawn(&node.host, GossipsubConfig::default());
        assert!(matches!(
            again,
            Err(GossipsubError::Spawn(SpawnError::ProtocolTaken(_)))
        ));
        let (host, _) = net.listener().await;
        let mut config = GossipsubConfig::default();
        config.router.mesh_low = 100;
        assert!(matches!(
            Gossipsub::spawn(&host, config),
            Err(GossipsubError::Config(_))
        ));
    });
}
