//! The application's say in what is valid.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::lock;

use crate::{Message, MessageId, Received, ValidationLimits, Verdict};

/// Says whether the messages of a topic are valid, before they are delivered and forwarded. Async closures that
/// take a [`Received`] and return a [`Verdict`] are validators.
///
/// A message that takes longer than [`ValidationLimits::timeout`], or whose validator panics, is ignored.
/// Messages may overtake each other while validators wait.
pub trait Validator: Send + Sync + 'static {
    /// The verdict on one message.
    fn validate(&self, message: Received) -> BoxFuture<'static, Verdict>;
}

impl<F, Answer> Validator for F
where
    F: Fn(Received) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Verdict> + Send + 'static,
{
    fn validate(&self, message: Received) -> BoxFuture<'static, Verdict> {
        self(message).boxed()
    }
}

/// A message that waits for its verdict.
pub(crate) struct Candidate {
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
    pub(crate) source: peerkit_core::PeerId,
    pub(crate) validator: Option<Arc<dyn Validator>>,
    /// The signature is yet to be checked.
    pub(crate) unverified: bool,
}

/// Counts the validations that are under way.
#[derive(Default)]
pub(crate) struct Validations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: VecDeque<Candidate>,
}

/// A validation that is under way.
pub(crate) type Validation = (Candidate, BoxFuture<'static, Verdict>);

/// What becomes of a candidate.
pub(crate) enum Begun {
    /// Its validator has decided at once, and its place went to another one.
    Decided(Candidate, Verdict, Option<Validation>),
    /// Its validator needs time; somebody has to wait for it.
    Pending(Validation),
    /// It waits its turn.
    Queued,
    /// Too many wait.
    Refused(Candidate),
}

impl Validations {
    /// Runs a validator, which takes a place until [`finish`](Self::finish) when it needs time.
    pub(crate) fn begin(&self, candidate: Candidate, limits: &ValidationLimits) -> Begun {
        {
            let mut state = lock(&self.state);
            if state.running >= limits.concurrent_max.max(1) {
                if state.waiting.len() >= limits.waiting_max {
                    return Begun::Refused(candidate);
                }
                state.waiting.push_back(candidate);
                return Begun::Queued;
            }
            state.running += 1;
        }
        let mut verdict = start(&candidate);
        // Most validators need no time, and then the message needs no task of its own.
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match verdict.as_mut().poll(&mut cx) {
            Poll::Ready(verdict) => Begun::Decided(candidate, verdict, self.finish()),
            Poll::Pending => Begun::Pending((candidate, verdict)),
        }
    }

    /// A validation is over; returns the next one, which takes its place.
    pub(crate) fn finish(&self) -> Option<Validation> {
        let next = {
            let mut state = lock(&self.state);
            let next = state.waiting.pop_front();
            if next.is_none() {
                state.running -= 1;
            }
            next?
        };
        let verdict = start(&next);
        Some((next, verdict))
    }
}

/// The verdict on a candidate. A validator that panics says nothing about the message.
fn start(candidate: &Candidate) -> BoxFuture<'static, Verdict> {
    let Some(validator) = candidate.validator.clone() else {
        return futures::future::ready(Verdict::Accept).boxed();
    };
    let Candidate {
        id,
        message,
        source,
        ..
    } = candidate;
    let message = Received::new(message, id.clone(), *source);
    let verdict = async move { validator.validate(message).await };
    AssertUnwindSafe(verdict)
        .catch_unwind()
        .map(|verdict| verdict.unwrap_or(Verdict::Ignore))
        .boxed()
}
