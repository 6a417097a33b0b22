//! Listening sockets, and the connections that wait in them.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    task::{Poll, Waker},
};

use peerkit_core::TcpOptions;

use super::{ConnectionId, Phase, Side};
use crate::{
    HostId,
    trace::Kind,
    world::{World, remember},
};

/// A listening socket.
pub(crate) struct ListenerState {
    pub(crate) addr: SocketAddr,
    pub(crate) shared: bool,
    pub(super) backlog: usize,
    pub(super) pending: VecDeque<ConnectionId>,
    pub(super) waker: Option<Waker>,
}

/// A connection that a listener hands out.
pub(crate) struct Accepted {
    pub(crate) connection: ConnectionId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) remote_addr: SocketAddr,
    /// The life of the host that it belongs to.
    pub(crate) life: u32,
}

/// Sockets ask for these.
impl World {
    pub(crate) fn listen(
        &mut self,
        host: HostId,
        addr: SocketAddr,
        options: &TcpOptions,
    ) -> io::Result<(u64, SocketAddr)> {
        let addr = self.bind_listener(host, addr, options.reuse_port)?;
        let id = self.next_id();
        let state = ListenerState {
            addr,
            shared: options.reuse_port,
            backlog: options.backlog.max(1) as usize,
            pending: VecDeque::new(),
            waker: None,
        };
        self.host_mut(host).listeners.insert(id, state);
        Ok((id, addr))
    }

    pub(crate) fn poll_accept(
        &mut self,
        (host, id): (HostId, u64),
        waker: &Waker,
    ) -> Poll<io::Result<Accepted>> {
        loop {
            let Some(listener) = self.host_mut(host).listeners.get_mut(&id) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if !listener.pending.is_empty()
                && let Err(error) = self.check_descriptors(host)
            {
                return Poll::Ready(Err(error));
            }
            let listener = self.host_mut(host).listeners.get_mut(&id);
            let listener = listener.expect("it was there a moment ago");
            let Some(connection) = listener.pending.pop_front() else {
                let replaced = remember(&mut listener.waker, waker);
                self.retired.extend(replaced);
                return Poll::Pending;
            };
            if let Some(state) = self.connections.get(&connection)
                && state.ends[1].phase == Phase::Open
            {
                let (local_addr, remote_addr) = state.addrs(Side::Listener);
                self.record(Kind::Accepted, [connection, u64::from(host.0), 0]);
                return Poll::Ready(Ok(Accepted {
                    connection,
                    local_addr,
                    remote_addr,
                    life: self.take_descriptor(host),
                }));
            }
        }
    }

    pub(crate) fn close_listener(&mut self, host: HostId, id: u64) {
        let Some(listener) = self.host_mut(host).listeners.remove(&id) else {
            return;
        };
        self.retired.extend(listener.waker);
        for connection in listener.pending {
            self.abort(connection, Side::Listener);
        }
    }
}
