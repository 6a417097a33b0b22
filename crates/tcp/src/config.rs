//! Limits and choices.

use std::time::Duration;

/// How a [`Tcp`](crate::Tcp) transport behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How long a name may take to resolve. 5 s by default.
    pub resolve_timeout: Duration,
    /// How long it may take to connect, over all addresses of a name. 5 s by default.
    pub connect_timeout: Duration,
    /// Addresses of one name that are tried; a zone can hold any number. 16 by default.
    pub resolved_max: usize,
    /// How long the next address of a name waits for the one before it. 250 ms by default.
    ///
    /// Source: RFC 8305, section 5.
    pub attempt_delay: Duration,
    /// Sends small messages at once (`TCP_NODELAY`). On by default.
    pub nodelay: bool,
    /// Connections that the system holds until they are accepted. 1024 by default.
    pub backlog: u32,
    /// Dial from the port of a listener, so that others see one address of this node, which
    /// hole punching needs. Off by default. Falls back to another port when that is not possible.
    pub reuse_port: bool,
    /// How often a listener on all interfaces looks for new and lost addresses. 5 s by default.
    pub interface_interval: Duration,
    /// Connections that are accepted in a row before others get a turn. 16 by default.
    pub accept_burst: usize,
    /// How long to wait after the system could not accept, for example because too many files
    /// are open. Doubles up to 32 times this with each failure in a row. 50 ms by default.
    pub accept_retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            resolved_max: 16,
            attempt_delay: Duration::from_millis(250),
            nodelay: true,
            backlog: 1024,
            reuse_port: false,
            interface_interval: Duration::from_secs(5),
            accept_burst: 16,
            accept_retry: Duration::from_millis(50),
        }
    }
}
