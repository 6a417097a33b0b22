//! Who listens where.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use peerkit_core::lock;

use crate::{
    Pipe,
    backlog::{Arrival, Backlog, Refused},
    duplex,
};

/// Limits of a [`MemoryNetwork`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Bytes that a connection holds in each direction before its writer waits. 64 KiB by default.
    pub pipe_capacity: usize,
    /// Connections of one listener that wait to be accepted; more dialers wait outside. 128 by default.
    pub backlog: usize,
    /// How long a dialer waits outside. 5 s by default.
    pub connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pipe_capacity: 64 * 1024,
            backlog: 128,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// A network inside this process. Clones are the same network; two networks do not see each other.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    config: Config,
    ports: Mutex<Ports>,
}

struct Ports {
    listeners: BTreeMap<u64, Arc<Backlog>>,
    next_listener: u64,
    next_dialer: u64,
}

impl MemoryNetwork {
    /// An empty network with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty network with other limits.
    pub fn with_config(config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                ports: Mutex::default(),
            }),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Takes a port, or a free one for port 0.
    pub(crate) fn bind(&self, port: u64) -> io::Result<Binding> {
        let mut ports = lock(&self.inner.ports);
        let port = if port == 0 { ports.free() } else { port };
        if ports.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::new(Backlog::new(self.inner.config.backlog));
        ports.listeners.insert(port, backlog.clone());
        Ok(Binding {
            network: self.clone(),
            port,
            backlog,
        })
    }

    /// Connects to a listener's port without any upgrade, for tests that speak a protocol by hand:
    /// the dialer's port and its end of the connection. The caller sets the deadline.
    ///
    /// Cancel safety: dropping the future leaves no connection.
    pub async fn connect(&self, port: u64) -> io::Result<(u64, Pipe)> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (from, backlog) = {
            let mut ports = lock(&self.inner.ports);
            let backlog = ports.listeners.get(&port).cloned().ok_or_else(refused)?;
            (ports.dialer(), backlog)
        };
        let (here, there) = duplex(self.inner.config.pipe_capacity);
        let arrival = Arrival { from, pipe: there };
        let pushed = backlog.push(arrival).await;
        pushed.map_err(|Refused| refused())?;
        Ok((from, here))
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork")
            .field("listeners", &lock(&self.inner.ports).listeners.len())
            .finish_non_exhaustive()
    }
}

/// A port that is taken until this is dropped.
pub(crate) struct Binding {
    network: MemoryNetwork,
    pub(crate) port: u64,
    pub(crate) backlog: Arc<Backlog>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let taken = lock(&self.network.inner.ports).listeners.remove(&self.port);
        drop(taken);
        self.backlog.close();
    }
}

impl Ports {
    /// Counts up, so that a port that was just given back is not soon given to somebody else.
    fn free(&mut self) -> u64 {
        loop {
            let port = self.next_listener;
            self.next_listener = port.wrapping_add(1).max(1);
            if !self.listeners.contains_key(&port) {
                return port;
            }
        }
    }

    fn dialer(&mut self) -> u64 {
        let port = self.next_dialer;
        self.next_dialer = port.wrapping_add(1).max(FIRST_DIALER);
        port
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            listeners: BTreeMap::new(),
            next_listener: 1,
            next_dialer: FIRST_DIALER,
        }
    }
}

/// Dialers come from ports that nobody is likely to listen on.
const FIRST_DIALER: u64 = 1 << 32;
