//! yamux.

use std::time::Duration;

use anyhow::Result;

use crate::{
    dial::{self, YAMUX},
    frames::yamux::{self, PING, RST, SYN},
    live::{Plan, Target},
    peer::{Ending, Reading, storm},
    report::Findings,
    scenario::{Scenario, attack},
};

/// Scenarios Y01 to Y14, the vectors of yamux, and the advisories about it.
pub fn table() -> Vec<Scenario> {
    vec![
        attack(
            "Y04",
            "ping flood, answers read",
            "goodbye after the budget, memory flat",
            Plan {
                off: vec!["yamux.pings=max"],
                event: "Disconnected: the remote reached a limit",
                memory: 8 * 1024,
                ..Plan::default()
            },
            async |target: Target| {
                flood(target, Reading::All, |n| yamux::header(PING, SYN, 0, n)).await
            },
        ),
        attack(
            "Y05",
            "rapid reset: SYN and RST",
            "goodbye after at most 1024 streams",
            Plan {
                off: vec!["yamux.rapid_resets=max"],
                event: "Disconnected: the remote reached a limit",
                ..Plan::default()
            },
            async |target: Target| {
                flood(target, Reading::All, |n| {
                    let id = n * 2 + 1;
                    [yamux::open(id), yamux::header(yamux::UPDATE, RST, id, 0)].concat()
                })
                .await
            },
        ),
    ]
}

/// Frames in chunks of so many.
const CHUNK: u32 = 100;

/// Sends a frame again and again, until the victim has had enough.
async fn flood(
    target: Target,
    reading: Reading,
    frame: impl Fn(u32) -> Vec<u8>,
) -> Result<Findings> {
    let stream = dial::muxed(target.addr, YAMUX).await?;
    let chunks = target.run.quick_or(500, 3000);
    let ending = storm(stream, Duration::from_secs(8), reading, |n| {
        let from = u32::try_from(n).unwrap_or(u32::MAX) * CHUNK;
        (n < chunks).then(|| (from..from + CHUNK).flat_map(&frame).collect())
    })
    .await;
    Ok(of_ending(&ending))
}

fn of_ending(ending: &Ending) -> Findings {
    Findings::new()
        .equal("goodbye", ending.goodbye.unwrap_or(99), 1)
        .holds("closed", ending.closed)
}
