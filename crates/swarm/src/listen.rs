//! Listening.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{
    channel::oneshot,
    future::{Either, poll_fn, select},
};
use peerkit_core::{
    Incoming, ListenError, Listener, ListenerEvent, Multiaddr, PeerId, lock, with_deadline,
};

use crate::{
    HostEvent, Refusal,
    inner::{Inner, NotAdopted},
    resources::Admission,
    target::split_peer,
};

/// The number of a listener, unique within a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The listeners of a host and the addresses they have.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<ListenerId, Open>,
}

#[derive(Debug)]
struct Open {
    addrs: BTreeSet<Multiaddr>,
    /// Dropped to stop the listener's task.
    _stop: oneshot::Sender<()>,
}

impl Listeners {
    fn register(&self, stop: oneshot::Sender<()>) -> ListenerId {
        let mut state = lock(&self.state);
        state.next += 1;
        let id = ListenerId(state.next);
        let open = Open {
            addrs: BTreeSet::new(),
            _stop: stop,
        };
        state.open.insert(id, open);
        id
    }

    /// Stops a listener; false when there is none of that number.
    pub(crate) fn close(&self, id: ListenerId) -> bool {
        lock(&self.state).open.remove(&id).is_some()
    }

    pub(crate) fn close_all(&self) {
        lock(&self.state).open.clear();
    }

    pub(crate) fn addrs(&self) -> Vec<Multiaddr> {
        let state = lock(&self.state);
        let mut addrs: Vec<_> = state
            .open
            .values()
            .flat_map(|it| it.addrs.clone())
            .collect();
        addrs.dedup();
        addrs
    }

    fn change(&self, id: ListenerId, change: impl FnOnce(&mut BTreeSet<Multiaddr>)) {
        if let Some(open) = lock(&self.state).open.get_mut(&id) {
            change(&mut open.addrs);
        }
    }
}

/// Opens a listener and waits for its first address.
pub(crate) async fn listen(
    inner: &Arc<Inner>,
    addr: Multiaddr,
) -> Result<(ListenerId, Multiaddr), ListenError> {
    let (addr, _) = split_peer(addr);
    inner.check_open().map_err(|_| ListenError::Closed)?;
    let transport = inner
        .transport_for(&addr)
        .ok_or_else(|| ListenError::UnsupportedAddress(addr.clone()))?;
    let listener = transport.listen(addr.clone()).await?;
    let (stop, stopped) = oneshot::channel();
    let (first_addr, first) = oneshot::channel();
    let id = inner.listeners.register(stop);
    let task = Accepting {
        inner: inner.clone(),
        id,
        first_addr: Some(first_addr),
        addrs: BTreeSet::new(),
    };
    let spawned = inner
        .tasks
        .spawn(inner.runtime.as_ref(), task.run(listener, stopped));
    if !spawned || inner.is_closed() {
        inner.listeners.close(id);
        return Err(ListenError::Closed);
    }
    match with_deadline(inner.runtime.as_ref(), FIRST_ADDRESS, first).await {
        Some(Ok(first)) => Ok((id, first)),
        Some(Err(_)) => Err(ListenError::Closed),
        None => {
            inner.listeners.close(id);
            let source = io::ErrorKind::AddrNotAvailable.into();
            Err(ListenError::Io { addr, source })
        }
    }
}

/// How long a listener may take to find an address at which it can be reached. It
/// waits for nobody, but a machine may have no interface of the kind that was asked for.
const FIRST_ADDRESS: Duration = Duration::from_secs(5);

/// The task of one listener.
struct Accepting {
    inner: Arc<Inner>,
    id: ListenerId,
    first_addr: Option<oneshot::Sender<Multiaddr>>,
    addrs: BTreeSet<Multiaddr>,
}

impl Accepting {
    async fn run(mut self, mut listener: Box<dyn Listener>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let event = poll_fn(|cx| listener.poll_event(cx));
            match select(&mut stopped, event).await {
                Either::Left(_) | Either::Right((None, _)) => break,
                Either::Right((Some(event), _)) => self.handle(event),
            }
        }
        self.inner.listeners.close(self.id);
        let listener = self.id;
        for addr in std::mem::take(&mut self.addrs) {
            let event = HostEvent::ListenAddressExpired { listener, addr };
            self.inner.events.emit(event);
        }
        self.inner
            .events
            .emit(HostEvent::ListenerClosed { listener });
    }

    fn handle(&mut self, event: ListenerEvent) {
        let listener = self.id;
        match event {
            ListenerEvent::NewAddress(addr) => {
                self.addrs.insert(addr.clone());
                self.inner.listeners.change(listener, |addrs| {
                    addrs.insert(addr.clone());
                });
                let event = HostEvent::Listening {
                    listener,
                    addr: addr.clone(),
                };
                self.inner.events.emit(event);
                if let Some(first) = self.first_addr.take() {
                    // Nobody waits for it when the call to listen was cancelled.
                    let _ = first.send(addr);
                }
            }
            ListenerEvent::ExpiredAddress(addr) => {
                self.addrs.remove(&addr);
                self.inner.listeners.change(listener, |addrs| {
                    addrs.remove(&addr);
                });
                let event = HostEvent::ListenAddressExpired { listener, addr };
                self.inner.events.emit(event);
            }
            ListenerEvent::Incoming(incoming) => self.accept(incoming),
            other => tracing::debug!(target: "peerkit::listen", ?other, "not understood"),
        }
    }

    /// Upgrades in a task of its own, unless too many upgrades are under way.
    fn accept(&self, incoming: Incoming) {
        let inner = self.inner.clone();
        let remote_addr = incoming.remote_addr;
        let admission = match inner.admit_inbound(&incoming.local_addr, &remote_addr) {
            Ok(admission) => admission,
            Err(reason) => return inner.report_inbound(remote_addr, None, reason),
        };
        let upgrade = async move {
            match incoming.upgrade.await {
                Ok(new) if new.info.remote_peer == inner.local_peer => {}
                Ok(new) => {
                    let peer = new.info.remote_peer;
                    if let Err(NotAdopted::Refused(reason)) = inner.adopt(new, admission, None) {
                        inner.report_inbound(remote_addr, Some(peer), reason);
                    }
                }
                Err(error) => {
                    drop(admission);
                    tracing::debug!(target: "peerkit::listen", %remote_addr, %error, "upgrade failed");
                    let error = Arc::new(error);
                    let event = HostEvent::InboundFailed { remote_addr, error };
                    inner.events.emit(event);
                }
            }
        };
        self.inner.tasks.spawn(self.inner.runtime.as_ref(), upgrade);
    }
}

impl Inner {
    /// Asks everybody who has a say before anything is spent on a connection.
    fn admit_inbound(&self, local: &Multiaddr, remote: &Multiaddr) -> Result<Admission, Refusal> {
        self.check_accept(local, remote)?;
        let now = self.runtime.now();
        Ok(self.accounts.admit_inbound(remote, now)?)
    }

    fn report_inbound(&self, remote_addr: Multiaddr, peer: Option<PeerId>, reason: Refusal) {
        tracing::debug!(target: "peerkit::listen", %remote_addr, %reason, "refused");
        let event = HostEvent::InboundRefused {
            remote_addr,
            peer,
            reason: Arc::new(reason),
        };
        self.events.emit(event);
    }
}
