//! Hosts in virtual time. Everything in them depends on their number and on the seed alone, so that a run replays.

use std::{sync::Arc, time::Duration};

use peerkit_core::{Keypair, Multiaddr, Runtime, sleep_until};
use peerkit_noise::Noise;
use peerkit_sim::{HostId, SimRuntime};
use peerkit_swarm::Host;
use peerkit_tcp::Tcp;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

/// Where a [`node`] listens.
pub fn addr(host: HostId) -> Multiaddr {
    format!("/ip4/{}/tcp/4001", host.ipv4()).parse().unwrap()
}

/// A host with TCP, Noise and yamux that knows no protocol yet, and listens.
pub async fn node(runtime: &SimRuntime, index: usize) -> Host {
    let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
    let keypair = Keypair::ed25519_from_bytes([index as u8 + 1; 32]).unwrap();
    let noise = Noise::with_seed(&keypair, shared.seed()).unwrap();
    let upgrader = StandardUpgrader::new(
        shared.clone(),
        vec![Arc::new(noise)],
        vec![Arc::new(Yamux::new(peerkit_yamux::Config::default()))],
        UpgradeConfig::default(),
    );
    let config = peerkit_tcp::Config::default();
    let tcp = Tcp::new(shared.clone(), Arc::new(upgrader), config);
    let host = Host::builder(keypair, shared).transport(tcp).build();
    host.listen(addr(runtime.host())).await.unwrap();
    host
}

/// Lets virtual time pass.
pub async fn sleep(runtime: &SimRuntime, duration: Duration) {
    sleep_until(runtime, runtime.now() + duration).await;
}
