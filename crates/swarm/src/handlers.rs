//! Which code answers which protocol.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, RwLock},
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::ProtocolId;

use crate::{
    LimitExceeded, Resource, Stream,
    resources::{Accounts, Held, Scope},
};

/// Answers the streams of a protocol. Async closures that take a [`Stream`] are handlers.
///
/// Each stream gets a task of its own. When a handler has returned and has let go of its stream,
/// the stream is closed after a success (what was written arrives, then the end) and
/// reset after a failure or a panic, so that the remote never takes half an answer for a whole one.
pub trait StreamHandler: Send + Sync + 'static {
    /// Answers one stream. The error is logged.
    fn handle(&self, stream: Stream) -> BoxFuture<'static, Result<(), HandlerFailure>>;
}

/// Why a handler failed, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HandlerFailure(pub String);

impl<F, Answer> StreamHandler for F
where
    F: Fn(Stream) -> Answer + Send + Sync + 'static,
    Answer: Future<Output: HandlerOutcome> + Send + 'static,
{
    fn handle(&self, stream: Stream) -> BoxFuture<'static, Result<(), HandlerFailure>> {
        self(stream).map(HandlerOutcome::into_result).boxed()
    }
}

/// What a handler may return: nothing, or a result.
pub trait HandlerOutcome {
    /// Success, or the failure in words.
    fn into_result(self) -> Result<(), HandlerFailure>;
}

impl HandlerOutcome for () {
    fn into_result(self) -> Result<(), HandlerFailure> {
        Ok(())
    }
}

impl<T, E: fmt::Display> HandlerOutcome for Result<T, E> {
    fn into_result(self) -> Result<(), HandlerFailure> {
        self.map(drop)
            .map_err(|error| HandlerFailure(error.to_string()))
    }
}

/// The table of handlers; readers take a snapshot.
pub(crate) struct Handlers {
    table: RwLock<Arc<Table>>,
    accounts: Arc<Accounts>,
}

#[derive(Clone, Default)]
pub(crate) struct Table {
    entries: BTreeMap<ProtocolId, Entry>,
    ids: Arc<[ProtocolId]>,
}

#[derive(Clone)]
struct Entry {
    handler: Arc<dyn StreamHandler>,
    scope: Arc<Scope>,
}

impl Handlers {
    pub(crate) fn new(accounts: Arc<Accounts>) -> Self {
        Self {
            table: RwLock::default(),
            accounts,
        }
    }

    pub(crate) fn set(&self, protocols: Vec<ProtocolId>, handler: Arc<dyn StreamHandler>) {
        self.update(|entries| {
            for protocol in protocols {
                let entry = Entry {
                    handler: handler.clone(),
                    scope: self.accounts.protocol(&protocol),
                };
                entries.insert(protocol, entry);
            }
        });
    }

    pub(crate) fn remove(&self, protocol: &str) -> bool {
        self.update(|entries| entries.remove(protocol).is_some())
    }

    pub(crate) fn snapshot(&self) -> Arc<Table> {
        self.table
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn update<T>(&self, change: impl FnOnce(&mut BTreeMap<ProtocolId, Entry>) -> T) -> T {
        let mut table = self
            .table
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut entries = table.entries.clone();
        let output = change(&mut entries);
        let ids = entries.keys().cloned().collect();
        let former = std::mem::replace(&mut *table, Arc::new(Table { entries, ids }));
        drop(table);
        // A handler that goes may run code of the application, so not under the lock.
        drop(former);
        output
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot().ids.iter()).finish()
    }
}

impl Table {
    /// The protocols, in order.
    pub(crate) fn ids(&self) -> Arc<[ProtocolId]> {
        self.ids.clone()
    }

    /// The handler of a protocol, a permit to run it, and the protocol's scope; `None` when there is no handler any more.
    pub(crate) fn admit(&self, protocol: &ProtocolId) -> Option<Result<Admitted, LimitExceeded>> {
        let entry = self.entries.get(protocol)?;
        let permit = entry.scope.hold(Resource::Handlers, 1);
        Some(permit.map(|permit| Admitted {
            permit,
            scope: entry.scope.clone(),
            handler: entry.handler.clone(),
        }))
    }
}

/// A handler that may run.
pub(crate) struct Admitted {
    pub(crate) handler: Arc<dyn StreamHandler>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) permit: Held,
}
