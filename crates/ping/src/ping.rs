//! Measuring round trips.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{PeerId, ResetCode, Runtime, lock, with_deadline};
use peerkit_swarm::{DialTarget, Host, Stream};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{Config, PING_LEN, PROTOCOL, PingError, responder::Responder, turns::Turns};

/// Measures round trips to peers, and answers their pings.
///
/// Clones share everything. A handle keeps its node alive, like a [`Host`].
#[derive(Clone, Debug)]
pub struct Ping {
    host: Host,
    slots: Arc<Slots>,
}

impl Ping {
    /// Begins to answer pings and returns the handle to send them.
    pub fn spawn(host: &Host, config: Config) -> Self {
        let runtime = host.runtime().clone();
        let responder = Arc::new(Responder::new(runtime.clone(), &config));
        host.set_stream_handler(&PROTOCOL, move |stream: Stream| {
            responder.clone().answer(stream)
        });
        let rng = Mutex::new(StdRng::from_seed(runtime.seed()));
        Self {
            host: host.clone(),
            slots: Arc::new(Slots {
                runtime,
                timeout: config.timeout,
                rng,
                open: Mutex::default(),
            }),
        }
    }

    /// One round trip: connects if need be, then measures.
    ///
    /// Connecting is not part of the result. There is at most one outbound ping
    /// stream per peer, as the specification demands: callers for the same peer take turns on it.
    ///
    /// Cancel safety: dropping the future resets the stream; the connection stays.
    pub async fn ping(&self, target: impl Into<DialTarget>) -> Result<Duration, PingError> {
        self.open(target).await?.ping().await
    }

    /// Connects to a peer if need be and prepares any number of pings, which share one stream.
    ///
    /// Cancel safety: dropping the future leaves nothing behind.
    pub async fn open(&self, target: impl Into<DialTarget>) -> Result<Pinger, PingError> {
        let target = target.into();
        let connected = target.peer().filter(|peer| self.host.is_connected(peer));
        let peer = match connected {
            Some(peer) => peer,
            None => Box::pin(self.host.connect(target)).await?,
        };
        Ok(Pinger {
            host: self.host.clone(),
            slot: self.slots.slot(peer),
        })
    }
}

/// Pings one peer, again and again on the same stream; from [`Ping::open`].
///
/// The stream is opened by the first ping, and again after one that failed. It is
/// shared with all others who ping the same peer and closed when the last of them goes.
#[derive(Debug)]
pub struct Pinger {
    host: Host,
    slot: Arc<Slot>,
}

impl Pinger {
    /// The peer that is pinged.
    pub fn peer(&self) -> PeerId {
        self.slot.peer
    }

    /// One round trip, from the first byte out to the last byte of the answer in.
    ///
    /// It measures the link and the remote's program; agreeing on the protocol
    /// travels along with the first ping. Fails when the answer takes longer than
    /// [`Config::timeout`], is a wrong one, or when the stream fails. Waits its turn
    /// when somebody else pings the same peer.
    ///
    /// Cancel safety: dropping the future resets the stream; the next ping opens another one.
    pub async fn ping(&mut self) -> Result<Duration, PingError> {
        let mut turn = self.slot.stream.take().await;
        if let Some(stream) = turn.take() {
            match self.slot.exchange(stream, &mut turn).await {
                // The remote had closed a stream that was idle for long: no sign of trouble.
                Err(PingError::Stream { .. } | PingError::Unanswered { .. }) => {}
                outcome => return outcome,
            }
        }
        // On the heap, since it happens once and would make every ping's future several times as large.
        let open = Box::pin(self.host.open_stream(self.slot.peer, &PROTOCOL));
        let stream = Box::new(open.await?);
        self.slot.exchange(stream, &mut turn).await
    }
}

impl Drop for Pinger {
    /// The last one says goodbye. Meanwhile the slot stays taken, so that no second stream is opened.
    fn drop(&mut self) {
        if Arc::strong_count(&self.slot) == 1 {
            let slot = self.slot.clone();
            self.host.spawn(async move { slot.close().await });
        }
    }
}

/// The peers that are being pinged.
struct Slots {
    runtime: Arc<dyn Runtime>,
    timeout: Duration,
    /// Makes the content of pings.
    rng: Mutex<StdRng>,
    /// Bounded by the slots that are held.
    open: Mutex<BTreeMap<PeerId, Weak<Slot>>>,
}

impl Slots {
    fn slot(self: &Arc<Self>, peer: PeerId) -> Arc<Slot> {
        let mut open = lock(&self.open);
        if let Some(slot) = open.get(&peer).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot {
            peer,
            slots: self.clone(),
            stream: Turns::new(None),
        });
        open.insert(peer, Arc::downgrade(&slot));
        slot
    }

    fn content(&self) -> [u8; PING_LEN] {
        let mut content = [0; PING_LEN];
        lock(&self.rng).fill_bytes(&mut content);
        content
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The place of the one outbound ping stream of a peer.
struct Slot {
    peer: PeerId,
    slots: Arc<Slots>,
    /// Taken out while it is in use: what a cancelled ping has left is not used again.
    stream: Turns<Option<Box<Stream>>>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Slot {
    /// One ping and its answer; a stream that did well is kept for the next one.
    async fn exchange(
        &self,
        mut stream: Box<Stream>,
        kept: &mut Option<Box<Stream>>,
    ) -> Result<Duration, PingError> {
        let (peer, limit) = (self.peer, self.slots.timeout);
        let runtime = self.slots.runtime.as_ref();
        let sent = self.slots.content();
        let start = runtime.now();
        let answer = with_deadline(runtime, limit, round_trip(&mut stream, &sent)).await;
        let elapsed = runtime.now().saturating_duration_since(start);
        let answer = answer
            .ok_or(PingError::Timeout { peer, limit })?
            .map_err(|error| PingError::stream(peer, error))?;
        if answer != sent {
            stream.reset(ResetCode::PROTOCOL_VIOLATION);
            return Err(PingError::Mismatch { peer });
        }
        *kept = Some(stream);
        Ok(elapsed)
    }

    /// Ends the stream in good order: a stream that is just dropped would be reset.
    async fn close(&self) {
        let mut turn = self.stream.take().await;
        let Some(mut stream) = turn.take() else {
            return;
        };
        let goodbye = async {
            stream.close().await?;
            stream.read(&mut [0; PING_LEN]).await
        };
        // An error or silence: the stream is dropped either way.
        let _ = with_deadline(self.slots.runtime.as_ref(), self.slots.timeout, goodbye).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = lock(&self.slots.open);
        let gone = |slot: &Weak<Slot>| slot.strong_count() == 0;
        if open.get(&self.peer).is_some_and(gone) {
            open.remove(&self.peer);
        }
    }
}

async fn round_trip(stream: &mut Stream, sent: &[u8; PING_LEN]) -> io::Result<[u8; PING_LEN]> {
    stream.write_all(sent).await?;
    stream.flush().await?;
    let mut answer = [0; PING_LEN];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
