//! The rows of the matrix, and how they are run.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::{
    peers::{KeyType, Muxer, Peer, Security, Stack},
    process::{self, Listener},
    progress::Progress,
};

const PINGS: usize = 3;
const PROTOCOLS: [&str; 3] = ["/echo/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"];

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) muxers: Vec<Muxer>,
    pub(crate) securities: Vec<Security>,
    pub(crate) echo_bytes: u64,
    /// How long a dialer may take.
    pub(crate) timeout: Duration,
}

/// Which peers meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// peerkit with each foreign peer, in both directions.
    Local,
    /// The foreign peers among each other.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Ping,
    Identify,
    Echo,
}

/// One listener, and the tests that one dialer runs against it.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) dialer: &'a Peer,
    pub(crate) listener: &'a Peer,
    pub(crate) stack: Stack,
    pub(crate) dialer_key: KeyType,
    pub(crate) listener_key: KeyType,
    pub(crate) tests: Vec<Test>,
}

/// What came of each test of a row.
pub(crate) struct Outcome<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) cells: BTreeMap<Test, Result<Measured>>,
    /// Whether the listener ended when its stdin did.
    pub(crate) stopped: Result<()>,
}

/// What a passed test measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measured {
    Nothing,
    RoundTripMs(f64),
    MegabytesPerSecond(f64),
}

/// Every row that both of its peers can do. Keys beside Ed25519 are tried with
/// one stack, as they matter to the handshake only.
pub(crate) fn plan<'a>(peers: &'a [Peer], pairing: Pairing, options: &Options) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (dialer, listener) in pairs(peers, pairing) {
        for stack in stacks(options) {
            if dialer.can(stack) && listener.can(stack) {
                rows.push(Row::with_default_keys(dialer, listener, stack));
            }
        }
        if options.covers(Stack::DEFAULT) {
            rows.extend(rows_of_other_keys(dialer, listener));
        }
    }
    rows
}

/// Runs the rows one after the other.
pub(crate) fn run<'a>(rows: Vec<Row<'a>>, options: &Options) -> Vec<Outcome<'a>> {
    let tests = rows.iter().map(|row| row.tests.len()).sum();
    let progress = Progress::bar(tests, &format!("{tests} tests"));
    rows.into_iter()
        .map(|row| run_row(row, options, &progress))
        .collect()
}

fn run_row<'a>(row: Row<'a>, options: &Options, progress: &Progress) -> Outcome<'a> {
    let outcome = match Listener::start(row.listener.listen(row.stack, row.listener_key)) {
        Ok(listener) => run_tests(row, listener, options, progress),
        Err(error) => Outcome::without_listener(row, &error),
    };
    progress.line(&outcome.summary());
    outcome
}

fn run_tests<'a>(
    row: Row<'a>,
    listener: Listener,
    options: &Options,
    progress: &Progress,
) -> Outcome<'a> {
    let mut cells = BTreeMap::new();
    for &test in &row.tests {
        progress.now(&format!("{row}: {test}"));
        let result = run_test(test, &row, listener.address(), options);
        let tell = || listener.stderr.described("listener");
        cells.insert(test, result.map_err(|error| anyhow!("{error:#}{}", tell())));
        progress.step();
    }
    let stopped = listener.stop();
    Outcome {
        row,
        cells,
        stopped,
    }
}

fn run_test(test: Test, row: &Row, address: &str, options: &Options) -> Result<Measured> {
    let (count, bytes) = (PINGS.to_string(), options.echo_bytes.to_string());
    let arguments: &[&str] = match test {
        Test::Ping => &["ping", "--count", &count],
        Test::Identify => &["identify"],
        Test::Echo => &["echo", "--bytes", &bytes],
    };
    let command = row
        .dialer
        .dial(arguments, address, row.stack, row.dialer_key);
    let events = process::dial(command, options.timeout)?;
    match test {
        Test::Ping => check_pings(&events),
        Test::Identify => check_identify(&events, address),
        Test::Echo => check_echo(&events, options.echo_bytes),
    }
}

fn check_pings(events: &[Value]) -> Result<Measured> {
    let pings: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "ping")
        .collect();
    ensure!(
        pings.len() == PINGS,
        "{} pings instead of {PINGS}",
        pings.len()
    );
    let mut best = f64::INFINITY;
    for ping in pings {
        ensure!(ping["ok"] == true, "a ping failed: {ping}");
        best = best.min(ping["ms"].as_f64().context("a ping without its time")?);
    }
    Ok(Measured::RoundTripMs(best))
}

fn check_identify(events: &[Value], address: &str) -> Result<Measured> {
    let event = only(events, "identify")?;
    let peer = address.rsplit('/').next().unwrap_or_default();
    ensure!(event["peer"] == peer, "not about {peer}: {event}");
    ensure!(
        event["agent"]
            .as_str()
            .is_some_and(|agent| !agent.is_empty()),
        "no agent: {event}"
    );
    let protocols = event["protocols"].as_array().context("no protocols")?;
    for protocol in PROTOCOLS {
        ensure!(
            protocols.iter().any(|known| known == protocol),
            "no {protocol}: {event}"
        );
    }
    let observed = event["observed_addr"].as_str().unwrap_or_default();
    ensure!(
        observed.starts_with("/ip4/127.0.0.1/tcp/"),
        "observed {observed:?}"
    );
    Ok(Measured::Nothing)
}

fn check_echo(events: &[Value], bytes: u64) -> Result<Measured> {
    let event = only(events, "echo")?;
    ensure!(event["bytes"] == bytes, "not {bytes} bytes: {event}");
    ensure!(
        event["sha256"]
            .as_str()
            .is_some_and(|hash| hash.len() == 64),
        "no hash: {event}"
    );
    let seconds = event["seconds"].as_f64().context("no time")?;
    Ok(Measured::MegabytesPerSecond(bytes as f64 / 1e6 / seconds))
}

fn only<'a>(events: &'a [Value], name: &str) -> Result<&'a Value> {
    let mut named = events.iter().filter(|event| event["event"] == name);
    let event = named.next().with_context(|| format!("no {name} event"))?;
    if named.next().is_some() {
        bail!("more than one {name} event");
    }
    ensure!(event["ok"] == true, "{name} failed: {event}");
    Ok(event)
}

pub(crate) fn pairs(peers: &[Peer], pairing: Pairing) -> Vec<(&Peer, &Peer)> {
    let (local, foreign): (Vec<_>, Vec<_>) = peers.iter().partition(|peer| peer.is_local());
    let mut pairs = Vec::new();
    match pairing {
        Pairing::Local => {
            for (local, foreign) in local
                .iter()
                .flat_map(|l| foreign.iter().map(move |f| (l, f)))
            {
                pairs.push((*local, *foreign));
                pairs.push((*foreign, *local));
            }
        }
        Pairing::Foreign => {
            for (i, dialer) in foreign.iter().enumerate() {
                let others = foreign.iter().enumerate().filter(|(j, _)| *j != i);
                pairs.extend(others.map(|(_, listener)| (*dialer, *listener)));
            }
        }
    }
    pairs
}

fn stacks(options: &Options) -> impl Iterator<Item = Stack> {
    let all = Security::value_variants().iter().flat_map(|&security| {
        Muxer::value_variants()
            .iter()
            .map(move |&muxer| Stack { muxer, security })
    });
    all.filter(|stack| options.covers(*stack))
}

fn rows_of_other_keys<'a>(dialer: &'a Peer, listener: &'a Peer) -> Vec<Row<'a>> {
    let others = KeyType::value_variants()
        .iter()
        .filter(|&&key| key != KeyType::Ed25519);
    let mut rows = Vec::new();
    for &key in others {
        let sides = [(key, KeyType::Ed25519), (KeyType::Ed25519, key)];
        for (dialer_key, listener_key) in sides {
            let known = dialer.has_keys(dialer_key, listener_key)
                && listener.has_keys(listener_key, dialer_key);
            if known && dialer.can(Stack::DEFAULT) && listener.can(Stack::DEFAULT) {
                let row = Row::with_default_keys(dialer, listener, Stack::DEFAULT);
                rows.push(Row {
                    dialer_key,
                    listener_key,
                    tests: vec![Test::Ping],
                    ..row
                });
            }
        }
    }
    rows
}

impl Options {
    fn covers(&self, stack: Stack) -> bool {
        self.muxers.contains(&stack.muxer) && self.securities.contains(&stack.security)
    }
}

impl<'a> Row<'a> {
    fn with_default_keys(dialer: &'a Peer, listener: &'a Peer, stack: Stack) -> Self {
        Self {
            dialer,
            listener,
            stack,
            dialer_key: KeyType::Ed25519,
            listener_key: KeyType::Ed25519,
            tests: vec![Test::Ping, Test::Identify, Test::Echo],
        }
    }

    /// The keys of the dialer and the listener.
    pub(crate) fn keys(&self) -> String {
        match (self.dialer_key, self.listener_key) {
            (dialer, listener) if dialer == listener => dialer.to_string(),
            (dialer, listener) => format!("{dialer}, {listener}"),
        }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stack { muxer, security } = self.stack;
        let (dialer, listener) = (&self.dialer.name, &self.listener.name);
        write!(
            f,
            "{dialer} dials {listener}, {security}, {muxer}, {}",
            self.keys()
        )
    }
}

impl<'a> Outcome<'a> {
    fn without_listener(row: Row<'a>, why: &Error) -> Self {
        let cells = row
            .tests
            .iter()
            .map(|&test| (test, Err(anyhow!("{why:#}"))));
        let cells = cells.collect();
        Self {
            row,
            cells,
            stopped: Ok(()),
        }
    }

    pub(crate) fn passed(&self) -> usize {
        self.cells.values().filter(|result| result.is_ok()).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.failures().count()
    }

    fn failures(&self) -> impl Iterator<Item = (String, &Error)> {
        let cells = self.cells.iter();
        let cells =
            cells.filter_map(|(test, result)| Some((test.to_string(), result.as_ref().err()?)));
        cells.chain(
            self.stopped
                .as_ref()
                .err()
                .map(|error| ("the listener's end".to_owned(), error)),
        )
    }

    /// One line, and below it what failed and why.
    fn summary(&self) -> String {
        let mut summary = match self.failed() {
            0 => format!("ok     {}", self.row),
            _ => format!("FAILED {}", self.row),
        };
        for (what, why) in self.failures() {
            summary += &format!("\n  {what}: {why:#}");
        }
        summary
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "ping",
            Self::Identify => "identify",
            Self::Echo => "echo",
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "ok"),
            Self::RoundTripMs(ms) => write!(f, "ok {ms:.2} ms"),
            Self::MegabytesPerSecond(rate) => write!(f, "ok {rate:.0} MB/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::peers::{Language, Launcher};

    #[test]
    fn each_foreign_peer_dials_and_is_dialed_with_what_both_sides_have() {
        let peers = [
            local(),
            foreign(Language::Go, &["yamux"]),
            foreign(Language::Js, &[]),
        ];
        let planned: Vec<_> = plan(&peers, Pairing::Local, &options())
            .iter()
            .map(shown)
            .collect();
        assert_eq!(
            planned,
            [
                "peerkit dials go, noise, yamux, ed25519",
                "peerkit dials go, noise, yamux, ed25519, rsa",
                "go dials peerkit, noise, yamux, ed25519",
                "go dials peerkit, noise, yamux, rsa, ed25519",
            ]
        );
    }

    #[test]
    fn foreign_peers_meet_each_other_but_not_peerkit() {
        let muxers = ["yamux", "mplex"];
        let peers = [
            local(),
            foreign(Language::Js, &muxers),
            foreign(Language::Py, &muxers),
        ];
        let rows = plan(&peers, Pairing::Foreign, &options());
        assert!(rows.iter().all(|row| row.dialer.name != row.listener.name));
        assert!(rows.iter().all(|row| row.dialer.name != "peerkit"));
        assert!(
            rows.iter()
                .any(|row| shown(row) == "py dials js, noise, mplex, ed25519")
        );
    }

    #[test]
    fn identify_must_be_about_the_peer_that_was_dialed() {
        let address = "/ip4/127.0.0.1/tcp/1/p2p/A";
        let mut event = json!({
            "event": "identify", "ok": true, "peer": "A", "agent": "x/1", "protocols": PROTOCOLS,
            "observed_addr": "/ip4/127.0.0.1/tcp/2",
        });
        assert!(check_identify(&[event.clone()], address).is_ok());
        event["peer"] = "B".into();
        assert!(check_identify(&[event], address).is_err());
    }

    #[test]
    fn too_few_pings_and_short_echoes_fail() {
        let ping = json!({"event": "ping", "ok": true, "ms": 1.0});
        assert!(check_pings(&vec![ping.clone(); PINGS]).is_ok());
        assert!(check_pings(&[ping]).is_err());
        let hash = "0".repeat(64);
        let echo = json!({"event": "echo", "ok": true, "bytes": 9, "sha256": hash, "seconds": 1});
        assert!(check_echo(std::slice::from_ref(&echo), 9).is_ok());
        assert!(check_echo(&[echo], 10).is_err());
    }

    fn local() -> Peer {
        Peer::local(Path::new("peerkit"), BTreeMap::new())
    }

    fn foreign(language: Language, muxers: &[&str]) -> Peer {
        let keys = ["ed25519", "rsa", "one that is not known here"];
        let info = json!({
            "muxers": muxers, "securities": ["noise"], "key_types": keys, "remote_key_types": keys,
        });
        Peer::of_info(language, Launcher::new("peer".into(), []), &info)
    }

    fn options() -> Options {
        Options {
            muxers: Muxer::value_variants().to_vec(),
            securities: Security::value_variants().to_vec(),
            echo_bytes: 1,
            timeout: Duration::from_secs(1),
        }
    }

    fn shown(row: &Row) -> String {
        row.to_string()
    }
}
