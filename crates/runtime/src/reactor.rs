//! Timers and sockets of the async-io reactor, which async-std and smol use too.

use std::{
    fmt, io,
    io::{IoSlice, IoSliceMut, Read},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::{Duration, Instant},
};

use ::async_io::Async;
use async_lock::Semaphore;
use futures::{
    AsyncRead, AsyncWrite, FutureExt, channel::oneshot, future::BoxFuture, task::AtomicWaker,
};
use peerkit_core::{Network, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket};

use crate::{socket, system};

/// A timer of the reactor.
pub(crate) struct ReactorTimer {
    deadline: Instant,
    timer: ::async_io::Timer,
}

impl ReactorTimer {
    pub(crate) fn boxed(deadline: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(Self {
            deadline,
            timer: ::async_io::Timer::at(next_wake(deadline)),
        })
    }
}

impl Future for ReactorTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.poll_unpin(cx));
            if system::now() >= self.deadline {
                return Poll::Ready(());
            }
            let wake = next_wake(self.deadline);
            self.timer.set_at(wake);
        }
    }
}

impl Timer for ReactorTimer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = deadline;
        self.timer.set_at(next_wake(deadline));
    }
}

/// Some systems refuse to sleep for years, so a far deadline is slept for in pieces.
fn next_wake(deadline: Instant) -> Instant {
    deadline.min(system::now() + LONGEST_SLEEP)
}

/// Sockets of the reactor.
#[derive(Debug)]
pub(crate) struct Reactor;

impl Network for Reactor {
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>> {
        async move {
            let stream = Async::new_nonblocking(socket::start_connect(remote, &options)?)?;
            stream.writable().await?;
            socket::finish_connect(stream.get_ref())?;
            let remote_addr = stream.get_ref().peer_addr()?;
            connection(stream, remote_addr)
        }
        .boxed()
    }

    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>> {
        let listener = Async::new_nonblocking(socket::listen(local, &options)?)?;
        Ok(Box::new(ReactorListener { listener, options }))
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>> {
        let socket = Async::new_nonblocking(socket::bind_udp(local)?)?;
        Ok(Box::new(ReactorUdp(socket)))
    }

    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        async move {
            let place = LOOKUPS.acquire().await;
            let (told, answer) = oneshot::channel();
            let lookup = move || {
                let outcome = system::resolve(&host);
                drop(place);
                // Nobody waits for it when the caller has given up.
                let _ = told.send(outcome);
            };
            let thread = std::thread::Builder::new().name("peerkit-dns".into());
            thread.spawn(lookup)?;
            answer
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the lookup has panicked")))
        }
        .boxed()
    }

    fn interfaces(&self) -> io::Result<Vec<IpAddr>> {
        system::interfaces()
    }
}

/// A connected socket. `Async` alone would not close the write side, and would ask the system at
/// each poll whether there is something to read.
struct ReactorStream {
    socket: Async<TcpStream>,
    /// The last read took everything that there was, so the next one waits for the reactor.
    drained: bool,
    /// The reactor was asked to tell when there is more.
    asked: bool,
    arrival: Arc<Arrival>,
}

/// What the reactor wakes when there is something to read.
#[derive(Default)]
struct Arrival {
    arrived: AtomicBool,
    reader: AtomicWaker,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.arrived.store(true, Ordering::Release);
        self.reader.wake();
    }
}

impl ReactorStream {
    fn new(socket: Async<TcpStream>) -> Self {
        Self {
            socket,
            drained: false,
            asked: false,
            arrival: Arc::default(),
        }
    }

    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut read: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.drained {
                ready!(self.poll_arrival(cx))?;
            }
            match read(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.drained = false,
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    self.drained = (1..room).contains(&count);
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// Ready when it is worth trying to read. The reactor's own answer can't be relied on for that: it
    /// calls an event old that it delivers in the round in which it was asked.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.arrival.reader.register(cx.waker());
        if !self.arrival.arrived.swap(false, Ordering::Acquire) {
            if self.asked {
                return Poll::Pending;
            }
            self.asked = true;
            let waker = Waker::from(self.arrival.clone());
            ready!(self.socket.poll_readable(&mut Context::from_waker(&waker)))?;
        }
        self.asked = false;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ReactorStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, buffer.len(), |mut socket| socket.read(buffer))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll_read_with(cx, room, |mut socket| socket.read_vectored(buffers))
    }
}

impl AsyncWrite for ReactorStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket::closed(
            self.socket.get_ref().shutdown(Shutdown::Write),
        ))
    }
}

struct ReactorListener {
    listener: Async<std::net::TcpListener>,
    options: TcpOptions,
}

impl TcpListener for ReactorListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpConnection>> {
        loop {
            match self.listener.get_ref().accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.listener.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok((stream, remote_addr)) => {
                    return Poll::Ready(accepted(stream, remote_addr, &self.options));
                }
            }
        }
    }
}

impl fmt::Debug for ReactorListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.get_ref().fmt(f)
    }
}

#[derive(Debug)]
struct ReactorUdp(Async<std::net::UdpSocket>);

impl UdpSocket for ReactorUdp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            match self.0.get_ref().recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_readable(cx))?;
                }
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        remote: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().send_to(datagram, remote) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_writable(cx))?;
                }
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

fn accepted(
    stream: TcpStream,
    remote_addr: SocketAddr,
    options: &TcpOptions,
) -> io::Result<TcpConnection> {
    stream.set_nonblocking(true)?;
    socket::set_accepted(&stream, options);
    connection(Async::new_nonblocking(stream)?, remote_addr)
}

fn connection(stream: Async<TcpStream>, remote_addr: SocketAddr) -> io::Result<TcpConnection> {
    Ok(TcpConnection {
        local_addr: stream.get_ref().local_addr()?,
        io: Box::new(ReactorStream::new(stream)),
        remote_addr,
    })
}

const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Names that are looked up at a time; the system's resolver blocks, so each takes a thread.
/// Further lookups wait.
static LOOKUPS: Semaphore = Semaphore::new(16);
