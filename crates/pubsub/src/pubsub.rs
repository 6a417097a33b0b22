//! The handle.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use event_listener::listener;
use futures::{StreamExt, stream::FuturesUnordered};
use peerkit_core::{PeerId, lock, with_deadline};
use peerkit_swarm::{Host, Stream};

use crate::{
    DropReason, Metrics, Outgoing, PublishError, PublishRefused, PublishReport, PubsubConfig,
    PubsubEvents, Router, SpawnError, SubscribeError, Subscription, Topic, Validator,
    core::{Effects, Waiting},
    queue::Pushed,
    reader,
    received::Inbox,
    service::Service,
    shared::Shared,
};

/// Publish/subscribe on a host, with any [`Router`]; floodsub and gossipsub are thin wrappers around it.
///
/// Clones share everything. A handle keeps its node alive, like a [`Host`]; what it runs ends with the host.
pub struct Pubsub<R: Router> {
    host: Host,
    shared: Arc<Shared<R>>,
}

impl<R: Router> Pubsub<R> {
    /// Begins to answer the router's protocols and to speak them with every peer, those included that are
    /// connected already.
    pub fn spawn(host: &Host, router: R, config: PubsubConfig) -> Result<Self, SpawnError> {
        if host.is_closed() {
            return Err(SpawnError::Closed);
        }
        check(&config)?;
        let protocols = router.protocols();
        let taken = host.protocols();
        if let Some(protocol) = protocols.iter().find(|protocol| taken.contains(protocol)) {
            return Err(SpawnError::ProtocolTaken(protocol.clone()));
        }
        let shared = Arc::new(Shared::new(host, router, config));
        let serving = shared.clone();
        host.set_stream_handler(protocols, move |stream: Stream| {
            reader::serve(serving.clone(), stream)
        });
        host.spawn(Service::new(shared.clone(), host).run());
        Ok(Self {
            host: host.clone(),
            shared,
        })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Joins a topic. Several subscriptions of the same topic get each message each; see [`Subscription`].
    ///
    /// Cancel safety: it does not wait for anything.
    pub async fn subscribe(&self, topic: impl Into<Topic>) -> Result<Subscription, SubscribeError> {
        let topic = topic.into();
        self.check_topic(&topic)?;
        let config = &self.shared.config;
        let (capacity, bytes_max) = (config.subscription_capacity, config.subscription_bytes_max);
        let inbox = Arc::new(Inbox::new(capacity, bytes_max, self.shared.now()));
        self.shared.with_core(|core, now, _| {
            if core.closed {
                return Err(SubscribeError::Closed);
            }
            let state = core.topics.entry(topic.clone()).or_default();
            state.metrics.get_or_insert_default();
            state.inboxes.push(inbox.clone());
            if state.inboxes.len() == 1 {
                core.router.subscribe(&topic, now);
            }
            Ok(())
        })?;
        let leave = Arc::new(self.shared.clone());
        Ok(Subscription::new(topic, inbox, leave))
    }

    /// Publishes a message and says to how many peers it goes.
    ///
    /// The data is copied once. The call waits while the queues of all peers that should get the message
    /// are full (at most [`QueueLimits::publish_timeout`](crate::QueueLimits::publish_timeout)). When
    /// some have room, it waits for the others for no more than a twenty-fifth of the time, so that a slow peer costs the publisher and the other peers no more than that. What finds no
    /// room in the end is named in the report.
    ///
    /// A message that was taken waits to be written; [`flush`](Self::flush) waits for that. This node's
    /// own subscriptions don't get it.
    ///
    /// # Errors
    ///
    /// [`NoPeers`](PublishError::NoPeers) when nobody is there to take it,
    /// [`TooLarge`](PublishError::TooLarge), [`TopicTooLong`](PublishError::TopicTooLong) and
    /// [`Duplicate`](PublishError::Duplicate) (the router knows its id already).
    ///
    /// Cancel safety: peers whose queues had room get the message, the others don't.
    pub async fn publish(
        &self,
        topic: impl Into<Topic>,
        data: impl AsRef<[u8]>,
    ) -> Result<PublishReport, PublishError> {
        let (topic, data) = (topic.into(), data.as_ref());
        self.check_topic(&topic)?;
        self.check_len(&topic, data)?;
        let message = Arc::new(self.shared.signer.message(&topic, data)?);
        let mut effects = Effects::default();
        let published = self.shared.with_core_into(&mut effects, |core, now, _| {
            if core.closed {
                return Err(PublishError::Closed);
            }
            let published = core.router.publish(message, now).map_err(refused)?;
            let state = core.topics.entry(topic).or_default();
            state.metrics.get_or_insert_default().published += 1;
            Ok(published)
        });
        self.shared.settle(&mut effects);
        let id = published?.id;
        let Effects {
            taken,
            full,
            dropped,
            ..
        } = effects;
        let mut report = PublishReport {
            id,
            peers: taken,
            dropped,
        };
        if !full.is_empty() {
            self.place(full, &mut report).await;
        }
        Ok(report)
    }

    /// Waits until everything that is to be sent is handed to the connections, or has been dropped.
    ///
    /// A node that ends right after this may still cut it off; see [`close`](Self::close).
    ///
    /// Cancel safety: nothing is lost.
    pub async fn flush(&self) {
        for peer in self.shared.all_peers() {
            peer.queue.drained().await;
        }
    }

    /// Sends what waits, ends all streams in good order, waits until the peers have read them to
    /// the end, all of it for at most `limit`, and takes nothing more. Call it before
    /// [`Host::close`], which may cut off what was published a moment before.
    ///
    /// Subscriptions and events end. The host goes on, and answers the protocols no longer.
    ///
    /// Cancel safety: call it again.
    pub async fn close(&self, limit: Duration) {
        lock(&self.shared.core).closed = true;
        for protocol in &self.shared.protocols {
            self.host.remove_stream_handler(protocol.as_str());
        }
        let peers = self.shared.all_peers();
        let runtime = self.shared.runtime.as_ref();
        let goodbye = async {
            self.flush().await;
            peers.iter().for_each(|peer| peer.end());
            for peer in &peers {
                peer.written().await;
            }
        };
        with_deadline(runtime, limit, goodbye).await;
        self.shared.close();
    }

    /// The peers that have joined a topic, in order, as far as they have told.
    pub fn peers(&self, topic: impl Into<Topic>) -> Vec<PeerId> {
        let core = lock(&self.shared.core);
        let topic = core.topics.get(topic.into().as_str());
        topic.map_or_else(Vec::new, |topic| topic.peers.iter().copied().collect())
    }

    /// Waits until so many peers have joined a topic; false when the node was closed.
    ///
    /// Cancel safety: it may be called any number of times.
    pub async fn wait_for_peers(&self, topic: impl Into<Topic>, count: usize) -> bool {
        let topic = topic.into();
        loop {
            listener!(self.shared.membership => changed);
            if self.peers(&topic).len() >= count {
                return true;
            }
            if lock(&self.shared.core).closed {
                return false;
            }
            changed.await;
        }
    }

    /// The topics that this node has joined, in order.
    pub fn topics(&self) -> Vec<Topic> {
        let core = lock(&self.shared.core);
        let joined = core
            .topics
            .iter()
            .filter(|(_, state)| !state.inboxes.is_empty());
        joined.map(|(topic, _)| topic.clone()).collect()
    }

    /// What happens from now on. The stream is bounded; a slow reader is told what it missed.
    pub fn events(&self) -> PubsubEvents {
        self.shared.bus.subscribe()
    }

    /// What has happened so far.
    pub fn metrics(&self) -> Metrics {
        let core = lock(&self.shared.core);
        let mut metrics = core.metrics.clone();
        let topics = core.topics.iter();
        metrics.topics = topics
            .filter_map(|(topic, state)| Some((topic.clone(), state.metrics?)))
            .collect();
        metrics
    }

    /// Has the messages of a topic judged before they are delivered and forwarded; a former validator
    /// is replaced. See [`Validator`].
    ///
    /// ```
    /// # use peerkit_pubsub::{Pubsub, Received, Router, Verdict};
    /// # fn example(pubsub: &Pubsub<impl Router>) {
    /// pubsub.set_validator("news", |message: Received| async move {
    ///     if message.data.is_empty() { Verdict::Reject } else { Verdict::Accept }
    /// });
    /// # }
    /// ```
    pub fn set_validator(&self, topic: impl Into<Topic>, validator: impl Validator) {
        let mut core = lock(&self.shared.core);
        let state = core.topics.entry(topic.into()).or_default();
        let former = state.validator.replace(Arc::new(validator));
        drop(core);
        // A validator that goes may run code of the application, so not under the lock.
        drop(former);
    }

    /// Accepts what is well signed again. False when there was no validator.
    pub fn remove_validator(&self, topic: impl Into<Topic>) -> bool {
        let topic = topic.into();
        let mut core = lock(&self.shared.core);
        let state = core.topics.get_mut(topic.as_str());
        let former = state.and_then(|state| state.validator.take());
        core.tidy(&topic);
        drop(core);
        former.is_some()
    }

    /// Works on the router, for what only this router can do or tell. `work` is called under a lock: it
    /// should be short and must not use this handle.
    pub fn with_router<T>(&self, work: impl FnOnce(&mut R, Instant) -> T) -> T {
        self.shared
            .with_core(|core, now, _| work(&mut core.router, now))
    }

    fn check_topic(&self, topic: &Topic) -> Result<(), SubscribeError> {
        let (len, max) = (
            topic.as_str().len(),
            self.shared.config.limits.topic_len_max,
        );
        if len > max {
            return Err(SubscribeError::TopicTooLong { len, max });
        }
        Ok(())
    }

    fn check_len(&self, topic: &Topic, data: &[u8]) -> Result<(), PublishError> {
        let len = self.shared.signer.message_len_max(topic, data) + FIELD_HEADER_MAX;
        let max = self.shared.config.limits.frame_len_max;
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        Ok(())
    }

    /// Waits for room: first until one peer has it, then for a short while for each of the others.
    async fn place(&self, full: Vec<Waiting>, report: &mut PublishReport) {
        let runtime = self.shared.runtime.as_ref();
        let mut waiting = full;
        if report.peers == 0 {
            let limit = self.shared.config.queue.publish_timeout;
            let mut rooms: FuturesUnordered<_> = waiting.iter().map(|it| it.queue.room()).collect();
            with_deadline(runtime, limit, rooms.next()).await;
            drop(rooms);
            waiting = self.push_again(waiting, report);
        }
        if report.peers > 0 {
            let mut rooms: FuturesUnordered<_> =
                waiting.iter().map(|it| self.patient(it)).collect();
            while rooms.next().await.is_some() {}
            drop(rooms);
            waiting = self.push_again(waiting, report);
        }
        self.give_up(waiting, report);
    }

    /// Waits for room as long as the peer deserves.
    async fn patient(&self, waiting: &Waiting) {
        let start = self.shared.now();
        let limit = waiting.queue.patience(start);
        if limit.is_zero() {
            return;
        }
        with_deadline(self.shared.runtime.as_ref(), limit, waiting.queue.room()).await;
        let now = self.shared.now();
        waiting
            .queue
            .waited(now.saturating_duration_since(start), now);
    }

    /// Returns those that still find no room.
    fn push_again(&self, waiting: Vec<Waiting>, report: &mut PublishReport) -> Vec<Waiting> {
        self.shared.with_core(|core, now, effects| {
            let mut left = Vec::new();
            let mut lost = Vec::new();
            for Waiting {
                peer,
                queue,
                id,
                message,
            } in waiting
            {
                match queue.push(Outgoing::Publish(id, message), now, &mut lost) {
                    Pushed::Taken(waker) => {
                        report.peers += 1;
                        effects.wakers.extend(waker);
                    }
                    Pushed::Full(id, message) => left.push(Waiting {
                        peer,
                        queue: queue.clone(),
                        id,
                        message,
                    }),
                    Pushed::Dropped(outgoing) => {
                        report.dropped.push((peer, reason(queue.is_closed())));
                        lost.push(outgoing);
                    }
                }
                for outgoing in lost.drain(..) {
                    core.dropped(peer, &outgoing, now, effects);
                }
            }
            left
        })
    }

    fn give_up(&self, waiting: Vec<Waiting>, report: &mut PublishReport) {
        if waiting.is_empty() {
            return;
        }
        self.shared.with_core(|core, now, effects| {
            for it in waiting {
                report.dropped.push((it.peer, reason(it.queue.is_closed())));
                let outgoing = Outgoing::Publish(it.id, it.message);
                core.dropped(it.peer, &outgoing, now, effects);
            }
        });
    }
}

/// Tag and length of the message in its frame.
const FIELD_HEADER_MAX: usize = 6;

fn reason(closed: bool) -> DropReason {
    if closed {
        DropReason::Disconnected
    } else {
        DropReason::QueueFull
    }
}

fn refused(refused: PublishRefused) -> PublishError {
    match refused {
        PublishRefused::Duplicate => PublishError::Duplicate,
        PublishRefused::NoPeers => PublishError::NoPeers,
    }
}

fn check(config: &PubsubConfig) -> Result<(), SpawnError> {
    if config.queue.frame_len > config.limits.frame_len_max {
        return Err(SpawnError::BadConfig(
            "queue.frame_len is longer than limits.frame_len_max",
        ));
    }
    if config.reopen_backoff_min > config.reopen_backoff_max {
        return Err(SpawnError::BadConfig(
            "reopen_backoff_min is longer than reopen_backoff_max",
        ));
    }
    Ok(())
}

impl<R: Router> Clone for Pubsub<R> {
    fn clone(&self) -> Self {
        Self {
            host: self.host.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<R: Router> fmt::Debug for Pubsub<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pubsub")
            .field("topics", &self.topics())
            .finish_non_exhaustive()
    }
}
