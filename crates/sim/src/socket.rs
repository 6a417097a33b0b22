//! The sockets that a runtime hands out.

use std::{
    fmt, io,
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use peerkit_core::{TcpConnection, TcpListener, UdpSocket};

use crate::{
    HostId,
    descriptors::Descriptor,
    tcp::{ConnectionId, Side},
    world::Shared,
};

/// One side of a connection.
pub(crate) struct SimStream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: ConnectionId,
    pub(crate) side: Side,
    pub(crate) _descriptor: Descriptor,
}

impl SimStream {
    fn key(&self) -> (ConnectionId, Side) {
        (self.connection, self.side)
    }

    pub(crate) fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = cx.waker();
        let connected = self
            .shared
            .with(|world| world.poll_connected(self.connection, waker));
        connected.map_ok(|(connection, side)| {
            self.connection = connection;
            self.side = side;
        })
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_vectored(cx, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let key = self.key();
        self.shared
            .with(|world| world.poll_read(key, cx.waker(), buffers))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let key = self.key();
        self.shared
            .with(|world| world.poll_write(key, cx.waker(), buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (connection, side) = self.key();
        Poll::Ready(self.shared.with(|world| world.finish(connection, side)))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.shared
            .with(|world| world.abandon(self.connection, self.side));
    }
}

/// A listening socket.
pub(crate) struct SimListener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: HostId,
    pub(crate) id: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) _descriptor: Descriptor,
}

impl TcpListener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpConnection>> {
        let key = (self.host, self.id);
        let accepted = self.shared.with(|world| world.poll_accept(key, cx.waker()));
        accepted.map(|accepted| {
            let accepted = accepted?;
            Ok(TcpConnection {
                io: Box::new(SimStream {
                    shared: self.shared.clone(),
                    connection: accepted.connection,
                    side: Side::Listener,
                    _descriptor: Descriptor::new(&self.shared, self.host, accepted.life),
                }),
                local_addr: accepted.local_addr,
                remote_addr: accepted.remote_addr,
            })
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.shared
            .with(|world| world.close_listener(self.host, self.id));
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// A UDP socket.
pub(crate) struct SimUdpSocket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: HostId,
    pub(crate) id: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) _descriptor: Descriptor,
}

impl UdpSocket for SimUdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let key = (self.host, self.id);
        self.shared
            .with(|world| world.poll_receive(key, cx.waker(), buffer))
    }

    fn poll_send_to(
        &self,
        _: &mut Context<'_>,
        datagram: &[u8],
        remote: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let key = (self.host, self.id);
        Poll::Ready(
            self.shared
                .with(|world| world.send_datagram(key, datagram, remote)),
        )
    }
}

impl Drop for SimUdpSocket {
    fn drop(&mut self) {
        self.shared
            .with(|world| world.close_udp(self.host, self.id));
    }
}

impl fmt::Debug for SimUdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimUdpSocket")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
