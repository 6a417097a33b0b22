//! The task that follows a host: it asks new peers who they are and tells all of changes.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, StreamExt};
use peerkit_core::{PeerId, Timer, lock};
use peerkit_swarm::{ConnectionId, Events, Host, HostEvent};

use crate::{
    IdentifyEvent, PUSH_PROTOCOL,
    jobs::{Job, Jobs},
    shared::Shared,
};

pub(crate) struct Service {
    shared: Arc<Shared>,
    events: Events,
    jobs: Jobs,
    /// Set while changes are being collected.
    push_due: Option<Pin<Box<dyn Timer>>>,
}

/// Why the task goes on.
enum Wake {
    JobDone,
    Event(HostEvent),
    PushDue,
    HostClosed,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, host: &Host) -> Self {
        let jobs = Jobs::new(shared.config.concurrent_max);
        let mut service = Self {
            shared,
            events: host.events(),
            jobs,
            push_due: None,
        };
        service.rescan(host);
        service
    }

    /// Runs until the host is closed.
    pub(crate) async fn run(mut self) {
        loop {
            while let Some(job) = self.jobs.pop() {
                self.jobs.run(work(self.shared.clone(), job).boxed());
            }
            match poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::JobDone => {}
                Wake::Event(event) => self.handle_event(event),
                Wake::PushDue => self.push_to_all(),
                Wake::HostClosed => return,
            }
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.jobs.poll_done(cx).is_ready() {
            return Poll::Ready(Wake::JobDone);
        }
        if let Poll::Ready(event) = self.events.poll_next_unpin(cx) {
            return Poll::Ready(event.map_or(Wake::HostClosed, Wake::Event));
        }
        if let Some(timer) = &mut self.push_due
            && timer.as_mut().poll(cx).is_ready()
        {
            self.push_due = None;
            return Poll::Ready(Wake::PushDue);
        }
        Poll::Pending
    }

    fn handle_event(&mut self, event: HostEvent) {
        match event {
            HostEvent::Connected { info, .. } => self.jobs.push(Job::Identify(info.remote_peer)),
            HostEvent::Disconnected {
                connection,
                peer,
                remaining,
                ..
            } => self.disconnected(peer, connection, remaining),
            HostEvent::Listening { .. }
            | HostEvent::ListenAddressExpired { .. }
            | HostEvent::ListenerClosed { .. }
            | HostEvent::ProtocolsChanged => self.changed(),
            HostEvent::Lagged { .. } => {
                if let Some(host) = self.shared.host.upgrade() {
                    self.rescan(&host);
                }
                self.changed();
            }
            HostEvent::InboundFailed { .. }
            | HostEvent::InboundRefused { .. }
            | HostEvent::DialFailed { .. }
            | _ => {}
        }
    }

    fn disconnected(&mut self, peer: PeerId, connection: ConnectionId, remaining: usize) {
        let mut known = lock(&self.shared.known);
        if remaining > 0 {
            known.disconnected(&peer, connection);
        } else {
            known.forget(&peer);
            self.jobs.forget(peer);
        }
    }

    /// Makes up for events that were missed.
    fn rescan(&mut self, host: &Host) {
        let open: BTreeSet<_> = host
            .connections()
            .into_iter()
            .map(|connection| (connection.peer, connection.id))
            .collect();
        let peers: BTreeSet<_> = open.iter().map(|(peer, _)| *peer).collect();
        let mut known = lock(&self.shared.known);
        known.retain(|peer, connection| match connection {
            Some(connection) => open.contains(&(*peer, connection)),
            None => peers.contains(peer),
        });
        for peer in peers {
            if known.info(&peer).is_none() {
                self.jobs.push(Job::Identify(peer));
            }
        }
    }

    /// Something that others were told is different now; more changes may follow soon.
    fn changed(&mut self) {
        if self.push_due.is_some() {
            return;
        }
        let runtime = &self.shared.runtime;
        // A time that the clock can't express never comes.
        let due = runtime.now().checked_add(self.shared.config.push_debounce);
        self.push_due = due.map(|due| runtime.timer(due));
    }

    /// Tells those who know something else and understand it.
    fn push_to_all(&mut self) {
        let Some(host) = self.shared.host.upgrade() else {
            return;
        };
        let now = self.shared.local.snapshot(&host);
        let known = lock(&self.shared.known);
        for peer in known.supporting(PUSH_PROTOCOL.as_str()) {
            if known.told(&peer).as_ref() != Some(&now) {
                self.jobs.push(Job::Push(peer));
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.bus.close();
    }
}

async fn work(shared: Arc<Shared>, job: Job) {
    match job {
        Job::Identify(peer) => {
            if let Err(error) = shared.ask(peer, shared.turns.tick()).await {
                tracing::debug!(target: "peerkit::identify", %peer, %error, "a peer was not identified");
                let error = Arc::new(error);
                shared.bus.emit(IdentifyEvent::Failed { peer, error });
            }
        }
        Job::Push(peer) => push(&shared, peer).await,
    }
}

async fn push(shared: &Shared, peer: PeerId) {
    let stream = {
        let Some(host) = connected_host(shared, peer) else {
            return;
        };
        host.open_stream(peer, &PUSH_PROTOCOL).await
    };
    let outcome = match stream {
        Ok(stream) => shared.tell(stream).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = outcome {
        tracing::debug!(target: "peerkit::identify", %peer, %error, "a push failed");
    }
}

/// The host, if it need not dial the peer.
fn connected_host(shared: &Shared, peer: PeerId) -> Option<Host> {
    let host = shared.host.upgrade()?;
    host.is_connected(&peer).then_some(host)
}
