//! What networks of gossipsub nodes look like.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    plot::{Chart, Layer, Series, page},
    scenarios::gossip::{
        Figures, Log,
        honest::{Idontwant, Run},
        partition::{self, APART, END, HEAL},
    },
};

/// Draws runs that differ in the size of the messages and in IDONTWANT.
pub(crate) fn draw(path: &Path, runs: &[(Run, Duration)]) -> io::Result<()> {
    let runs: Vec<_> = runs.iter().map(|(run, _)| run).collect();
    let Some(first) = runs.first() else {
        return Ok(());
    };
    let plan = &first.plan;
    let title = format!("Gossip among {} nodes", plan.nodes);
    let subtitle = format!(
        "{} publishers with a message a second each, {} connections a node, links of 50 to 150 ms, {} Mbit/s up, seed {}",
        plan.publishers,
        plan.degree,
        plan.bandwidth / 1_000_000,
        plan.seed
    );
    // These hardly depend on IDONTWANT.
    let by_default = || {
        runs.iter()
            .filter(|run| run.plan.idontwant == Idontwant::On)
    };
    let charts = [
        latencies(by_default().copied()),
        deliveries(first),
        meshes(first),
        traffic(
            "kB that a node sends in a second, with IDONTWANT off and on",
            &runs,
            |run| run.bytes_per_second / 1000.0,
        ),
        traffic(
            "Copies of a message that a node receives, with IDONTWANT off and on",
            &runs,
            |run| run.copies,
        ),
    ];
    fs::write(path, page(&title, &subtitle, &charts))
}

/// Draws a network that was in halves for a while.
pub(crate) fn draw_partition(path: &Path, run: &partition::Run) -> io::Result<()> {
    let plan = &run.plan;
    let title = format!("Gossip among {} nodes, in halves for a while", plan.nodes);
    let subtitle = format!(
        "{} connections a node, links of 50 to 150 ms, heartbeats of 1 s, seed {}",
        plan.degree, plan.seed
    );
    let charts = [
        reached(&run.log, plan.nodes),
        last_arrivals(&run.log, plan.nodes),
        latency_chart(
            "Arrivals by their latency: % that took no longer",
            &[("since the heal", &run.healed)],
        ),
    ];
    fs::write(path, page(&title, &subtitle, &charts))
}

fn latencies<'a>(runs: impl Iterator<Item = &'a Run>) -> Chart {
    let runs: Vec<_> = runs.collect();
    let series: Vec<_> = runs
        .iter()
        .map(|run| (name_of(run.plan.size), &run.figures))
        .collect();
    latency_chart("Arrivals by their latency: % that took no longer", &series)
}

fn latency_chart(title: &str, runs: &[(&'static str, &Figures)]) -> Chart {
    let mut layers: Vec<_> = runs
        .iter()
        .map(|(name, figures)| Layer::Line(distribution(name, figures)))
        .collect();
    for (name, figures) in runs {
        let at = figures.latency(0.99).map_or(0.0, millis);
        let label = format!("{name}: 99 % in {at:.0} ms");
        layers.push(Layer::Mark { at, label });
    }
    Chart {
        title: title.to_owned(),
        across: "milliseconds",
        layers,
        names: Vec::new(),
    }
}

fn distribution(name: &'static str, figures: &Figures) -> Series {
    let shares = (0..=STEPS).map(|step| step as f64 / STEPS as f64);
    let point = |share| {
        Some((
            millis(figures.latency(share)?),
            share * figures.delivered() * 100.0,
        ))
    };
    let begin = [(0.0, 0.0)].into_iter();
    Series {
        name,
        points: begin.chain(shares.filter_map(point)).collect(),
    }
}

/// How many messages have arrived in each quarter of a second.
fn deliveries(run: &Run) -> Chart {
    let mut counts: Vec<f64> = Vec::new();
    for message in &run.log.messages {
        for node in 0..run.plan.nodes {
            if let Some(latency) = message.latency(node) {
                let bin = ((message.at + latency - run.begin).as_secs_f64() / BIN) as usize;
                counts.resize(counts.len().max(bin + 1), 0.0);
                counts[bin] += 1.0 / BIN;
            }
        }
    }
    let begin = run.begin.as_secs_f64();
    let points = counts.iter().chain([&0.0]).enumerate();
    let points: Vec<_> = points
        .map(|(bin, count)| (begin + bin as f64 * BIN, *count))
        .collect();
    Chart {
        title: format!(
            "Messages that arrive in a second, at all nodes together ({})",
            name_of(run.plan.size)
        ),
        across: "virtual seconds",
        layers: vec![Layer::Columns(Series {
            name: "arrivals",
            points,
        })],
        names: Vec::new(),
    }
}

fn meshes(run: &Run) -> Chart {
    let most = run.mesh_sizes.iter().copied().max().unwrap_or(0);
    let mut counts = vec![0; most + 1];
    run.mesh_sizes.iter().for_each(|size| counts[*size] += 1);
    let column = |(size, count): (usize, &i32)| {
        let (middle, count) = (size as f64, f64::from(*count));
        [(middle - 0.4, count), (middle + 0.4, 0.0)]
    };
    let points: Vec<_> = counts.iter().enumerate().flat_map(column).collect();
    let names = (0..=most).map(|size| (size as f64, size.to_string()));
    Chart {
        title: format!(
            "Nodes by the size of their mesh, {:.1} on average",
            run.mesh_mean()
        ),
        across: "members of the mesh",
        layers: vec![Layer::Columns(Series {
            name: "nodes",
            points,
        })],
        names: names.collect(),
    }
}

/// A bar for each run: those without IDONTWANT and those with it, beside each other.
fn traffic(title: &str, runs: &[&Run], value: fn(&Run) -> f64) -> Chart {
    let mut sizes: Vec<_> = runs.iter().map(|run| run.plan.size).collect();
    sizes.dedup();
    let mut layers = Vec::new();
    let mut notes = Vec::new();
    for (idontwant, name, left) in [(Idontwant::Off, "off", -0.3), (Idontwant::On, "on", 0.02)] {
        let mut points = vec![(0.0, 0.0)];
        for run in runs.iter().filter(|run| run.plan.idontwant == idontwant) {
            let place = sizes.iter().position(|size| *size == run.plan.size);
            let begin = 1.0 + place.unwrap_or(0) as f64 + left;
            let height = value(run);
            points.extend([(begin, height), (begin + 0.28, 0.0)]);
            let label = format!("{height:.*}", if height < 100.0 { 2 } else { 0 });
            notes.push(Layer::Note {
                at: (begin + 0.14, height),
                label,
            });
        }
        points.push((sizes.len() as f64 + 1.0, 0.0));
        layers.push(Layer::Columns(Series { name, points }));
    }
    layers.extend(notes);
    let names = sizes.iter().enumerate();
    Chart {
        title: title.to_owned(),
        across: "bytes of a message",
        layers,
        names: names
            .map(|(place, size)| (place as f64 + 1.0, size.to_string()))
            .collect(),
    }
}

/// To how many nodes each message has come.
fn reached(log: &Log, nodes: usize) -> Chart {
    let share = |seconds: f64| {
        let within = Duration::from_secs_f64(seconds);
        let point = move |message: &crate::scenarios::gossip::Message| {
            let known = (0..nodes).filter_map(|node| message.latency(node));
            let count = known.filter(|it| *it <= within).count();
            (
                message.at.as_secs_f64(),
                count as f64 / (nodes - 1).max(1) as f64 * 100.0,
            )
        };
        log.messages.iter().map(point).collect::<Vec<_>>()
    };
    let in_time = Series {
        name: "within 3 s",
        points: sorted(share(partition::DEADLINE.as_secs_f64())),
    };
    let ever = Series {
        name: "ever",
        points: sorted(share(1e6)),
    };
    Chart {
        title: "Nodes that a message reaches: %".to_owned(),
        across: "when it was published, in virtual seconds",
        layers: vec![apart(), Layer::Area(in_time), Layer::Line(ever)],
        names: Vec::new(),
    }
}

fn last_arrivals(log: &Log, nodes: usize) -> Chart {
    let complete = log
        .messages
        .iter()
        .filter(|it| it.missing().next().is_none());
    let last = |message: &crate::scenarios::gossip::Message| {
        let all = (0..nodes).filter_map(|node| message.latency(node));
        let last = all.max().unwrap_or_default();
        (message.at.as_secs_f64(), last.as_secs_f64())
    };
    let points = complete
        .map(last)
        .filter(|(at, _)| *at >= HEAL.as_secs_f64());
    let series = Series {
        name: "seconds",
        points: sorted(points.collect()),
    };
    Chart {
        title:
            "Seconds until a message of the healed network is everywhere; three heartbeats are 3 s"
                .to_owned(),
        across: "when it was published, in virtual seconds",
        layers: vec![Layer::Line(series)],
        names: Vec::new(),
    }
}

fn apart() -> Layer {
    Layer::Range {
        from: APART.as_secs_f64(),
        to: HEAL.min(END).as_secs_f64(),
        label: "two halves",
    }
}

fn sorted(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

fn millis(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1000.0
}

/// For legends.
fn name_of(size: usize) -> &'static str {
    match size {
        256 => "256 B",
        1024 => "1 KiB",
        16_384 => "16 KiB",
        65_536 => "64 KiB",
        small if small < 16_384 => "small messages",
        _ => "large messages",
    }
}

const STEPS: usize = 400;
/// Seconds.
const BIN: f64 = 0.25;
