//! What the large networks look like over time.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    plot::{Chart, Layer, Series, page},
    report::Outcome,
    scenario::Scenario,
};

/// What is counted, so far, at a point of virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: Duration,
    pub(crate) connections: usize,
    pub(crate) pings: u64,
    pub(crate) failed: u64,
}

/// Draws a run into a file.
pub(crate) fn draw(
    path: &Path,
    scenario: Scenario,
    size: (usize, usize),
    outcome: &Outcome,
) -> io::Result<()> {
    let title = format!("{}: {} nodes", scenario.name(), size.0);
    let subtitle = format!(
        "{} connections each, {:.0} virtual minutes in {:.1} s, seed {}",
        size.1,
        outcome.virtual_time.as_secs_f64() / 60.0,
        outcome.wall_time.as_secs_f64(),
        outcome.seed
    );
    let trouble = scenario
        .trouble(outcome.virtual_time)
        .map(|(from, to, label)| Layer::Range {
            from: from.as_secs_f64(),
            to: to.as_secs_f64(),
            label,
        });
    let charts = [
        pings(outcome, trouble.clone()),
        connections(outcome, trouble),
        latencies(outcome),
    ];
    fs::write(path, page(&title, &subtitle, &charts))
}

fn pings(outcome: &Outcome, trouble: Option<Layer>) -> Chart {
    let answered = rate(outcome, "answered", |sample| sample.pings);
    let failed = rate(outcome, "failed", |sample| sample.failed);
    let series = [Layer::Area(answered), Layer::Line(failed)];
    Chart {
        title: "Pings each second".to_owned(),
        across: "virtual seconds",
        layers: trouble.into_iter().chain(series).collect(),
        names: Vec::new(),
    }
}

/// How fast a count grows, from the beginning to the end; each point stands for a fortieth of the time.
fn rate(outcome: &Outcome, name: &'static str, count: fn(&Sample) -> u64) -> Series {
    let steps: Vec<_> = outcome.samples.iter().step_by(5).collect();
    let rates = steps.windows(2).map(|pair| {
        let seconds = (pair[1].time - pair[0].time).as_secs_f64();
        let middle = pair[0].time.as_secs_f64() + seconds / 2.0;
        (middle, (count(pair[1]) - count(pair[0])) as f64 / seconds)
    });
    let mut points: Vec<_> = rates.collect();
    if let Some((_, rate)) = points.last().copied() {
        points.push((outcome.virtual_time.as_secs_f64(), rate));
    }
    Series {
        name,
        points: [(0.0, 0.0)].into_iter().chain(points).collect(),
    }
}

fn connections(outcome: &Outcome, trouble: Option<Layer>) -> Chart {
    let point = |sample: &Sample| (sample.time.as_secs_f64(), sample.connections as f64);
    let series = Series {
        name: "connections",
        points: [(0.0, 0.0)]
            .into_iter()
            .chain(outcome.samples.iter().map(point))
            .collect(),
    };
    Chart {
        title: "Connections that one side or both know of".to_owned(),
        across: "virtual seconds",
        layers: trouble.into_iter().chain([Layer::Area(series)]).collect(),
        names: Vec::new(),
    }
}

fn latencies(outcome: &Outcome) -> Chart {
    let millis = |micros: u32| f64::from(micros) / 1000.0;
    let at = |share: f64| outcome.round_trip(share).map_or(0.0, millis);
    let mark = |share, name: &str| Layer::Mark {
        at: at(share),
        label: format!("{name} {:.0} ms", at(share)),
    };
    // A few that were very slow would leave no room for all others.
    let width = (at(0.999) * 1.02).max(1.0) / BINS as f64;
    let mut counts = vec![0_u64; BINS];
    for micros in &outcome.counts.round_trips {
        let bin = (millis(*micros) / width) as usize;
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let heights = counts.into_iter().chain([0]).enumerate().skip(first);
    let points = heights.map(|(bin, count)| (bin as f64 * width, count as f64));
    let series = Series {
        name: "pings",
        points: points.collect(),
    };
    Chart {
        title: "Answered pings by their round trip".to_owned(),
        across: "milliseconds",
        layers: vec![
            Layer::Columns(series),
            mark(0.5, "median"),
            mark(0.99, "99 % within"),
        ],
        names: Vec::new(),
    }
}

const BINS: usize = 100;
