//! What goes wrong ends with exit code 1 and one sentence that a person can act on.

mod common;

use std::net::TcpListener;

use common::{Listener, TemporaryFile, failure, failure_event, run, text};

const SOMEBODY_ELSE: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

#[test]
fn the_wrong_peer_at_an_address_is_named() {
    let listener = Listener::start(&[]);
    let addr = format!("{}/p2p/{SOMEBODY_ELSE}", listener.bare_addr());
    for command in ["ping", "identify", "echo", "perf"] {
        let sentence = failure(&[command, &addr]);
        assert!(sentence.contains(SOMEBODY_ELSE), "{sentence}");
        assert!(sentence.contains(listener.peer()), "{sentence}");
    }
    assert_eq!(failure_event(&["ping", &addr])["fault"], "incompatible");
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    let addr = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let sentence = failure(&["ping", &addr]);
    assert!(sentence.contains(&addr), "{sentence}");
    assert!(sentence.to_lowercase().contains("refused"), "{sentence}");
    assert_eq!(failure_event(&["echo", &addr])["fault"], "network");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("the listener is bound").port()
}

#[test]
fn a_text_that_is_no_address_is_shown_with_an_example() {
    for command in ["ping", "identify", "echo", "perf"] {
        let sentence = failure(&[command, "127.0.0.1:4001"]);
        assert!(
            sentence.contains("\"127.0.0.1:4001\" is no multiaddr"),
            "{sentence}"
        );
        assert!(sentence.contains("/ip4/127.0.0.1/tcp/4001"), "{sentence}");
    }
    let cut_off = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", &SOMEBODY_ELSE[..40]);
    assert!(failure(&["ping", &cut_off]).contains("no peer id, or not all of it"));
    let sentence = failure(&["listen", "--listen", "/ip4/nowhere/tcp/0"]);
    assert!(sentence.contains("/ip4/nowhere/tcp/0"), "{sentence}");
    assert_eq!(failure_event(&["ping", "nonsense"])["fault"], "misuse");
}

#[test]
fn an_address_without_tcp_is_refused_with_an_example() {
    let peer = format!("/p2p/{SOMEBODY_ELSE}");
    for addr in [
        "/ip4/127.0.0.1/udp/4001/quic-v1",
        "/ip4/127.0.0.1/tcp/4001/ws",
        "/ip4/127.0.0.1",
        &peer,
    ] {
        for line in [&["ping", addr][..], &["listen", "--listen", addr]] {
            let sentence = failure(line);
            assert!(sentence.starts_with(addr), "{sentence}");
            assert!(sentence.contains("/ip4/127.0.0.1/tcp/4001"), "{sentence}");
        }
    }
    assert_eq!(failure_event(&["ping", &peer])["fault"], "misuse");
    assert!(failure(&["ping", ""]).contains("is no multiaddr"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = Listener::start(&[]);
    let sentence = failure(&["listen", "--listen", listener.bare_addr()]);
    assert!(sentence.contains(listener.bare_addr()), "{sentence}");
}

#[test]
fn a_peer_without_a_common_muxer_is_refused() {
    let listener = Listener::start(&["--muxer", "mplex"]);
    let sentence = failure(&["ping", &listener.addr, "--muxer", "yamux"]);
    assert!(sentence.contains("muxer"), "{sentence}");
    let event = failure_event(&["ping", &listener.addr, "--muxer", "yamux"]);
    assert_eq!(event["fault"], "incompatible");
}

#[test]
fn a_peer_without_a_common_security_is_refused() {
    let listener = Listener::start(&[]);
    let sentence = failure(&["ping", &listener.addr, "--security", "plaintext"]);
    assert!(sentence.contains("/plaintext/2.0.0"), "{sentence}");
}

#[test]
fn a_file_that_is_no_key_is_refused() {
    let file = TemporaryFile::with_content(b"this is no key at all");
    for command in [
        &["key", "show"][..],
        &["listen"],
        &["ping", "/ip4/127.0.0.1/tcp/1"],
        &["demo"],
    ] {
        let sentence = failure(&[command, &["--key", file.path()]].concat());
        assert!(sentence.contains(file.path()), "{sentence}");
    }
    let sentence = failure(&["key", "show", "--key", "/nowhere/at/all"]);
    assert!(sentence.contains("/nowhere/at/all"), "{sentence}");
}

#[test]
fn a_wrong_command_line_is_explained_with_exit_code_2() {
    let output = run(&["ping", "/ip4/127.0.0.1/tcp/1", "--count", "many"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("many"));
    let event = failure_event(&["ping", "/ip4/127.0.0.1/tcp/1", "--count", "many"]);
    assert!(event["error"].as_str().unwrap().contains("many"));
    assert_eq!(event["fault"], "misuse");
}
