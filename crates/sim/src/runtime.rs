//! The runtime of one host.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture, task::ArcWake};
use peerkit_core::{Network, Runtime, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket};

use crate::{
    ConnectionStats, HostId, Storage,
    descriptors::Descriptor,
    queue::{Event, Key},
    socket::{SimListener, SimStream, SimUdpSocket},
    tcp::Side,
    trace::Kind,
    world::{LOOPBACK, Shared, World, ipv4, ipv6},
};

/// The runtime of one simulated host: virtual time, the host's own addresses, randomness from the seed.
///
/// It belongs to one life of its host. After a crash, tasks that are spawned on it are dropped
/// and its sockets are errors; the next life has a runtime of its own.
#[derive(Clone)]
pub struct SimRuntime {
    shared: Arc<Shared>,
    host: HostId,
    life: u32,
}

impl SimRuntime {
    pub(crate) fn new(shared: &Arc<Shared>, host: HostId) -> Self {
        Self {
            shared: shared.clone(),
            host,
            life: shared.with(|world| world.host(host).life),
        }
    }

    /// The host that it belongs to.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Virtual time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.nanos())
    }

    /// The TCP connections that this host has made and that are still known to one of their sides.
    pub fn connections(&self) -> Vec<ConnectionStats> {
        let mut all = self.shared.with(|world| world.connection_stats());
        all.retain(|connection| connection.dialer == self.host);
        all
    }

    fn socket<T>(
        &self,
        open: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<(Descriptor, T)> {
        let opened = self.shared.with(|world| -> io::Result<T> {
            if !world.is_alive(self.host, self.life) {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            world.check_descriptors(self.host)?;
            let opened = open(world)?;
            world.take_descriptor(self.host);
            Ok(opened)
        })?;
        Ok((Descriptor::new(&self.shared, self.host, self.life), opened))
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::new(&self.shared, self.host, self.life)
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.shared.now()
    }

    /// The simulation begins at the start of the year 2026.
    fn unix_time(&self) -> Duration {
        BEGIN + self.elapsed()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(SimTimer {
            shared: self.shared.clone(),
            deadline: self.shared.virtual_time(deadline),
            queued: None,
            waiting: None,
        })
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        // Refused futures are dropped outside of the lock.
        let mut future = Some(future);
        let task = self.shared.with(|world| {
            if !world.is_alive(self.host, self.life) {
                return None;
            }
            let future = future.take()?;
            let task = world.tasks.add(self.host, future, &self.shared.ready);
            world.record(Kind::Spawned, [task.number, u64::from(self.host.0), 0]);
            Some(task)
        });
        if let Some(task) = task {
            ArcWake::wake(task);
        }
    }

    fn network(&self) -> &dyn Network {
        self
    }

    fn seed(&self) -> [u8; 32] {
        self.shared.with(|world| world.draw_seed(self.host))
    }
}

impl Network for SimRuntime {
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>> {
        async move {
            let connect = |world: &mut World| world.connect(self.host, remote, &options);
            let (descriptor, (connection, local_addr)) = self.socket(connect)?;
            let mut stream = SimStream {
                shared: self.shared.clone(),
                connection,
                side: Side::Dialer,
                _descriptor: descriptor,
            };
            poll_fn(|cx| stream.poll_connected(cx)).await?;
            Ok(TcpConnection {
                io: Box::new(stream),
                local_addr,
                remote_addr: remote,
            })
        }
        .boxed()
    }

    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>> {
        let listen = |world: &mut World| world.listen(self.host, local, &options);
        let (descriptor, (id, addr)) = self.socket(listen)?;
        Ok(Box::new(SimListener {
            shared: self.shared.clone(),
            host: self.host,
            id,
            addr,
            _descriptor: descriptor,
        }))
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>> {
        let bind = |world: &mut World| world.bind_udp(self.host, local);
        let (descriptor, (id, addr)) = self.socket(bind)?;
        Ok(Box::new(SimUdpSocket {
            shared: self.shared.clone(),
            host: self.host,
            id,
            addr,
            _descriptor: descriptor,
        }))
    }

    /// Knows `localhost`, literal addresses and the names of hosts, and answers at once.
    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let found = self.shared.with(|world| world.resolve(host));
        let found = found.ok_or_else(|| io::ErrorKind::NotFound.into());
        std::future::ready(found).boxed()
    }

    fn interfaces(&self) -> io::Result<Vec<IpAddr>> {
        let mut found = LOOPBACK.to_vec();
        found.extend([ipv4(self.host), ipv6(self.host)]);
        Ok(found)
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime")
            .field("host", &self.host)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// In the queue only while somebody waits for it.
struct SimTimer {
    shared: Arc<Shared>,
    /// `None` is further away than the simulation can go.
    deadline: Option<u64>,
    queued: Option<Key>,
    /// The waker that is in the queue, so that the queue need not be looked at to see that it is the right one.
    waiting: Option<Waker>,
}

impl Future for SimTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        if deadline <= self.shared.nanos() {
            self.cancel();
            return Poll::Ready(());
        }
        let known = self.waiting.as_ref();
        if self.queued.is_some() && known.is_some_and(|known| known.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let waker = cx.waker();
        let replaced = self.cancel();
        let push = |world: &mut World| world.queue.push(deadline, Event::Wake(waker.clone()));
        self.queued = Some(self.shared.with(push));
        self.waiting = Some(waker.clone());
        drop(replaced);
        Poll::Pending
    }
}

impl Timer for SimTimer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = self.shared.virtual_time(deadline);
        let waiting = self.cancel();
        if let (Some(event), Some(deadline)) = (waiting, self.deadline) {
            let key = self.shared.with(|world| {
                // Who waits already is woken at the new deadline.
                world.queue.push(deadline.max(world.now), event)
            });
            self.queued = Some(key);
        }
    }
}

impl SimTimer {
    fn cancel(&mut self) -> Option<Event> {
        let key = self.queued.take()?;
        self.shared.with(|world| world.queue.remove(key))
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// 2026-01-01T00:00:00Z.
const BEGIN: Duration = Duration::from_secs(1_767_225_600);
