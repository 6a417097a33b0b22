//! The table at the end.

use std::time::Duration;

use peerkit_sim::Stats;

use crate::{node::Counts, pictures::Sample};

/// What came of one run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) virtual_time: Duration,
    pub(crate) wall_time: Duration,
    /// Nodes with a neighbour that each has to reach in the end.
    pub(crate) pairs: usize,
    pub(crate) trace_hash: u64,
    pub(crate) stats: Stats,
    pub(crate) counts: Counts,
    pub(crate) samples: Vec<Sample>,
}

impl Outcome {
    /// Every node reached all its neighbours in the end, nothing panicked, and it can be replayed.
    fn is_good(&self) -> bool {
        let sound = self.stats.panics == 0 && self.stats.foreign_wake_ups == 0;
        sound && self.counts.answered.len() == self.pairs
    }

    /// The round trip, in microseconds, that this share of all pings did not exceed.
    pub(crate) fn round_trip(&self, share: f64) -> Option<u32> {
        let sorted = &self.counts.round_trips;
        let place = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied()
    }

    fn milliseconds(&self, share: f64) -> String {
        let found = self.round_trip(share);
        found.map_or("-".into(), |it| format!("{:.1}", f64::from(it) / 1000.0))
    }

    fn cells(&self) -> [String; 13] {
        let verdict = if self.is_good() { "good" } else { "BAD" };
        [
            self.seed.to_string(),
            format!("{:.0}", self.virtual_time.as_secs_f64()),
            format!("{:.1}", self.wall_time.as_secs_f64()),
            self.counts.pings.to_string(),
            self.counts.pings_failed.to_string(),
            self.counts.dials_failed.to_string(),
            format!("{}/{}", self.counts.answered.len(), self.pairs),
            format!("{} {}", self.milliseconds(0.5), self.milliseconds(0.99)),
            self.stats.packets.to_string(),
            self.stats.wake_ups.to_string(),
            self.stats.tasks_peak.to_string(),
            format!("{:016x}", self.trace_hash),
            verdict.to_owned(),
        ]
    }
}

/// The outcomes of all runs.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 13]>,
    bad: Vec<u64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.rows.push(outcome.cells());
        if !outcome.is_good() {
            self.bad.push(outcome.seed);
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.bad.is_empty()
    }

    pub(crate) fn print(&self) {
        print_table(&HEADER, &self.rows);
        for seed in &self.bad {
            println!("run it again with --seed {seed}");
        }
    }
}

/// Prints rows of cells in columns: numbers to the right, the last column as it is.
pub(crate) fn print_table<const N: usize>(header: &[&str; N], rows: &[[String; N]]) {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    print_row(&header.map(str::to_owned), &widths);
    rows.iter().for_each(|row| print_row(row, &widths));
}

fn print_row<const N: usize>(cells: &[String; N], widths: &[usize; N]) {
    let cells = cells.iter().zip(widths).enumerate();
    let line: Vec<_> = cells
        .map(|(place, (cell, width))| match place {
            0 => format!("{cell:<width$}"),
            _ if place + 1 == N => cell.clone(),
            _ => format!("{cell:>width$}"),
        })
        .collect();
    println!("{}", line.join("  ").trim_end());
}

const HEADER: [&str; 13] = [
    "seed",
    "virtual s",
    "wall s",
    "pings",
    "failed",
    "dials failed",
    "reached",
    "p50 p99 ms",
    "packets",
    "wake-ups",
    "tasks peak",
    "trace hash",
    "",
];
