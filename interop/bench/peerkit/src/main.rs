//! peerkit as a benchmark peer.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bench_kit::{Delivered, GOSSIP_MAX, Gossip, Info, Node, PROTOCOL, Setup, TOPIC};
use futures::{AsyncWriteExt, FutureExt, future::BoxFuture};
use peerkit::{
    Host, HostConfig, HostEvent, Multiaddr, PeerId, Runtime, Stream,
    core::multiaddr::Protocol,
    gossipsub::{Gossipsub, GossipsubConfig},
    mplex,
    pubsub::{MessageId, MessageIdFn, SignaturePolicy},
    runtime, yamux,
};

fn main() -> Result<()> {
    bench_kit::run::<Peerkit>(Info {
        name: "peerkit",
        version: env!("CARGO_PKG_VERSION"),
        stacks: &[
            "async-io-noise-yamux",
            "tokio-noise-yamux",
            "async-io-noise-mplex",
            "tokio-noise-mplex",
            "async-io-plaintext-yamux",
            "tokio-plaintext-yamux",
        ],
        gossip: true,
    })
}

struct Peerkit {
    host: Host,
    address: Option<Multiaddr>,
    gossip: Option<Gossipsub>,
    delivered: Delivered,
}

impl Node for Peerkit {
    type Conn = PeerId;
    type Stream = Stream;

    fn block_on<T>(setup: &Setup, future: impl Future<Output = T>) -> Result<T> {
        if is_tokio(setup) {
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            return Ok(tokio.block_on(future));
        }
        Ok(runtime::block_on(future))
    }

    async fn start(setup: &Setup) -> Result<Self> {
        let builder = Host::builder().config(config());
        let mut builder = if is_tokio(setup) {
            builder.runtime(runtime::Tokio::current())
        } else {
            builder.runtime(runtime::AsyncIo::new())
        };
        let mut parts = setup.stack.rsplit('-');
        builder = match parts.next() {
            Some("yamux") => builder.yamux(yamux::Config::default()),
            Some("mplex") => builder.mplex(mplex::Config::default()),
            _ => bail!("an unknown muxer"),
        };
        builder = match parts.next() {
            Some("noise") => builder.noise(),
            Some("plaintext") => builder.danger_plaintext(),
            _ => bail!("an unknown security protocol"),
        };
        let host = builder.build().await?;
        let delivered = Delivered::default();
        answer(&host, setup, &delivered);
        let gossip = setup.gossip.map(|kind| gossip(&host, kind, &delivered));
        let gossip = gossip.transpose()?;
        let mut address = None;
        if setup.listen {
            let any = "/ip4/127.0.0.1/tcp/0".parse()?;
            let (_, reached) = host.listen(any).await?;
            address = Some(reached.with(Protocol::P2p(host.local_peer())));
        }
        Ok(Self {
            host,
            address,
            gossip,
            delivered,
        })
    }

    fn spawn(setup: &Setup, task: BoxFuture<'static, ()>) {
        if is_tokio(setup) {
            runtime::Tokio::current().spawn(task);
        } else {
            runtime::AsyncIo::new().spawn(task);
        }
    }

    fn sleep(setup: &Setup, time: Duration) -> BoxFuture<'static, ()> {
        if is_tokio(setup) {
            tokio::time::sleep(time).boxed()
        } else {
            let runtime = runtime::AsyncIo::new();
            runtime.timer(runtime.now() + time).boxed()
        }
    }

    fn address(&self) -> Option<String> {
        self.address.as_ref().map(Multiaddr::to_string)
    }

    async fn connect(&self, address: &str) -> Result<PeerId> {
        let address: Multiaddr = address.parse()?;
        Ok(self.host.connect(address).await?)
    }

    async fn open(&self, peer: &PeerId) -> Result<Stream> {
        Ok(self.host.open_stream(*peer, PROTOCOL).await?)
    }

    async fn finish(&self, _: &PeerId, mut stream: Stream) -> Result<()> {
        Ok(stream.close().await?)
    }

    async fn disconnect(&self, peer: PeerId) -> Result<()> {
        let mut events = self.host.events();
        self.host.disconnect(&peer);
        while let Some(event) = events.next().await {
            if matches!(event, HostEvent::Disconnected { remaining: 0, .. }) {
                return Ok(());
            }
        }
        bail!("the host has closed")
    }

    async fn publish(&self, messages: Vec<Vec<u8>>) -> Result<()> {
        let gossip = self.gossip.as_ref().context("started without gossip")?;
        for message in messages {
            gossip.publish(TOPIC, message).await?;
        }
        Ok(())
    }

    fn delivered(&self) -> u64 {
        self.delivered.get()
    }
}

/// Joins the topic; a task counts what comes.
fn gossip(host: &Host, kind: Gossip, delivered: &Delivered) -> Result<Gossipsub> {
    let mut config = GossipsubConfig::default();
    config.pubsub.limits.frame_len_max = GOSSIP_MAX;
    if kind == Gossip::Unsigned {
        config.pubsub.signature_policy = SignaturePolicy::StrictNoSign;
        // The number that each message of the benchmark begins with.
        config.message_id = MessageIdFn::new(|message| {
            let number = message.data.get(..8).unwrap_or(&message.data);
            MessageId::copy_from_slice(number)
        });
    }
    let gossip = Gossipsub::spawn(host, config)?;
    let (topic, delivered) = (gossip.clone(), delivered.clone());
    host.spawn(async move {
        if let Ok(mut messages) = topic.subscribe(TOPIC).await {
            while let Some(message) = messages.next().await {
                if message.is_ok() {
                    delivered.count();
                }
            }
        }
    });
    Ok(gossip)
}

fn answer(host: &Host, setup: &Setup, delivered: &Delivered) {
    let setup = Arc::new(setup.clone());
    let delivered = delivered.clone();
    host.set_stream_handler(PROTOCOL, move |stream: Stream| {
        let (setup, delivered) = (setup.clone(), delivered.clone());
        async move {
            let sleep = move |time| Peerkit::sleep(&setup, time);
            bench_kit::answer(stream, delivered, sleep)
                .await
                .context("answering")
        }
    });
}

/// The default, but for the number of connections: a thousand of the idle workload, ten times as many of growth.
fn config() -> HostConfig {
    let mut config = HostConfig::default();
    config.limits.connections_max = CONNECTIONS.into();
    config.limits.inbound_connections_max = CONNECTIONS.into();
    config.limits.outbound_connections_max = CONNECTIONS.into();
    config.limits.descriptors_max = CONNECTIONS.into();
    config
}

/// Half as much again as there will be: nothing is to be trimmed.
const CONNECTIONS: usize = 16 * 1024;

fn is_tokio(setup: &Setup) -> bool {
    setup.stack.starts_with("tokio")
}
