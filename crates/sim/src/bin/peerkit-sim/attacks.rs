//! Attacks on gossip: one, or the scoreboard of all.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use peerkit::core::lock;

use crate::{
    report::print_table,
    scenario::wall_clock,
    scenarios::gossip_attacks::{self, ALL, Attack, Scores, Size, Verdict},
};

/// What attacks need to know.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "For gossip-attack and gossip-attacks")]
pub(crate) struct Options {
    /// Which one.
    #[arg(value_parser = parser())]
    attack: Option<&'static Attack>,
    /// Honest nodes.
    #[arg(long, default_value_t = HONEST, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    honest: u32,
    /// Attackers; by default as many for each honest node as the attack names.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sybils: Option<u32>,
    /// How honest nodes score their peers; by default a run for each.
    #[arg(long, value_enum)]
    scores: Option<Scoring>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scoring {
    /// With the default parameters.
    On,
    /// With parameters for the rate of the topic.
    Tuned,
    /// Not at all.
    Off,
}

/// One run.
struct Job {
    attack: &'static Attack,
    scores: Scores,
    size: Size,
    seed: u64,
}

/// One line of the scoreboard.
struct Row {
    job: Job,
    verdict: Verdict,
    wall_time: Duration,
}

/// Runs the attack that is named, or all; false when something is not as it has to be: with scores the network
/// holds, without them an attack succeeds.
pub(crate) fn run(options: &Options, seeds: &[u64], threads: usize) -> bool {
    let attacks: Vec<_> = match options.attack {
        Some(attack) => vec![attack],
        None => ALL.iter().collect(),
    };
    let jobs: Vec<_> = seeds
        .iter()
        .flat_map(|seed| attacks.iter().map(move |attack| (*seed, *attack)))
        .flat_map(|(seed, attack)| options.jobs(attack, seed))
        .collect();
    let rows = run_all(jobs, threads);
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    print_table(&HEADER, &cells);
    rows.iter().all(Row::is_good)
}

impl Options {
    fn jobs(&self, attack: &'static Attack, seed: u64) -> impl Iterator<Item = Job> + use<> {
        let honest = self.honest as usize;
        let sybils = self.sybils.map(|it| it as usize);
        let size = Size {
            honest,
            sybils: sybils.unwrap_or(honest * attack.ratio),
        };
        let scores = match self.scores {
            Some(Scoring::On) => vec![Scores::On],
            Some(Scoring::Tuned) => vec![Scores::Tuned],
            Some(Scoring::Off) => vec![Scores::Off],
            None => vec![Scores::On, Scores::Tuned, Scores::Off],
        };
        scores.into_iter().map(move |scores| Job {
            attack,
            scores,
            size,
            seed,
        })
    }
}

/// Each run has a thread of its own while it lasts.
fn run_all(jobs: Vec<Job>, threads: usize) -> Vec<Row> {
    let count = jobs.len();
    let jobs: Vec<_> = jobs.into_iter().map(|job| Mutex::new(Some(job))).collect();
    let rows: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number).and_then(|job| lock(job).take()) else {
                return;
            };
            let row = job.run();
            *lock(&rows[number]) = Some(row);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(work);
        }
    });
    let rows = rows.into_iter().filter_map(|row| lock(&row).take());
    rows.collect()
}

impl Job {
    fn run(self) -> Row {
        let begin = wall_clock();
        let verdict = gossip_attacks::run(self.attack, self.size, self.scores, self.seed);
        let row = Row {
            job: self,
            verdict,
            wall_time: begin.elapsed(),
        };
        // All of them may take a while; the table comes in the end.
        eprintln!("{}", row.cells().join("  "));
        row
    }
}

impl Row {
    fn is_good(&self) -> bool {
        self.job.scores.holds(self.job.attack) == self.verdict.failures().is_empty()
    }

    fn cells(&self) -> [String; 14] {
        let Self { job, verdict, .. } = self;
        let failures = verdict.failures();
        let came = match failures.is_empty() {
            true => "holds".to_owned(),
            false => format!("falls: {}", failures.join(", ")),
        };
        let judged = if self.is_good() { "good" } else { "BAD" };
        [
            job.attack.name.to_owned(),
            job.scores.name().to_owned(),
            job.size.honest.to_string(),
            job.size.sybils.to_string(),
            format!("{:.2}", verdict.delivered * 100.0),
            millis(verdict.p99),
            millis(verdict.max),
            millis(verdict.p99_last),
            format!("{:.0}", verdict.recovery.as_secs_f64()),
            format!("{:.0}", verdict.honest_share() * 100.0),
            job.seed.to_string(),
            format!("{:016x}", verdict.trace_hash),
            format!("{:.1}", self.wall_time.as_secs_f64()),
            format!("{judged}: {came}"),
        ]
    }
}

fn millis(time: Option<Duration>) -> String {
    time.map_or("-".into(), |it| format!("{:.0}", it.as_secs_f64() * 1000.0))
}

fn parser() -> impl TypedValueParser<Value = &'static Attack> {
    let names = ALL
        .iter()
        .map(|it| PossibleValue::new(it.name).help(it.about));
    PossibleValuesParser::new(names).map(|name| {
        let attack = ALL.iter().find(|it| it.name == name);
        attack.expect("the parser takes no other name")
    })
}

/// Honest nodes by default.
const HONEST: u32 = 50;

const HEADER: [&str; 14] = [
    "attack",
    "scores",
    "honest",
    "sybils",
    "delivered %",
    "p99 ms",
    "max ms",
    "end p99 ms",
    "recovery s",
    "honest mesh %",
    "seed",
    "trace hash",
    "wall s",
    "",
];
