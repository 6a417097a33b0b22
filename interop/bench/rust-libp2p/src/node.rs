//! A swarm in a task of its own, told what to do through a channel.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use bench_kit::{Delivered, GOSSIP_MAX, Gossip, Node, Setup, TOPIC};
use futures::{
    AsyncWriteExt, StreamExt,
    channel::{mpsc, oneshot},
    future::{BoxFuture, Either, select},
};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder,
    gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode},
    identity::Keypair,
    noise,
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts,
    },
    tcp, yamux,
};

use crate::streams::{Openers, Streams, sleep};

pub(crate) struct Libp2p {
    orders: mpsc::UnboundedSender<Order>,
    openers: Openers,
    address: Option<Multiaddr>,
    delivered: Delivered,
}

enum Order {
    Dial(Multiaddr, oneshot::Sender<Result<PeerId>>),
    Disconnect(PeerId, oneshot::Sender<Result<()>>),
    Publish(Vec<Vec<u8>>, oneshot::Sender<Result<()>>),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: Streams,
    gossip: Toggle<gossipsub::Behaviour>,
}

impl Node for Libp2p {
    type Conn = PeerId;
    type Stream = Stream;

    fn block_on<T>(_: &Setup, future: impl Future<Output = T>) -> Result<T> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        Ok(tokio.block_on(future))
    }

    async fn start(setup: &Setup) -> Result<Self> {
        let (openers, delivered) = (Openers::default(), Delivered::default());
        let streams = Streams::new(openers.clone(), delivered.clone());
        let mut swarm = swarm(setup, streams)?;
        let mut address = None;
        if setup.listen {
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
            address = Some(reached(&mut swarm).await?);
        }
        let (orders, received) = mpsc::unbounded();
        let driver = Driver {
            swarm,
            dialing: HashMap::new(),
            closing: HashMap::new(),
            delivered: delivered.clone(),
        };
        tokio::spawn(driver.run(received));
        Ok(Self {
            orders,
            openers,
            address,
            delivered,
        })
    }

    fn spawn(_: &Setup, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(_: &Setup, time: Duration) -> BoxFuture<'static, ()> {
        sleep(time)
    }

    fn address(&self) -> Option<String> {
        self.address.as_ref().map(Multiaddr::to_string)
    }

    async fn connect(&self, address: &str) -> Result<PeerId> {
        let address = address.parse()?;
        self.order(|told| Order::Dial(address, told)).await
    }

    async fn open(&self, peer: &PeerId) -> Result<Stream> {
        let (wanted, stream) = oneshot::channel();
        let opener = {
            let openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
            openers.get(peer).cloned()
        };
        let opener = opener.context("not connected")?;
        opener.unbounded_send(wanted)?;
        stream.await.context("no stream")
    }

    async fn finish(&self, _: &PeerId, mut stream: Stream) -> Result<()> {
        Ok(stream.close().await?)
    }

    async fn disconnect(&self, peer: PeerId) -> Result<()> {
        self.order(|told| Order::Disconnect(peer, told)).await
    }

    async fn publish(&self, messages: Vec<Vec<u8>>) -> Result<()> {
        self.order(|told| Order::Publish(messages, told)).await
    }

    fn delivered(&self) -> u64 {
        self.delivered.get()
    }
}

impl Libp2p {
    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T>>) -> Order) -> Result<T> {
        let (told, outcome) = oneshot::channel();
        self.orders.unbounded_send(order(told))?;
        outcome.await.context("the swarm is gone")?
    }
}

struct Driver {
    swarm: Swarm<Behaviour>,
    dialing: HashMap<ConnectionId, oneshot::Sender<Result<PeerId>>>,
    closing: HashMap<PeerId, oneshot::Sender<Result<()>>>,
    delivered: Delivered,
}

impl Driver {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            match select(orders.next(), self.swarm.next()).await {
                Either::Left((Some(order), _)) => self.obey(order),
                Either::Right((Some(event), _)) => self.note(event),
                Either::Left((None, _)) | Either::Right((None, _)) => return,
            }
        }
    }

    /// Whoever no longer waits for an outcome does not need it.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Dial(address, told) => {
                let dial = DialOpts::unknown_peer_id().address(address).build();
                let id = dial.connection_id();
                if let Err(error) = self.swarm.dial(dial) {
                    let _ = told.send(Err(error.into()));
                } else {
                    self.dialing.insert(id, told);
                }
            }
            Order::Disconnect(peer, told) => {
                if self.swarm.disconnect_peer_id(peer).is_ok() {
                    self.closing.insert(peer, told);
                }
            }
            Order::Publish(messages, told) => {
                let _ = told.send(self.publish(messages));
            }
        }
    }

    fn publish(&mut self, messages: Vec<Vec<u8>>) -> Result<()> {
        let gossip = self.swarm.behaviour_mut().gossip.as_mut();
        let gossip = gossip.context("started without gossip")?;
        for message in messages {
            gossip.publish(IdentTopic::new(TOPIC), message)?;
        }
        Ok(())
    }

    fn note(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                if let Some(told) = self.dialing.remove(&connection_id) {
                    let _ = told.send(Ok(peer_id));
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                if let Some(told) = self.dialing.remove(&connection_id) {
                    let _ = told.send(Err(error.into()));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, .. } => {
                if let Some(told) = self.closing.remove(&peer_id) {
                    let _ = told.send(Ok(()));
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { .. })) => {
                self.delivered.count();
            }
            _ => {}
        }
    }
}

fn swarm(setup: &Setup, streams: Streams) -> Result<Swarm<Behaviour>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let behaviour = |key: &Keypair| {
        let gossip = setup.gossip.map(|kind| gossip(key, kind)).transpose()?;
        Ok(Behaviour {
            streams,
            gossip: gossip.into(),
        })
    };
    let config = tcp::Config::default();
    Ok(if setup.stack.ends_with("mplex") {
        builder
            .with_tcp(config, noise::Config::new, libp2p_mplex::Config::new)?
            .with_behaviour(behaviour)?
            .build()
    } else {
        builder
            .with_tcp(config, noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .build()
    })
}

fn gossip(
    key: &Keypair,
    kind: Gossip,
) -> Result<gossipsub::Behaviour, Box<dyn std::error::Error + Send + Sync>> {
    let (author, validation) = match kind {
        Gossip::Signed => (
            MessageAuthenticity::Signed(key.clone()),
            ValidationMode::Strict,
        ),
        Gossip::Unsigned => (
            MessageAuthenticity::Author(key.public().to_peer_id()),
            ValidationMode::Permissive,
        ),
    };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(validation)
        .max_transmit_size(GOSSIP_MAX)
        .build()?;
    let mut gossip = gossipsub::Behaviour::new(author, config)?;
    gossip.subscribe(&IdentTopic::new(TOPIC))?;
    Ok(gossip)
}

async fn reached(swarm: &mut Swarm<Behaviour>) -> Result<Multiaddr> {
    let peer = *swarm.local_peer_id();
    while let Some(event) = swarm.next().await {
        if let SwarmEvent::NewListenAddr { address, .. } = event {
            let address = address.with_p2p(peer);
            return address.map_err(|address| anyhow!("{address} names somebody else"));
        }
    }
    bail!("the swarm has ended")
}
