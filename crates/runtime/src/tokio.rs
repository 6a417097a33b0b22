//! The tokio back end.

use std::{
    io,
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use ::tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    time::Sleep,
};
use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use peerkit_core::{
    Machine, Network, Runtime, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket,
};

use crate::{socket, system};

/// Timers, sockets and tasks of a tokio runtime.
///
/// That runtime must have I/O and time enabled (`enable_all`). Futures of
/// peerkit may be polled anywhere, also outside of the runtime's threads.
#[derive(Clone, Debug)]
pub struct Tokio(TokioNetwork);

impl Tokio {
    /// The tokio runtime behind `handle`. It must outlive its use.
    pub fn new(handle: Handle) -> Self {
        Self(TokioNetwork { handle })
    }

    /// The tokio runtime that the caller runs in.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn current() -> Self {
        Self::new(Handle::current())
    }
}

impl Runtime for Tokio {
    fn now(&self) -> Instant {
        system::now()
    }

    fn unix_time(&self) -> Duration {
        system::unix_time()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        let _context = self.0.handle.enter();
        let sleep = ::tokio::time::sleep_until(deadline.into());
        Box::pin(TokioTimer(Box::pin(sleep)))
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(self.0.handle.spawn(future));
    }

    fn network(&self) -> &dyn Network {
        &self.0
    }

    fn seed(&self) -> [u8; 32] {
        system::seed()
    }

    fn machine(&self) -> Machine {
        system::machine()
    }
}

struct TokioTimer(Pin<Box<Sleep>>);

impl Future for TokioTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Timer for TokioTimer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.0.as_mut().reset(deadline.into());
    }
}

/// Every socket is made in the context of the handle: tokio registers it with the
/// runtime that the current thread is in.
#[derive(Clone, Debug)]
struct TokioNetwork {
    handle: Handle,
}

impl TokioNetwork {
    fn start_connect(&self, remote: SocketAddr, options: &TcpOptions) -> io::Result<TcpStream> {
        let stream = socket::start_connect(remote, options)?;
        let _context = self.handle.enter();
        TcpStream::from_std(stream)
    }
}

impl Network for TokioNetwork {
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>> {
        async move {
            let stream = self.start_connect(remote, &options)?;
            stream.writable().await?;
            socket::finish_connect(&stream)?;
            let remote_addr = stream.peer_addr()?;
            connection(stream, remote_addr)
        }
        .boxed()
    }

    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>> {
        let listener = socket::listen(local, &options)?;
        let _context = self.handle.enter();
        Ok(Box::new(TokioListener {
            listener: ::tokio::net::TcpListener::from_std(listener)?,
            options,
            handle: self.handle.clone(),
        }))
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>> {
        let socket = socket::bind_udp(local)?;
        let _context = self.handle.enter();
        let socket = ::tokio::net::UdpSocket::from_std(socket)?;
        Ok(Box::new(TokioUdp(socket)))
    }

    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        async move {
            let lookup = self.handle.spawn_blocking(move || system::resolve(&host));
            lookup.await.map_err(io::Error::other)?
        }
        .boxed()
    }

    fn interfaces(&self) -> io::Result<Vec<IpAddr>> {
        system::interfaces()
    }
}

/// tokio's stream with the traits of the futures crate.
struct TokioStream(TcpStream);

impl AsyncRead for TokioStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map(socket::closed)
    }
}

#[derive(Debug)]
struct TokioListener {
    listener: ::tokio::net::TcpListener,
    options: TcpOptions,
    handle: Handle,
}

impl TcpListener for TokioListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpConnection>> {
        let _context = self.handle.enter();
        let (stream, remote_addr) = ready!(self.listener.poll_accept(cx))?;
        socket::set_accepted(&stream, &self.options);
        Poll::Ready(connection(stream, remote_addr))
    }
}

#[derive(Debug)]
struct TokioUdp(::tokio::net::UdpSocket);

impl UdpSocket for TokioUdp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let remote = ready!(self.0.poll_recv_from(cx, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), remote)))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        remote: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, datagram, remote)
    }
}

fn connection(stream: TcpStream, remote_addr: SocketAddr) -> io::Result<TcpConnection> {
    Ok(TcpConnection {
        local_addr: stream.local_addr()?,
        io: Box::new(TokioStream(stream)),
        remote_addr,
    })
}
