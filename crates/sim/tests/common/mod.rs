//! What several tests need.

#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod echo;

use std::{future::poll_fn, io, net::SocketAddr, time::Duration};

use peerkit_core::{Io, Network, Runtime, TcpConnection, TcpListener, TcpOptions, sleep_until};
use peerkit_sim::{HostId, Sim, SimRuntime};

pub(crate) const PORT: u16 = 4001;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) async fn sleep(runtime: &SimRuntime, time: Duration) {
    sleep_until(runtime, runtime.now() + time).await;
}

pub(crate) fn addr(host: HostId) -> SocketAddr {
    SocketAddr::new(host.ipv4(), PORT)
}

pub(crate) fn listen(runtime: &SimRuntime) -> Box<dyn TcpListener> {
    let listener = runtime.listen_tcp(addr(runtime.host()), TcpOptions::default());
    listener.unwrap()
}

pub(crate) async fn accept(listener: &mut Box<dyn TcpListener>) -> TcpConnection {
    poll_fn(|cx| listener.poll_accept(cx)).await.unwrap()
}

pub(crate) async fn connect(runtime: &SimRuntime, to: HostId) -> io::Result<TcpConnection> {
    runtime.connect_tcp(addr(to), TcpOptions::default()).await
}

/// Two hosts and a connection between them.
pub(crate) struct Pair {
    pub(crate) sim: Sim,
    pub(crate) hosts: [HostId; 2],
    pub(crate) runtimes: [SimRuntime; 2],
    pub(crate) dialer: Box<dyn Io>,
    pub(crate) listener: Box<dyn Io>,
}

impl Pair {
    /// `latency` is that of the link; `setup` changes the simulation before they connect.
    pub(crate) fn new(latency: Duration, setup: impl FnOnce(&mut Sim)) -> Self {
        let mut sim = Sim::new(1);
        let hosts = [sim.host(), sim.host()];
        let runtimes = hosts.map(|host| sim.runtime(host));
        sim.links().latency(latency);
        setup(&mut sim);
        let mut socket = listen(&runtimes[1]);
        let connecting = async { connect(&runtimes[0], hosts[1]).await.unwrap() };
        let accepting = accept(&mut socket);
        let (dialer, listener) = sim.block_on(futures::future::join(connecting, accepting));
        Self {
            sim,
            hosts,
            runtimes,
            dialer: dialer.io,
            listener: listener.io,
        }
    }
}
