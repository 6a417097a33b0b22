use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use futures::{
    AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt,
    future::{join, join_all, poll_fn},
};
use peerkit_core::{
    Task, TaskGroup, TcpConnection, TcpListener, TcpOptions, sleep_until, with_deadline,
};

use super::{AnyRuntime, run};

pub(crate) fn echo_with_a_slow_reader(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    let payload: Vec<u8> = (0..ECHO_BYTES).map(|i| (i % 251) as u8).collect();
    run(&runtime, async {
        let server = Task::spawn(runtime.as_ref(), async move {
            let (mut read, mut write) = accept(&mut listener).await.unwrap().io.split();
            futures::io::copy(&mut read, &mut write).await.unwrap();
            write.close().await.unwrap();
        });
        let (mut read, mut write) = connect(&runtime, addr).await.unwrap().io.split();
        let sending = async {
            write.write_all(&payload).await.unwrap();
            write.close().await.unwrap();
        };
        let receiving = async {
            // All buffers on the way fill up before the first byte is taken.
            sleep(&runtime, 100).await;
            let mut echoed = Vec::new();
            read.read_to_end(&mut echoed).await.unwrap();
            echoed
        };
        let ((), echoed) = join(sending, receiving).await;
        assert!(echoed == payload, "the echo differs");
        assert!(server.join().await);
    });
}

pub(crate) fn writes_wait_for_the_reader(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let (mut client, mut server) = (client.unwrap().io, server.unwrap().io);
        let chunk = vec![7; 64 * 1024];
        let mut sent = 0;
        let limit = Duration::from_millis(200);
        while let Some(written) = with_deadline(runtime.as_ref(), limit, client.write(&chunk)).await
        {
            sent += written.unwrap();
            assert!(sent < 64 * 1024 * 1024, "the system never says stop");
        }
        let reading = async {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            received.len()
        };
        let closing = async { client.close().await.unwrap() };
        assert_eq!(join(reading, closing).await.0, sent);
    });
}

pub(crate) fn half_close_leaves_the_other_half_open(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let (mut client, mut server) = (client.unwrap().io, server.unwrap().io);
        client.write_all(b"question").await.unwrap();
        client.close().await.unwrap();
        client.close().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        server.close().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
    });
}

pub(crate) fn several_slices_go_out_in_one_write(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let (mut client, mut server) = (client.unwrap().io, server.unwrap().io);
        let slices = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        let written = poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &slices)).await;
        assert_eq!(written.unwrap(), 7);
        let mut received = [0; 7];
        server.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"one two");
    });
}

pub(crate) fn a_port_without_listener_refuses(runtime: AnyRuntime) {
    let (listener, addr) = listen(&runtime);
    drop(listener);
    let error = run(&runtime, connect(&runtime, addr)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

pub(crate) fn many_connections_are_accepted(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    let group = TaskGroup::default();
    let handlers = group.clone();
    run(&runtime, async {
        let spawner = runtime.clone();
        let server = Task::spawn(runtime.as_ref(), async move {
            for _ in 0..CLIENTS {
                let TcpConnection { mut io, .. } = accept(&mut listener).await.unwrap();
                handlers.spawn(spawner.as_ref(), async move {
                    let mut byte = [0];
                    io.read_exact(&mut byte).await.unwrap();
                    io.write_all(&byte).await.unwrap();
                });
            }
        });
        let clients = (0..CLIENTS).map(async |number| {
            let mut io = connect(&runtime, addr).await.unwrap().io;
            let mut byte = [number as u8];
            io.write_all(&byte).await.unwrap();
            io.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte[0], number as u8);
        });
        join_all(clients).await;
        assert!(server.join().await);
        assert_eq!(group.join().await, 0);
    });
}

pub(crate) fn both_sides_know_the_addresses(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.remote_addr, addr);
        assert_eq!(server.local_addr, addr);
        assert_eq!(client.local_addr, server.remote_addr);
    });
}

pub(crate) fn a_cut_connection_is_an_error_or_an_end(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let mut client = client.unwrap().io;
        drop(server);
        let mut byte = [0];
        assert!(matches!(client.read(&mut byte).await, Ok(0) | Err(_)));
        let flood = async { while client.write(&[0; 1024]).await.is_ok() {} };
        flood.await;
    });
}

pub(crate) fn dialing_from_the_port_of_a_listener(runtime: AnyRuntime) {
    let options = TcpOptions::default();
    let shared = sharing(None);
    let network = runtime.network();
    let listener = network.listen_tcp(local(), shared).unwrap();
    let from = listener.local_addr().unwrap();
    let mut remote = network.listen_tcp(local(), options).unwrap();
    let to = remote.local_addr().unwrap();
    run(&runtime, async {
        let dial = network.connect_tcp(to, sharing(Some(from)));
        let (dialed, accepted) = join(dial, accept(&mut remote)).await;
        assert_eq!(dialed.unwrap().local_addr, from);
        assert_eq!(accepted.unwrap().remote_addr, from);
    });
}

pub(crate) fn a_port_that_is_taken_is_an_error(runtime: AnyRuntime) {
    let (_listener, addr) = listen(&runtime);
    let error = runtime
        .network()
        .listen_tcp(addr, TcpOptions::default())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

/// Does nothing on a machine without IPv6.
pub(crate) fn ipv6_wildcard_leaves_the_ipv4_port_alone(runtime: AnyRuntime) {
    let network = runtime.network();
    let wildcard = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    if network.listen_tcp(wildcard, TcpOptions::default()).is_err() {
        return;
    }
    // Another test may hold the IPv4 port of one number, but not of ten.
    let shared = (0..10).find_map(|_| {
        let ipv6 = network.listen_tcp(wildcard, TcpOptions::default()).unwrap();
        let port = ipv6.local_addr().unwrap().port();
        let ipv4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let both = network.listen_tcp(ipv4, TcpOptions::default());
        both.is_ok().then_some((ipv6, port))
    });
    let (mut listener, port) = shared.expect("the same port of IPv4 is free");
    let loopback = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, loopback), accept(&mut listener)).await;
        assert_eq!(client.unwrap().local_addr, server.unwrap().remote_addr);
    });
}

pub(crate) fn a_cancelled_accept_loses_nobody(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        assert!(accept(&mut listener).now_or_never().is_none());
        let client = connect(&runtime, addr).await.unwrap();
        let server = accept(&mut listener).await.unwrap();
        assert_eq!(server.remote_addr, client.local_addr);
    });
}

pub(crate) fn halves_in_two_tasks_do_not_starve_each_other(runtime: AnyRuntime) {
    let (mut listener, addr) = listen(&runtime);
    run(&runtime, async {
        let (client, server) = join(connect(&runtime, addr), accept(&mut listener)).await;
        let ends = [client.unwrap().io, server.unwrap().io];
        let group = TaskGroup::default();
        for end in ends {
            let (mut read, mut write) = end.split();
            group.spawn(runtime.as_ref(), async move {
                pump(&mut write).await.unwrap();
            });
            group.spawn(runtime.as_ref(), async move {
                let mut sink = futures::io::sink();
                let count = futures::io::copy(&mut read, &mut sink).await.unwrap();
                assert_eq!(count, ECHO_BYTES as u64);
            });
        }
        assert_eq!(group.join().await, 0);
    });
}

async fn pump(write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    for _ in 0..ECHO_BYTES / 4096 {
        write.write_all(&[1; 4096]).await?;
    }
    write.close().await
}

fn listen(runtime: &AnyRuntime) -> (Box<dyn TcpListener>, SocketAddr) {
    let listener = runtime
        .network()
        .listen_tcp(local(), TcpOptions::default())
        .unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn accept(listener: &mut Box<dyn TcpListener>) -> io::Result<TcpConnection> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}

async fn connect(runtime: &AnyRuntime, addr: SocketAddr) -> io::Result<TcpConnection> {
    runtime
        .network()
        .connect_tcp(addr, TcpOptions::default())
        .await
}

async fn sleep(runtime: &AnyRuntime, ms: u64) {
    sleep_until(runtime.as_ref(), runtime.now() + Duration::from_millis(ms)).await;
}

fn sharing(bind: Option<SocketAddr>) -> TcpOptions {
    let mut options = TcpOptions::default();
    options.reuse_port = true;
    options.bind = bind;
    options
}

fn local() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

const ECHO_BYTES: usize = 8 * 1024 * 1024;
const CLIENTS: usize = 100;
