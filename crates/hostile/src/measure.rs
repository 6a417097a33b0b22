//! What a process uses, and how long things take.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Memory of this process that is resident, in KiB; 0 where that is not known.
pub fn rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Open descriptors of this process; 0 where that is not known.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Time that this process has computed.
pub fn cpu_time() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}

/// Waits.
pub async fn sleep(time: Duration) {
    async_io::Timer::after(time).await;
}

/// Waits until something holds, for a while; whether it does.
pub async fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(5)).await;
    }
    true
}

/// What comes within a while.
pub async fn within<T>(patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    let end = async {
        sleep(patience).await;
        None
    };
    let mut future = std::pin::pin!(async { Some(future.await) });
    let mut end = std::pin::pin!(end);
    match futures::future::select(&mut future, &mut end).await {
        futures::future::Either::Left((output, _))
        | futures::future::Either::Right((output, _)) => output,
    }
}

/// How long each of many things took.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    micros: Vec<u64>,
}

impl Latencies {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.micros.push(time.as_micros() as u64);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// What 99 of 100 stay under, in microseconds.
    pub fn p99(&self) -> u64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or(0)
    }
}
