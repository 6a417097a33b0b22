//! The command line: `info`, `listen`, `dial`.

use std::{
    io::{self, Read, Write},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::{Gossip, Info, Node, Setup, workloads};

/// What `dial` was told.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) workload: String,
    pub(crate) addr: String,
    pub(crate) remote: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) streams: u64,
    pub(crate) concurrency: usize,
    pub(crate) seconds: f64,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) window: u64,
    pub(crate) nodes: usize,
    timeout: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            workload: String::new(),
            addr: String::new(),
            remote: None,
            bytes: 1 << 30,
            streams: 1,
            concurrency: 1,
            seconds: 3.0,
            connections: 1000,
            size: 256,
            window: 256,
            nodes: 20,
            timeout: 120,
        }
    }
}

/// Runs a peer's command line.
pub fn run<N: Node>(info: Info) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().context("info, listen or dial?")?;
    let (setup, parameters) = parse(&info, &command, arguments)?;
    match command.as_str() {
        "info" => say(&describe(&info)),
        "listen" => listen::<N>(&setup),
        "dial" => {
            watch_over(Duration::from_secs(parameters.timeout));
            let result = as_task::<N>(&setup, &parameters)?;
            let mut event = json!({
                "event": "result",
                "name": info.name,
                "stack": setup.stack,
                "workload": parameters.workload,
            });
            if let (Some(event), Value::Object(result)) = (event.as_object_mut(), result) {
                event.extend(result);
            }
            say(&event)?;
            // Thousands of connections need not say goodbye.
            process::exit(0)
        }
        other => bail!("unknown command {other}"),
    }
}

fn parse(
    info: &Info,
    command: &str,
    mut arguments: impl Iterator<Item = String>,
) -> Result<(Setup, Parameters)> {
    let mut parameters = Parameters::default();
    let mut setup = Setup {
        stack: info.stacks[0].to_owned(),
        listen: command == "listen",
        gossip: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} what?"))?;
        match name.as_str() {
            "--stack" => setup.stack = value,
            "--gossip" => {
                setup.gossip = Some(match value.as_str() {
                    "signed" => Gossip::Signed,
                    "unsigned" => Gossip::Unsigned,
                    other => bail!("unknown kind of gossip {other}"),
                });
            }
            "--workload" => parameters.workload = value,
            "--addr" => parameters.addr = value,
            "--peer-pid" => parameters.remote = Some(value.parse()?),
            "--bytes" => parameters.bytes = value.parse()?,
            "--streams" => parameters.streams = value.parse()?,
            "--concurrency" => parameters.concurrency = value.parse()?,
            "--seconds" => parameters.seconds = value.parse()?,
            "--connections" => parameters.connections = value.parse()?,
            "--size" => parameters.size = value.parse()?,
            "--window" => parameters.window = value.parse()?,
            "--nodes" => parameters.nodes = value.parse()?,
            "--timeout" => parameters.timeout = value.parse()?,
            other => bail!("unknown argument {other}"),
        }
    }
    let known = info.stacks.contains(&setup.stack.as_str());
    ensure!(known, "unknown stack {}", setup.stack);
    ensure!(info.gossip || setup.gossip.is_none(), "no gossip here");
    Ok((setup, parameters))
}

fn describe(info: &Info) -> Value {
    let mut workloads = vec![
        "bulk-up",
        "bulk-down",
        "requests",
        "connects",
        "idle",
        "growth",
    ];
    if info.gossip {
        workloads.extend(["gossip", "gossip-mesh"]);
    }
    json!({
        "event": "info",
        "name": info.name,
        "version": info.version,
        "stacks": info.stacks,
        "workloads": workloads,
    })
}

/// Runs the workload on the runtime's own threads. This thread only waits, as blocked as in `listen`:
/// a second executor would take part in what is measured.
fn as_task<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let (told, outcome) = mpsc::channel();
    N::block_on(setup, async {
        let (own, parameters) = (setup.clone(), parameters.clone());
        let task = async move {
            let _ = told.send(workloads::run::<N>(&own, &parameters).await);
        };
        N::spawn(setup, task.boxed());
        outcome.recv()
    })?
    .context("the workload has panicked")?
}

fn listen<N: Node>(setup: &Setup) -> Result<()> {
    N::block_on(setup, async {
        let node = N::start(setup).await?;
        let addr = node.address().context("the node does not listen")?;
        say(&json!({ "event": "listening", "addr": addr, "pid": process::id() }))?;
        io::stdin().read_to_end(&mut Vec::new())?;
        process::exit(0)
    })?
}

/// Ends the process when a workload hangs.
fn watch_over(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("timed out after {limit:?}");
        process::exit(3)
    });
}

/// Prints one event.
pub(crate) fn say(event: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{event}")?;
    Ok(out.flush()?)
}
