//! Counted permits that are refused, not waited for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A limit that is counted before anything is spent.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// One unit of a [`Permits`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    used: Arc<AtomicUsize>,
}

impl Permits {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: Arc::default(),
            max,
        }
    }

    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let more = |used: usize| (used < self.max).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Permit {
            used: self.used.clone(),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_it_is_dropped() {
        let permits = Permits::new(1);
        let held = permits.try_acquire();
        assert!(held.is_some());
        assert!(permits.try_acquire().is_none());
        drop(held);
        assert!(permits.try_acquire().is_some());
    }
}
