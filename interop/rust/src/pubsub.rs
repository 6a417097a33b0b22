//! Publish/subscribe, over either of rust-libp2p's routers.

use std::{collections::HashSet, thread};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures::{StreamExt, channel::oneshot};
use libp2p::{
    Multiaddr, PeerId, Swarm, floodsub, gossipsub, identify,
    identity::Keypair,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::{DEADLINE, Stack, Unsupported, emit, node};

#[derive(Subcommand)]
pub enum Action {
    Subscribe {
        topic: String,
        /// End after so many messages.
        #[arg(long)]
        count: Option<usize>,
        /// Unsubscribe after the last message, and stay until stdin ends.
        #[arg(long)]
        leave: bool,
        #[command(flatten)]
        common: Common,
    },
    Publish {
        topic: String,
        #[arg(long, default_value = "message")]
        message: String,
        /// Publish so many bytes instead.
        #[arg(long)]
        size: Option<usize>,
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// Subscribers to wait for.
        #[arg(long, default_value_t = 1)]
        peers: usize,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub struct Common {
    #[arg(long, value_enum, default_value_t = Router::Gossipsub)]
    router: Router,
    #[arg(long)]
    listen: Option<Multiaddr>,
    #[arg(long)]
    connect: Vec<Multiaddr>,
    /// StrictNoSign.
    #[arg(long)]
    unsigned: bool,
    #[command(flatten)]
    stack: Stack,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Router {
    Gossipsub,
    Floodsub,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    gossipsub: Toggle<gossipsub::Behaviour>,
    floodsub: Toggle<floodsub::Behaviour>,
}

/// What one router or the other says.
enum Heard {
    Message { from: Option<PeerId>, data: Vec<u8> },
    Subscribed(PeerId),
    Unsubscribed(PeerId),
}

struct Member {
    swarm: Swarm<Behaviour>,
    topic: String,
    subscribers: HashSet<PeerId>,
    pending_dials: usize,
}

pub async fn run(action: Action) -> Result<()> {
    match action {
        Action::Subscribe {
            topic,
            count,
            leave,
            common,
        } => {
            let mut member = Member::new(topic, &common)?;
            member.subscribe()?;
            member.connect(&common)?;
            member.print_messages(count, leave).await
        }
        Action::Publish {
            topic,
            message,
            size,
            count,
            peers,
            common,
        } => {
            let mut member = Member::new(topic, &common)?;
            member.connect(&common)?;
            member.await_subscribers(peers).await?;
            for text in texts(&message, count, size) {
                member.publish(text)?;
            }
            member.await_end().await
        }
    }
}

impl Member {
    fn new(topic: String, common: &Common) -> Result<Self> {
        let swarm = node::build(common.stack, |key| behaviour(key, common))?;
        Ok(Self {
            swarm,
            topic,
            subscribers: HashSet::new(),
            pending_dials: 0,
        })
    }

    fn connect(&mut self, common: &Common) -> Result<()> {
        if let Some(address) = &common.listen {
            self.swarm.listen_on(address.clone())?;
        }
        for address in &common.connect {
            self.swarm.dial(address.clone())?;
            self.pending_dials += 1;
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<()> {
        let routers = self.swarm.behaviour_mut();
        if let Some(gossipsub) = routers.gossipsub.as_mut() {
            gossipsub.subscribe(&gossipsub::IdentTopic::new(&self.topic))?;
        }
        if let Some(floodsub) = routers.floodsub.as_mut() {
            floodsub.subscribe(floodsub::Topic::new(&self.topic));
        }
        Ok(())
    }

    fn unsubscribe(&mut self) {
        let routers = self.swarm.behaviour_mut();
        if let Some(gossipsub) = routers.gossipsub.as_mut() {
            gossipsub.unsubscribe(&gossipsub::IdentTopic::new(&self.topic));
        }
        if let Some(floodsub) = routers.floodsub.as_mut() {
            floodsub.unsubscribe(floodsub::Topic::new(&self.topic));
        }
    }

    fn publish(&mut self, text: String) -> Result<()> {
        let mut id = None;
        let routers = self.swarm.behaviour_mut();
        if let Some(gossipsub) = routers.gossipsub.as_mut() {
            let topic = gossipsub::IdentTopic::new(&self.topic);
            id = Some(gossipsub.publish(topic, text.clone())?.to_string());
        }
        if let Some(floodsub) = routers.floodsub.as_mut() {
            // Without "any" it publishes only what it is subscribed to itself.
            floodsub.publish_any(floodsub::Topic::new(&self.topic), text);
        }
        emit(json!({
            "event": "published", "topic": self.topic, "id": id, "peers": self.subscribers.len(),
        }));
        Ok(())
    }

    /// Prints what comes until stdin ends, or until it was enough.
    async fn print_messages(&mut self, count: Option<usize>, leave: bool) -> Result<()> {
        let mut stdin = end_of_stdin();
        let mut came = 0;
        while count.is_none_or(|count| came < count) {
            let heard = tokio::select! {
                heard = self.next() => heard?,
                _ = &mut stdin => match count {
                    Some(count) => bail!("stdin ended after {came} of {count} messages"),
                    None => return Ok(()),
                },
            };
            came += usize::from(matches!(heard, Heard::Message { .. }));
            emit(self.described(heard));
        }
        if leave {
            self.unsubscribe();
            self.drive_until(stdin).await?;
        }
        Ok(())
    }

    async fn await_subscribers(&mut self, peers: usize) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.subscribers.len() < peers {
            if timeout_at(end, self.next()).await.is_err() {
                let came = self.subscribers.len();
                bail!("{came} of {peers} subscribers after {DEADLINE:?}");
            }
        }
        Ok(())
    }

    /// Stays until the subscribers have gone or stdin ends.
    async fn await_end(&mut self) -> Result<()> {
        let mut stdin = end_of_stdin();
        while !self.subscribers.is_empty() {
            tokio::select! {
                heard = self.next() => drop(heard?),
                _ = &mut stdin => break,
            }
        }
        Ok(())
    }

    async fn drive_until(&mut self, mut end: oneshot::Receiver<()>) -> Result<()> {
        loop {
            tokio::select! {
                heard = self.next() => drop(heard?),
                _ = &mut end => return Ok(()),
            }
        }
    }

    async fn next(&mut self) -> Result<Heard> {
        loop {
            let event = self.swarm.select_next_some().await;
            if let Some(heard) = self.on_event(event)? {
                self.note(&heard);
                return Ok(heard);
            }
        }
    }

    fn note(&mut self, heard: &Heard) {
        match heard {
            Heard::Subscribed(peer) => _ = self.subscribers.insert(*peer),
            Heard::Unsubscribed(peer) => _ = self.subscribers.remove(peer),
            Heard::Message { .. } => {}
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) -> Result<Option<Heard>> {
        match event {
            SwarmEvent::Behaviour(event) => return Ok(self.on_behaviour_event(event)),
            SwarmEvent::NewListenAddr { address, .. } => {
                let address = format!("{address}/p2p/{}", self.swarm.local_peer_id());
                emit(json!({"event": "listening", "addr": address}));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => {
                if endpoint.is_dialer() {
                    self.pending_dials = self.pending_dials.saturating_sub(1);
                }
                if let Some(floodsub) = self.swarm.behaviour_mut().floodsub.as_mut() {
                    // It talks to nobody else.
                    floodsub.add_node_to_partial_view(peer_id);
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                eprintln!("{peer_id} has gone: {cause:?}");
                if let Some(floodsub) = self.swarm.behaviour_mut().floodsub.as_mut() {
                    floodsub.remove_node_from_partial_view(&peer_id);
                }
                let subscribed = self.subscribers.contains(&peer_id);
                return Ok(subscribed.then_some(Heard::Unsubscribed(peer_id)));
            }
            SwarmEvent::OutgoingConnectionError { error, .. } if self.pending_dials > 0 => {
                bail!(error);
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                reason?;
                bail!("the listener closed");
            }
            other => eprintln!("{other:?}"),
        }
        Ok(None)
    }

    fn on_behaviour_event(&self, event: BehaviourEvent) -> Option<Heard> {
        match event {
            BehaviourEvent::Gossipsub(event) => match event {
                gossipsub::Event::Message { message, .. } => Some(Heard::Message {
                    from: message.source,
                    data: message.data,
                }),
                gossipsub::Event::Subscribed { peer_id, topic } => {
                    (topic.as_str() == self.topic).then_some(Heard::Subscribed(peer_id))
                }
                gossipsub::Event::Unsubscribed { peer_id, topic } => {
                    (topic.as_str() == self.topic).then_some(Heard::Unsubscribed(peer_id))
                }
                other => {
                    eprintln!("{other:?}");
                    None
                }
            },
            BehaviourEvent::Floodsub(event) => match event {
                floodsub::Event::Message(message) => Some(Heard::Message {
                    from: Some(message.source),
                    data: message.data.to_vec(),
                }),
                floodsub::Event::Subscribed { peer_id, topic } => {
                    (topic.id() == self.topic).then_some(Heard::Subscribed(peer_id))
                }
                floodsub::Event::Unsubscribed { peer_id, topic } => {
                    (topic.id() == self.topic).then_some(Heard::Unsubscribed(peer_id))
                }
            },
            BehaviourEvent::Identify(_) => None,
        }
    }

    fn described(&self, heard: Heard) -> Value {
        let topic = &self.topic;
        match heard {
            Heard::Message { from, data } => {
                let from = from.map(|peer| peer.to_string());
                let data = String::from_utf8_lossy(&data);
                json!({"event": "message", "topic": topic, "from": from, "data": data})
            }
            Heard::Subscribed(peer) => {
                json!({"event": "subscribed", "peer": peer.to_string(), "topic": topic})
            }
            Heard::Unsubscribed(peer) => {
                json!({"event": "unsubscribed", "peer": peer.to_string(), "topic": topic})
            }
        }
    }
}

fn behaviour(key: &Keypair, common: &Common) -> Result<Behaviour> {
    let gossipsub = match common.router {
        Router::Gossipsub => Some(gossipsub(key, common.unsigned)?),
        Router::Floodsub if common.unsigned => bail!(Unsupported(
            "the messages of rust-libp2p's floodsub always have an author, and no signature"
        )),
        Router::Floodsub => None,
    };
    let floodsub = (common.router == Router::Floodsub)
        .then(|| floodsub::Behaviour::new(key.public().to_peer_id()));
    Ok(Behaviour {
        identify: identify::Behaviour::new(node::identify_config(key)),
        gossipsub: gossipsub.into(),
        floodsub: floodsub.into(),
    })
}

fn gossipsub(key: &Keypair, unsigned: bool) -> Result<gossipsub::Behaviour> {
    let mut config = gossipsub::ConfigBuilder::default();
    config.message_id_fn(message_id);
    let authenticity = if unsigned {
        config.validation_mode(gossipsub::ValidationMode::Anonymous);
        gossipsub::MessageAuthenticity::Anonymous
    } else {
        gossipsub::MessageAuthenticity::Signed(key.clone())
    };
    let config = config.build()?;
    gossipsub::Behaviour::new(authenticity, config).map_err(|error| anyhow!(error))
}

/// The author's bytes and the sequence number's, as in go-libp2p; without an
/// author the hash of the data.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    match (message.source, message.sequence_number) {
        (Some(source), Some(number)) => [source.to_bytes(), number.to_be_bytes().to_vec()]
            .concat()
            .into(),
        _ => Sha256::digest(&message.data).to_vec().into(),
    }
}

/// What to publish, each text different.
fn texts(message: &str, count: usize, size: Option<usize>) -> Vec<String> {
    let numbered = |number: usize| match count {
        1 => message.to_owned(),
        _ => format!("{message} {number}"),
    };
    let texts = (1..=count).map(numbered);
    match size {
        Some(size) => texts
            .map(|text| format!("{text:.<size$}").chars().take(size).collect())
            .collect(),
        None => texts.collect(),
    }
}

/// A thread of its own: a program cannot end while tokio's reads stdin.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (sender, ended) = oneshot::channel();
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    ended
}
