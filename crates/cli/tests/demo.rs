//! The demonstration.

mod common;

use common::{events, run, text};

#[test]
fn the_demonstration_prints_its_table() {
    let output = run(&["demo", "--bytes", "500000"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let [header, rows @ .., summary, gossip] = &lines[..] else {
        panic!("{stdout}");
    };
    for column in ["peer", "muxer", "security", "round trip", "throughput"] {
        assert!(header.contains(column), "{header}");
    }
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert!(
            row.starts_with("12D3KooW") && row.contains("/noise"),
            "{row}"
        );
        assert!(row.contains(" ms ") && row.ends_with(" MB/s"), "{row}");
    }
    assert!(rows.iter().any(|row| row.contains("/yamux/1.0.0")));
    assert!(rows.iter().any(|row| row.contains("/mplex/6.7.0")));
    assert!(
        summary.contains("500000 bytes to each of 3 peers"),
        "{summary}"
    );
    assert!(gossip.contains("all 12 deliveries arrived"), "{gossip}");
}

#[test]
fn the_demonstration_obeys_the_options() {
    let options = [
        "--muxer",
        "yamux",
        "--security",
        "plaintext",
        "--runtime",
        "tokio",
    ];
    let sizes = ["demo", "--nodes", "3", "--bytes", "100000"];
    let events = events(&[&sizes[..], &options].concat());
    let [rows @ .., gossip] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (&gossip["event"], &gossip["delivered"]),
        (&"gossip".into(), &6.into())
    );
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["muxer"], "/yamux/1.0.0");
        assert_eq!(row["security"], "/plaintext/2.0.0");
        assert_eq!(row["bytes"], 100_000);
    }
}
