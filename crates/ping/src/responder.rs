//! Answering pings.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{PeerId, ResetCode, Runtime, lock, sleep_until, with_deadline};
use peerkit_swarm::Stream;

use crate::{
    Config, PING_LEN,
    bucket::{Bucket, Rate},
};

/// Answers the ping streams of all peers.
#[derive(Debug)]
pub(crate) struct Responder {
    runtime: Arc<dyn Runtime>,
    streams_per_peer_max: usize,
    idle_timeout: Duration,
    rate: Rate,
    peers: Mutex<BTreeMap<PeerId, Usage>>,
}

/// What one peer uses.
#[derive(Debug)]
struct Usage {
    streams: usize,
    bucket: Bucket,
}

/// Peers without a stream whose bucket is remembered until it is full again, so that
/// a new stream is no way around the rate. When there are more, all are forgotten.
const IDLE_PEERS_MAX: usize = 1024;

impl Responder {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, config: &Config) -> Self {
        Self {
            runtime,
            streams_per_peer_max: config.streams_per_peer_max,
            idle_timeout: config.idle_timeout,
            rate: Rate::new(config.burst, config.answers_per_second),
            peers: Mutex::default(),
        }
    }

    /// Echoes pings until the remote closes its side.
    pub(crate) async fn answer(self: Arc<Self>, mut stream: Stream) -> io::Result<()> {
        let Some(admission) = self.admit(stream.remote_peer()) else {
            stream.reset(ResetCode::LIMIT_EXCEEDED);
            return Ok(());
        };
        let outcome = self.echo(&admission, &mut stream).await;
        if let Err(error) = &outcome
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            stream.reset(ResetCode::PROTOCOL_VIOLATION);
        }
        outcome
    }

    async fn echo(&self, admission: &Admission, stream: &mut Stream) -> io::Result<()> {
        while let Some(ping) = self.in_time(read_ping(stream)).await? {
            let wait = admission.take_token();
            if !wait.is_zero() {
                sleep_until(self.runtime.as_ref(), self.runtime.now() + wait).await;
            }
            self.in_time(write_ping(stream, &ping)).await?;
        }
        self.in_time(stream.close()).await
    }

    async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let outcome = with_deadline(self.runtime.as_ref(), self.idle_timeout, step).await;
        outcome.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Counts a stream, unless the peer has too many.
    fn admit(self: &Arc<Self>, peer: PeerId) -> Option<Admission> {
        let now = self.runtime.now();
        let mut peers = lock(&self.peers);
        if !peers.contains_key(&peer) {
            forget_idle(&mut peers, now);
        }
        let usage = peers.entry(peer).or_insert_with(|| Usage {
            streams: 0,
            bucket: Bucket::full(now),
        });
        if usage.streams >= self.streams_per_peer_max {
            return None;
        }
        usage.streams += 1;
        Some(Admission {
            responder: self.clone(),
            peer,
        })
    }
}

fn forget_idle(peers: &mut BTreeMap<PeerId, Usage>, now: std::time::Instant) {
    peers.retain(|_, usage| usage.streams > 0 || !usage.bucket.is_full(now));
    let idle = peers.values().filter(|usage| usage.streams == 0).count();
    if idle >= IDLE_PEERS_MAX {
        peers.retain(|_, usage| usage.streams > 0);
    }
}

/// One stream of a peer, counted until this is dropped.
struct Admission {
    responder: Arc<Responder>,
    peer: PeerId,
}

impl Admission {
    /// How long the next answer has to wait.
    fn take_token(&self) -> Duration {
        let now = self.responder.runtime.now();
        let mut peers = lock(&self.responder.peers);
        peers.get_mut(&self.peer).map_or(Duration::ZERO, |usage| {
            usage.bucket.take(self.responder.rate, now)
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let now = self.responder.runtime.now();
        let mut peers = lock(&self.responder.peers);
        if let Some(usage) = peers.get_mut(&self.peer) {
            usage.streams -= 1;
            if usage.streams == 0 && usage.bucket.is_full(now) {
                peers.remove(&self.peer);
            }
        }
    }
}

/// The next ping, however it was cut up; `None` when the remote has closed its side between two pings.
async fn read_ping(stream: &mut Stream) -> io::Result<Option<[u8; PING_LEN]>> {
    let mut ping = [0; PING_LEN];
    let first = stream.read(&mut ping).await?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut ping[first..]).await?;
    Ok(Some(ping))
}

async fn write_ping(stream: &mut Stream, ping: &[u8; PING_LEN]) -> io::Result<()> {
    stream.write_all(ping).await?;
    stream.flush().await
}
