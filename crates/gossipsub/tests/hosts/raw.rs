//! A peer that writes RPCs of its own and reads nothing.

use futures::{AsyncWriteExt, future};
use peerkit_pubsub::{Control, Rpc, SubscriptionChange, Topic, encode_rpc};
use peerkit_swarm::{Host, Stream};
use peerkit_testkit::Net;

use crate::memory::Node;

pub(crate) struct Raw {
    pub(crate) host: Host,
    stream: Stream,
}

impl Raw {
    /// A peer of the node that speaks this version.
    pub(crate) async fn new(net: &Net, node: &Node, protocol: &'static str) -> Self {
        let (host, _) = net.listener().await;
        host.set_stream_handler(protocol, |stream: Stream| async move {
            future::pending::<()>().await;
            drop(stream);
            std::io::Result::Ok(())
        });
        let stream = host.open_stream(&node.addr, protocol).await.unwrap();
        Self { host, stream }
    }

    pub(crate) async fn send(&mut self, rpc: &Rpc) {
        self.stream.write_all(&encode_rpc(rpc)).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn control(&mut self, control: Control) {
        let rpc = Rpc {
            control,
            ..Rpc::default()
        };
        self.send(&rpc).await;
    }

    /// Joins the topic and the node's mesh.
    pub(crate) async fn join(&mut self, topic: &str) {
        let change = SubscriptionChange {
            subscribe: true,
            topic: Topic::from(topic),
            requests_partial: false,
            supports_sending_partial: false,
        };
        let rpc = Rpc {
            subscriptions: vec![change],
            control: Control {
                graft: vec![Topic::from(topic)],
                ..Control::default()
            },
            ..Rpc::default()
        };
        self.send(&rpc).await;
    }
}
