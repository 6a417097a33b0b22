//! Publish/subscribe with the router that was asked for.

use std::time::Duration;

use peerkit::{
    Host, PeerId,
    floodsub::{Floodsub, FloodsubConfig},
    gossipsub::{Gossipsub, GossipsubConfig},
    pubsub::{
        PublishError, PublishReport, PubsubConfig, PubsubEvents, SignaturePolicy, SubscribeError,
        Subscription,
    },
};

use crate::{
    arguments::{Gathering, RouterName, Routing},
    failure::Failure,
    output::{Event, Output},
};

/// One of the routers.
#[derive(Debug)]
pub(crate) enum Pubsub {
    Gossipsub(Gossipsub),
    Floodsub(Floodsub),
}

macro_rules! with_router {
    ($self:expr, $pubsub:ident => $work:expr) => {
        match $self {
            Pubsub::Gossipsub($pubsub) => $work,
            Pubsub::Floodsub($pubsub) => $work,
        }
    };
}

impl Pubsub {
    pub(crate) fn spawn(host: &Host, routing: Routing) -> Result<Self, Failure> {
        Ok(match routing.router {
            RouterName::Gossipsub => {
                let mut config = GossipsubConfig::default();
                sign(&mut config.pubsub, routing);
                Self::Gossipsub(Gossipsub::spawn(host, config)?)
            }
            RouterName::Floodsub => {
                let mut config = FloodsubConfig::default();
                sign(&mut config.pubsub, routing);
                Self::Floodsub(Floodsub::spawn(host, config)?)
            }
        })
    }

    pub(crate) async fn subscribe(&self, topic: &str) -> Result<Subscription, SubscribeError> {
        with_router!(self, pubsub => pubsub.subscribe(topic).await)
    }

    pub(crate) async fn publish(
        &self,
        topic: &str,
        data: &[u8],
    ) -> Result<PublishReport, PublishError> {
        with_router!(self, pubsub => pubsub.publish(topic, data).await)
    }

    pub(crate) async fn flush(&self) {
        with_router!(self, pubsub => pubsub.flush().await);
    }

    /// Waits until everything was read, but not for ever.
    pub(crate) async fn close(&self) {
        with_router!(self, pubsub => pubsub.close(GOODBYE).await);
    }

    pub(crate) fn peers(&self, topic: &str) -> Vec<PeerId> {
        with_router!(self, pubsub => pubsub.peers(topic))
    }

    pub(crate) async fn wait_for_peers(&self, topic: &str, count: usize) -> bool {
        with_router!(self, pubsub => pubsub.wait_for_peers(topic, count).await)
    }

    pub(crate) fn events(&self) -> PubsubEvents {
        with_router!(self, pubsub => pubsub.events())
    }
}

/// How long others may take to read the last messages.
const GOODBYE: Duration = Duration::from_secs(5);

fn sign(config: &mut PubsubConfig, routing: Routing) {
    if routing.unsigned {
        config.signature_policy = SignaturePolicy::StrictNoSign;
    }
}

/// A topic that this node has joined.
pub(crate) struct Joined {
    pub(crate) messages: Subscription,
    pub(crate) events: PubsubEvents,
    pub(crate) pubsub: Pubsub,
}

/// Joins the topic before anybody is there, so that nothing is missed.
pub(crate) async fn join(
    host: &Host,
    gathering: &Gathering,
    output: Output,
) -> Result<Joined, Failure> {
    let pubsub = Pubsub::spawn(host, gathering.routing)?;
    let events = pubsub.events();
    let messages = pubsub.subscribe(&gathering.topic).await?;
    gather(host, gathering, output).await?;
    Ok(Joined {
        messages,
        events,
        pubsub,
    })
}

/// Listens and connects as the arguments say.
pub(crate) async fn gather(
    host: &Host,
    gathering: &Gathering,
    output: Output,
) -> Result<(), Failure> {
    let (listen, connect) = gathering.addrs()?;
    for addr in listen {
        host.listen(addr).await?;
    }
    for addr in host.addrs() {
        output.event(&Event::Listening { addr: &addr })?;
    }
    for addr in connect {
        host.connect(addr).await?;
    }
    Ok(())
}
