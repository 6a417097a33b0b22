//! `peerkit perf`: throughput in both directions.

use peerkit::Host;

use crate::{
    arguments::PerfArguments,
    failure::Failure,
    output::{Event, Measured, Output},
    progress,
    protocols::{explain, perf},
};

pub(crate) async fn run(
    host: &Host,
    arguments: &PerfArguments,
    output: Output,
) -> Result<(), Failure> {
    let &PerfArguments {
        upload_bytes,
        download_bytes,
        ..
    } = arguments;
    // spec: making the connection is not part of what is measured.
    let peer = host.connect(arguments.target.addr()?).await?;
    let stream = host.open_stream(peer, perf::PROTOCOL).await?;
    let total = upload_bytes.saturating_add(download_bytes);
    let progress = progress::bytes("perf".into(), Some(total));
    let outcome = perf::measure(
        host.runtime().as_ref(),
        &stream,
        upload_bytes,
        download_bytes,
        |count| progress.add(count),
    );
    let outcome = match outcome.await {
        Ok(outcome) => outcome,
        Err(failure) => return Err(explain(host, peer, perf::PROTOCOL, failure).await),
    };
    output.event(&Event::Perf(&Measured {
        upload_bytes,
        upload: outcome.upload,
        download_bytes,
        download: outcome.download,
    }))
}
