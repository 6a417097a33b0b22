//! A node with TCP, Noise, yamux, ping, identify and gossipsub: it listens, dials the address that
//! it is given, and prints what happens.

use std::error::Error;

use futures::StreamExt;
use libp2p::{
    Multiaddr, SwarmBuilder, gossipsub, identify, noise, ping, swarm::NetworkBehaviour, tcp, yamux,
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    gossipsub: gossipsub::Behaviour,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|key| {
            let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
            let gossipsub = gossipsub::Behaviour::new(signed, gossipsub::Config::default())?;
            Ok(Behaviour {
                ping: ping::Behaviour::default(),
                identify: identify::Behaviour::new(identify::Config::new(
                    "/build-cost/1".into(),
                    key.public(),
                )),
                gossipsub,
            })
        })?
        .build();
    let topic = gossipsub::IdentTopic::new("news");
    swarm.behaviour_mut().gossipsub.subscribe(&topic)?;
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    if let Some(addr) = std::env::args().nth(1) {
        swarm.dial(addr.parse::<Multiaddr>()?)?;
    }
    loop {
        println!("{:?}", swarm.select_next_some().await);
    }
}
