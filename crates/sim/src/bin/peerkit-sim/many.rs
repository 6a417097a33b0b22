//! Runs scenarios with many seeds, on all cores.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use peerkit::core::lock;

use crate::{
    report::print_table,
    scenario::wall_clock,
    scenarios::{Outcome, Scenario},
};

/// What came of one scenario.
struct Row {
    scenario: Scenario,
    seeds: usize,
    /// Which seed, and why.
    failures: Vec<(u64, String)>,
    virtual_time: Duration,
    wall_time: Duration,
    longest: Duration,
}

/// Runs each scenario with each seed, and twice with the first one, which must give the same
/// trace. Prints a table; returns whether nothing failed.
pub(crate) fn run(scenarios: &[Scenario], seeds: &[u64], threads: usize) -> bool {
    let rows: Vec<_> = scenarios
        .iter()
        .map(|it| Mutex::new(Row::new(*it)))
        .collect();
    let (next, total) = (AtomicUsize::new(0), rows.len() * seeds.len());
    let bar = progress(total);
    let work = || {
        while let Some(number) = take(&next, total) {
            let (place, row) = (number / rows.len(), &rows[number % rows.len()]);
            let scenario = lock(row).scenario;
            let begin = wall_clock();
            let outcome = attempt(scenario, seeds[place], place == 0);
            lock(row).add(seeds[place], outcome, begin.elapsed());
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let rows: Vec<_> = rows.into_iter().map(into_inner).collect();
    print(&rows);
    rows.iter().all(|row| row.failures.is_empty())
}

fn take(next: &AtomicUsize, total: usize) -> Option<usize> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    (number < total).then_some(number)
}

fn into_inner(row: Mutex<Row>) -> Row {
    row.into_inner()
        .expect("scenarios panic outside of the lock")
}

fn attempt(scenario: Scenario, seed: u64, twice: bool) -> Result<Outcome, String> {
    let run = || catch_unwind(AssertUnwindSafe(|| (scenario.run)(seed))).map_err(reason);
    let outcome = run()?;
    if twice && run()? != outcome {
        return Err("a second run with this seed was another one".to_owned());
    }
    Ok(outcome)
}

/// What a panic says, in one line.
fn reason(panic: Box<dyn Any + Send>) -> String {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or("a panic".into(), |text| text.to_string()),
    };
    text.lines().collect::<Vec<_>>().join(" ")
}

impl Row {
    fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            seeds: 0,
            failures: Vec::new(),
            virtual_time: Duration::ZERO,
            wall_time: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    fn add(&mut self, seed: u64, outcome: Result<Outcome, String>, wall_time: Duration) {
        self.seeds += 1;
        self.wall_time += wall_time;
        self.longest = self.longest.max(wall_time);
        match outcome {
            Ok(outcome) => self.virtual_time += outcome.virtual_time,
            Err(reason) => self.failures.push((seed, reason)),
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.scenario.name.to_owned(),
            self.seeds.to_string(),
            self.failures.len().to_string(),
            format!("{:.1}", self.virtual_time.as_secs_f64() / 3600.0),
            format!("{:.1}", self.wall_time.as_secs_f64()),
            format!("{:.2}", self.longest.as_secs_f64()),
            self.scenario.about.to_owned(),
        ]
    }
}

fn print(rows: &[Row]) {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    print_table(&HEADER, &cells);
    for row in rows {
        for (seed, reason) in &row.failures {
            println!("\n{}: {reason}", row.scenario.name);
            println!("replay: peerkit-sim {} --seed {seed}", row.scenario.name);
        }
    }
}

fn progress(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, {eta} left");
    bar.set_style(style.expect("the template is a valid one"));
    bar
}

const HEADER: [&str; 7] = [
    "scenario",
    "seeds",
    "failures",
    "virtual h",
    "wall s",
    "longest s",
    "",
];
