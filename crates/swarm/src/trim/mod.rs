//! Closing connections when there are more than needed.

mod plan;
mod tags;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::pending;
use peerkit_core::{CloseReason, PeerId, lock, with_deadline};

use self::{
    plan::{Candidate, Protection, plan},
    tags::{Tag, Tags},
};
use crate::{Capacity, HostEvent, connections::Entry, inner::Inner};

/// Which connections are closed when there are more than needed.
///
/// Above the high watermark those of the least valuable peers are closed until the low one is
/// reached; see [`Trimming`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimConfig {
    /// Connections above which some are closed. By default three quarters of
    /// [`Limits::connections_max`](crate::Limits::connections_max).
    pub high_watermark: Capacity,
    /// Connections that are left then. By default half of
    /// [`Limits::connections_max`](crate::Limits::connections_max), and never more than the high watermark.
    pub low_watermark: Capacity,
    /// How long a new connection is left alone, so that it can show its value. 20 s by default.
    pub grace_period: Duration,
    /// How long it takes from one look at the connections to the next, while there are too many. 10 s by default.
    pub interval: Duration,
    /// Peers whose tags are remembered; the least valuable give way. 10,000 by default.
    pub tagged_peers_max: usize,
}

impl Default for TrimConfig {
    fn default() -> Self {
        Self {
            high_watermark: Capacity::OfMachine,
            low_watermark: Capacity::OfMachine,
            grace_period: Duration::from_secs(20),
            interval: Duration::from_secs(10),
            tagged_peers_max: 10_000,
        }
    }
}

/// What peers are worth, and who stays; see [`Host::trimming`](crate::Host::trimming).
///
/// Services tag the peers that they need. When there are more connections than
/// [`TrimConfig::high_watermark`], those of the peers with the smallest sum of tags are closed.
/// Tags stay when a peer disconnects.
#[derive(Clone, Copy, Debug)]
pub struct Trimming<'a> {
    inner: &'a Inner,
}

impl<'a> Trimming<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    /// Sets a tag of a peer; one of the same name is replaced. Negative weights make a peer go first.
    pub fn tag(&self, peer: PeerId, name: impl Into<Cow<'static, str>>, weight: i32) {
        self.set(peer, name.into(), weight, None);
    }

    /// Sets a tag that loses half of its weight in each `half_life`.
    pub fn tag_fading(
        &self,
        peer: PeerId,
        name: impl Into<Cow<'static, str>>,
        weight: i32,
        half_life: Duration,
    ) {
        self.set(peer, name.into(), weight, Some(half_life));
    }

    /// Removes a tag.
    pub fn untag(&self, peer: &PeerId, name: &str) {
        lock(&self.inner.trimmer.tags).untag(peer, name);
    }

    /// Keeps the connections of a peer, whatever its tags. Several names protect independently.
    /// Protections are never forgotten: end each with [`unprotect`](Self::unprotect).
    pub fn protect(&self, peer: PeerId, name: impl Into<Cow<'static, str>>) {
        lock(&self.inner.trimmer.tags).protect(peer, name.into());
    }

    /// Ends a protection; true when the peer is still protected under another name.
    pub fn unprotect(&self, peer: &PeerId, name: &str) -> bool {
        lock(&self.inner.trimmer.tags).unprotect(peer, name)
    }

    /// Whether a peer is protected.
    pub fn is_protected(&self, peer: &PeerId) -> bool {
        lock(&self.inner.trimmer.tags).is_protected(peer)
    }

    /// What a peer is worth now: the sum of its tags.
    pub fn value(&self, peer: &PeerId) -> i64 {
        let now = self.inner.runtime.now();
        lock(&self.inner.trimmer.tags).value(peer, now)
    }

    /// Closes connections until the low watermark is reached, as far as they are neither protected nor
    /// new, also when there are fewer than the high watermark. Returns how many.
    pub fn trim_now(&self) -> usize {
        self.inner.trim()
    }

    fn set(&self, peer: PeerId, name: Cow<'static, str>, weight: i32, half_life: Option<Duration>) {
        let tag = Tag {
            weight,
            since: self.inner.runtime.now(),
            half_life,
        };
        lock(&self.inner.trimmer.tags).tag(peer, name, tag);
    }
}

/// The state of trimming.
#[derive(Debug)]
pub(crate) struct Trimmer {
    tags: Mutex<Tags>,
    high: usize,
    low: usize,
    /// The task is there that trims until there are few enough.
    is_running: AtomicBool,
}

impl Trimmer {
    pub(crate) fn new(config: &TrimConfig, connections_max: usize) -> Self {
        let high = connections_max - connections_max / 4;
        let high = config.high_watermark.or(high);
        let low = config.low_watermark.or(connections_max / 2);
        Self {
            tags: Mutex::new(Tags::new(config.tagged_peers_max)),
            high,
            low: low.min(high),
            is_running: AtomicBool::new(false),
        }
    }
}

impl Inner {
    /// To be called when there are so many connections. Starts to trim above the high watermark.
    pub(crate) fn trim_if_needed(self: &Arc<Self>, connections: usize) {
        if connections > self.trimmer.high && !self.trimmer.is_running.swap(true, Ordering::AcqRel)
        {
            let inner = self.clone();
            self.tasks
                .spawn(self.runtime.as_ref(), inner.keep_trimming());
        }
    }

    async fn keep_trimming(self: Arc<Self>) {
        loop {
            self.trim();
            let interval = self.config.trim.interval.max(INTERVAL_MIN);
            // It never comes to an end by itself.
            let _ = with_deadline(self.runtime.as_ref(), interval, pending::<()>()).await;
            if lock(&self.connections).total() <= self.trimmer.high {
                break;
            }
        }
        self.trimmer.is_running.store(false, Ordering::Release);
        // One may have come between the look and the store.
        let connections = lock(&self.connections).total();
        self.trim_if_needed(connections);
    }

    fn trim(&self) -> usize {
        let entries = lock(&self.connections).all();
        let open: Vec<_> = entries
            .iter()
            .filter(|entry| entry.connection.close_error().is_none())
            .collect();
        let now = self.runtime.now();
        let candidates: Vec<_> = {
            let tags = lock(&self.trimmer.tags);
            open.iter()
                .map(|entry| candidate(entry, &tags, now))
                .collect()
        };
        let mature_at = now.checked_sub(self.config.trim.grace_period);
        let Some(mature_at) = mature_at else { return 0 };
        let chosen = plan(&candidates, self.trimmer.low, mature_at);
        let by_id: BTreeMap<_, _> = open.iter().map(|entry| (entry.id, entry)).collect();
        for entry in chosen.iter().filter_map(|id| by_id.get(id)) {
            entry.connection.close(CloseReason::Trimmed);
        }
        if !chosen.is_empty() {
            self.events.emit(HostEvent::Trimmed {
                connections: candidates.len(),
                closed: chosen.len(),
                high_watermark: self.trimmer.high,
            });
        }
        chosen.len()
    }
}

fn candidate(entry: &Entry, tags: &Tags, now: std::time::Instant) -> Candidate {
    let peer = &entry.info.remote_peer;
    Candidate {
        connection: entry.id,
        value: tags.value(peer, now),
        protection: if tags.is_protected(peer) {
            Protection::Protected
        } else {
            Protection::None
        },
        opened_at: entry.opened_at,
        direction: entry.info.direction,
        streams: entry.connection.stream_count(),
    }
}

/// Stops a loop that never rests.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
