//! Peers that don't fit into a mesh and get to know another one.

use peerkit_gossipsub::{GossipsubConfig, PeerExchange};
use peerkit_identify::{Config, Identify};
use peerkit_pubsub::AddressScope;
use peerkit_testkit::{Net, run};

use crate::memory::Node;

/// A mesh of one.
fn crowded() -> GossipsubConfig {
    let mut config = GossipsubConfig::default();
    config.router.mesh_outbound = 0;
    config.router.mesh_low = 1;
    config.router.mesh_target = 1;
    config.router.mesh_high = 1;
    config.router.mesh_best = 1;
    config.router.peer_exchange = PeerExchange::FollowAndRecommend;
    config
}

fn following() -> GossipsubConfig {
    let mut config = GossipsubConfig::default();
    config.router.peer_exchange = PeerExchange::Follow;
    config.router.thresholds.accept_px = 0.0;
    config.pubsub.recommended_addresses = AddressScope::Any;
    config
}

async fn node(net: &Net, config: GossipsubConfig) -> (Node, Identify) {
    let node = Node::spawn(net, config).await;
    let identify = Identify::spawn(&node.host, Config::default());
    (node, identify)
}

#[test]
fn who_is_pruned_follows_a_signed_record_to_a_peer_that_it_did_not_know() {
    run(|net| async move {
        let (full, _one) = node(&net, crowded()).await;
        let (member, _two) = node(&net, GossipsubConfig::default()).await;
        let (newcomer, _three) = node(&net, following()).await;
        let _here = full.gossip.subscribe("news").await.unwrap();
        let _there = member.gossip.subscribe("news").await.unwrap();
        full.join(&net, &member).await;
        let suggested = member.host.local_peer();
        net.until(|| full.host.peer_record(&suggested).is_some())
            .await;

        let _new = newcomer.gossip.subscribe("news").await.unwrap();
        newcomer.host.connect(&full.addr).await.unwrap();
        net.until(|| newcomer.host.is_connected(&suggested)).await;
        assert_eq!(newcomer.gossip.router_metrics().counts.px_accepted, 1);
        net.until(|| newcomer.gossip.mesh_peers("news") == [suggested])
            .await;
    });
}

#[test]
fn a_recommendation_without_a_record_leads_nowhere() {
    run(|net| async move {
        let full = Node::spawn(&net, crowded()).await;
        let member = Node::spawn(&net, GossipsubConfig::default()).await;
        let newcomer = Node::spawn(&net, following()).await;
        let _here = full.gossip.subscribe("news").await.unwrap();
        let _there = member.gossip.subscribe("news").await.unwrap();
        full.join(&net, &member).await;
        let _new = newcomer.gossip.subscribe("news").await.unwrap();
        newcomer.host.connect(&full.addr).await.unwrap();
        let refused = || newcomer.gossip.router_metrics().counts.px_refused;
        net.until(|| refused() > 0).await;
        assert!(!newcomer.host.is_connected(&member.host.local_peer()));
    });
}
