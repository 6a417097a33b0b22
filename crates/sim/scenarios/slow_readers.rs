//! Streams that nobody reads.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::join_all};
use peerkit::{Host, Stream, core::Runtime};
use peerkit_sim::{HostId, SimRuntime};
use rand::RngExt;

use super::{
    node::{self, ends, exchange, full_address, pause},
    trial::{Muxer, Outcome, Trial},
};

/// One node has many streams that are not read, in both directions, and some that are read
/// slowly. Other streams of the same connection, and other connections, go on as if there was nothing.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut trial = Trial::new(seed);
    let latency = trial.between(Duration::from_millis(1), Duration::from_millis(100));
    let mut links = trial.sim.links();
    links = links.latency(latency).jitter(Duration::ZERO);
    let _ = links.bandwidth(100_000_000);
    let muxer = trial.muxer;
    let ids = [0; 3].map(|_| trial.sim.host());
    let runtimes = ids.map(|id| trial.sim.runtime(id));
    let starting = runtimes.iter().map(|it| node::start(it.clone(), muxer));
    let hosts = trial.sim.block_on(join_all(starting));
    let written = Written::default();
    serve(&hosts[1], &runtimes[1], &written);
    let stuck = match muxer {
        Muxer::Yamux => trial.rng.random_range(1..=8),
        // Streams have no windows: one that is not read holds up the others until it is reset.
        Muxer::Mplex => 1,
    };
    let first = trial.rng.random_range(0..2);
    for number in 0..stuck {
        let slowly = muxer == Muxer::Yamux && trial.rng.random_bool(0.5);
        let flood = flood(
            hosts[0].clone(),
            ids[1],
            written.clone(),
            slowly,
            (first + number) % 2 == 0,
        );
        runtimes[0].spawn(flood.boxed());
    }
    let over = Arc::new(AtomicBool::new(false));
    let patience = match muxer {
        Muxer::Yamux => latency * 4 + Duration::from_millis(60),
        // After five seconds it is reset.
        Muxer::Mplex => Duration::from_secs(6),
    };
    for (other, limit) in [
        (ids[1], patience),
        (ids[2], latency * 4 + Duration::from_millis(10)),
    ] {
        let talk = talk(
            hosts[0].clone(),
            runtimes[0].clone(),
            (other, limit),
            over.clone(),
        );
        runtimes[0].spawn(talk.boxed());
    }
    trial.sim.run_for(Duration::from_secs(60));
    let most = written.0.load(Ordering::Relaxed);
    assert!(
        most <= stuck * most_written(muxer),
        "{most} bytes in {stuck} streams"
    );
    over.store(true, Ordering::Relaxed);
    trial.sim.run_for(Duration::from_secs(5));
    trial.end(hosts)
}

/// Bytes that writers got rid of on streams that nobody reads.
#[derive(Clone, Debug, Default)]
struct Written(Arc<AtomicU64>);

/// What a stream, its share of the transmit buffer and of what is under way may hold.
const fn most_written(muxer: Muxer) -> u64 {
    match muxer {
        Muxer::Yamux => 640 * 1024,
        Muxer::Mplex => 5 * 1024 * 1024,
    }
}

const STUCK: &str = "/stuck/1.0.0";
const FLOOD: &str = "/flood/1.0.0";

fn serve(host: &Host, runtime: &SimRuntime, written: &Written) {
    // What it is told in the first byte: to read slowly, or not at all.
    let clock = runtime.clone();
    host.set_stream_handler(STUCK, move |stream: Stream| {
        let clock = clock.clone();
        async move { read(stream, &clock).await }
    });
    let written = written.clone();
    host.set_stream_handler(FLOOD, move |stream: Stream| {
        let written = written.clone();
        async move { write(&stream, &written, false).await }
    });
}

/// Opens a stream that is not read, on one side or on the other.
async fn flood(host: Host, to: HostId, written: Written, slowly: bool, upload: bool) {
    let protocol = if upload { STUCK } else { FLOOD };
    let stream = host.open_stream(full_address(to), protocol).await;
    let mut stream = stream.expect("it is there");
    if upload {
        let order = [u8::from(slowly)];
        stream
            .write_all(&order)
            .await
            .expect("the first byte is sent");
        write(&stream, &written, slowly).await;
    } else {
        // The proposal leaves with the first read.
        let mut first = [0];
        stream.read_exact(&mut first).await.expect("it writes");
        while !host.is_closed() {
            pause(host.runtime().as_ref(), Duration::from_secs(1)).await;
        }
    }
}

async fn read(mut stream: Stream, runtime: &SimRuntime) {
    let mut buffer = [0; 512];
    let mut order = [0];
    if stream.read_exact(&mut order).await.is_err() || order == [0] {
        pending::<()>().await;
    }
    while let Ok(1..) = stream.read(&mut buffer).await {
        pause(runtime, Duration::from_millis(100)).await;
    }
}

/// Writes as long as it goes on.
async fn write(stream: &Stream, written: &Written, slowly: bool) {
    let block = [0; 8192];
    while let Ok(count) = (&mut &*stream).write(&block).await {
        if !slowly {
            written.0.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// Each exchange takes as long as it would without the others.
async fn talk(
    host: Host,
    runtime: SimRuntime,
    (other, limit): (HostId, Duration),
    over: Arc<AtomicBool>,
) {
    let connect = host.connect(full_address(other)).await;
    connect.expect("it is there");
    // By then the first windows are full.
    pause(&runtime, Duration::from_secs(2)).await;
    while !over.load(Ordering::Relaxed) {
        let exchange = exchange(&host, full_address(other), 1000);
        let outcome = ends(&runtime, limit, "an exchange beside slow readers", exchange).await;
        outcome.expect("both are there");
        pause(&runtime, Duration::from_millis(200)).await;
    }
}
