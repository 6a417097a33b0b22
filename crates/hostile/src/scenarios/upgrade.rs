//! TCP, and what comes before the first frame of a muxer.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{AsyncWriteExt, future};

use crate::{
    dial, measure,
    report::Findings,
    scenario::{Run, Scenario},
    victim::Victim,
};

/// Scenarios A01 to A11.
pub fn table() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "A01",
            "2,000 connections that say nothing",
            "at most 64 at a time, all closed within 10.5 s, 4 KiB each",
            |run| half_open(run, &[], 4),
        )
        .raised("limits.inbound_upgrades_max")
        .is_live(),
        Scenario::new(
            "A02",
            "2,000 connections that agree on /noise and say no more",
            "at most 64 at a time, all closed within 10.5 s, 12.8 KiB each",
            |run| half_open(run, multistream_noise(), 13),
        )
        .raised("limits.inbound_upgrades_max")
        .is_live(),
    ]
}

fn multistream_noise() -> &'static [u8] {
    b"\x13/multistream/1.0.0\n\x07/noise\n"
}

/// Connections that send a little and then nothing.
async fn half_open(run: Run, hello: &'static [u8], kib_each: u64) -> Result<Findings> {
    let count = run.quick_or(300, 2000);
    let mut changes = run.changes(&["limits.inbound_upgrades_max=100000"]);
    if run.quick {
        changes.push("upgrade.timeout=1000");
    }
    let deadline = run.quick_or(1.5, 10.5);
    let mut victim = Victim::start(&changes).await?;
    let idle = victim.stats().await?;
    let from = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut tcp = dial::tcp(victim.addr).await?;
        let _ = tcp.write_all(hello).await;
        connections.push(tcp);
    }
    measure::sleep(Duration::from_millis(run.quick_or(300, 1000))).await;
    let busy = victim.stats().await?;
    let held = busy.number("half_open");
    let grown = busy.number("rss").saturating_sub(idle.number("rss"));
    future::join_all(connections.iter_mut().map(|tcp| dial::drain(tcp))).await;
    let took = from.elapsed().as_secs_f64();
    drop(connections);
    let after = victim.stats().await?;
    Ok(Findings::new()
        .at_most("half open", held, 64)
        .at_most("s until all are closed", took, deadline)
        .timing()
        .at_most("KiB more", grown, 64 * kib_each + 2048)
        .at_least(
            "refusals told",
            after.happened("limits.inbound_upgrades"),
            1,
        )
        .equal("half open after", after.number("half_open"), 0)
        .at_most(
            "descriptors after",
            after.number("fds"),
            idle.number("fds") + 2,
        ))
}
