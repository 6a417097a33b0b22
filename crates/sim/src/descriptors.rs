//! File descriptors: how many sockets a host may have.

use std::{fmt, io, sync::Arc};

use crate::{
    HostId, Sim,
    world::{Shared, World},
};

impl Sim {
    /// Limits the sockets that a host may have at once: listeners, TCP streams and UDP sockets; a
    /// stream counts from the connect, or the accept, until it is dropped. There is no limit by default.
    ///
    /// Beyond it, connecting, listening and binding fail with the error that Linux gives (`EMFILE`,
    /// raw error 24). Accepting fails with it while a connection waits, which stays in the backlog.
    /// What is open already stays.
    pub fn limit_descriptors(&mut self, host: HostId, limit: usize) {
        self.shared
            .with(|world| world.host_mut(host).descriptors.limit = limit);
    }

    /// The sockets that a host has now.
    pub fn descriptors(&self, host: HostId) -> usize {
        self.shared.with(|world| world.host(host).descriptors.open)
    }
}

/// The sockets of one life of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    open: usize,
    limit: usize,
}

impl Descriptors {
    /// A new life begins with none.
    pub(crate) fn reset(&mut self) {
        self.open = 0;
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self {
            open: 0,
            limit: usize::MAX,
        }
    }
}

/// One socket of a host. Dropping it makes room for another one.
pub(crate) struct Descriptor {
    shared: Arc<Shared>,
    host: HostId,
    life: u32,
}

impl Descriptor {
    /// Stands for what [`World::take_descriptor`] has just counted.
    pub(crate) fn new(shared: &Arc<Shared>, host: HostId, life: u32) -> Self {
        Self {
            shared: shared.clone(),
            host,
            life,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.shared
            .with(|world| world.release_descriptor(self.host, self.life));
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.host).finish()
    }
}

impl World {
    /// An error when a host can't have another socket.
    pub(crate) fn check_descriptors(&mut self, host: HostId) -> io::Result<()> {
        let descriptors = self.host(host).descriptors;
        if descriptors.open < descriptors.limit {
            return Ok(());
        }
        self.stats.descriptors_refused += 1;
        Err(io::Error::from_raw_os_error(EMFILE))
    }

    /// Counts a socket; returns the life of the host to which it belongs.
    pub(crate) fn take_descriptor(&mut self, host: HostId) -> u32 {
        let state = self.host_mut(host);
        state.descriptors.open += 1;
        let (open, life) = (state.descriptors.open, state.life);
        self.stats.descriptors_peak = self.stats.descriptors_peak.max(open);
        life
    }

    fn release_descriptor(&mut self, host: HostId, life: u32) {
        let state = self.host_mut(host);
        if state.life == life {
            state.descriptors.open -= 1;
        }
    }
}

/// Too many open files, on Linux.
const EMFILE: i32 = 24;
