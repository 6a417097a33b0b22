//! One process listens, another one dials.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Listener, events, run, run_with_stdin, text};
use serde_json::Value;

#[test]
fn everything_works_over_yamux_on_async_std() {
    everything_works("yamux", "async-std");
}

#[test]
fn everything_works_over_mplex_on_async_std() {
    everything_works("mplex", "async-std");
}

#[test]
fn everything_works_over_yamux_on_tokio() {
    everything_works("yamux", "tokio");
}

#[test]
fn everything_works_over_mplex_on_tokio() {
    everything_works("mplex", "tokio");
}

fn everything_works(muxer: &str, runtime: &str) {
    let options = ["--muxer", muxer, "--runtime", runtime];
    let mut listener = Listener::start(&options);
    let addr = listener.addr.clone();
    let dial = |command: &[&str]| events(&[command, &options].concat());

    check_pings(&dial(&["ping", &addr, "--count", "2"]));
    check_identity(&dial(&["identify", &addr]), &listener);
    check_echo(&dial(&["echo", &addr, "--bytes", "10000000"]), 10_000_000);
    check_perf(&dial(&[
        "perf",
        &addr,
        "--upload-bytes",
        "3000000",
        "--download-bytes",
        "2000001",
    ]));

    let connected = listener.event("connected");
    assert_eq!(connected["direction"], "inbound");
    assert_eq!(connected["security"], "/noise");
    assert!(
        connected["muxer"].as_str().unwrap().contains(muxer),
        "{connected}"
    );
    assert!(
        connected["addr"]
            .as_str()
            .unwrap()
            .starts_with("/ip4/127.0.0.1/tcp/")
    );
    let disconnected = listener.event("disconnected");
    assert_eq!(disconnected["peer"], connected["peer"]);
    listener.stop();
}

fn check_pings(pings: &[Value]) {
    assert_eq!(pings.len(), 2);
    for ping in pings {
        assert_eq!(
            (&ping["event"], &ping["ok"]),
            (&"ping".into(), &true.into())
        );
        assert!(ping["ms"].as_f64().unwrap() > 0.0);
    }
}

fn check_identity(events: &[Value], listener: &Listener) {
    let [identity] = events else {
        panic!("one event, not {events:?}");
    };
    assert_eq!(identity["ok"], true);
    assert_eq!(identity["peer"], listener.peer());
    assert!(identity["agent"].as_str().unwrap().starts_with("peerkit/"));
    assert_eq!(identity["signed_record"], true);
    let observed = identity["observed_addr"].as_str().unwrap();
    assert!(observed.starts_with("/ip4/127.0.0.1/tcp/"), "{observed}");
    let protocols: Vec<_> = identity["protocols"].as_array().unwrap().iter().collect();
    for protocol in [
        "/echo/1.0.0",
        "/perf/1.0.0",
        "/ipfs/id/1.0.0",
        "/ipfs/ping/1.0.0",
    ] {
        assert!(
            protocols.iter().any(|it| *it == protocol),
            "{protocol} in {protocols:?}"
        );
    }
    let addrs = identity["listen_addrs"].as_array().unwrap();
    assert!(
        addrs.iter().any(|it| it == listener.bare_addr()),
        "{addrs:?}"
    );
    assert!(
        identity["public_key"]
            .as_str()
            .unwrap()
            .starts_with("08011220")
    );
}

fn check_echo(events: &[Value], bytes: u64) {
    let [echo] = events else {
        panic!("one event, not {events:?}");
    };
    assert_eq!(echo["ok"], true);
    assert_eq!(echo["bytes"], bytes);
    assert_eq!(echo["sha256"].as_str().unwrap().len(), 64);
    let (first, all) = (
        echo["first_byte_ms"].as_f64().unwrap(),
        echo["seconds"].as_f64().unwrap(),
    );
    assert!(0.0 < first && first / 1000.0 <= all + 0.001, "{echo}");
}

fn check_perf(events: &[Value]) {
    let [perf] = events else {
        panic!("one event, not {events:?}");
    };
    assert_eq!(perf["upload_bytes"], 3_000_000);
    assert_eq!(perf["download_bytes"], 2_000_001);
    for time in ["upload_seconds", "download_seconds"] {
        assert!(perf[time].as_f64().unwrap() > 0.0, "{perf}");
    }
}

#[test]
fn plaintext_works_when_both_sides_ask_for_it() {
    let mut listener = Listener::start(&["--security", "plaintext"]);
    let addr = listener.addr.clone();
    check_echo(
        &events(&["echo", &addr, "--bytes", "1000", "--security", "plaintext"]),
        1000,
    );
    assert_eq!(listener.event("connected")["security"], "/plaintext/2.0.0");
    listener.stop();
}

#[test]
fn a_peer_can_be_dialed_without_knowing_its_id() {
    let listener = Listener::start(&[]);
    let [identity] = &events(&["identify", listener.bare_addr()])[..] else {
        panic!("one event");
    };
    assert_eq!(identity["peer"], listener.peer());
}

#[test]
fn the_smallest_transfers_work() {
    let listener = Listener::start(&[]);
    let [empty] = &events(&["echo", &listener.addr, "--bytes", "0"])[..] else {
        panic!("one event");
    };
    assert_eq!(empty["bytes"], 0);
    assert!(empty["first_byte_ms"].is_null());
    check_echo(&events(&["echo", &listener.addr, "--bytes", "1"]), 1);
    for (upload, download) in [("0", "0"), ("0", "1"), ("1", "0")] {
        let sizes = ["--upload-bytes", upload, "--download-bytes", download];
        let [perf] = &events(&[&["perf", listener.addr.as_str()], &sizes[..]].concat())[..] else {
            panic!("one event");
        };
        assert_eq!(perf["upload_bytes"].to_string(), upload);
        assert_eq!(perf["download_bytes"].to_string(), download);
    }
}

#[test]
fn stdin_comes_back_on_stdout() {
    let listener = Listener::start(&[]);
    let stdin: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let output = run_with_stdin(&["echo", &listener.addr, "--stdin"], &stdin);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        output.stdout == stdin,
        "{} bytes came back",
        output.stdout.len()
    );
    assert!(stderr.starts_with("echoed 1200000 bytes in "), "{stderr}");

    let output = run_with_stdin(&["--json", "echo", &listener.addr, "--stdin"], b"abc");
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["bytes"], 3);
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(event["sha256"], hash);
}

#[test]
fn a_listener_tells_who_has_connected() {
    let mut listener = Listener::start(&[]);
    // A dialer that is there long enough to be identified.
    events(&["ping", &listener.addr, "--count", "10"]);
    let identified = listener.event("identified");
    assert!(
        identified["agent"]
            .as_str()
            .unwrap()
            .starts_with("peerkit/")
    );
    assert!(!identified["protocols"].as_array().unwrap().is_empty());
    listener.stop();
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_listener_well() {
    for signal in ["-INT", "-TERM"] {
        let mut listener = Listener::start(&[]);
        let id = listener.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.unwrap().success());
        listener.expect_end();
    }
}

#[test]
fn whoever_reaches_a_limit_reads_which_one() {
    let mut listener = Listener::start(&["--limit", "connections_per_peer_max=0"]);
    let told = common::failure(&["ping", &listener.addr.clone()]);
    assert!(told.contains("resource limit exceeded"), "{told}");
    let limit = listener.event("limit");
    assert_eq!(limit["setting"], "limits.connections_per_peer_max");
    assert_eq!(limit["refused"], "connection");
    assert_eq!((&limit["used"], &limit["max"]), (&0.into(), &0.into()));
    assert_eq!(limit["times"], 1);
    listener.stop();
}

#[test]
fn a_limit_that_does_not_exist_is_refused() {
    let told = run(&["listen", "--limit", "nonsense=1"]);
    let told = text(&told.stderr);
    assert!(
        told.contains("\"nonsense\" is no limit; there are connections_max"),
        "{told}"
    );
}
