//! Scopes by name.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Scope;

/// Scopes by name, made when they are first asked for. Those that nobody uses are dropped when the table has
/// doubled, so that it has no more than twice as many entries as are in use, or a few.
#[derive(Debug)]
pub(super) struct Registry<Name> {
    table: RwLock<Table<Name>>,
}

#[derive(Debug)]
struct Table<Name> {
    scopes: BTreeMap<Name, Arc<Scope>>,
    sweep_at: usize,
}

impl<Name> Default for Registry<Name> {
    fn default() -> Self {
        Self {
            table: RwLock::new(Table {
                scopes: BTreeMap::new(),
                sweep_at: SWEEP_MIN,
            }),
        }
    }
}

impl<Name: Ord + Clone> Registry<Name> {
    pub(super) fn of(&self, name: &Name, make: impl FnOnce() -> Scope) -> Arc<Scope> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = table.scopes.get(name) {
            return scope.clone();
        }
        drop(table);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.scopes.len() >= table.sweep_at {
            table.scopes.retain(|_, scope| is_in_use(scope));
            table.sweep_at = SWEEP_MIN.max(table.scopes.len() * 2);
        }
        let scope = table.scopes.entry(name.clone());
        scope.or_insert_with(|| Arc::new(make())).clone()
    }

    pub(super) fn in_use(&self) -> Vec<Arc<Scope>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let scopes = table.scopes.values();
        scopes.filter(|scope| is_in_use(scope)).cloned().collect()
    }
}

/// Whoever asks for a scope does so under the table's lock, so a scope that nobody else holds is not about to be used.
fn is_in_use(scope: &Arc<Scope>) -> bool {
    Arc::strong_count(scope) > 1
}

/// Below that many a table is left alone.
const SWEEP_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceScope;

    #[test]
    fn scopes_that_nobody_uses_are_dropped() {
        let registry = Registry::default();
        let make = || Scope::new(ResourceScope::Stream, None, &[]);
        let held = registry.of(&0, make);
        for name in 1..10_000 {
            registry.of(&name, make);
        }
        assert!(Arc::ptr_eq(&held, &registry.of(&0, make)));
        assert_eq!(registry.in_use().len(), 1);
        let table = registry.table.read().unwrap();
        assert!(
            table.scopes.len() <= 2 * SWEEP_MIN,
            "{}",
            table.scopes.len()
        );
    }
}
