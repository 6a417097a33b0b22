//! Processes of this program's own: victims and honest peers, which are told what to do in lines.

use std::{
    fs, io,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex, OnceLock, mpsc},
    time::Duration,
};

use anyhow::{Context, Result};
use async_io::Async;
use futures::{AsyncBufReadExt, AsyncWriteExt, io::BufReader};
use serde_json::Value;

use crate::{measure, node::lock};

/// A process that answers each line with one.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Async<ChildStdin>,
    stdout: BufReader<Async<ChildStdout>>,
}

/// The program of victims and honest peers, if it is not this one.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program of victims and honest peers, for whoever is another program; the first call counts.
pub fn set_program(program: impl Into<PathBuf>) {
    // It is the same each time.
    let _ = PROGRAM.set(program.into());
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Process {
    /// Runs this program with other arguments; `shell` is put in front, for limits of the system.
    pub fn start(shell: Option<&str>, arguments: &[String]) -> Result<Self> {
        let program = match PROGRAM.get() {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let mut command = match shell {
            None => Command::new(program),
            Some(shell) => {
                let mut command = Command::new("sh");
                let script = format!("{shell}; exec \"$0\" \"$@\"");
                command.arg("-c").arg(script).arg(program);
                command
            }
        };
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(command)?;
        let stdin = child.stdin.take().context("its input is a pipe")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        Ok(Self {
            child,
            stdin: Async::new(stdin)?,
            stdout: BufReader::new(Async::new(stdout)?),
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its memory in KiB.
    pub fn rss(&self) -> u64 {
        rss_of(self.id())
    }

    /// The next line that it says.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = measure::within(PATIENCE, self.stdout.read_line(&mut line)).await;
        let count = read.context("the process is silent")??;
        anyhow::ensure!(count > 0, "the process has ended");
        Ok(line.trim().to_owned())
    }

    /// Tells it something, and gives what it answers.
    pub async fn ask(&mut self, request: &str) -> Result<Value> {
        self.stdin
            .write_all(format!("{request}\n").as_bytes())
            .await?;
        self.stdin.flush().await?;
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .status()?;
        anyhow::ensure!(status.success(), "no signal could be sent");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of a process in KiB; 0 when there is none.
pub fn rss_of(process: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let resident = pages.split_whitespace().nth(1);
    resident
        .and_then(|pages| pages.parse::<u64>().ok())
        .map_or(0, |pages| pages * 4)
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts processes from a thread of normal priority, since attackers run with a low one.
static SPAWNER: LazyLock<Mutex<mpsc::SyncSender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::sync_channel::<Order>(1);
    std::thread::spawn(move || {
        for (mut command, answer) in orders {
            // Whoever asked may have given up.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

/// Has to be called before the priority is lowered.
pub fn prepare() {
    LazyLock::force(&SPAWNER);
}

fn spawn(command: Command) -> Result<Child> {
    let (sender, answer) = mpsc::sync_channel(1);
    lock(&SPAWNER)
        .send((command, sender))
        .map_err(|_| io::Error::other("the spawner has ended"))?;
    Ok(answer.recv()??)
}
