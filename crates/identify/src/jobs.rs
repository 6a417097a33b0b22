//! What is to be done, in order, and not too much at once.

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use peerkit_core::PeerId;

/// Something to do with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// Ask who it is.
    Identify(PeerId),
    /// Tell it of a change.
    Push(PeerId),
}

/// A queue in which every job stands once at most, and the jobs that run.
pub(crate) struct Jobs {
    running: FuturesUnordered<BoxFuture<'static, ()>>,
    running_max: usize,
    queue: BTreeMap<u64, Job>,
    places: BTreeMap<Job, u64>,
    next_place: u64,
}

impl Jobs {
    pub(crate) fn new(running_max: usize) -> Self {
        Self {
            running: FuturesUnordered::new(),
            running_max: running_max.max(1),
            queue: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        }
    }

    /// Queues a job, unless it stands there already.
    pub(crate) fn push(&mut self, job: Job) {
        if self.places.contains_key(&job) {
            return;
        }
        self.places.insert(job, self.next_place);
        self.queue.insert(self.next_place, job);
        self.next_place += 1;
    }

    /// Takes the jobs of a peer off the queue.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        for job in [Job::Identify(peer), Job::Push(peer)] {
            if let Some(place) = self.places.remove(&job) {
                self.queue.remove(&place);
            }
        }
    }

    /// The next job, if one more may run.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        if self.running.len() >= self.running_max {
            return None;
        }
        let (_, job) = self.queue.pop_first()?;
        self.places.remove(&job);
        Some(job)
    }

    pub(crate) fn run(&mut self, work: BoxFuture<'static, ()>) {
        self.running.push(work);
    }

    /// Ready when a job has ended.
    pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.running.poll_next_unpin(cx) {
            Poll::Ready(Some(())) => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn jobs_run_in_order_once_and_not_too_many_at_a_time() {
        let [one, two, three] = [(); 3].map(|()| PeerId::random());
        let mut jobs = Jobs::new(2);
        for peer in [one, two, one, three, two] {
            jobs.push(Job::Identify(peer));
        }
        jobs.push(Job::Push(one));
        jobs.forget(two);
        assert_eq!(jobs.pop(), Some(Job::Identify(one)));
        jobs.run(futures::future::ready(()).boxed());
        assert_eq!(jobs.pop(), Some(Job::Identify(three)));
        jobs.run(futures::future::pending().boxed());
        assert_eq!(jobs.pop(), None);

        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(jobs.poll_done(&mut cx).is_ready());
        assert!(jobs.poll_done(&mut cx).is_pending());
        assert_eq!(jobs.pop(), Some(Job::Push(one)));
        assert_eq!(jobs.pop(), None);
        assert!(jobs.queue.is_empty() && jobs.places.is_empty());
    }
}
