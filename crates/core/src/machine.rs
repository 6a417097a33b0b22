//! How large the machine is.

/// What the machine grants this process, for limits that follow it.
///
/// The default is an ordinary server, the same everywhere, so that simulations replay. Runtimes of
/// real machines tell what they find there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// Memory that this process may use, in bytes. 16 GiB by default.
    pub memory: u64,
    /// Files and sockets that this process may have open. 65,536 by default.
    pub descriptors: u64,
}

impl Machine {
    /// A machine of that size.
    pub const fn new(memory: u64, descriptors: u64) -> Self {
        Self {
            memory,
            descriptors,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(16 << 30, 65_536)
    }
}
