//! What handles, handlers and tasks share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use event_listener::Event;
use futures::{FutureExt, task::AtomicWaker};
use peerkit_core::{Multiaddr, PeerId, ProtocolId, Runtime, lock, with_deadline};
use peerkit_swarm::{EventBus, Host, WeakHost};

use crate::{
    InvalidMessage, Message, MessageId, PubsubConfig, PubsubEvent, RejectReason, Router, Topic,
    Verdict,
    core::{Core, Effects, PeerEntry},
    link,
    peer::Peer,
    received::{Inbox, Leave},
    sign::{MessageSigner, MessageVerifier},
    validate::{Begun, Candidate, Validation, Validations},
};

/// Holds no [`Host`], so that it keeps no node alive.
pub(crate) struct Shared<R> {
    pub(crate) host: WeakHost,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) config: PubsubConfig,
    pub(crate) protocols: Vec<ProtocolId>,
    pub(crate) core: Mutex<Core<R>>,
    pub(crate) signer: MessageSigner,
    pub(crate) verifier: Arc<MessageVerifier>,
    pub(crate) bus: EventBus<PubsubEvent>,
    /// The service's task, which keeps the time.
    pub(crate) keeper: AtomicWaker,
    /// A peer has joined or left a topic.
    pub(crate) membership: Event,
    validations: Validations,
    connects: Mutex<Connects>,
}

#[derive(Default)]
struct Connects {
    running: usize,
    waiting: VecDeque<(PeerId, Vec<Multiaddr>)>,
}

/// A message and what is to become of it.
pub(crate) type Judged = (MessageId, Arc<Message>, Verdict);

/// Signatures that are checked before others get a turn: less than half a millisecond.
const CHECKS_MAX: usize = 8;
/// How long what a peer has sent is read after its last connection has ended.
const UNREAD_TIME: Duration = Duration::from_secs(5);

impl<R: Router> Shared<R> {
    pub(crate) fn new(host: &Host, router: R, config: PubsubConfig) -> Self {
        let runtime = host.runtime().clone();
        let policy = config.signature_policy;
        // Nanoseconds fit for some 500 years.
        let first_seqno = u64::try_from(runtime.unix_time().as_nanos()).unwrap_or(u64::MAX / 2);
        let verifier = Arc::new(MessageVerifier::new(policy, config.author_keys_max));
        Self {
            host: host.downgrade(),
            protocols: router.protocols(),
            core: Mutex::new(Core::new(
                router,
                verifier.clone(),
                host.downgrade(),
                &config,
            )),
            signer: MessageSigner::new(host.keypair(), policy, first_seqno),
            verifier,
            bus: EventBus::new(config.event_capacity),
            keeper: AtomicWaker::new(),
            membership: Event::new(),
            validations: Validations::default(),
            connects: Mutex::default(),
            runtime,
            config,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Works on the core and takes everything that the router says to it.
    pub(crate) fn with_core<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Core<R>, Instant, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let output = self.with_core_into(&mut effects, work);
        self.settle(&mut effects);
        output
    }

    /// The same; what is left to do goes into `effects` for [`settle`](Self::settle).
    pub(crate) fn with_core_into<T>(
        &self,
        effects: &mut Effects,
        work: impl FnOnce(&mut Core<R>, Instant, &mut Effects) -> T,
    ) -> T {
        let now = self.now();
        let mut core = lock(&self.core);
        let output = work(&mut core, now, effects);
        core.drain(now, effects);
        output
    }

    /// Does what was left to do. Messages that wait for a verdict get a task.
    pub(crate) fn settle(self: &Arc<Self>, effects: &mut Effects) {
        self.settle_but_candidates(effects);
        if effects.candidates.is_empty() {
            return;
        }
        let mut later = Effects::default();
        std::mem::swap(&mut later.candidates, &mut effects.candidates);
        let shared = self.clone();
        self.spawn(async move { shared.judge_all(&mut later).await });
    }

    pub(crate) fn settle_but_candidates(self: &Arc<Self>, effects: &mut Effects) {
        effects.wakers.drain(..).for_each(std::task::Waker::wake);
        if std::mem::take(&mut effects.rearm) {
            self.keeper.wake();
        }
        if !effects.events.is_empty() {
            self.membership.notify(usize::MAX);
            effects
                .events
                .drain(..)
                .for_each(|event| self.bus.emit(event));
        }
        if !effects.connects.is_empty() {
            self.connect_all(effects.connects.drain(..));
        }
    }

    /// Finds the verdicts on all candidates, a few at a time.
    pub(crate) async fn judge_all(self: &Arc<Self>, effects: &mut Effects) {
        while !effects.candidates.is_empty() {
            let count = effects.candidates.len().min(CHECKS_MAX);
            let mut judged = Vec::with_capacity(count);
            let batch: Vec<_> = effects.candidates.drain(..count).collect();
            let unverified = batch.iter().filter(|candidate| candidate.unverified);
            let unverified = unverified.map(|candidate| &*candidate.message);
            let mut signatures = self.verifier.verify_all(unverified).into_iter();
            for candidate in batch {
                let signature = match candidate.unverified {
                    true => signatures.next().expect("each has an outcome"),
                    false => Ok(()),
                };
                judged.extend(self.judge(candidate, signature, effects));
            }
            self.give(judged, effects);
            self.settle_but_candidates(effects);
            if !effects.candidates.is_empty() {
                yield_now().await;
            }
        }
    }

    /// The verdict on a candidate, if it is there at once; otherwise it follows.
    fn judge(
        self: &Arc<Self>,
        candidate: Candidate,
        signature: Result<(), InvalidMessage>,
        effects: &mut Effects,
    ) -> Option<Judged> {
        if let Err(error) = signature {
            effects.reject(
                &candidate.id,
                &candidate.message,
                candidate.source,
                error.into(),
            );
            return Some((candidate.id, candidate.message, Verdict::Reject));
        }
        if candidate.validator.is_none() {
            return Some((candidate.id, candidate.message, Verdict::Accept));
        }
        match self.validations.begin(candidate, &self.config.validation) {
            Begun::Decided(candidate, verdict, next) => {
                if let Some(next) = next {
                    self.spawn(self.clone().validate(next));
                }
                Some(decided(candidate, verdict, effects))
            }
            Begun::Pending(validation) => {
                self.spawn(self.clone().validate(validation));
                None
            }
            Begun::Queued => None,
            Begun::Refused(candidate) => {
                lock(&self.core).metrics.validations_dropped += 1;
                Some((candidate.id, candidate.message, Verdict::Ignore))
            }
        }
    }

    /// Waits for a validator, then for those that have waited for their turn.
    async fn validate(self: Arc<Self>, mut validation: Validation) {
        loop {
            let (candidate, verdict) = validation;
            let limit = self.config.validation.timeout;
            let verdict = with_deadline(self.runtime.as_ref(), limit, verdict).await;
            if verdict.is_none() {
                lock(&self.core).metrics.validations_dropped += 1;
            }
            let mut effects = Effects::default();
            let verdict = verdict.unwrap_or(Verdict::Ignore);
            let judged = decided(candidate, verdict, &mut effects);
            self.give(vec![judged], &mut effects);
            self.settle(&mut effects);
            let Some(next) = self.validations.finish() else {
                return;
            };
            validation = next;
        }
    }

    fn give(&self, judged: Vec<Judged>, effects: &mut Effects) {
        self.with_core_into(effects, |core, now, _| {
            for (id, message, verdict) in judged {
                core.judge(&id, &message, verdict, now);
            }
        });
    }

    /// The peer, which gets a task when it is new; `None` when it is not connected.
    pub(crate) fn peer(self: &Arc<Self>, id: PeerId) -> Option<Arc<Peer>> {
        let host = self.host.upgrade()?;
        let known = lock(&self.core).peers.get(&id).map(|it| it.peer.clone());
        match known {
            Some(peer) if peer.is_leaving() => self.forget(&peer),
            Some(peer) => return Some(peer),
            None => {}
        }
        let peer = {
            let mut core = lock(&self.core);
            if let Some(entry) = core.peers.get(&id) {
                return Some(entry.peer.clone());
            }
            if core.closed || !host.is_connected(&id) {
                return None;
            }
            let peer = Arc::new(Peer::new(id, self.config.queue.clone(), self.now()));
            let entry = PeerEntry {
                peer: peer.clone(),
                connected: false,
            };
            core.peers.insert(id, entry);
            peer
        };
        host.spawn(link::run(self.clone(), peer.clone()));
        Some(peer)
    }

    pub(crate) fn all_peers(&self) -> Vec<Arc<Peer>> {
        let core = lock(&self.core);
        core.peers
            .values()
            .map(|entry| entry.peer.clone())
            .collect()
    }

    /// The last connection with a peer is gone.
    pub(crate) fn disconnected(self: &Arc<Self>, id: &PeerId) {
        let peer = lock(&self.core).peers.get(id).map(|it| it.peer.clone());
        if let Some(peer) = peer {
            self.leave(&peer);
        }
    }

    /// Nothing can be sent to a peer any more. It is forgotten once everything is read that it has sent.
    pub(crate) fn leave(self: &Arc<Self>, peer: &Arc<Peer>) {
        if !peer.leave() {
            return;
        }
        if peer.unread().now_or_never().is_some() {
            return self.forget(peer);
        }
        let (shared, peer) = (self.clone(), peer.clone());
        self.spawn(async move {
            with_deadline(shared.runtime.as_ref(), UNREAD_TIME, peer.unread()).await;
            shared.forget(&peer);
        });
    }

    fn forget(self: &Arc<Self>, peer: &Arc<Peer>) {
        self.with_core(|core, now, effects| {
            if core.has(peer) {
                core.disconnect(&peer.id, now, effects);
            }
        });
    }

    /// Ends everything that somebody may be waiting for.
    pub(crate) fn close(&self) {
        let mut wakers = Vec::new();
        let peers = {
            let mut core = lock(&self.core);
            core.closed = true;
            for topic in core.topics.values() {
                wakers.extend(topic.inboxes.iter().filter_map(|inbox| inbox.close()));
            }
            std::mem::take(&mut core.peers)
        };
        for entry in peers.values() {
            entry.peer.leave();
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.membership.notify(usize::MAX);
        self.bus.close();
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(host) = self.host.upgrade() {
            host.spawn(task);
        }
    }

    /// Dials recommended peers, a few at a time.
    fn connect_all(self: &Arc<Self>, wanted: impl Iterator<Item = (PeerId, Vec<Multiaddr>)>) {
        let mut connects = lock(&self.connects);
        for wish in wanted {
            if connects.waiting.len() < self.config.pending_connects_max {
                connects.waiting.push_back(wish);
            }
        }
        while connects.running < self.config.connects_max.max(1) && !connects.waiting.is_empty() {
            connects.running += 1;
            let shared = self.clone();
            self.spawn(async move { shared.connect_some().await });
            // The task takes its first wish itself, so that a node that is closed leaves nothing running.
            if connects.running >= connects.waiting.len() {
                break;
            }
        }
    }

    async fn connect_some(self: Arc<Self>) {
        loop {
            let next = {
                let mut connects = lock(&self.connects);
                let next = connects.waiting.pop_front();
                if next.is_none() {
                    connects.running -= 1;
                }
                next
            };
            let Some((peer, addrs)) = next else {
                return;
            };
            let Some(host) = self.host.upgrade() else {
                return;
            };
            if let Err(error) = host.connect((peer, addrs)).await {
                tracing::debug!(target: "peerkit::pubsub", %peer, %error, "a recommended peer was not reached");
            }
        }
    }
}

fn decided(candidate: Candidate, verdict: Verdict, effects: &mut Effects) -> Judged {
    if verdict == Verdict::Reject {
        effects.reject(
            &candidate.id,
            &candidate.message,
            candidate.source,
            RejectReason::Validator,
        );
    }
    (candidate.id, candidate.message, verdict)
}

impl<R: Router> Leave for Arc<Shared<R>> {
    /// The last subscription of a topic takes the node out of it.
    fn leave(&self, topic: &Topic, inbox: &Arc<Inbox>) {
        self.with_core(|core, now, _| {
            let Some(state) = core.topics.get_mut(topic.as_str()) else {
                return;
            };
            state.inboxes.retain(|it| !Arc::ptr_eq(it, inbox));
            if state.inboxes.is_empty() && !core.closed {
                core.router.unsubscribe(topic, now);
            }
            core.tidy(topic);
        });
    }
}

/// Lets other tasks have a turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
