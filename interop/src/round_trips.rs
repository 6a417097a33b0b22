//! Counts the link round trips from a dial to the first byte of an answer.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    peers::{KeyType, Peer, Stack},
    process::{self, Listener},
    progress::Progress,
    proxy::Proxy,
    report::Table,
};

/// The TCP handshake, which a proxy cannot delay.
const TCP_ROUND_TRIPS: u32 = 1;

/// What peerkit promises with every listener that keeps what it has read.
const OUR_ROUND_TRIPS_MAX: u32 = 3;

pub(crate) struct Options {
    /// Of each direction.
    pub(crate) delay: Duration,
    /// Dials of each listener; the fastest counts, as the others waited for
    /// the machine and not for the link.
    pub(crate) dials: u32,
    pub(crate) timeout: Duration,
}

pub(crate) struct Measurement<'a> {
    pub(crate) dialer: &'a Peer,
    pub(crate) listener: &'a Peer,
    pub(crate) stack: Stack,
    pub(crate) result: Result<Counted>,
}

impl Measurement<'_> {
    /// Whether it was counted, and is few enough when peerkit dials.
    pub(crate) fn is_good(&self) -> bool {
        let few = |counted: &Counted| counted.round_trips <= OUR_ROUND_TRIPS_MAX;
        match &self.result {
            Ok(counted) => !self.dialer.is_local() || few(counted),
            Err(_) => false,
        }
    }
}

pub(crate) struct Counted {
    pub(crate) round_trips: u32,
    /// From the dial to the first byte of the answer, without the TCP handshake.
    pub(crate) first_byte: Duration,
}

/// Measures each dialer against its listener, with each stack that both have.
pub(crate) fn run<'a>(
    pairs: &[(&'a Peer, &'a Peer)],
    stacks: &[Stack],
    options: &Options,
) -> Vec<Measurement<'a>> {
    let dials = pairs
        .iter()
        .flat_map(|pair| stacks.iter().map(move |&stack| (*pair, stack)));
    let able = |((dialer, listener), stack): &((&Peer, &Peer), Stack)| {
        dialer.can(*stack) && listener.can(*stack)
    };
    let dials: Vec<_> = dials.filter(able).collect();
    let progress = Progress::bar(dials.len(), "round trips");
    let mut measurements = Vec::new();
    for ((dialer, listener), stack) in dials {
        let what = format!("{} dials {}, {}", dialer.name, listener.name, stack.muxer);
        progress.now(&what);
        let result = measure(dialer, listener, stack, options);
        match &result {
            Ok(counted) => progress.line(&format!("{what}: {}", counted.round_trips)),
            Err(error) => progress.line(&format!("{what}: FAILED: {error:#}")),
        }
        measurements.push(Measurement {
            dialer,
            listener,
            stack,
            result,
        });
        progress.step();
    }
    measurements
}

fn measure(dialer: &Peer, listener: &Peer, stack: Stack, options: &Options) -> Result<Counted> {
    let listening = Listener::start(listener.listen(stack, KeyType::Ed25519))?;
    let (target, peer) = split(listening.address())?;
    let proxy = Proxy::start(target, options.delay)?;
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", proxy.address().port());
    let mut fastest = Duration::MAX;
    for _ in 0..options.dials {
        let echo = dialer.dial(
            &["echo", "--bytes", "32"],
            &address,
            stack,
            KeyType::Ed25519,
        );
        fastest = fastest.min(first_byte(echo, options.timeout)?);
    }
    let connections = proxy.counts().connections.load(Ordering::Relaxed);
    ensure!(
        connections >= u64::from(options.dials),
        "the dialer went around the proxy"
    );
    listening.stop()?;
    let of_the_link = fastest.as_secs_f64() / (2 * options.delay).as_secs_f64();
    let round_trips = TCP_ROUND_TRIPS + of_the_link.round() as u32;
    Ok(Counted {
        round_trips,
        first_byte: fastest,
    })
}

fn first_byte(command: std::process::Command, timeout: Duration) -> Result<Duration> {
    let events = process::dial(command, timeout)?;
    let echo = events
        .iter()
        .find(|event| event["event"] == "echo")
        .context("no echo event")?;
    let ms = echo["first_byte_ms"]
        .as_f64()
        .context("the echo event has no first_byte_ms")?;
    Duration::try_from_secs_f64(ms / 1000.0).context("first_byte_ms is no time")
}

/// The socket address and the peer id of `/ip4/A/tcp/P/p2p/ID`.
fn split(address: &str) -> Result<(SocketAddr, &str)> {
    let parts: Vec<_> = address.split('/').collect();
    let ["", "ip4", ip, "tcp", port, "p2p", peer] = parts[..] else {
        anyhow::bail!("cannot proxy {address}");
    };
    Ok((format!("{ip}:{port}").parse()?, peer))
}

pub(crate) fn table(measurements: &[Measurement]) -> Table {
    let mut table = Table::new(&[
        "dialer",
        "listener",
        "muxer",
        "round trips",
        "first byte after",
    ]);
    for Measurement {
        dialer,
        listener,
        stack,
        result,
    } in measurements
    {
        let (round_trips, first_byte) = match result {
            Ok(counted) => {
                let ms = counted.first_byte.as_secs_f64() * 1000.0;
                (counted.round_trips.to_string(), format!("{ms:.0} ms"))
            }
            Err(_) => ("FAILED".to_owned(), "-".to_owned()),
        };
        let muxer = stack.muxer.to_string();
        let (dialer, listener) = (dialer.name.clone(), listener.name.clone());
        table.push(vec![dialer, listener, muxer, round_trips, first_byte]);
    }
    table
}
