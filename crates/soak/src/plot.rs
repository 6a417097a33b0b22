//! The samples as a picture: memory, descriptors, tasks and connections over time.

use std::fmt::Write;

use crate::watch::Sample;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 26.0;
const FOOT: f64 = 30.0;

type Value = fn(&Sample) -> Option<f64>;

const CHARTS: [(&str, &str, Value); 4] = [
    ("memory, MiB", "#4269d0", |it| {
        Some(it.rss_kib as f64 / 1024.0)
    }),
    ("descriptors", "#3ca951", |it| Some(it.descriptors as f64)),
    ("tasks", "#ff725c", |it| it.inside.tasks.map(|it| it as f64)),
    ("connections", "#a463f2", |it| {
        Some(it.inside.connections as f64)
    }),
];

/// An SVG document.
pub(crate) fn draw(samples: &[Sample]) -> String {
    let charts = CHARTS
        .iter()
        .filter(|(_, _, value)| samples.iter().all(|it| value(it).is_some()));
    let (mut body, mut y) = (String::new(), 0.0);
    for (title, colour, value) in charts {
        chart(&mut body, y, title, colour, samples, *value);
        y += HEIGHT + TOP;
    }
    let minutes = end(samples) / 60.0;
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let x = LEFT + share * (WIDTH - LEFT - RIGHT);
        let _ = write!(
            body,
            r#"<text x="{x}" y="{}" text-anchor="middle">{:.0} min</text>"#,
            y + 18.0,
            share * minutes
        );
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {}" font-family="sans-serif" font-size="12" fill="#333"><rect width="100%" height="100%" fill="#fff"/>{body}</svg>"##,
        y + FOOT
    )
}

fn chart(body: &mut String, y: f64, title: &str, colour: &str, samples: &[Sample], value: Value) {
    let values: Vec<f64> = samples.iter().filter_map(value).collect();
    let max = values.iter().copied().fold(1.0, f64::max) * 1.1;
    let (top, bottom) = (y + TOP, y + TOP + HEIGHT - 10.0);
    let _ = write!(
        body,
        r#"<text x="{LEFT}" y="{}" font-weight="bold">{title}</text>"#,
        top - 8.0
    );
    for share in [0.0, 0.5, 1.0] {
        let line = bottom - share * (bottom - top);
        let _ = write!(
            body,
            r##"<line x1="{LEFT}" x2="{}" y1="{line}" y2="{line}" stroke="#ddd"/>"##,
            WIDTH - RIGHT
        );
        let _ = write!(
            body,
            r#"<text x="{}" y="{}" text-anchor="end">{:.0}</text>"#,
            LEFT - 8.0,
            line + 4.0,
            share * max
        );
    }
    let points = samples.iter().zip(&values).map(|(sample, value)| {
        let x = LEFT + sample.at.as_secs_f64() / end(samples) * (WIDTH - LEFT - RIGHT);
        format!("{x:.1},{:.1}", bottom - value / max * (bottom - top))
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = write!(
        body,
        r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#
    );
}

fn end(samples: &[Sample]) -> f64 {
    samples
        .last()
        .map_or(1.0, |it| it.at.as_secs_f64())
        .max(1.0)
}
