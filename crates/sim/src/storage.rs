//! What a host stores, and what of it is there after a restart.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use bytes::Bytes;

use crate::{HostId, Sim, trace::Kind, world::Shared};

impl Sim {
    /// The storage of the present life of a host.
    pub fn storage(&self, host: HostId) -> Storage {
        let life = self.shared.with(|world| world.host(host).life);
        Storage::new(&self.shared, host, life)
    }

    /// Limits what a host may store, in bytes of keys and values. There is no limit by default.
    pub fn limit_storage(&mut self, host: HostId, bytes: usize) {
        self.shared
            .with(|world| world.host_mut(host).disk.limit = bytes);
    }

    /// Empties the storage of a host, as somebody does who deletes its files.
    pub fn wipe(&mut self, host: HostId) {
        self.shared.with(|world| {
            world.host_mut(host).disk.wipe();
            world.record(Kind::Wiped, [u64::from(host.0), 0, 0]);
        });
    }

    /// [`restart`](Self::restart)s a host that has lost everything that it had stored.
    pub fn restart_empty(&mut self, host: HostId) {
        self.wipe(host);
        self.restart(host);
    }
}

/// What a host keeps through a restart: values by key, like files in a directory.
///
/// A write is seen by every later read at once, and survives the end of the program. Only what
/// was [`sync`](Self::sync)ed survives a [crash](Sim::crash) of the host. Nothing takes time.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
    host: HostId,
    life: u32,
}

impl Storage {
    pub(crate) fn new(shared: &Arc<Shared>, host: HostId, life: u32) -> Self {
        Self {
            shared: shared.clone(),
            host,
            life,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.shared
            .with(|world| Some(world.host(self.host).disk.get(key)?.to_vec()))
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.shared.with(|world| world.host(self.host).disk.keys())
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    ///
    /// `StorageFull` when that is more than the [limit](Sim::limit_storage), and nothing changes;
    /// `StaleNetworkFileHandle` when the life of the host that this belongs to is over.
    pub fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> io::Result<()> {
        self.write(key, Some(value.into().into()))
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    ///
    /// `StaleNetworkFileHandle` when the life of the host that this belongs to is over.
    pub fn remove(&self, key: &str) -> io::Result<()> {
        self.write(key, None)
    }

    /// Makes all writes so far survive a crash.
    ///
    /// # Errors
    ///
    /// `StaleNetworkFileHandle` when the life of the host that this belongs to is over.
    pub fn sync(&self) -> io::Result<()> {
        self.change(|disk| {
            disk.sync();
            Ok(())
        })
    }

    fn write(&self, key: &str, value: Option<Bytes>) -> io::Result<()> {
        self.change(|disk| disk.write(key, value.clone()))?;
        let bytes = value.unwrap_or_default();
        self.shared.with(|world| {
            let subjects = [u64::from(self.host.0), key.len() as u64, bytes.len() as u64];
            world.record(Kind::Stored, subjects);
            world.trace.content(key.as_bytes());
            world.trace.content(&bytes);
        });
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        self.shared.with(|world| {
            if !world.is_alive(self.host, self.life) {
                return Err(io::ErrorKind::StaleNetworkFileHandle.into());
            }
            change(&mut world.host_mut(self.host).disk)
        })
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("host", &self.host)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

/// The disk of a host, and the writes that are not on it yet.
#[derive(Debug)]
pub(crate) struct Disk {
    durable: BTreeMap<String, Bytes>,
    /// What was written since the last sync; nothing stands for a removed key.
    pending: BTreeMap<String, Option<Bytes>>,
    /// Bytes of what is read now.
    used: usize,
    limit: usize,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            durable: BTreeMap::new(),
            pending: BTreeMap::new(),
            used: 0,
            limit: usize::MAX,
        }
    }
}

impl Disk {
    /// What was not synced is gone.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
        let sizes = self.durable.iter();
        self.used = sizes.map(|(key, value)| key.len() + value.len()).sum();
    }

    fn wipe(&mut self) {
        self.durable.clear();
        self.pending.clear();
        self.used = 0;
    }

    fn get(&self, key: &str) -> Option<&Bytes> {
        match self.pending.get(key) {
            Some(written) => written.as_ref(),
            None => self.durable.get(key),
        }
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.durable.keys().chain(self.pending.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| self.get(key).is_some());
        keys.into_iter().cloned().collect()
    }

    fn write(&mut self, key: &str, value: Option<Bytes>) -> io::Result<()> {
        let size = |value: &Bytes| key.len() + value.len();
        let others = self.used - self.get(key).map_or(0, size);
        let used = others.saturating_add(value.as_ref().map_or(0, size));
        if value.is_some() && used > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used = used;
        self.pending.insert(key.to_owned(), value);
        Ok(())
    }

    fn sync(&mut self) {
        for (key, written) in std::mem::take(&mut self.pending) {
            match written {
                Some(value) => self.durable.insert(key, value),
                None => self.durable.remove(&key),
            };
        }
    }
}
