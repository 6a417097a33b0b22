//! Remotes that break the rules: the dialing program ends soon and says who is at fault.

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use common::{failure, failure_event, peerkit, text};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Stream};

/// A node on loopback that answers nothing but ping and identify, and its address.
fn node() -> (Host, String) {
    async_std::task::block_on(async {
        let loopback = "/ip4/127.0.0.1/tcp/0".parse().expect("a valid address");
        let host = Host::builder().listen_on(loopback).build().await;
        let host = host.expect("loopback has a free port");
        let addr = host.addrs()[0].to_string();
        (host, addr)
    })
}

/// A TCP listener without libp2p; `answer` gets each connection, one after the other.
fn socket(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("the listener is bound").port();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    format!("/ip4/127.0.0.1/tcp/{port}")
}

#[test]
fn a_protocol_that_the_remote_does_not_have_is_named() {
    let (_node, addr) = node();
    for (command, protocol) in [("echo", "/echo/1.0.0"), ("perf", "/perf/1.0.0")] {
        for muxer in ["yamux", "mplex"] {
            let event = failure_event(&[command, &addr, "--muxer", muxer]);
            let sentence = event["error"].as_str().unwrap();
            assert!(sentence.contains(protocol), "{sentence}");
            assert_eq!(event["fault"], "incompatible");
        }
    }
}

#[test]
fn an_echo_of_other_bytes_is_noticed() {
    let (node, addr) = node();
    node.set_stream_handler("/echo/1.0.0", |mut stream: Stream| async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        bytes[1000] ^= 1;
        stream.write_all(&bytes).await
    });
    let event = failure_event(&["echo", &addr, "--bytes", "2000"]);
    assert!(
        event["error"].as_str().unwrap().contains("other bytes"),
        "{event}"
    );
    assert_eq!(event["fault"], "peer_misbehaved");
}

#[test]
fn an_echo_that_is_too_long_or_too_short_is_noticed() {
    let (node, addr) = node();
    node.set_stream_handler("/echo/1.0.0", |mut stream: Stream| async move {
        stream.write_all(&[7; 3000]).await
    });
    let sentence = failure(&["echo", &addr, "--bytes", "2000"]);
    assert!(
        sentence.contains("more bytes than it was sent"),
        "{sentence}"
    );
    let sentence = failure(&["echo", &addr, "--bytes", "4000"]);
    assert!(sentence.contains("3000 of 4000 bytes"), "{sentence}");
}

#[test]
fn a_stream_that_the_remote_resets_is_noticed() {
    let (node, addr) = node();
    node.set_stream_handler("/echo/1.0.0", |_: Stream| async { Err::<(), _>("no") });
    let sentence = failure(&["echo", &addr]);
    assert!(sentence.contains("reset the stream"), "{sentence}");
}

#[test]
fn a_perf_server_that_sends_another_number_of_bytes_is_noticed() {
    let (node, addr) = node();
    node.set_stream_handler("/perf/1.0.0", |mut stream: Stream| async move {
        futures::io::copy(&mut stream, &mut futures::io::sink()).await?;
        stream.write_all(&[0; 500]).await
    });
    for wanted in ["499", "501"] {
        let sizes = ["--upload-bytes", "10", "--download-bytes", wanted];
        let event = failure_event(&[&["perf", addr.as_str()], &sizes[..]].concat());
        assert_eq!(event["fault"], "peer_misbehaved", "{event}");
    }
}

#[test]
fn a_listener_that_is_no_libp2p_node_is_noticed() {
    let addr = socket(|mut connection| {
        // The dialer may be gone before all is written.
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = connection.read(&mut [0; 1024]);
    });
    let sentence = failure(&["ping", &addr]);
    assert!(sentence.contains(&addr), "{sentence}");
    assert_eq!(failure_event(&["ping", &addr])["fault"], "peer_misbehaved");
}

#[test]
fn a_listener_that_hangs_up_at_once_is_noticed() {
    let addr = socket(drop);
    let sentence = failure(&["identify", &addr]);
    assert!(sentence.contains(&addr), "{sentence}");
    assert_eq!(failure_event(&["identify", &addr])["fault"], "network");
}

#[test]
fn a_listener_that_stays_silent_meets_a_deadline() {
    let addr = socket(|mut connection| {
        let _ = connection.read_to_end(&mut Vec::new());
    });
    let sentence = failure(&["ping", &addr]);
    assert!(sentence.contains("the remote said nothing"), "{sentence}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_transfer_in_good_order() {
    use std::process::{Command, Stdio};
    let (node, addr) = node();
    let (sender, started) = futures::channel::mpsc::channel(1);
    node.set_stream_handler("/echo/1.0.0", move |mut stream: Stream| {
        let mut sender = sender.clone();
        async move {
            stream.read_exact(&mut [0; 1000]).await?;
            // The test waits for one.
            let _ = sender.try_send(());
            std::future::pending::<std::io::Result<()>>().await
        }
    });
    let mut command = peerkit(&["echo", &addr, "--bytes", "1000000000000"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    async_std::task::block_on(futures::StreamExt::into_future(started));
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(text(&output.stderr), "error: interrupted\n");
}
