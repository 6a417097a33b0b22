//! Peer processes: a listener that runs until it is stopped, a dialer that
//! runs one test, a member of a topic whose events are looked at while it
//! runs. No wait is without a deadline.

use std::{
    collections::VecDeque,
    fmt,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

const POLL: Duration = Duration::from_millis(5);
const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const TAIL_LINES: usize = 15;
/// No test prints more.
const EVENTS_MAX: usize = 10_000;

/// A listening process; dropping it kills it.
pub(crate) struct Listener {
    child: Child,
    address: String,
    pub(crate) stderr: Tail,
}

impl Listener {
    /// Starts a process and waits for the address that it prints.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = piped(&mut command).stdin(Stdio::piped()).spawn()?;
        let stderr = Tail::of(child.stderr.take().expect("stderr is piped"));
        let stdout = child.stdout.take().expect("stdout is piped");
        // The first address, or error, is enough; try_send drops the others.
        let (sender, first) = mpsc::sync_channel(1);
        thread::spawn(move || {
            for event in events(stdout) {
                if let Some(outcome) = address_or_error(&event) {
                    let _ = sender.try_send(outcome);
                }
            }
        });
        let mut listener = Self {
            child,
            address: String::new(),
            stderr,
        };
        let outcome = first.recv_timeout(START_DEADLINE);
        let outcome = outcome.unwrap_or_else(|_| Err("it printed no address".to_owned()));
        listener.address = outcome.map_err(|error| {
            anyhow!(
                "the listener did not start: {error}{}",
                listener.stderr.described("listener")
            )
        })?;
        Ok(listener)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends its stdin, which it must answer by exiting with success.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = wait(&mut self.child, STOP_DEADLINE)
            .context("the listener goes on although its stdin has ended")?;
        if !status.success() {
            bail!(
                "the listener ended with {status}{}",
                self.stderr.described("listener")
            );
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Fails only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a dialer to its end and returns its events.
pub(crate) fn dial(mut command: Command, deadline: Duration) -> Result<Vec<Value>> {
    let mut child = piped(&mut command).stdin(Stdio::null()).spawn()?;
    let stderr = Tail::of(child.stderr.take().expect("stderr is piped"));
    let stdout = child.stdout.take().expect("stdout is piped");
    let reader = thread::spawn(move || events(stdout).take(EVENTS_MAX).collect::<Vec<_>>());
    let status = wait(&mut child, deadline);
    let events = reader
        .join()
        .map_err(|_| anyhow!("the reader of stdout panicked"))?;
    let failure = match status {
        Ok(status) if status.success() => return Ok(events),
        Ok(status) => {
            let error = events
                .iter()
                .rev()
                .find_map(|event| event["error"].as_str());
            format!("{status}: {}", error.unwrap_or("no error event"))
        }
        Err(error) => error.to_string(),
    };
    bail!("{failure}{}", stderr.finished().described("dialer"));
}

/// What a process says that cannot do what it was asked for.
#[derive(Debug)]
pub(crate) struct Unsupported(String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A process whose events are looked at while it runs; dropping it kills it.
pub(crate) struct Member {
    child: Child,
    /// What it is, for failure texts.
    role: &'static str,
    events: Arc<Mutex<Vec<Value>>>,
    stderr: Tail,
}

impl Member {
    pub(crate) fn start(mut command: Command, role: &'static str) -> Result<Self> {
        let mut child = piped(&mut command).stdin(Stdio::piped()).spawn()?;
        let stderr = Tail::of(child.stderr.take().expect("stderr is piped"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = kept.clone();
        thread::spawn(move || {
            for event in events(stdout).take(EVENTS_MAX) {
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        Ok(Self {
            child,
            role,
            events: kept,
            stderr,
        })
    }

    /// Waits for the address that it prints.
    pub(crate) fn address(&mut self) -> Result<String> {
        let outcome = self.wait_for(START_DEADLINE, |events| {
            events.iter().find_map(address_or_error)
        });
        self.ensure_supported()?;
        let outcome = outcome.unwrap_or_else(|| Err("it printed no address".to_owned()));
        outcome.map_err(|error| anyhow!("the {} did not start: {error}{}", self.role, self.tail()))
    }

    /// Waits until its events answer, it has ended, or the time is over.
    pub(crate) fn wait_for<T>(
        &mut self,
        limit: Duration,
        answer: impl Fn(&[Value]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        loop {
            // Asked before the events are looked at: what it printed last counts.
            let over = Instant::now() >= end || !matches!(self.child.try_wait(), Ok(None));
            if let Some(answer) = self.look(&answer) {
                return Some(answer);
            }
            if over {
                // Its reader may be a moment behind its end.
                thread::sleep(POLL * 4);
                return self.look(&answer);
            }
            thread::sleep(POLL);
        }
    }

    /// What its events so far say.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&[Value]) -> T) -> T {
        at(&self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it has printed an error.
    pub(crate) fn has_given_up(&self) -> bool {
        self.look(|events| events.iter().any(|event| event["error"].is_string()))
    }

    /// An [`Unsupported`] error if it said that it cannot do what it was asked for.
    pub(crate) fn ensure_supported(&self) -> Result<()> {
        self.look(|events| {
            let said = events.iter().find(|event| event["event"] == "unsupported");
            match said {
                Some(said) => {
                    let why = said["error"].as_str().unwrap_or("no reason is given");
                    Err(Unsupported(why.to_owned()).into())
                }
                None => Ok(()),
            }
        })
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<()> {
        let (role, tail) = (self.role, self.tail());
        let status = wait(&mut self.child, limit)
            .map_err(|error| anyhow!("the {role} goes on: {error}{tail}"))?;
        if !status.success() {
            let error = self.look(|events| {
                let error = events
                    .iter()
                    .rev()
                    .find_map(|event| event["error"].as_str());
                error.unwrap_or("no error event").to_owned()
            });
            bail!("the {role} ended with {status}: {error}{}", self.tail());
        }
        Ok(())
    }

    /// Ends its stdin, which it must answer by exiting with success.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.ended(STOP_DEADLINE)
    }

    /// The last lines of its stderr.
    pub(crate) fn tail(&self) -> String {
        self.stderr.described(self.role)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Fails only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Waits for the end, and kills the process when the deadline is over.
fn wait(child: &mut Child, deadline: Duration) -> Result<ExitStatus> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("no end after {deadline:?}");
        }
        thread::sleep(POLL);
    }
}

/// The JSON lines of a stream; other lines are no events.
fn events(from: impl Read) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(from).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok())
}

/// What a listener's event says about how its start went, if anything.
fn address_or_error(event: &Value) -> Option<Result<String, String>> {
    if let Some(error) = event["error"].as_str() {
        return Some(Err(error.to_owned()));
    }
    let address = event["addr"].as_str()?;
    let wanted = event["event"] == "listening" && address.starts_with("/ip4/127.0.0.1/");
    wanted.then(|| Ok(address.to_owned()))
}

/// The last lines that a process wrote to its stderr.
pub(crate) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    fn of(stderr: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = lines.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == TAIL_LINES {
                    kept.pop_front();
                }
                kept.push_back(format!("    {line}"));
            }
        });
        Self {
            lines,
            reader: Some(reader),
        }
    }

    /// The lines so far, below a heading; nothing if there are none.
    pub(crate) fn described(&self, whose: &str) -> String {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.is_empty() {
            true => String::new(),
            false => format!(
                "\n  {whose}'s stderr:\n{}",
                lines.make_contiguous().join("\n")
            ),
        }
    }

    /// Waits for the last line of a process that has ended.
    fn finished(mut self) -> Self {
        if let Some(reader) = self.reader.take() {
            // What it read is kept even if it panicked.
            let _ = reader.join();
        }
        self
    }
}
