//! Runs the built program.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use serde_json::Value;

/// The program with these arguments.
pub(crate) fn peerkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerkit"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = peerkit(arguments).stdin(Stdio::null()).output();
    output.expect("the program was built")
}

/// Runs the program with `--json` to a good end, and returns its events.
pub(crate) fn events(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[&["--json"], arguments].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
    stdout.lines().map(parse).collect()
}

/// Runs the program without `--json` to a bad end, and returns the sentence that it prints.
pub(crate) fn failure(arguments: &[&str]) -> String {
    let output = run(arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(1),
        "{arguments:?}: {stdout}{stderr}"
    );
    let mut lines = stderr.lines();
    let sentence = lines.next().and_then(|line| line.strip_prefix("error: "));
    let sentence = sentence.unwrap_or_else(|| panic!("{arguments:?}: {stderr}"));
    assert_eq!(lines.next(), None, "one sentence on one line: {stderr}");
    sentence.to_owned()
}

/// Runs the program with `--json` to a bad end, and returns its last event.
pub(crate) fn failure_event(arguments: &[&str]) -> Value {
    let output = run(&[&["--json"], arguments].concat());
    assert!(!output.status.success());
    let stdout = text(&output.stdout);
    let event = parse(stdout.lines().last().expect("an event"));
    assert_eq!(event["event"], "error");
    event
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
}

/// A path that no other test uses; the file is removed at the end.
#[derive(Debug)]
pub(crate) struct TemporaryFile(PathBuf);

impl TemporaryFile {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerkit-cli-test-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// A file that only its owner can read.
    pub(crate) fn with_content(content: &[u8]) -> Self {
        let file = Self::new();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let created = options.open(&file.0);
        let written = created.and_then(|mut created| created.write_all(content));
        written.expect("the temporary folder is writable");
        file
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // The test may have failed before there was a file.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A `peerkit listen` that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Listener {
    child: Child,
    lines: Receiver<String>,
    /// With `/p2p`.
    pub(crate) addr: String,
}

impl Listener {
    pub(crate) fn start(options: &[&str]) -> Self {
        let listen = [
            "listen",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--until-stdin-ends",
        ];
        Self::start_command(&[&listen, options].concat())
    }

    /// Another command that listens.
    pub(crate) fn start_command(arguments: &[&str]) -> Self {
        let mut command = peerkit(&[&["--json"], arguments].concat());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("the program was built");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        // Nobody sends more lines without being read; and if so, the sender waits.
        let (sender, lines) = mpsc::sync_channel(1000);
        #[expect(clippy::disallowed_methods, reason = "it ends with the child")]
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok())
        });
        let mut listener = Self {
            child,
            lines,
            addr: String::new(),
        };
        let listening = listener.event("listening");
        listening["addr"]
            .as_str()
            .expect("an address")
            .clone_into(&mut listener.addr);
        listener
    }

    pub(crate) fn peer(&self) -> &str {
        self.addr
            .rsplit('/')
            .next()
            .expect("the address ends with the peer")
    }

    /// The address without `/p2p`.
    pub(crate) fn bare_addr(&self) -> &str {
        self.addr
            .split("/p2p/")
            .next()
            .expect("there is always a first part")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next event of this name; others are skipped.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no event {name:?}: {error}"));
            let event = parse(&line);
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Ends its stdin, and expects that it ends well.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        self.expect_end();
    }

    /// Expects that it ends well.
    pub(crate) fn expect_end(&mut self) {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        // Its stdout ends a little before it does.
        let status = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            self.child.try_wait().expect("the process is a child")
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program with this stdin.
pub(crate) fn run_with_stdin(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut command = peerkit(arguments);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program was built");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output().expect("the process is a child")
    })
}

/// How long a listener may be silent when an event is due, or take to end.
const PATIENCE: Duration = Duration::from_secs(60);
