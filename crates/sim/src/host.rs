//! Hosts.

use std::{fmt, net::IpAddr};

use crate::{
    SimRuntime, Storage,
    world::{ipv4, ipv6},
};

/// A simulated host, by number; the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) u32);

impl HostId {
    /// The host with this place in the order in which hosts are added, so that programs
    /// can be told of hosts that are still to come.
    pub fn new(index: u32) -> Self {
        Self(index)
    }

    /// Its place in the order in which hosts were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Its IPv4 address, in `10.0.0.0/8`.
    pub fn ipv4(self) -> IpAddr {
        ipv4(self)
    }

    /// Its IPv6 address, in `fd00::/8`.
    pub fn ipv6(self) -> IpAddr {
        ipv6(self)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host-{}", self.0)
    }
}

/// What the program of a host is given when it starts.
#[derive(Clone, Debug)]
pub struct Node {
    runtime: SimRuntime,
    life: u32,
}

impl Node {
    pub(crate) fn new(runtime: SimRuntime, life: u32) -> Self {
        Self { runtime, life }
    }

    /// The host.
    pub fn id(&self) -> HostId {
        self.runtime.host()
    }

    /// The host's place in the order in which hosts were added.
    pub fn index(&self) -> usize {
        self.id().index()
    }

    /// How often the host was started before.
    pub fn restarts(&self) -> u32 {
        self.life
    }

    /// The host's runtime.
    pub fn runtime(&self) -> SimRuntime {
        self.runtime.clone()
    }

    /// What the host stores: it is there again after a restart, and what was synced also after a crash.
    pub fn storage(&self) -> Storage {
        self.runtime.storage()
    }

    /// The host's IPv4 address.
    pub fn ip(&self) -> IpAddr {
        self.id().ipv4()
    }
}
