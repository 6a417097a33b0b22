//! How sockets are set up, the same for every back end.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use peerkit_core::TcpOptions;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Begins to connect; the socket becomes writable once that has succeeded or failed.
pub(crate) fn start_connect(remote: SocketAddr, options: &TcpOptions) -> io::Result<TcpStream> {
    let socket = tcp_socket(remote)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(local) = options.bind {
        if options.reuse_port {
            share_port(&socket)?;
        }
        socket.bind(&local.into())?;
    }
    match socket.connect(&remote.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

/// How an attempt of [`start_connect`] went, once the socket is writable.
pub(crate) fn finish_connect<'a>(stream: impl Into<SockRef<'a>>) -> io::Result<()> {
    let stream: SockRef<'_> = stream.into();
    stream.take_error()?.map_or(Ok(()), Err)
}

/// A listening socket that does not block.
pub(crate) fn listen(local: SocketAddr, options: &TcpOptions) -> io::Result<TcpListener> {
    let socket = tcp_socket(local)?;
    // Elsewhere this lets a restarted node listen at once; on Windows it would let others steal the port.
    if cfg!(not(windows)) {
        socket.set_reuse_address(true)?;
    }
    if options.reuse_port {
        share_port(&socket)?;
    }
    only_its_own_family(&socket, local)?;
    socket.bind(&local.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Applies the options to an accepted socket.
///
/// Fails only for a connection that is gone already, which its first read will tell.
pub(crate) fn set_accepted<'a>(stream: impl Into<SockRef<'a>>, options: &TcpOptions) {
    let stream: SockRef<'_> = stream.into();
    let _ = stream.set_tcp_nodelay(options.nodelay);
}

/// A bound socket that does not block.
pub(crate) fn bind_udp(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    only_its_own_family(&socket, local)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// A half that is closed already is closed.
pub(crate) fn closed(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        outcome => outcome,
    }
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// An IPv6 wildcard would otherwise take the IPv4 port too, and then `/ip4/0.0.0.0` beside `/ip6/::` fails.
fn only_its_own_family(socket: &Socket, local: SocketAddr) -> io::Result<()> {
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(())
}

fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    #[cfg(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    ))]
    socket.set_reuse_port(true)?;
    Ok(())
}

#[cfg(unix)]
fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

#[cfg(not(unix))]
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
