//! The node's process, seen from outside.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use peerkit::Multiaddr;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{RuntimeName, node::Inside};

/// The node in its process.
pub(crate) struct Watched {
    /// Where it listens.
    pub(crate) addr: Multiaddr,
    started: Instant,
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What was seen at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// Memory in use, KiB.
    pub(crate) rss_kib: u64,
    /// Open files and sockets.
    pub(crate) descriptors: usize,
    /// What the node itself says.
    pub(crate) inside: Inside,
}

impl Watched {
    pub(crate) async fn start(runtime: RuntimeName) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--node", "--runtime", runtime.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = process.stdin.take().context("the input is a pipe")?;
        let answers = process.stdout.take().context("the output is a pipe")?;
        let mut answers = BufReader::new(answers).lines();
        let addr = answers
            .next_line()
            .await?
            .context("the node has not begun")?;
        Ok(Self {
            addr: addr.parse()?,
            started: now(),
            process,
            orders,
            answers,
        })
    }

    pub(crate) async fn sample(&mut self) -> Result<Sample> {
        self.orders.write_all(b"sample\n").await?;
        let line = self
            .answers
            .next_line()
            .await?
            .context("the node is gone")?;
        let id = self.process.id().context("the node is gone")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|text| text.split_whitespace().next());
        Ok(Sample {
            at: now() - self.started,
            rss_kib: rss
                .context("the system does not tell the memory")?
                .parse()?,
            descriptors: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
            inside: serde_json::from_str(&line)?,
        })
    }

    /// Lets the node close, and waits for that.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self {
            mut process,
            orders,
            ..
        } = self;
        drop(orders);
        let status = tokio::time::timeout(Duration::from_secs(30), process.wait()).await??;
        anyhow::ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this watches a real process in real time"
)]
fn now() -> Instant {
    Instant::now()
}
