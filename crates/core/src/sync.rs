//! Locking without poisoning.

use std::sync::{MutexGuard, PoisonError};

// What the models put their own in the place of.
pub(crate) use std::sync::Mutex;

pub(crate) use futures::task::AtomicWaker;

/// Locks a mutex, also after a panic in another holder.
///
/// Every critical section in peerkit leaves its data consistent at each
/// statement that can panic, so poisoning carries no information.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
