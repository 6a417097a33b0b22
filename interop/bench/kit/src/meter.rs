//! CPU time, memory and latency, read from `/proc`.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Wall clock and CPU time since it was started, of this process and of the remote one.
pub(crate) struct Meter {
    remote: Option<u32>,
    at: Instant,
    own: Cpu,
    other: Cpu,
}

/// Seconds of CPU time.
#[derive(Clone, Copy, Default)]
struct Cpu {
    total: f64,
    system: f64,
}

impl Meter {
    pub(crate) fn start(remote: Option<u32>) -> Result<Self> {
        Ok(Self {
            remote,
            own: Cpu::of("self")?,
            other: of_remote(remote)?,
            at: Instant::now(),
        })
    }

    /// The seconds, and them with the CPU time as JSON.
    pub(crate) fn stop(self) -> Result<(f64, Value)> {
        let seconds = self.at.elapsed().as_secs_f64();
        let (own, other) = (Cpu::of("self")?, of_remote(self.remote)?);
        let result = json!({
            "seconds": seconds,
            "dialer_cpu": own.total - self.own.total,
            "dialer_sys": own.system - self.own.system,
            "listener_cpu": other.total - self.other.total,
            "listener_sys": other.system - self.other.system,
        });
        Ok((seconds, result))
    }
}

fn of_remote(remote: Option<u32>) -> Result<Cpu> {
    remote.map_or(Ok(Cpu::default()), |pid| Cpu::of(&pid.to_string()))
}

impl Cpu {
    /// The total has nanoseconds, from the threads that there are; the kernel's part has clock ticks.
    fn of(process: &str) -> Result<Self> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may end while its directory is read.
            let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let time = times.split(' ').next().context("an empty schedstat")?;
            nanoseconds += time.parse::<u64>()?;
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields = stat.rsplit(") ").next().context("an odd stat")?;
        let ticks = fields.split(' ').nth(12).context("a short stat")?;
        Ok(Self {
            total: nanoseconds as f64 / 1e9,
            system: ticks.parse::<f64>()? / TICKS_PER_SECOND,
        })
    }
}

/// Resident bytes of a process, or of this one.
pub(crate) fn resident(process: Option<u32>) -> Result<f64> {
    let process = process.map_or("self".to_owned(), |pid| pid.to_string());
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let mut lines = status.lines();
    let size = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let size = size.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(size.parse::<f64>()? * 1024.0)
}

/// Percentiles in microseconds.
pub(crate) fn latencies(mut all: Vec<Duration>) -> Value {
    all.sort_unstable();
    let last = all.len().saturating_sub(1);
    let at = |part: f64| {
        let place = ((all.len() as f64 * part) as usize).min(last);
        all.get(place).map(|latency| latency.as_secs_f64() * 1e6)
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0) })
}

/// What Linux tells user space, on every architecture but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;
