//! Which socket has which port.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use crate::{
    HostId,
    world::{FIRST_EPHEMERAL, World, ipv4, ipv6},
};

impl World {
    /// The address to listen on, with a port.
    pub(crate) fn bind_listener(
        &mut self,
        host: HostId,
        wanted: SocketAddr,
        shared: bool,
    ) -> io::Result<SocketAddr> {
        self.check_local(host, wanted.ip())?;
        let taken = |world: &Self, addr: SocketAddr| {
            let mut others = world.host(host).listeners.values();
            others.any(|other| overlap(other.addr, addr) && !(shared && other.shared))
        };
        self.choose(host, wanted, taken)
    }

    /// The address of a new UDP socket, with a port.
    pub(crate) fn bind_datagrams(
        &mut self,
        host: HostId,
        wanted: SocketAddr,
    ) -> io::Result<SocketAddr> {
        self.check_local(host, wanted.ip())?;
        let taken = |world: &Self, addr: SocketAddr| {
            world
                .host(host)
                .udp
                .values()
                .any(|other| overlap(other.addr, addr))
        };
        self.choose(host, wanted, taken)
    }

    /// The address to connect from.
    pub(crate) fn bind_dialer(
        &mut self,
        host: HostId,
        remote: SocketAddr,
        bind: Option<SocketAddr>,
        shared: bool,
    ) -> io::Result<SocketAddr> {
        let ip = match bind.map(|addr| addr.ip()) {
            Some(ip) if !ip.is_unspecified() => ip,
            _ => source_ip(host, remote.ip()),
        };
        if ip.is_ipv4() != remote.is_ipv4() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.check_local(host, ip)?;
        let wanted = SocketAddr::new(ip, bind.map_or(0, |addr| addr.port()));
        let taken = |world: &Self, addr: SocketAddr| {
            let state = world.host(host);
            let mut listeners = state.listeners.values();
            state.tuples.contains(&(addr.port(), remote))
                || listeners.any(|other| overlap(other.addr, addr) && !(shared && other.shared))
        };
        self.choose(host, wanted, taken)
    }

    fn choose(
        &mut self,
        host: HostId,
        wanted: SocketAddr,
        taken: impl Fn(&Self, SocketAddr) -> bool,
    ) -> io::Result<SocketAddr> {
        if wanted.port() != 0 {
            if taken(self, wanted) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            return Ok(wanted);
        }
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let port = self.host(host).next_port;
            self.host_mut(host).next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
            let addr = SocketAddr::new(wanted.ip(), port);
            if !taken(self, addr) {
                return Ok(addr);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn check_local(&self, host: HostId, ip: IpAddr) -> io::Result<()> {
        if ip.is_unspecified() || self.route(host, ip) == Some(host) {
            return Ok(());
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

/// The address from which a host reaches another address.
pub(crate) fn source_ip(host: HostId, remote: IpAddr) -> IpAddr {
    match (remote, remote.is_loopback()) {
        (_, true) => remote,
        (IpAddr::V4(_), false) => ipv4(host),
        (IpAddr::V6(_), false) => ipv6(host),
    }
}

/// Whether a socket bound to `bound` gets what is sent to `target`.
pub(crate) fn takes(bound: SocketAddr, target: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() && bound.is_ipv4() == target.is_ipv4();
    bound.port() == target.port() && (any || bound.ip() == target.ip())
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    takes(one, other) || takes(other, one)
}
