//! How fast, how often and at what cost messages arrive in networks of gossipsub nodes.

use std::{path::Path, time::Duration};

use clap::Args;

use crate::{
    gossip_pictures,
    report::print_table,
    scenario::wall_clock,
    scenarios::gossip::{
        Figures,
        honest::{self, Idontwant, Plan, Run},
        partition,
    },
};

/// What the scenarios of gossipsub need to know beside the size of the network.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "For gossip and gossip-partition")]
pub(crate) struct Options {
    /// Bytes of a message; a run for each, with and without IDONTWANT.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [256, 16384],
        value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    message_size: Vec<u32>,
    /// Nodes that publish, one message a second each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    publishers: u32,
    /// Virtual seconds of publishing. For gossip.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=3600))]
    seconds: u32,
    /// Mbit/s that a node can send, to one other node and in all. For gossip.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    bandwidth: u32,
    /// Fails when one in a hundred arrivals takes that long. For gossip.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    p99_max: u32,
    /// Runs with IDONTWANT only. For gossip.
    #[arg(long)]
    idontwant_only: bool,
}

/// Runs the networks with each seed, and prints what came of them; false when a message was lost or late, or when IDONTWANT
/// saves nothing.
pub(crate) fn run(
    options: &Options,
    size: (usize, usize),
    seeds: &[u64],
    plot: Option<&Path>,
) -> bool {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    let mut last = Vec::new();
    for seed in seeds {
        last = runs(options, size, *seed);
        rows.extend(last.iter().map(|(run, wall_time)| cells(run, *wall_time)));
        wrong.extend(complaints(options, &last));
    }
    print_table(&HEADER, &rows);
    wrong.iter().for_each(|it| println!("{it}"));
    let drawn = plot.is_none_or(|path| drawn(path, gossip_pictures::draw(path, &last)));
    wrong.is_empty() && drawn
}

fn runs(options: &Options, (nodes, degree): (usize, usize), seed: u64) -> Vec<(Run, Duration)> {
    let mut runs = Vec::new();
    for size in &options.message_size {
        for idontwant in [Idontwant::Off, Idontwant::On] {
            if options.idontwant_only && idontwant == Idontwant::Off {
                continue;
            }
            let begin = wall_clock();
            let run = honest::run(Plan {
                seed,
                nodes,
                degree,
                publishers: (options.publishers as usize).min(nodes),
                time: Duration::from_secs(u64::from(options.seconds)),
                size: *size as usize,
                bandwidth: u64::from(options.bandwidth) * 1_000_000,
                idontwant,
            });
            runs.push((run, begin.elapsed()));
        }
    }
    runs
}

fn complaints(options: &Options, runs: &[(Run, Duration)]) -> Vec<String> {
    let limit = Duration::from_millis(u64::from(options.p99_max));
    let mut found = Vec::new();
    for (run, _) in runs {
        let plan = &run.plan;
        let what = format!("seed {}, {} bytes", plan.seed, plan.size);
        let figures = &run.figures;
        if !figures.is_complete() {
            let (came, expected) = (figures.latencies.len(), figures.expected);
            let wrong = figures.wrong;
            found.push(format!(
                "BAD: {what}: {came} of {expected} arrivals, {wrong} wrong ones"
            ));
        }
        if figures.latency(0.99).is_none_or(|it| it >= limit) {
            found.push(format!(
                "BAD: {what}: one in a hundred takes {limit:?} or longer"
            ));
        }
        if run.stats.panics + run.stats.foreign_wake_ups > 0 {
            found.push(format!(
                "BAD: {what}: a task panicked, or a thread woke one"
            ));
        }
    }
    for pair in runs.windows(2) {
        let [(without, _), (with, _)] = pair else {
            continue;
        };
        let same = without.plan.size == with.plan.size && with.plan.idontwant == Idontwant::On;
        if same && honest::is_announced(with.plan.size) && !with.saves_beside(without) {
            let size = with.plan.size;
            found.push(format!("BAD: IDONTWANT saves nothing at {size} bytes"));
        }
    }
    found
}

/// Cuts networks in two for a while with each seed; false when something that was published since the heal was not everywhere
/// within three heartbeats.
pub(crate) fn partition(
    options: &Options,
    (nodes, degree): (usize, usize),
    seeds: &[u64],
    plot: Option<&Path>,
) -> bool {
    let mut rows = Vec::new();
    let mut good = true;
    let mut last = None;
    for seed in seeds {
        let begin = wall_clock();
        let run = partition::run(partition::Plan {
            seed: *seed,
            nodes,
            degree,
            rate: f64::from(options.publishers) / 10.0,
            rate_healed: f64::from(options.publishers),
            size: options.message_size[0] as usize,
        });
        rows.push(partition_cells(&run, begin.elapsed()));
        good &= run.is_good();
        last = Some(run);
    }
    print_table(&PARTITION_HEADER, &rows);
    let pictures = plot.zip(last.as_ref());
    let drawn =
        pictures.is_none_or(|(path, run)| drawn(path, gossip_pictures::draw_partition(path, run)));
    good && drawn
}

fn drawn(path: &Path, outcome: std::io::Result<()>) -> bool {
    match &outcome {
        Ok(()) => println!("drawn into {}", path.display()),
        Err(error) => eprintln!("could not write {}: {error}", path.display()),
    }
    outcome.is_ok()
}

fn cells(run: &Run, wall_time: Duration) -> [String; 14] {
    [
        run.plan.seed.to_string(),
        run.plan.nodes.to_string(),
        run.plan.size.to_string(),
        format!("{:?}", run.plan.idontwant).to_lowercase(),
        run.figures.messages.to_string(),
        delivered(&run.figures),
        millis(&run.figures, 0.5),
        millis(&run.figures, 0.99),
        millis(&run.figures, 1.0),
        format!("{:.1}", run.mesh_mean()),
        format!("{:.2}", run.copies),
        format!("{:.1}", run.bytes_per_second / 1000.0),
        run.traffic.unwanted.to_string(),
        format!("{:.1}", wall_time.as_secs_f64()),
    ]
}

fn partition_cells(run: &partition::Run, wall_time: Duration) -> [String; 9] {
    let verdict = if run.is_good() { "good" } else { "BAD" };
    [
        run.plan.seed.to_string(),
        run.plan.nodes.to_string(),
        run.log.messages.len().to_string(),
        run.healed.messages.to_string(),
        delivered(&run.healed),
        millis(&run.healed, 0.99),
        millis(&run.healed, 1.0),
        format!("{:.1}", wall_time.as_secs_f64()),
        verdict.to_owned(),
    ]
}

/// Rounded down, so that a hundred per cent are all.
fn delivered(figures: &Figures) -> String {
    let share = (figures.delivered() * 100_000.0).floor() / 1000.0;
    format!("{share} %")
}

fn millis(figures: &Figures, share: f64) -> String {
    let latency = figures.latency(share);
    latency.map_or("-".into(), |it| format!("{:.0}", it.as_secs_f64() * 1000.0))
}

const HEADER: [&str; 14] = [
    "seed",
    "nodes",
    "bytes",
    "idontwant",
    "messages",
    "delivered",
    "p50 ms",
    "p99 ms",
    "last ms",
    "mesh",
    "copies",
    "kB/s",
    "not sent",
    "wall s",
];

const PARTITION_HEADER: [&str; 9] = [
    "seed",
    "nodes",
    "messages",
    "since the heal",
    "delivered",
    "p99 ms",
    "last ms",
    "wall s",
    "",
];
