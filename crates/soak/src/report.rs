//! What an hour was like.

use std::fmt;

use crate::{guests::Served, watch::Sample};

/// All samples, and what guests got.
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
    pub(crate) served: Served,
}

/// The first part of the time, in which pools fill and caches reach their age.
const WARM_UP: f64 = 0.2;
/// The most that memory may grow, in percent of an hour.
const RSS_PERCENT_MAX: f64 = 1.0;
/// The most that counts may differ between the first and the last third, on average.
const GROWTH_MAX: f64 = 2.0;

impl Report {
    /// Whether nothing grows and everybody was served.
    pub(crate) fn passes(&self) -> bool {
        let flat = |growth: Option<f64>| growth.is_none_or(|it| it <= GROWTH_MAX);
        self.rss_slope() <= RSS_PERCENT_MAX
            && flat(self.growth(|it| Some(it.descriptors)))
            && flat(self.growth(|it| it.inside.tasks))
            && self.served.failed == 0
    }

    /// How much the memory grows in an hour, percent of its mean: the line of least squares.
    fn rss_slope(&self) -> f64 {
        let points = self.warm().iter();
        let points: Vec<_> = points
            .map(|it| (it.at.as_secs_f64() / 3600.0, it.rss_kib as f64))
            .collect();
        let mean =
            |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (x, y) = (mean(|it| it.0), mean(|it| it.1));
        let covariance: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
        let variance: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
        covariance / variance.max(f64::MIN_POSITIVE) / y * 100.0
    }

    /// How much more there is in the last third than in the first, on average.
    fn growth(&self, count: impl Fn(&Sample) -> Option<usize>) -> Option<f64> {
        let counts: Option<Vec<_>> = self.warm().iter().map(count).collect();
        let counts = counts?;
        let third = (counts.len() / 3).max(1);
        let mean = |part: &[usize]| part.iter().sum::<usize>() as f64 / part.len() as f64;
        Some(mean(counts.get(counts.len() - third..)?) - mean(counts.get(..third)?))
    }

    fn warm(&self) -> &[Sample] {
        &self.samples[(self.samples.len() as f64 * WARM_UP) as usize..]
    }

    /// A line for each sample.
    pub(crate) fn csv(&self) -> String {
        let mut text = "second,rss_kib,descriptors,tasks,connections,messages\n".to_owned();
        for Sample {
            at,
            rss_kib,
            descriptors,
            inside,
        } in &self.samples
        {
            let tasks = inside.tasks.map(|it| it.to_string()).unwrap_or_default();
            text += &format!(
                "{},{rss_kib},{descriptors},{tasks},{},{}\n",
                at.as_secs(),
                inside.connections,
                inside.messages
            );
        }
        text
    }

    fn range(&self, of: impl Fn(&Sample) -> Option<usize>) -> String {
        let values: Vec<_> = self.warm().iter().filter_map(of).collect();
        match (values.iter().min(), values.iter().max()) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "not counted".to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Served {
            visits,
            echoes,
            pings,
            published,
            failed,
        } = self.served;
        let last = self.samples.last().map_or(0, |it| it.at.as_secs());
        let messages = self.samples.last().map_or(0, |it| it.inside.messages);
        let growth = |growth: Option<f64>| {
            growth.map_or(String::new(), |it| {
                format!(", {it:+.1} from first to last third")
            })
        };
        writeln!(f, "{} minutes, {} samples", last / 60, self.samples.len())?;
        writeln!(
            f,
            "guests       {visits} visits, {failed} failed: {echoes} echoes, {pings} pings, {published} messages"
        )?;
        writeln!(f, "delivered    {messages} messages to the node")?;
        writeln!(
            f,
            "memory       {} KiB, {:+.2} % an hour (limit {RSS_PERCENT_MAX} %)",
            self.range(|it| Some(it.rss_kib as usize)),
            self.rss_slope()
        )?;
        writeln!(
            f,
            "descriptors  {}{}",
            self.range(|it| Some(it.descriptors)),
            growth(self.growth(|it| Some(it.descriptors)))
        )?;
        writeln!(
            f,
            "tasks        {}{}",
            self.range(|it| it.inside.tasks),
            growth(self.growth(|it| it.inside.tasks))
        )?;
        writeln!(
            f,
            "connections  {}",
            self.range(|it| Some(it.inside.connections))
        )?;
        write!(f, "{}", if self.passes() { "passed" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::Inside;

    fn hour(rss: impl Fn(u64) -> u64, tasks: impl Fn(u64) -> usize) -> Report {
        let sample = |second: u64| Sample {
            at: Duration::from_secs(second),
            rss_kib: rss(second),
            descriptors: 20,
            inside: Inside {
                connections: 12,
                tasks: Some(tasks(second)),
                messages: second,
            },
        };
        Report {
            samples: (0..=3600).step_by(10).map(sample).collect(),
            served: Served::default(),
        }
    }

    #[test]
    fn a_node_that_stays_as_it_is_passes() {
        let report = hour(
            |second| 10_000 + second % 7,
            |second| 40 + (second / 10 % 5) as usize,
        );
        assert!(report.passes(), "{report}");
    }

    #[test]
    fn growing_memory_is_noticed() {
        let report = hour(|second| 10_000 + second / 18, |_| 40);
        assert!(report.rss_slope() > 1.9, "{report}");
        assert!(!report.passes());
    }

    #[test]
    fn growth_while_the_node_warms_up_does_not_count() {
        let report = hour(|second| 10_000 + 10 * second.min(600), |_| 40);
        assert!(report.passes(), "{report}");
    }

    #[test]
    fn growing_counts_are_noticed() {
        let report = hour(|_| 10_000, |second| 40 + second as usize / 600);
        assert!(!report.passes(), "{report}");
    }
}
