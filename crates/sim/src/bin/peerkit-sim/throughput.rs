//! How fast one stream is over a long fat link.

use std::time::Duration;

use crate::{
    report::print_table,
    scenario::wall_clock,
    scenarios::throughput::{Transfer, run as transfer},
};

/// Runs a transfer each way; true when both used enough of the link in time.
pub(crate) fn run(seeds: &[u64]) -> bool {
    let mut rows = Vec::new();
    let mut good = true;
    for seed in seeds {
        for download in [false, true] {
            let begin = wall_clock();
            let progress = transfer(*seed, Transfer { download, ..LINK });
            let reached = progress.reached(ENOUGH);
            good &= reached.is_some();
            let shares = progress.shares.iter();
            let shares: Vec<_> = shares.map(|it| format!("{:3.0}", it * 100.0)).collect();
            rows.push([
                seed.to_string(),
                if download { "download" } else { "upload" }.to_owned(),
                format!("{:.0} %", progress.best() * 100.0),
                reached.map_or("never".into(), |it| format!("{:.2} s", it.as_secs_f64())),
                format!("{:.1}", begin.elapsed().as_secs_f64()),
                shares.join(" "),
            ]);
        }
    }
    print_table(&HEADER, &rows);
    good
}

/// The link of the throughput figures that other implementations publish.
const LINK: Transfer = Transfer {
    bandwidth: 5_000_000_000,
    round_trip: Duration::from_millis(63),
    time: Duration::from_secs(3),
    download: false,
};
const ENOUGH: f64 = 0.8;

const HEADER: [&str; 6] = [
    "seed",
    "direction",
    "best",
    "80 % after",
    "wall s",
    "% of the link in each quarter of a second",
];
