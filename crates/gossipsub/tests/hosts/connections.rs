//! Peers with more than one connection.

use std::time::Duration;

use peerkit_gossipsub::GossipsubConfig;
use peerkit_testkit::{Net, run};

use crate::memory::{Node, next};

/// Attacks R21, G18.
#[test]
fn a_peer_that_connects_anew_before_the_old_connection_ends_misses_nothing() {
    run(|net: Net| async move {
        let one = Node::spawn(&net, GossipsubConfig::default()).await;
        let other = Node::spawn(&net, GossipsubConfig::default()).await;
        let mut here = one.gossip.subscribe("news").await.unwrap();
        let mut there = other.gossip.subscribe("news").await.unwrap();
        one.join(&net, &other).await;
        let first = one.host.connections().remove(0).id;
        // By an address that says nothing of the peer there is to be one more.
        let bare = one.host.listen_addrs().remove(0);
        other.host.connect(bare).await.unwrap();
        net.until(|| one.host.connections().len() == 2).await;
        one.host.close_connection(first);
        net.until(|| one.host.connections().len() == 1).await;
        let exchange = async {
            one.gossip.publish("news", "from one").await.unwrap();
            assert_eq!(next(&mut there).await.data, "from one");
            other.gossip.publish("news", "from other").await.unwrap();
            assert_eq!(next(&mut here).await.data, "from other");
        };
        let in_time =
            peerkit_core::with_deadline(net.runtime.as_ref(), Duration::from_secs(2), exchange);
        in_time.await.expect("two heartbeats are enough");
    });
}
