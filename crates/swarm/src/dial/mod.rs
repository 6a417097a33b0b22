//! Dialing: one attempt per peer, shared by everybody who waits for it.

mod backoff;
mod careful;
pub(crate) mod plan;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_lock::Semaphore;
use event_listener::listener;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, Shared, WeakShared, select},
    stream::FuturesUnordered,
};
use peerkit_core::{
    ConnectionError, DialRequest, Fault, Multiaddr, NewConnection, Optimism, PeerId, Role,
    SecurityError, Transport, TransportError, UpgradeError, lock, with_deadline,
};

use self::{backoff::Backoff, careful::CarefulPeers};
use crate::{
    AttemptError, DialAttempt, DialConfig, DialError, DialPlan, DialTarget, HostEvent, Refusal,
    connections::Entry,
    inner::{Inner, NotAdopted},
    resources::Admission,
};

type Dial = Shared<BoxFuture<'static, Result<Arc<Entry>, DialError>>>;
type WeakDial = WeakShared<BoxFuture<'static, Result<Arc<Entry>, DialError>>>;

/// What there is to know about dials.
#[derive(Debug)]
pub(crate) struct Dialer {
    /// Dials under way. The futures live in those who wait: when the last one goes, the dial is dropped.
    running: Mutex<BTreeMap<DialKey, WeakDial>>,
    backoff: Mutex<Backoff>,
    careful: Mutex<CarefulPeers>,
    slots: Semaphore,
}

/// Dials with the same key are one dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DialKey {
    Peer(PeerId),
    Address(Multiaddr),
}

impl Dialer {
    pub(crate) fn new(config: &DialConfig) -> Self {
        Self {
            running: Mutex::default(),
            backoff: Mutex::new(Backoff::new(config)),
            careful: Mutex::new(CarefulPeers::new(config.careful_for)),
            slots: Semaphore::new(config.concurrent_max.max(1)),
        }
    }

    fn join(&self, key: &DialKey, start: impl FnOnce() -> Dial) -> Dial {
        let mut running = lock(&self.running);
        running.retain(|_, dial| dial.upgrade().is_some());
        let under_way = running.get(key).and_then(WeakShared::upgrade);
        if let Some(dial) = under_way.filter(|dial| dial.peek().is_none()) {
            return dial;
        }
        let dial = start();
        if let Some(weak) = dial.downgrade() {
            running.insert(key.clone(), weak);
        }
        dial
    }
}

/// Connects to a target, or joins the dial that is under way. When that fails without
/// an address that is named here, it is dialed again.
///
/// Cancel safety: dropping the future leaves the dial to the others who wait; the last one ends it.
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    target: DialTarget,
) -> Result<Arc<Entry>, DialError> {
    inner.check_open()?;
    if target.peer == Some(inner.local_peer) {
        return Err(DialError::OwnPeer);
    }
    let key = match (target.peer, target.addrs.first()) {
        (Some(peer), _) => DialKey::Peer(peer),
        (None, Some(addr)) => DialKey::Address(addr.clone()),
        (None, None) => return Err(DialError::NoTarget),
    };
    loop {
        let mut started = false;
        let dial = inner.dialer.join(&key, || {
            started = true;
            inner.clone().dial(target.clone()).boxed().shared()
        });
        listener!(inner.closing => closing);
        inner.check_open()?;
        match select(dial, closing).await {
            Either::Left((Err(error), _)) if !started && leaves_out(&error, &target) => {}
            Either::Left((outcome, _)) => return outcome,
            Either::Right(((), _)) => return Err(DialError::Closed),
        }
    }
}

/// Whether a dial of the same peer failed without an address of this target.
fn leaves_out(error: &DialError, target: &DialTarget) -> bool {
    match error {
        DialError::Failed { attempts, .. } => {
            let was_tried = |addr: &Multiaddr| attempts.iter().any(|attempt| attempt.addr == *addr);
            !target.addrs.iter().all(was_tried)
        }
        DialError::NoAddress(_) | DialError::BackingOff { .. } => !target.addrs.is_empty(),
        DialError::NoTarget | DialError::OwnPeer | DialError::Closed => false,
    }
}

impl Inner {
    async fn dial(self: Arc<Self>, target: DialTarget) -> Result<Arc<Entry>, DialError> {
        let peer = target.peer;
        let outcome = self.dial_addresses(target).await;
        let now = self.runtime.now();
        match (&outcome, peer) {
            (Ok(entry), _) => lock(&self.dialer.backoff).succeeded(&entry.info.remote_peer),
            (Err(DialError::Failed { attempts, .. }), Some(peer)) => {
                lock(&self.dialer.backoff).failed(peer, attempts.clone(), now);
            }
            (Err(_), _) => {}
        }
        if let Err(error) = &outcome {
            tracing::debug!(target: "peerkit::dial", %error, "dial failed");
            let error = error.clone();
            self.events.emit(HostEvent::DialFailed { peer, error });
        }
        outcome
    }

    async fn dial_addresses(self: &Arc<Self>, target: DialTarget) -> Result<Arc<Entry>, DialError> {
        let addrs = self.addresses_to_dial(&target)?;
        let now = self.runtime.now();
        let plan = DialPlan::new(addrs, self.config.dial.addresses_max, now);
        self.race(plan, target.peer)
            .await
            .map_err(|attempts| DialError::Failed {
                peer: target.peer,
                attempts: attempts.into(),
            })
    }

    /// What was named explicitly, then what is known. A back-off counts unless an address was named.
    fn addresses_to_dial(&self, target: &DialTarget) -> Result<Vec<Multiaddr>, DialError> {
        let mut addrs = target.addrs.clone();
        let Some(peer) = target.peer else {
            return Ok(addrs);
        };
        let pause = lock(&self.dialer.backoff).remaining(&peer, self.runtime.now());
        if let (true, Some((remaining, attempts))) = (addrs.is_empty(), pause) {
            return Err(DialError::BackingOff {
                peer,
                remaining,
                attempts,
            });
        }
        addrs.extend(lock(&self.addresses).of(&peer));
        if addrs.is_empty() {
            return Err(DialError::NoAddress(peer));
        }
        Ok(addrs)
    }

    async fn race(
        self: &Arc<Self>,
        mut plan: DialPlan,
        peer: Option<PeerId>,
    ) -> Result<Arc<Entry>, Vec<DialAttempt>> {
        let mut running = FuturesUnordered::new();
        let mut failures = Vec::new();
        let mut timer = self.runtime.timer(self.runtime.now());
        let together_max = self.config.dial.concurrent_per_peer_max.max(1);
        loop {
            while running.len() < together_max
                && let Some(addr) = plan.poll_start(self.runtime.now(), running.len())
            {
                running.push(self.attempt(addr, peer));
            }
            if running.is_empty() {
                return Err(failures);
            }
            let next_start = plan.poll_timeout().filter(|_| running.len() < together_max);
            let Some(next_start) = next_start else {
                match running.next().await {
                    Some(Ok(entry)) => return Ok(entry),
                    Some(Err(failure)) => failures.push(failure),
                    None => {}
                }
                continue;
            };
            timer.as_mut().reset(next_start);
            match select(running.next(), timer.as_mut()).await {
                Either::Left((Some(Ok(entry)), _)) => return Ok(entry),
                Either::Left((Some(Err(failure)), _)) => failures.push(failure),
                Either::Left((None, _)) | Either::Right(((), _)) => {}
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        addr: Multiaddr,
        peer: Option<PeerId>,
    ) -> Result<Arc<Entry>, DialAttempt> {
        match self.dial_and_adopt(&addr, peer).await {
            Ok(entry) => {
                lock(&self.addresses).add(entry.info.remote_peer, addr);
                Ok(entry)
            }
            Err(error) => Err(DialAttempt { addr, error }),
        }
    }

    async fn dial_and_adopt(
        self: &Arc<Self>,
        addr: &Multiaddr,
        peer: Option<PeerId>,
    ) -> Result<Arc<Entry>, AttemptError> {
        let _slot = self.dialer.slots.acquire().await;
        let admission = self.admit_outbound(addr, peer);
        let admission = admission.map_err(|reason| self.refused(addr, peer, reason))?;
        tracing::debug!(target: "peerkit::dial", %addr, "dialing");
        let limit = self.config.dial.address_timeout;
        let new = with_deadline(self.runtime.as_ref(), limit, self.dial_address(addr, peer))
            .await
            .unwrap_or(Err(TransportError::Timeout(limit)))
            .map_err(|error| AttemptError::Transport(Arc::new(error)))?;
        if new.info.remote_peer == self.local_peer {
            return Err(AttemptError::OwnPeer);
        }
        let peer = new.info.remote_peer;
        let adopted = self.adopt(new, admission, Some(addr.clone()));
        adopted.map_err(|error| match error {
            NotAdopted::Refused(reason) => self.refused(addr, Some(peer), reason),
            NotAdopted::Closed => AttemptError::Connection(ConnectionError::Closed),
        })
    }

    fn admit_outbound(&self, addr: &Multiaddr, peer: Option<PeerId>) -> Result<Admission, Refusal> {
        self.check_dial(peer, addr)?;
        Ok(self.accounts.admit_outbound(addr)?)
    }

    fn refused(&self, addr: &Multiaddr, peer: Option<PeerId>, reason: Refusal) -> AttemptError {
        tracing::debug!(target: "peerkit::dial", %addr, %reason, "refused");
        self.events.emit(HostEvent::OutboundRefused {
            addr: addr.clone(),
            peer,
            reason: Arc::new(reason.clone()),
        });
        match reason {
            Refusal::Limit(limit) => AttemptError::Limit(limit),
            Refusal::Denied(denied) => AttemptError::Denied(denied),
        }
    }

    /// Remembers that a peer wants to be asked first.
    pub(crate) fn remember_careful(&self, peer: PeerId) {
        let now = self.runtime.now();
        lock(&self.dialer.careful).remember(peer, now);
    }

    fn optimism(&self, peer: Option<PeerId>) -> Optimism {
        let (careful, now) = (lock(&self.dialer.careful), self.runtime.now());
        if peer.is_some_and(|peer| careful.contains(&peer, now)) {
            Optimism::Careful
        } else {
            Optimism::Eager
        }
    }

    /// Dials eagerly; a remote that is confused by that is dialed again, carefully.
    async fn dial_address(
        &self,
        addr: &Multiaddr,
        peer: Option<PeerId>,
    ) -> Result<NewConnection, TransportError> {
        let transport = self
            .transport_for(addr)
            .ok_or_else(|| TransportError::UnsupportedAddress(addr.clone()))?;
        let mut request = DialRequest {
            addr: addr.clone(),
            expected_peer: peer,
            role: Role::Dialer,
            optimism: self.optimism(peer),
        };
        let first = transport.dial(request.clone()).await;
        let Err(error) = &first else { return first };
        if request.optimism == Optimism::Careful || !may_be_confused(error) {
            return first;
        }
        tracing::debug!(target: "peerkit::dial", %addr, %error, "dialing again, without sending ahead");
        request.optimism = Optimism::Careful;
        let second = transport.dial(request).await?;
        self.remember_careful(second.info.remote_peer);
        Ok(second)
    }

    pub(crate) fn transport_for(&self, addr: &Multiaddr) -> Option<&Arc<dyn Transport>> {
        self.transports.iter().find(|it| it.supports(addr))
    }
}

/// Whether the failure can come from bytes that were sent ahead of the remote's agreement.
fn may_be_confused(error: &TransportError) -> bool {
    let TransportError::Upgrade(error) = error else {
        return false;
    };
    if let UpgradeError::Timeout { heard, .. } = error {
        return *heard;
    }
    let somebody_else = matches!(
        error,
        UpgradeError::Security(SecurityError::PeerMismatch { .. })
    );
    !somebody_else && error.fault() != Fault::Misuse
}
