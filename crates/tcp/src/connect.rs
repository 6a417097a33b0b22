//! Connecting to one of several addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use futures::{
    FutureExt, StreamExt,
    future::{Either, select},
    stream::FuturesUnordered,
};
use peerkit_core::{Runtime, TcpConnection, TcpOptions};

use crate::{Config, ConnectAttempts, error::ConnectAttempt, ports::ListeningPorts};

/// What it takes to connect.
pub(crate) struct Connector<'a> {
    pub(crate) runtime: &'a dyn Runtime,
    pub(crate) config: &'a Config,
    pub(crate) ports: &'a ListeningPorts,
}

impl Connector<'_> {
    /// Tries the addresses one after the other, without waiting long for any, until one is
    /// connected. The caller sets the deadline.
    pub(crate) async fn connect_any(&self, remotes: Vec<SocketAddr>) -> io::Result<TcpConnection> {
        let mut waiting = remotes.into_iter();
        let mut running = FuturesUnordered::new();
        let mut failed = Vec::new();
        let mut turn = self.runtime.timer(self.runtime.now());
        loop {
            if let Some(remote) = waiting.next() {
                running.push(self.connect(remote).map(move |outcome| (remote, outcome)));
                turn.as_mut()
                    .reset(self.runtime.now() + self.config.attempt_delay);
            }
            let ended = if waiting.len() == 0 {
                running.next().await
            } else {
                match select(running.next(), &mut turn).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(((), _)) => continue,
                }
            };
            match ended {
                Some((_, Ok(connection))) => return Ok(connection),
                Some((remote, Err(error))) => failed.push(ConnectAttempt::new(remote, error)),
                None => return Err(ConnectAttempts::into_error(failed)),
            }
        }
    }

    async fn connect(&self, remote: SocketAddr) -> io::Result<TcpConnection> {
        let Some(local) = self.shared_port(remote) else {
            return self.connect_from(remote, None).await;
        };
        match self.connect_from(remote, Some(local)).await {
            // Another connection between the same two ports is there, or only just over.
            Err(error) if is_about_the_port(&error) => self.connect_from(remote, None).await,
            outcome => outcome,
        }
    }

    async fn connect_from(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<TcpConnection> {
        let mut options = TcpOptions::default();
        options.nodelay = self.config.nodelay;
        options.bind = local;
        options.reuse_port = local.is_some();
        let network = self.runtime.network();
        let connection = network.connect_tcp(remote, options).await?;
        // When nobody listens on a port of this host, the system may choose that very port to
        // connect from, and TCP then connects the socket with itself.
        if connection.local_addr == connection.remote_addr {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(connection)
    }

    /// The listener's socket to dial from, if that is wanted and possible.
    fn shared_port(&self, remote: SocketAddr) -> Option<SocketAddr> {
        if !self.config.reuse_port {
            return None;
        }
        let local = self.ports.local_for(remote.ip())?;
        let with_itself = local.port() == remote.port() && self.is_this_host(remote.ip());
        (!with_itself).then_some(local)
    }

    fn is_this_host(&self, ip: IpAddr) -> bool {
        let network = self.runtime.network();
        ip.is_loopback() || network.interfaces().is_ok_and(|own| own.contains(&ip))
    }
}

fn is_about_the_port(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}
