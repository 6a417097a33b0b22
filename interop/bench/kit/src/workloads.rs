//! The dialer's side of each workload.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, channel::oneshot};
use serde_json::{Value, json};

use crate::{
    Node, Setup,
    cli::Parameters,
    growth::growth,
    meter::{Meter, latencies, resident},
    wire::{self, DOWNLOAD, ECHO, REQUEST, UPLOAD, WATCH},
};

pub(crate) async fn run<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    match parameters.workload.as_str() {
        "bulk-up" => bulk::<N>(UPLOAD, setup, parameters).await,
        "bulk-down" => bulk::<N>(DOWNLOAD, setup, parameters).await,
        "requests" => requests::<N>(setup, parameters).await,
        "connects" => connects::<N>(setup, parameters).await,
        "idle" => idle::<N>(setup, parameters).await,
        "growth" => growth::<N>(setup, parameters).await,
        "gossip" => gossip::<N>(setup, parameters).await,
        "gossip-mesh" => gossip_mesh::<N>(setup, parameters).await,
        other => bail!("unknown workload {other}"),
    }
}

async fn bulk<N: Node>(operation: u8, setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let node = Arc::new(N::start(setup).await?);
    let conn = Arc::new(node.connect(&parameters.addr).await?);
    echo(node.as_ref(), &conn).await?;
    let share = parameters.bytes / parameters.streams;
    let meter = Meter::start(parameters.remote)?;
    let workers = (0..parameters.streams).map(|_| {
        let (node, conn) = (node.clone(), conn.clone());
        async move { transfer(node.as_ref(), &conn, operation, share).await }
    });
    together::<N, _, _>(setup, workers).await?;
    let (seconds, mut result) = meter.stop()?;
    let bytes = share * parameters.streams;
    result["bytes"] = json!(bytes);
    result["streams"] = json!(parameters.streams);
    result["rate"] = json!(bytes as f64 / seconds);
    Ok(result)
}

async fn transfer<N: Node>(node: &N, conn: &N::Conn, operation: u8, bytes: u64) -> Result<()> {
    let mut stream = node.open(conn).await?;
    stream.write_all(&wire::request(operation, bytes)).await?;
    if operation == UPLOAD {
        wire::send(&mut stream, bytes).await?;
        stream.read_exact(&mut [0; REQUEST]).await?;
    } else {
        stream.flush().await?;
        wire::receive(&mut stream, bytes).await?;
    }
    node.finish(conn, stream).await
}

async fn requests<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let node = Arc::new(N::start(setup).await?);
    let conn = Arc::new(node.connect(&parameters.addr).await?);
    echo(node.as_ref(), &conn).await?;
    let meter = Meter::start(parameters.remote)?;
    let until = Instant::now() + Duration::from_secs_f64(parameters.seconds);
    let workers = (0..parameters.concurrency).map(|_| {
        let (node, conn) = (node.clone(), conn.clone());
        async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let start = Instant::now();
                echo(node.as_ref(), &conn).await?;
                times.push(start.elapsed());
            }
            Ok(times)
        }
    });
    let times = together::<N, _, _>(setup, workers).await?;
    operations(times, meter, parameters)
}

async fn connects<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let mut nodes = Vec::new();
    for _ in 0..parameters.concurrency {
        let node = N::start(setup).await?;
        connect_once::<N>(setup, &node, &parameters.addr).await?;
        nodes.push(node);
    }
    let meter = Meter::start(parameters.remote)?;
    let until = Instant::now() + Duration::from_secs_f64(parameters.seconds);
    let workers = nodes.into_iter().map(|node| {
        let (setup, addr) = (setup.clone(), parameters.addr.clone());
        async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let start = Instant::now();
                connect_once::<N>(&setup, &node, &addr).await?;
                times.push(start.elapsed());
            }
            Ok(times)
        }
    });
    let times = together::<N, _, _>(setup, workers).await?;
    operations(times, meter, parameters)
}

async fn connect_once<N: Node>(setup: &Setup, node: &N, addr: &str) -> Result<()> {
    let step = async {
        let conn = node.connect(addr).await.context("connecting")?;
        echo(node, &conn).await?;
        node.disconnect(conn).await.context("disconnecting")
    };
    within::<N, _>(setup, PATIENCE, step)
        .await
        .context("a connection took too long")?
}

fn operations(times: Vec<Vec<Duration>>, meter: Meter, parameters: &Parameters) -> Result<Value> {
    let (seconds, mut result) = meter.stop()?;
    let times = times.concat();
    result["operations"] = json!(times.len());
    result["concurrency"] = json!(parameters.concurrency);
    result["rate"] = json!(times.len() as f64 / seconds);
    result["latency_us"] = latencies(times);
    Ok(result)
}

async fn idle<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    // What is set up once per process is not counted.
    let first = N::start(setup).await?;
    connect_once::<N>(setup, &first, &parameters.addr).await?;
    let empty = memory::<N>(setup, parameters).await?;
    let mut nodes = Vec::new();
    for _ in 0..parameters.connections {
        nodes.push(N::start(setup).await?);
    }
    let started = memory::<N>(setup, parameters).await?;
    let begin = Instant::now();
    let connected = connect_each(setup, nodes, &parameters.addr).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let idle = memory::<N>(setup, parameters).await?;
    let meter = Meter::start(parameters.remote)?;
    N::sleep(setup, SETTLE).await;
    let (_, mut result) = meter.stop()?;
    for (node, conn) in &connected {
        echo(node, conn).await.context("an idle connection died")?;
    }
    let each = |from: f64, to: f64| (to - from) / parameters.connections as f64;
    result["connections"] = json!(parameters.connections);
    result["connect_seconds"] = json!(seconds);
    result["dialer_bytes_per_node"] = json!(each(empty.0, started.0));
    result["dialer_bytes_per_connection"] = json!(each(started.0, idle.0));
    result["listener_bytes_per_connection"] = json!(each(started.1, idle.1));
    Ok(result)
}

/// Connects every node, a few at a time.
pub(crate) async fn connect_each<N: Node>(
    setup: &Setup,
    mut nodes: Vec<N>,
    addr: &str,
) -> Result<Vec<(N, N::Conn)>> {
    let mut connected = Vec::with_capacity(nodes.len());
    while !nodes.is_empty() {
        let batch = nodes.split_off(nodes.len().saturating_sub(DIALS_AT_ONCE));
        let workers = batch.into_iter().map(|node| {
            let addr = addr.to_owned();
            async move {
                let conn = node.connect(&addr).await?;
                echo(&node, &conn).await?;
                Ok((node, conn))
            }
        });
        connected.extend(together::<N, _, _>(setup, workers).await?);
    }
    Ok(connected)
}

/// Resident bytes of both sides, once everything has come to rest.
async fn memory<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<(f64, f64)> {
    N::sleep(setup, SETTLE).await;
    let remote = parameters.remote.map_or(Ok(0.0), |pid| resident(Some(pid)));
    Ok((resident(None)?, remote?))
}

async fn gossip<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let mut messages = Messages::new(parameters)?;
    let node = N::start(setup).await?;
    let conn = node.connect(&parameters.addr).await?;
    let mut reports = node.open(&conn).await?;
    reports.write_all(&wire::request(WATCH, 0)).await?;
    reports.flush().await?;
    let before = report(&mut reports).await?;
    until_subscribed(setup, &node, &mut messages).await?;
    let mut delivered = before;
    while delivered == before {
        delivered = report(&mut reports).await?;
    }
    let meter = Meter::start(parameters.remote)?;
    let until = Instant::now() + Duration::from_secs_f64(parameters.seconds);
    let start = delivered;
    let mut published = start;
    loop {
        let over = Instant::now() >= until;
        if over && delivered >= published {
            break;
        }
        let room = parameters.window - (published - delivered);
        if !over && room >= parameters.window.div_ceil(4) {
            node.publish(messages.next(room)).await?;
            published += room;
        }
        match within::<N, _>(setup, LOST_AFTER, report(&mut reports)).await {
            Some(count) => delivered = count?,
            None => break,
        }
    }
    gossip_result(meter, published - start, delivered - start, parameters)
}

async fn report(stream: &mut (impl futures::AsyncRead + Unpin)) -> Result<u64> {
    let mut report = [0; REQUEST];
    stream.read_exact(&mut report).await?;
    Ok(wire::count(&report))
}

async fn gossip_mesh<N: Node>(setup: &Setup, parameters: &Parameters) -> Result<Value> {
    let mut messages = Messages::new(parameters)?;
    let listening = Setup {
        listen: true,
        ..setup.clone()
    };
    let mut nodes: Vec<N> = Vec::new();
    let mut conns = Vec::new();
    for _ in 0..parameters.nodes {
        let node = N::start(&listening).await?;
        for other in &nodes {
            let addr = other.address().context("a node does not listen")?;
            conns.push(node.connect(&addr).await?);
        }
        nodes.push(node);
    }
    for node in &nodes {
        until_subscribed(setup, node, &mut messages).await?;
    }
    // The mesh takes a few heartbeats to form.
    N::sleep(setup, Duration::from_secs(5)).await;
    let copies = nodes.len() as u64 - 1;
    let total = || nodes.iter().map(N::delivered).sum::<u64>();
    let meter = Meter::start(None)?;
    let until = Instant::now() + Duration::from_secs_f64(parameters.seconds);
    let start = total();
    let mut published = 0;
    let mut seen = (start, Instant::now());
    for node in nodes.iter().cycle() {
        loop {
            let now = total();
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            let waiting = published * copies >= now - start + parameters.window * copies;
            let over = Instant::now() >= until;
            if !over && !waiting {
                break;
            }
            if over && now - start >= published * copies || seen.1.elapsed() > LOST_AFTER {
                let delivered = now - start;
                return gossip_result(meter, published * copies, delivered, parameters);
            }
            N::sleep(setup, Duration::from_micros(200)).await;
        }
        node.publish(messages.next(1)).await?;
        published += 1;
    }
    bail!("there are no nodes")
}

fn gossip_result(
    meter: Meter,
    expected: u64,
    delivered: u64,
    parameters: &Parameters,
) -> Result<Value> {
    let (seconds, mut result) = meter.stop()?;
    let part = |name| Value::as_f64(&result[name]).unwrap_or_default();
    let cpu = part("dialer_cpu") + part("listener_cpu");
    result["size"] = json!(parameters.size);
    result["window"] = json!(parameters.window);
    result["nodes"] = json!(parameters.nodes);
    result["operations"] = json!(delivered);
    result["lost"] = json!(expected.saturating_sub(delivered));
    result["rate"] = json!(delivered as f64 / seconds);
    result["cpu_us_per_message"] = json!(cpu * 1e6 / delivered as f64);
    Ok(result)
}

async fn until_subscribed<N: Node>(setup: &Setup, node: &N, messages: &mut Messages) -> Result<()> {
    let attempts = async {
        while node.publish(messages.next(1)).await.is_err() {
            N::sleep(setup, Duration::from_millis(100)).await;
        }
    };
    within::<N, _>(setup, PATIENCE * 2, attempts)
        .await
        .context("nobody has subscribed")
}

/// Gossip messages that all differ.
struct Messages {
    size: usize,
    next: u64,
}

impl Messages {
    fn new(parameters: &Parameters) -> Result<Self> {
        ensure!(parameters.size >= 8, "a message has 8 bytes or more");
        Ok(Self {
            size: parameters.size,
            next: 0,
        })
    }

    fn next(&mut self, count: u64) -> Vec<Vec<u8>> {
        let range = self.next..self.next + count;
        self.next = range.end;
        range
            .map(|number| {
                let mut message = vec![0x5a; self.size];
                message[..8].copy_from_slice(&number.to_be_bytes());
                message
            })
            .collect()
    }
}

/// A stream with one small request and its answer.
pub(crate) async fn echo<N: Node>(node: &N, conn: &N::Conn) -> Result<()> {
    let request = wire::request(ECHO, 0);
    let mut stream = node.open(conn).await.context("opening")?;
    stream.write_all(&request).await.context("sending")?;
    stream.flush().await.context("flushing")?;
    let mut answer = [0; REQUEST];
    stream.read_exact(&mut answer).await.context("receiving")?;
    ensure!(answer == request, "the answer differs");
    node.finish(conn, stream).await.context("finishing")
}

/// Runs each future as a task of its own.
pub(crate) async fn together<N: Node, T, F>(
    setup: &Setup,
    workers: impl Iterator<Item = F>,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let outcomes: Vec<_> = workers
        .map(|worker| {
            let (told, outcome) = oneshot::channel();
            let task = async move {
                let _ = told.send(worker.await);
            };
            N::spawn(setup, task.boxed());
            outcome
        })
        .collect();
    let mut results = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        results.push(outcome.await.context("a worker has panicked")??);
    }
    Ok(results)
}

/// `None` when it takes longer.
async fn within<N: Node, T>(
    setup: &Setup,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut alarm = N::sleep(setup, limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// How long a connection's life may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gossip message that has not come after this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Before memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// While idle connections are made.
const DIALS_AT_ONCE: usize = 32;
