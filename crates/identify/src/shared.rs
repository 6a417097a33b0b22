//! What handle, handlers and task share.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use peerkit_core::{ConnectionInfo, PeerId, ResetCode, Runtime, lock, with_deadline};
use peerkit_swarm::{EventBus, Host, Stream, WeakHost};

use crate::{
    Config, IdentifyError, IdentifyEvent, Info, Message, PROTOCOL,
    exchange::{receive, send},
    known::Known,
    local::{Local, Snapshot},
    observed::Observation,
    scope::Scope,
    sources::{Source, Sources},
    turns::{Tick, Turns},
};

/// Holds no [`Host`], so that it keeps no node alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: WeakHost,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) config: Config,
    pub(crate) bus: EventBus<IdentifyEvent>,
    pub(crate) known: Mutex<Known>,
    pub(crate) local: Local,
    sources: Mutex<Sources>,
    pub(crate) turns: Turns,
    asked: StreamCounts,
    pushed: StreamCounts,
}

impl Shared {
    pub(crate) fn new(host: &Host, config: Config) -> Self {
        Self {
            host: host.downgrade(),
            runtime: host.runtime().clone(),
            bus: EventBus::new(config.event_capacity),
            known: Mutex::default(),
            local: Local::new(&config),
            sources: Mutex::new(Sources::new(config.push_burst, config.push_interval)),
            turns: Turns::default(),
            asked: StreamCounts::default(),
            pushed: StreamCounts::default(),
            config,
        }
    }

    /// Asks a peer that is connected who it is, once nobody else asks it, unless what it answers them was
    /// asked after `since`. The waiting and the asking have one deadline.
    pub(crate) async fn ask(&self, peer: PeerId, since: Tick) -> Result<Arc<Info>, IdentifyError> {
        let limit = self.config.timeout;
        let asking = async {
            let turn = self.turns.take(peer).await;
            if let Some(info) = turn.answered_since(since) {
                return Ok(info);
            }
            let info = self.ask_now(peer).await?;
            turn.end(info.clone());
            Ok(info)
        };
        let outcome = with_deadline(self.runtime.as_ref(), limit, asking).await;
        outcome.unwrap_or(Err(IdentifyError::Timeout { peer, limit }))
    }

    async fn ask_now(&self, peer: PeerId) -> Result<Arc<Info>, IdentifyError> {
        // The host is held no longer than it takes to open the stream.
        let stream = {
            let host = self.host.upgrade().filter(|host| host.is_connected(&peer));
            let host = host.ok_or(IdentifyError::Disconnected { peer })?;
            host.open_stream(peer, &PROTOCOL).await?
        };
        let (connection, id) = (stream.connection_info().clone(), stream.connection_id());
        let message = receive(self.runtime.as_ref(), self.config.timeout, stream).await?;
        let mut info = Info::of(&connection);
        let before = lock(&self.known).info(&info.peer);
        // A record that was superseded does not come back.
        info.signed_record = before.and_then(|before| before.signed_record.clone());
        let info = self.learn(&connection, id, info, message)?;
        self.bus.emit(IdentifyEvent::Identified {
            peer: info.peer,
            info: info.clone(),
        });
        Ok(info)
    }

    /// Tells a peer who asks.
    pub(crate) async fn answer(self: Arc<Self>, stream: Stream) -> io::Result<()> {
        let limit = self.config.streams_per_peer_max;
        let Some(_place) = self.asked.take(stream.remote_peer(), limit) else {
            stream.reset(ResetCode::LIMIT_EXCEEDED);
            return Ok(());
        };
        self.tell(stream).await
    }

    /// Sends what there is to tell now.
    pub(crate) async fn tell(&self, stream: Stream) -> io::Result<()> {
        let peer = stream.remote_peer();
        let Some((snapshot, message)) = self.message(stream.connection_info()) else {
            stream.reset(ResetCode::SHUTDOWN);
            return Ok(());
        };
        send(self.runtime.as_ref(), self.config.timeout, stream, &message).await?;
        self.while_connected(peer, |known| known.set_told(peer, snapshot));
        Ok(())
    }

    /// Takes a push.
    pub(crate) async fn accept_push(self: Arc<Self>, stream: Stream) -> Result<(), IdentifyError> {
        let (connection, id) = (stream.connection_info().clone(), stream.connection_id());
        let peer = connection.remote_peer;
        let limit = self.config.streams_per_peer_max;
        let Some(_place) = self.pushed.take(peer, limit) else {
            stream.reset(ResetCode::LIMIT_EXCEEDED);
            return Ok(());
        };
        let now = self.runtime.now();
        if !lock(&self.sources).admit(Source::of(&connection), now) {
            stream.reset(ResetCode::RATE_LIMITED);
            return Ok(());
        }
        let received = receive(self.runtime.as_ref(), self.config.timeout, stream).await;
        let learned = received.and_then(|message| {
            let before = lock(&self.known).info(&peer);
            let info = before.map_or_else(|| Info::of(&connection), Arc::unwrap_or_clone);
            self.learn(&connection, id, info, message)
        });
        self.bus.emit(match learned {
            Ok(info) => IdentifyEvent::Pushed { peer, info },
            Err(error) => IdentifyEvent::Failed {
                peer,
                error: Arc::new(error),
            },
        });
        Ok(())
    }

    fn message(&self, connection: &ConnectionInfo) -> Option<(Arc<Snapshot>, Message)> {
        let host = self.host.upgrade()?;
        let snapshot = self.local.snapshot(&host);
        let message = self.local.message(&host, &snapshot, connection);
        Some((snapshot, message))
    }

    /// Adds what a message says to what was known.
    fn learn(
        &self,
        connection: &ConnectionInfo,
        id: peerkit_swarm::ConnectionId,
        mut info: Info,
        message: Message,
    ) -> Result<Arc<Info>, IdentifyError> {
        let peer = info.peer;
        let host = self.host.upgrade();
        let host = host.ok_or(IdentifyError::Disconnected { peer })?;
        info.update(message)?;
        let info = Arc::new(info);
        let listening = host.listen_addrs();
        let observed = info.observed_addr.as_ref();
        let observation =
            observed.and_then(|observed| Observation::new(connection, observed, &listening));
        let stored = self.while_connected(peer, |known| {
            known.set_info(info.clone());
            known.observe(peer, id, observation);
        });
        stored.ok_or(IdentifyError::Disconnected { peer })?;
        if let Some(record) = &info.signed_record {
            host.set_peer_record(record.clone());
        }
        let distance = Scope::of_remote(&connection.remote_addr);
        let usable = info.best_addrs().iter();
        for addr in usable.filter(|addr| distance.may_use(addr)) {
            host.add_address(peer, addr.clone());
        }
        Ok(info)
    }

    /// Changes what is known of a peer, unless it is gone. It is forgotten by an event that
    /// comes after its end, so what is stored while it is connected does not stay.
    fn while_connected<T>(&self, peer: PeerId, change: impl FnOnce(&mut Known) -> T) -> Option<T> {
        let host = self.host.upgrade()?;
        let mut known = lock(&self.known);
        host.is_connected(&peer).then(|| change(&mut known))
    }
}

/// How many streams of each peer are being answered.
#[derive(Debug, Default)]
struct StreamCounts {
    counts: Mutex<BTreeMap<PeerId, usize>>,
}

impl StreamCounts {
    fn take(&self, peer: PeerId, limit: usize) -> Option<StreamPlace<'_>> {
        let mut counts = lock(&self.counts);
        let count = counts.get(&peer).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        counts.insert(peer, count + 1);
        Some(StreamPlace { counts: self, peer })
    }
}

/// One stream, counted until this is dropped.
struct StreamPlace<'a> {
    counts: &'a StreamCounts,
    peer: PeerId,
}

impl Drop for StreamPlace<'_> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts.counts);
        let left = counts.get(&self.peer).map_or(0, |count| count - 1);
        if left == 0 {
            counts.remove(&self.peer);
        } else {
            counts.insert(self.peer, left);
        }
    }
}
