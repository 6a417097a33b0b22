//! The runtime: everything that a node takes from its surroundings.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, poll_fn};

use crate::{Io, Machine};

/// Clock, timers, tasks, sockets and randomness, chosen by value.
///
/// A node takes nothing from its surroundings but through this trait, so that a
/// simulator can run it in virtual time. Held as `Arc<dyn Runtime>`.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// The present on a clock that never goes back.
    fn now(&self) -> Instant;

    /// The time since the Unix epoch, for records that others read.
    fn unix_time(&self) -> Duration;

    /// A timer that fires once at `deadline` and can be set again.
    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>>;

    /// Runs a future until it ends. Use [`TaskGroup`](crate::TaskGroup) or
    /// [`Task`](crate::Task), which can cancel and join.
    fn spawn(&self, future: BoxFuture<'static, ()>);

    /// Sockets and names.
    fn network(&self) -> &dyn Network;

    /// Fresh randomness to seed generators with: from the operating system, or from the simulation's seed.
    fn seed(&self) -> [u8; 32];

    /// How large the machine is, for limits that follow it. It is asked once, when a node is built.
    fn machine(&self) -> Machine {
        Machine::default()
    }
}

/// A timer: a future that completes at its deadline.
pub trait Timer: Future<Output = ()> + Send {
    /// Sets another deadline, also after it has fired.
    fn reset(self: Pin<&mut Self>, deadline: Instant);
}

/// Sockets and names.
pub trait Network: fmt::Debug + Send + Sync {
    /// Connects a TCP socket. The caller sets the deadline.
    ///
    /// Cancel safety: dropping the future closes the socket.
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>>;

    /// Listens on a TCP address; port 0 lets the system choose.
    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>>;

    /// Binds a UDP socket.
    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>>;

    /// The addresses of a host name, in the resolver's order.
    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;

    /// The addresses of this host's network interfaces that are up.
    fn interfaces(&self) -> io::Result<Vec<IpAddr>>;
}

/// How a TCP socket is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Sends small messages at once (`TCP_NODELAY`). On by default.
    pub nodelay: bool,
    /// Connections that wait to be accepted. 1024 by default.
    pub backlog: u32,
    /// Connect from this local address; used for port reuse.
    pub bind: Option<SocketAddr>,
    /// Share the local port with other sockets (`SO_REUSEPORT` where it exists). Off by default.
    pub reuse_port: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            backlog: 1024,
            bind: None,
            reuse_port: false,
        }
    }
}

/// A connected TCP socket.
pub struct TcpConnection {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// The address on this side.
    pub local_addr: SocketAddr,
    /// The address on the other side.
    pub remote_addr: SocketAddr,
}

impl fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnection")
            .field("local_addr", &self.local_addr)
            .field("remote_addr", &self.remote_addr)
            .finish_non_exhaustive()
    }
}

/// A listening TCP socket.
pub trait TcpListener: fmt::Debug + Send {
    /// Where it listens, with the port that the system chose.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection. An error may be temporary (for example, too many open files).
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpConnection>>;
}

/// A bound UDP socket.
pub trait UdpSocket: fmt::Debug + Send + Sync {
    /// Where it is bound, with the port that the system chose.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Receives one datagram; what does not fit `buffer` is cut off.
    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// Sends one datagram.
    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        remote: SocketAddr,
    ) -> Poll<io::Result<usize>>;
}

/// Waits until `deadline`.
///
/// Cancel safety: a new call waits for the same instant.
pub async fn sleep_until(runtime: &dyn Runtime, deadline: Instant) {
    runtime.timer(deadline).await;
}

/// Runs `future` for at most `limit`; `None` means that the time was over, and the future was dropped.
pub async fn with_deadline<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let now = runtime.now();
    let deadline = now.checked_add(limit).unwrap_or(now + FAR_AWAY);
    let mut future = pin!(future);
    // Not made for what is done at once.
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| runtime.timer(deadline));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Stands in for deadlines that a clock can't express.
pub(crate) const FAR_AWAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
