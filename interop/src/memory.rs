//! How much memory a long transfer takes at both ends.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    peers::{KeyType, Peer, Stack},
    process::Listener,
};

/// The most by which a process may grow, in bytes.
pub(crate) const GROWTH_MAX: u64 = 32 << 20;

/// How often the dialer is looked at. The kernel keeps the peak, so nothing is missed in between.
const SAMPLE: Duration = Duration::from_millis(20);

/// By how much both processes grew, in bytes, from before the transfer to their peak.
pub(crate) struct Growth {
    pub(crate) stack: Stack,
    pub(crate) dialer: u64,
    pub(crate) listener: u64,
    pub(crate) seconds: f64,
}

impl Growth {
    pub(crate) fn is_flat(&self) -> bool {
        self.dialer < GROWTH_MAX && self.listener < GROWTH_MAX
    }
}

pub(crate) fn measure(peer: &Peer, stack: Stack, bytes: u64, limit: Duration) -> Result<Growth> {
    let listening = Listener::start(peer.listen(stack, KeyType::Ed25519))?;
    let before = resident(listening.pid(), "VmRSS:")?;
    let bytes = bytes.to_string();
    let test = ["echo", "--bytes", &bytes];
    let echo = peer.dial(&test, listening.address(), stack, KeyType::Ed25519);
    let begin = Instant::now();
    let dialer = dialer_growth(echo, limit)?;
    let seconds = begin.elapsed().as_secs_f64();
    let listener = resident(listening.pid(), "VmHWM:")? - before;
    listening.stop()?;
    Ok(Growth {
        stack,
        dialer,
        listener,
        seconds,
    })
}

pub(crate) fn print(growths: &[Growth]) {
    println!("| muxer | dialer grew by | listener grew by | seconds |");
    println!("|---|---:|---:|---:|");
    for growth in growths {
        println!(
            "| {} | {:.1} MiB | {:.1} MiB | {:.1} |",
            growth.stack.muxer,
            mebibytes(growth.dialer),
            mebibytes(growth.listener),
            growth.seconds,
        );
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn dialer_growth(mut command: Command, limit: Duration) -> Result<u64> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let outcome = watch(&mut child, limit);
    // Fails only when the process is gone already.
    let _ = child.kill();
    let status = child.wait()?;
    let growth = outcome?;
    ensure!(status.success(), "the dialer ended with {status}");
    Ok(growth)
}

fn watch(child: &mut Child, limit: Duration) -> Result<u64> {
    let begin = Instant::now();
    let before = resident(child.id(), "VmRSS:")?;
    let mut peak = before;
    while child.try_wait()?.is_none() {
        if begin.elapsed() > limit {
            bail!("no end after {limit:?}");
        }
        // A process that has just ended has no memory to report.
        peak = peak.max(resident(child.id(), "VmHWM:").unwrap_or(0));
        thread::sleep(SAMPLE);
    }
    Ok(peak - before)
}

/// A figure of Linux's `/proc/PID/status`, in bytes.
fn resident(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .context("memory is read from Linux's /proc")?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u64 = kib.context("the process has ended")?.parse()?;
    Ok(kib * 1024)
}
