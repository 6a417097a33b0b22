//! A network that does what the test says, on the real clock.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    Network, Runtime, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket, lock,
};

/// What happens to those who connect to an address. Without a rule they connect for real.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Silent,
    Fail(io::ErrorKind),
    FailWhenBound(io::ErrorKind),
    To(SocketAddr),
    /// What TCP does when the dialer's port is the dialed one.
    ToItself,
}

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) rules: BTreeMap<SocketAddr, Rule>,
    pub(crate) interfaces: Vec<IpAddr>,
    pub(crate) accept_failures: VecDeque<io::ErrorKind>,
    /// Who was dialed, and how.
    pub(crate) dialed: Vec<(SocketAddr, TcpOptions)>,
    /// How often somebody looked for a connection.
    pub(crate) accept_polls: usize,
}

#[derive(Debug)]
pub(crate) struct FakeRuntime {
    real: Arc<dyn Runtime>,
    network: FakeNetwork,
}

impl FakeRuntime {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        let real = peerkit_runtime::default();
        let network = FakeNetwork {
            real: real.clone(),
            script: Arc::new(Mutex::new(script)),
        };
        Arc::new(Self { real, network })
    }

    pub(crate) fn script<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut lock(&self.network.script))
    }
}

impl Runtime for FakeRuntime {
    fn now(&self) -> Instant {
        self.real.now()
    }

    fn unix_time(&self) -> Duration {
        self.real.unix_time()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        self.real.timer(deadline)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.real.spawn(future);
    }

    fn network(&self) -> &dyn Network {
        &self.network
    }

    fn seed(&self) -> [u8; 32] {
        self.real.seed()
    }
}

struct FakeNetwork {
    real: Arc<dyn Runtime>,
    script: Arc<Mutex<Script>>,
}

impl Network for FakeNetwork {
    fn connect_tcp(
        &self,
        remote: SocketAddr,
        options: TcpOptions,
    ) -> BoxFuture<'_, io::Result<TcpConnection>> {
        let rule = {
            let mut script = lock(&self.script);
            script.dialed.push((remote, options.clone()));
            script.rules.get(&remote).copied()
        };
        match rule {
            Some(Rule::Silent) => pending().boxed(),
            Some(Rule::Fail(kind)) => fail(kind),
            Some(Rule::FailWhenBound(kind)) if options.bind.is_some() => fail(kind),
            Some(Rule::To(other)) => self.real.network().connect_tcp(other, options),
            Some(Rule::ToItself) => std::future::ready(Ok(TcpConnection {
                io: Box::new(futures::io::Cursor::new(Vec::new())),
                local_addr: remote,
                remote_addr: remote,
            }))
            .boxed(),
            Some(Rule::FailWhenBound(_)) | None => self.real.network().connect_tcp(remote, options),
        }
    }

    fn listen_tcp(
        &self,
        local: SocketAddr,
        options: TcpOptions,
    ) -> io::Result<Box<dyn TcpListener>> {
        let real = self.real.network().listen_tcp(local, options)?;
        Ok(Box::new(FakeListener {
            real,
            script: self.script.clone(),
        }))
    }

    fn bind_udp(&self, local: SocketAddr) -> io::Result<Box<dyn UdpSocket>> {
        self.real.network().bind_udp(local)
    }

    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let found = lock(&self.script).names.get(host).cloned();
        match found {
            Some(found) => std::future::ready(Ok(found)).boxed(),
            None => pending().boxed(),
        }
    }

    fn interfaces(&self) -> io::Result<Vec<IpAddr>> {
        Ok(lock(&self.script).interfaces.clone())
    }
}

impl fmt::Debug for FakeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeNetwork")
    }
}

struct FakeListener {
    real: Box<dyn TcpListener>,
    script: Arc<Mutex<Script>>,
}

impl TcpListener for FakeListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.real.local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpConnection>> {
        let failure = {
            let mut script = lock(&self.script);
            script.accept_polls += 1;
            script.accept_failures.pop_front()
        };
        match failure {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => self.real.poll_accept(cx),
        }
    }
}

impl fmt::Debug for FakeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeListener")
    }
}

fn fail(kind: io::ErrorKind) -> BoxFuture<'static, io::Result<TcpConnection>> {
    std::future::ready(Err(kind.into())).boxed()
}
