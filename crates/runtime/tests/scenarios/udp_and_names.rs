use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use futures::{FutureExt, future::poll_fn};
use peerkit_core::{Task, UdpSocket};

use super::{AnyRuntime, run};

pub(crate) fn datagrams_arrive_whole(runtime: AnyRuntime) {
    let (here, there) = (bind(&runtime), bind(&runtime));
    let to = there.local_addr().unwrap();
    run(&runtime, async {
        for datagram in [&b"first"[..], b"", b"third"] {
            let sent = send(&here, datagram, to).await.unwrap();
            assert_eq!(sent, datagram.len());
        }
        let mut buffer = [0; 64];
        for expected in [&b"first"[..], b"", b"third"] {
            let (count, from) = receive(&there, &mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], expected);
            assert_eq!(from, here.local_addr().unwrap());
        }
    });
}

pub(crate) fn a_datagram_wakes_a_task_that_waits(runtime: AnyRuntime) {
    let (here, there) = (bind(&runtime), bind(&runtime));
    let (from, to) = (here.local_addr().unwrap(), there.local_addr().unwrap());
    run(&runtime, async {
        let mut buffer = [0; 64];
        assert!(receive(&here, &mut buffer).now_or_never().is_none());
        let answering = there.clone();
        let server = Task::spawn(runtime.as_ref(), async move {
            let mut buffer = [0; 64];
            let (count, remote) = receive(&answering, &mut buffer).await.unwrap();
            send(&answering, &buffer[..count], remote).await.unwrap();
        });
        send(&here, b"ping", to).await.unwrap();
        let (count, remote) = receive(&here, &mut buffer).await.unwrap();
        assert_eq!((&buffer[..count], remote), (&b"ping"[..], to));
        assert!(server.join().await);
        assert_ne!(from, to);
    });
}

/// On Windows a long datagram is an error instead.
pub(crate) fn a_long_datagram_is_cut_off(runtime: AnyRuntime) {
    if cfg!(windows) {
        return;
    }
    let (here, there) = (bind(&runtime), bind(&runtime));
    run(&runtime, async {
        let to = there.local_addr().unwrap();
        send(&here, b"longer than four", to).await.unwrap();
        let mut buffer = [0; 4];
        let (count, _) = receive(&there, &mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"long");
    });
}

pub(crate) fn localhost_is_resolved(runtime: AnyRuntime) {
    let found = run(&runtime, runtime.network().resolve("localhost")).unwrap();
    assert!(!found.is_empty());
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    let mut unique = found.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(
        unique.len(),
        found.len(),
        "an address comes twice: {found:?}"
    );
}

pub(crate) fn a_literal_address_is_its_own_name(runtime: AnyRuntime) {
    let found = run(&runtime, runtime.network().resolve("192.0.2.7")).unwrap();
    assert_eq!(found, [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))]);
}

pub(crate) fn a_bad_name_is_an_error(runtime: AnyRuntime) {
    for name in ["", "no such name", "a\0b"] {
        let outcome = run(&runtime, runtime.network().resolve(name));
        assert!(outcome.is_err(), "{name:?}: {outcome:?}");
    }
}

pub(crate) fn interfaces_include_loopback(runtime: AnyRuntime) {
    let found = runtime.network().interfaces().unwrap();
    assert!(
        found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "{found:?}"
    );
    assert!(found.iter().all(|ip| !ip.is_unspecified()));
}

fn bind(runtime: &AnyRuntime) -> Arc<dyn UdpSocket> {
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    runtime.network().bind_udp(local).unwrap().into()
}

async fn send(socket: &Arc<dyn UdpSocket>, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
    poll_fn(|cx| socket.poll_send_to(cx, datagram, to)).await
}

async fn receive(
    socket: &Arc<dyn UdpSocket>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await
}
