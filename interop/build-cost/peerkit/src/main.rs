//! A node with TCP, Noise, yamux, ping, identify and gossipsub: it listens, dials the address that
//! it is given, and prints what happens.

use std::error::Error;

use peerkit::{
    Host, Multiaddr,
    gossipsub::{Gossipsub, GossipsubConfig},
};

fn main() -> Result<(), Box<dyn Error>> {
    async_io::block_on(async {
        let host = Host::builder()
            .listen_on("/ip4/127.0.0.1/tcp/0".parse()?)
            .build()
            .await?;
        println!("{:?}", host.addrs());
        let gossip = Gossipsub::spawn(&host, GossipsubConfig::default())?;
        let _news = gossip.subscribe("news").await?;
        let mut events = host.events();
        if let Some(addr) = std::env::args().nth(1) {
            let addr: Multiaddr = addr.parse()?;
            println!("{:?}", host.ping().ping(&addr).await?);
            println!("{:?}", host.identify().identify(&addr).await?);
        }
        while let Some(event) = events.next().await {
            println!("{event:?}");
        }
        Ok(())
    })
}
