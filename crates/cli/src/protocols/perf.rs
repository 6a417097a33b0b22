//! `/perf/1.0.0`: throughput in both directions, one after the other.
//!
//! The client says how many bytes it wants (8 bytes, big-endian), uploads as many as it
//! likes and ends its side; then the server sends the wanted bytes and ends its side.
//!
//! Source: libp2p perf specification r0.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Runtime, Stream};

use crate::{
    failure::Failure,
    transfer::{self, Meter, PseudoRandom, STALL_LIMIT},
};

pub(crate) const PROTOCOL: &str = "/perf/1.0.0";

/// Answers the protocol. It serves anybody with as many bytes as they want, which is
/// why no ordinary node does.
pub(crate) fn serve(host: &Host) {
    let runtime = host.runtime().clone();
    host.set_stream_handler(PROTOCOL, move |stream: Stream| {
        answer(runtime.clone(), stream)
    });
}

async fn answer(runtime: Arc<dyn Runtime>, stream: Stream) -> io::Result<()> {
    let meter = Meter::default();
    let work = async {
        let mut wanted = [0; 8];
        (&stream).read_exact(&mut wanted).await?;
        transfer::copy(&stream, futures::io::sink(), counting(&meter)).await?;
        // spec: the server sends only after the upload has ended.
        let source = PseudoRandom::new(u64::from_be_bytes(wanted));
        transfer::copy(source, &stream, counting(&meter))
            .await
            .map(drop)
    };
    let outcome = meter.unless_stalled(runtime.as_ref(), || true, work).await;
    outcome.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

fn counting(meter: &Meter) -> impl FnMut(&[u8]) -> io::Result<()> {
    |block| {
        meter.add(block.len());
        Ok(())
    }
}

/// What a measurement came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Until the remote had everything, which its answer shows: one round trip is in it.
    pub(crate) upload: Duration,
    /// From the end of the upload, or from the request when there was none.
    pub(crate) download: Duration,
}

/// Uploads and downloads so many bytes.
///
/// `see` is told how many bytes moved with each block. Fails when nothing moves for [`STALL_LIMIT`].
pub(crate) async fn measure(
    runtime: &dyn Runtime,
    stream: &Stream,
    upload_bytes: u64,
    download_bytes: u64,
    see: impl Fn(usize),
) -> Result<Outcome, Failure> {
    let client = Client {
        runtime,
        stream,
        meter: Meter::default(),
        see,
    };
    let work = client.run(upload_bytes, download_bytes);
    client
        .meter
        .unless_stalled(runtime, || true, work)
        .await
        .ok_or_else(|| Failure::stalled(STALL_LIMIT))?
}

struct Client<'a, See> {
    runtime: &'a dyn Runtime,
    stream: &'a Stream,
    meter: Meter,
    see: See,
}

impl<See: Fn(usize)> Client<'_, See> {
    async fn run(&self, upload_bytes: u64, download_bytes: u64) -> Result<Outcome, Failure> {
        let start = self.runtime.now();
        // A remote that refuses the protocol says so, and then takes no more bytes.
        let upload = self.upload(upload_bytes, download_bytes);
        futures::try_join!(upload, self.stream.confirmed())
            .map_err(|error| Failure::stream(&error))?;
        let (received, answered_at) = self
            .download(download_bytes)
            .await
            .map_err(|error| Failure::stream(&error))?;
        if received != download_bytes {
            return Err(Failure::misbehaved(format!(
                "the remote sent {received} bytes where {download_bytes} were asked for"
            )));
        }
        let end = self.runtime.now();
        let uploaded_at = match upload_bytes {
            0 => start,
            _ => answered_at.unwrap_or(end),
        };
        Ok(Outcome {
            upload: uploaded_at - start,
            download: end - uploaded_at,
        })
    }

    async fn upload(&self, upload_bytes: u64, download_bytes: u64) -> io::Result<()> {
        let mut stream = self.stream;
        let head = futures::io::Cursor::new(download_bytes.to_be_bytes());
        let source = head.chain(PseudoRandom::new(upload_bytes));
        transfer::copy(source, &mut stream, |block| self.count(block)).await?;
        stream.close().await
    }

    /// The number of bytes that came, but not many more than were asked for, and when they began.
    async fn download(&self, bytes: u64) -> io::Result<(u64, Option<Instant>)> {
        let mut first_byte_at = None;
        let see = |block: &[u8]| {
            first_byte_at.get_or_insert_with(|| self.runtime.now());
            self.count(block)
        };
        let source = AsyncReadExt::take(self.stream, bytes.saturating_add(1));
        let received = transfer::copy(source, futures::io::sink(), see).await?;
        Ok((received, first_byte_at))
    }

    fn count(&self, block: &[u8]) -> io::Result<()> {
        self.meter.add(block.len());
        (self.see)(block.len());
        Ok(())
    }
}
