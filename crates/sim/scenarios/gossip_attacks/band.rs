//! Attackers as hosts: streams to and from everybody whom they can reach.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, channel::mpsc};
use peerkit::{
    Keypair, Multiaddr, PeerId, Runtime, Stream,
    core::{lock, sleep_until},
    noise::Noise,
    pubsub::{DecodeLimits, FrameDecoder, RpcDecoder},
    swarm::Host,
    tcp::Tcp,
    upgrade::{StandardUpgrader, UpgradeConfig},
    yamux::Yamux,
};
use peerkit_sim::SimRuntime;
use rand::{SeedableRng, rngs::StdRng};

use super::sybil::{Arrival, Parcel, Plan, Sybil};

/// One attacker. It has no services beside the one that it abuses.
#[derive(Clone)]
pub(crate) struct Attacker {
    host: Host,
    runtime: SimRuntime,
    state: Arc<Mutex<State>>,
}

struct State {
    sybil: Sybil,
    /// What waits for each peer; what finds no room is dropped.
    lines: BTreeMap<PeerId, mpsc::Sender<Bytes>>,
}

impl Attacker {
    /// Listens, and answers whoever speaks gossipsub.
    pub(crate) async fn start(
        runtime: SimRuntime,
        keypair: Keypair,
        listen_on: Multiaddr,
        plan: Plan,
    ) -> Self {
        let rng = StdRng::from_seed(runtime.seed());
        let host = host(&runtime, &keypair);
        host.listen(listen_on).await.expect("the port is free");
        let state = State {
            sybil: Sybil::new(plan, &keypair, rng),
            lines: BTreeMap::new(),
        };
        let attacker = Self {
            host,
            runtime,
            state: Arc::new(Mutex::new(state)),
        };
        attacker.answer();
        attacker
    }

    /// The handler must not keep its own host alive.
    fn answer(&self) {
        let (host, runtime, state) = (
            self.host.downgrade(),
            self.runtime.clone(),
            self.state.clone(),
        );
        self.host.set_stream_handler(MESHSUB, move |stream| {
            let attacker = host.upgrade().map(|host| Self {
                host,
                runtime: runtime.clone(),
                state: state.clone(),
            });
            async move {
                match attacker {
                    Some(attacker) => attacker.listen(stream).await,
                    None => Ok(()),
                }
            }
        });
    }

    /// Connects to a node, and tries again until it works.
    pub(crate) async fn approach(&self, address: Multiaddr) {
        while self.host.connect(address.clone()).await.is_err() {
            self.pause(RETRY).await;
        }
    }

    /// Every node opens a stream to whoever speaks its protocol: the attacker need not begin.
    async fn listen(self, mut stream: Stream) -> io::Result<()> {
        let peer = stream.remote_peer();
        let mut frames = FrameDecoder::new(FRAME_MAX);
        let mut rpcs = RpcDecoder::new(DecodeLimits::default());
        let mut buffer = vec![0; READ_LEN];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let mut input = &buffer[..count];
            while let Some(frame) = frames.decode(&mut input).map_err(io::Error::other)? {
                let decoded = rpcs.decode(&frame).map_err(io::Error::other)?;
                let arrival = Arrival {
                    from: peer,
                    rpc: decoded.rpc,
                    elapsed: self.runtime.elapsed(),
                    now: self.runtime.now(),
                };
                let parcels = lock(&self.state).sybil.handle(arrival);
                parcels.into_iter().for_each(|parcel| self.post(parcel));
            }
        }
    }

    fn post(&self, parcel: Parcel) {
        if parcel.after.is_zero() {
            return self.send(parcel);
        }
        let attacker = self.clone();
        self.host.spawn(async move {
            attacker.pause(parcel.after).await;
            attacker.send(parcel);
        });
    }

    fn send(&self, Parcel { to, frame, .. }: Parcel) {
        let mut state = lock(&self.state);
        if let Some(line) = state.lines.get_mut(&to) {
            // A peer that takes it too slowly doesn't get it.
            let _ = line.try_send(frame);
            return;
        }
        let (mut line, waiting) = mpsc::channel(LINE_LEN);
        let _ = line.try_send(frame);
        state.lines.insert(to, line);
        drop(state);
        let attacker = self.clone();
        self.host.spawn(async move {
            let _ = attacker.write(to, waiting).await;
            let mut state = lock(&attacker.state);
            state.lines.remove(&to);
            state.sybil.lost(&to);
        });
    }

    async fn write(&self, to: PeerId, mut waiting: mpsc::Receiver<Bytes>) -> io::Result<()> {
        let stream = self.host.open_stream(to, MESHSUB).await;
        let mut stream = stream.map_err(io::Error::other)?;
        while let Some(frame) = waiting.next().await {
            stream.write_all(&frame).await?;
            stream.flush().await?;
        }
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        sleep_until(&self.runtime, self.runtime.now() + time).await;
    }
}

fn host(runtime: &SimRuntime, keypair: &Keypair) -> Host {
    let noise = Noise::with_seed(keypair, runtime.seed()).expect("an Ed25519 key will do");
    let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
    let upgrader = StandardUpgrader::new(
        shared.clone(),
        vec![Arc::new(noise)],
        vec![Arc::new(Yamux::new(peerkit::yamux::Config::default()))],
        UpgradeConfig::default(),
    );
    let tcp = Tcp::new(
        shared.clone(),
        Arc::new(upgrader),
        peerkit::tcp::Config::default(),
    );
    Host::builder(keypair.clone(), shared)
        .transport(tcp)
        .build()
}

const MESHSUB: &str = "/meshsub/1.1.0";
const FRAME_MAX: usize = 1024 * 1024;
const READ_LEN: usize = 4096;
/// As many as the paper's attacker holds.
const LINE_LEN: usize = 32;
const RETRY: Duration = Duration::from_secs(2);
