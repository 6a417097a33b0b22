//! A host that believes its peers to be anywhere in the world.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use peerkit_core::{
    DialRequest, Keypair, ListenError, Listener, ListenerEvent, Multiaddr, NewConnection,
    Transport, TransportError, multiaddr::Protocol,
};
use peerkit_memory::Memory;
use peerkit_swarm::Host;
use peerkit_testkit::Net;

/// A host that listens on `/memory/PORT` and says that this is `listening`. Its
/// connections seem to come from, or lead to, the addresses in `remotes`, one after another.
pub(crate) async fn host(net: &Net, listening: &[&str], remotes: &[String]) -> (Host, Multiaddr) {
    let keypair = Keypair::generate_ed25519();
    let transport = Far {
        memory: Arc::new(net.memory(&keypair)),
        listening: listening.iter().map(|addr| addr.parse().unwrap()).collect(),
        remotes: Arc::new(Remotes {
            addrs: remotes.iter().map(|addr| addr.parse().unwrap()).collect(),
            next: AtomicUsize::new(0),
        }),
    };
    let host = Host::builder(keypair, net.runtime.clone())
        .transport(transport)
        .build();
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let addr = Multiaddr::empty().with(Protocol::Memory(port as u64));
    host.listen(addr.clone()).await.unwrap();
    net.until(|| host.listen_addrs().len() == listening.len())
        .await;
    let peer = host.local_peer();
    (host, addr.with(Protocol::P2p(peer)))
}

static PORT: AtomicUsize = AtomicUsize::new(1_000_000);

#[derive(Debug)]
struct Far {
    memory: Arc<Memory>,
    listening: Vec<Multiaddr>,
    remotes: Arc<Remotes>,
}

#[derive(Debug)]
struct Remotes {
    addrs: Vec<Multiaddr>,
    next: AtomicUsize,
}

impl Remotes {
    fn next(&self) -> Multiaddr {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.addrs[next % self.addrs.len()].clone()
    }
}

fn disguise(mut connection: NewConnection, local: Multiaddr, remote: Multiaddr) -> NewConnection {
    connection.info.local_addr = local;
    connection.info.remote_addr = remote;
    connection
}

impl Transport for Far {
    fn supports(&self, addr: &Multiaddr) -> bool {
        self.memory.supports(addr)
    }

    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>> {
        let (local, remote) = (self.listening[0].clone(), self.remotes.next());
        let dial = self.memory.dial(request);
        dial.map_ok(|connection| disguise(connection, local, remote))
            .boxed()
    }

    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        let (listening, remotes) = (self.listening.clone(), self.remotes.clone());
        let listen = self.memory.listen(addr);
        listen
            .map_ok(|inner| {
                Box::new(FarListener {
                    inner,
                    local: listening[0].clone(),
                    unannounced: listening,
                    remotes,
                }) as Box<dyn Listener>
            })
            .boxed()
    }
}

#[derive(Debug)]
struct FarListener {
    inner: Box<dyn Listener>,
    local: Multiaddr,
    unannounced: Vec<Multiaddr>,
    remotes: Arc<Remotes>,
}

impl Listener for FarListener {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListenerEvent>> {
        if let Some(addr) = self.unannounced.pop() {
            return Poll::Ready(Some(ListenerEvent::NewAddress(addr)));
        }
        loop {
            match ready!(self.inner.poll_event(cx)) {
                Some(ListenerEvent::Incoming(mut incoming)) => {
                    let (local, remote) = (self.local.clone(), self.remotes.next());
                    incoming.remote_addr = remote.clone();
                    let upgrade = incoming.upgrade;
                    incoming.upgrade = upgrade
                        .map_ok(|connection| disguise(connection, local, remote))
                        .boxed();
                    return Poll::Ready(Some(ListenerEvent::Incoming(incoming)));
                }
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}
