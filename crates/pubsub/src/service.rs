//! The task that follows the host and keeps the router's time.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::StreamExt;
use peerkit_core::{PeerId, Timer, lock};
use peerkit_swarm::{Events, Host, HostEvent};

use crate::{Router, shared::Shared};

pub(crate) struct Service<R: Router> {
    shared: Arc<Shared<R>>,
    events: Events,
    timer: Option<Pin<Box<dyn Timer>>>,
    armed: Option<Instant>,
}

/// Why the task goes on.
enum Wake {
    Event(HostEvent),
    Due,
    HostClosed,
}

impl<R: Router> Service<R> {
    pub(crate) fn new(shared: Arc<Shared<R>>, host: &Host) -> Self {
        let service = Self {
            events: host.events(),
            timer: None,
            armed: None,
            shared,
        };
        service.rescan(host);
        service
    }

    /// Runs until the host is closed.
    pub(crate) async fn run(mut self) {
        loop {
            match poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::Event(event) => self.handle_event(event),
                Wake::Due => self.shared.with_core(|core, now, _| {
                    core.armed = None;
                    core.router.handle_timeout(now);
                }),
                Wake::HostClosed => return,
            }
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.shared.keeper.register(cx.waker());
        if let Poll::Ready(event) = self.events.poll_next_unpin(cx) {
            return Poll::Ready(event.map_or(Wake::HostClosed, Wake::Event));
        }
        let due = {
            let mut core = lock(&self.shared.core);
            core.armed = core.router.poll_timeout();
            core.armed
        };
        if due != self.armed {
            self.armed = due;
            if let Some(due) = due {
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(due),
                    None => self.timer = Some(self.shared.runtime.timer(due)),
                }
            }
        }
        if self.armed.is_some()
            && let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.armed = None;
            return Poll::Ready(Wake::Due);
        }
        Poll::Pending
    }

    fn handle_event(&self, event: HostEvent) {
        match event {
            HostEvent::Connected { info, count, .. } => self.connected(info.remote_peer, count),
            HostEvent::Disconnected {
                peer, remaining: 0, ..
            } => self.shared.disconnected(&peer),
            HostEvent::Lagged { .. } => {
                if let Some(host) = self.shared.host.upgrade() {
                    self.rescan(&host);
                }
            }
            HostEvent::Disconnected { .. }
            | HostEvent::Listening { .. }
            | HostEvent::ListenAddressExpired { .. }
            | HostEvent::ListenerClosed { .. }
            | HostEvent::InboundFailed { .. }
            | HostEvent::InboundRefused { .. }
            | HostEvent::DialFailed { .. }
            | HostEvent::ProtocolsChanged
            | _ => {}
        }
    }

    /// A peer that connects once more may have lost the older connection, and this node's topics with it.
    fn connected(&self, peer: PeerId, count: usize) {
        let Some(peer) = self.shared.peer(peer) else {
            return;
        };
        if count > 1 {
            peer.set_renew();
            if let Some(waker) = peer.queue.take_writer() {
                waker.wake();
            }
        }
    }

    /// Makes up for events that were missed.
    fn rescan(&self, host: &Host) {
        let open: BTreeSet<_> = host.peers().into_iter().collect();
        let known: Vec<_> = lock(&self.shared.core).peers.keys().copied().collect();
        for peer in known.iter().filter(|peer| !open.contains(*peer)) {
            self.shared.disconnected(peer);
        }
        for peer in open {
            self.shared.peer(peer);
        }
    }
}

impl<R: Router> Drop for Service<R> {
    fn drop(&mut self) {
        self.shared.close();
    }
}
