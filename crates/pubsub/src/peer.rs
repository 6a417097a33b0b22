//! What the tasks of one peer share.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_lock::Semaphore;
use event_listener::{Event, listener};
use futures::future::{AbortHandle, AbortRegistration};
use peerkit_core::{PeerId, lock};

use crate::{QueueLimits, queue::PeerQueue};

/// One peer with which there is a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) queue: PeerQueueHandle,
    /// Held while a large frame is received, so that many streams don't buffer as many of them.
    pub(crate) large_frame: Semaphore,
    ready: AtomicBool,
    /// Something has changed for which a task may be waiting.
    changed: Event,
    /// A newer connection was made, on which the peer may be the only one left to listen.
    renew: AtomicBool,
    /// The peer has sent several frames on one stream, so it reads several as well.
    persistent: AtomicBool,
    /// It has opened a stream since the last attempt to open one to it.
    seen: AtomicBool,
    /// Its connections are gone.
    leaving: AtomicBool,
    /// The task that writes to it has ended.
    written: AtomicBool,
    inbound: Mutex<Inbound>,
}

pub(crate) type PeerQueueHandle = std::sync::Arc<PeerQueue>;

#[derive(Debug, Default)]
struct Inbound {
    next: u64,
    streams: VecDeque<(u64, AbortHandle)>,
}

impl Peer {
    pub(crate) fn new(id: PeerId, limits: QueueLimits, now: Instant) -> Self {
        Self {
            id,
            queue: std::sync::Arc::new(PeerQueue::new(limits, now)),
            large_frame: Semaphore::new(1),
            ready: AtomicBool::new(false),
            changed: Event::new(),
            renew: AtomicBool::new(false),
            persistent: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            written: AtomicBool::new(false),
            inbound: Mutex::default(),
        }
    }

    /// The router knows the peer, so that its RPCs can be handed over.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Waits until the peer is ready or gone.
    pub(crate) async fn ready(&self) {
        loop {
            listener!(self.changed => changed);
            if self.is_ready() || self.queue.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Nothing can be sent any more. What was received before is still to be read. False when that was
    /// known already.
    pub(crate) fn leave(&self) -> bool {
        if self.leaving.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.end();
        true
    }

    /// The task that writes to the peer has ended.
    pub(crate) fn set_written(&self) {
        self.written.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// The task that writes to the peer is to end.
    pub(crate) fn end(&self) {
        if let Some(writer) = self.queue.close() {
            writer.wake();
        }
        self.changed.notify(usize::MAX);
    }

    /// Waits until the task that writes to the peer has ended.
    pub(crate) async fn written(&self) {
        loop {
            listener!(self.changed => changed);
            if self.written.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Waits until no stream of the peer is read.
    pub(crate) async fn unread(&self) {
        loop {
            listener!(self.changed => changed);
            if lock(&self.inbound).streams.is_empty() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn set_renew(&self) {
        self.renew.store(true, Ordering::Release);
    }

    pub(crate) fn take_renew(&self) -> bool {
        self.renew.load(Ordering::Acquire) && self.renew.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn set_persistent(&self) {
        self.persistent.store(true, Ordering::Release);
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent.load(Ordering::Acquire)
    }

    /// The peer has opened a stream, so it speaks the protocol.
    pub(crate) fn set_seen(&self) {
        self.seen.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Waits until the peer opens a stream or is gone.
    pub(crate) async fn seen(&self) {
        loop {
            listener!(self.changed => changed);
            if self.seen.swap(false, Ordering::AcqRel) || self.queue.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the peer is gone.
    pub(crate) async fn gone(&self) {
        loop {
            listener!(self.changed => changed);
            if self.queue.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Makes room for one more inbound stream: the oldest gives way.
    pub(crate) fn admit(&self, streams_max: usize) -> (u64, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let mut inbound = lock(&self.inbound);
        while inbound.streams.len() >= streams_max.max(1)
            && let Some((_, oldest)) = inbound.streams.pop_front()
        {
            oldest.abort();
        }
        let number = inbound.next;
        inbound.next += 1;
        inbound.streams.push_back((number, handle));
        (number, registration)
    }

    /// An inbound stream has ended.
    pub(crate) fn dismiss(&self, number: u64) {
        lock(&self.inbound).streams.retain(|(it, _)| *it != number);
        if self.is_leaving() {
            self.changed.notify(usize::MAX);
        }
    }
}
