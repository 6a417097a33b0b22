//! `/echo/1.0.0`: every byte comes back; the end comes back as the end.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use peerkit::{Host, ReadHalf, Runtime, Stream, WriteHalf};
use sha2::{Digest, Sha256};

use crate::{
    failure::Failure,
    output::hex,
    transfer::{self, Meter, STALL_LIMIT},
};

pub(crate) const PROTOCOL: &str = "/echo/1.0.0";

/// Answers the protocol. A handler ends with its stream or its connection: a remote
/// that sends by hand may take its time.
pub(crate) fn serve(host: &Host) {
    host.set_stream_handler(PROTOCOL, answer);
}

async fn answer(stream: Stream) -> io::Result<()> {
    transfer::copy(&stream, &stream, |_| Ok(())).await.map(drop)
}

/// What an echo came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// When the answer began.
    pub(crate) first_byte_at: Option<Instant>,
}

/// Sends all of `source`, writes the answer to `sink` at the same time, and compares the two.
///
/// `see` is told how many bytes came back with each block. Fails when nothing
/// moves for [`STALL_LIMIT`] although the remote has something to answer.
pub(crate) async fn exchange(
    runtime: &dyn Runtime,
    stream: Stream,
    source: impl AsyncRead,
    sink: impl AsyncWrite,
    see: impl Fn(usize),
) -> Result<Outcome, Failure> {
    let (reader, writer) = stream.into_split();
    let exchange = Exchange {
        runtime,
        meter: Meter::default(),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        is_sent: AtomicBool::new(false),
    };
    let both = async {
        futures::try_join!(
            exchange.send(source, writer),
            exchange.receive(reader, sink, see)
        )
    };
    let outcome = exchange
        .meter
        .unless_stalled(runtime, || exchange.is_waiting(), both);
    let (sent, (received, first_byte_at)) = outcome
        .await
        .ok_or_else(|| Failure::stalled(STALL_LIMIT))?
        .map_err(|error| Failure::stream(&error))?;
    exchange.compare(&sent, &received)?;
    Ok(Outcome {
        bytes: exchange.sent.into_inner(),
        sha256: received,
        first_byte_at,
    })
}

/// Both directions of one echo. `sent` counts what was handed to the stream, taken or not.
struct Exchange<'a> {
    runtime: &'a dyn Runtime,
    meter: Meter,
    sent: AtomicU64,
    received: AtomicU64,
    is_sent: AtomicBool,
}

impl Exchange<'_> {
    async fn send(&self, source: impl AsyncRead, mut writer: WriteHalf) -> io::Result<String> {
        let mut hash = Sha256::new();
        let see = |block: &[u8]| {
            hash.update(block);
            self.sent.fetch_add(block.len() as u64, Ordering::Relaxed);
            self.meter.add(block.len());
            Ok(())
        };
        transfer::copy(source, &mut writer, see).await?;
        self.is_sent.store(true, Ordering::Relaxed);
        writer.close().await?;
        Ok(hex(&hash.finalize()))
    }

    async fn receive(
        &self,
        reader: ReadHalf,
        sink: impl AsyncWrite,
        see: impl Fn(usize),
    ) -> io::Result<(String, Option<Instant>)> {
        let mut hash = Sha256::new();
        let mut first_byte_at = None;
        let take = |block: &[u8]| {
            first_byte_at.get_or_insert_with(|| self.runtime.now());
            hash.update(block);
            self.meter.add(block.len());
            see(block.len());
            self.count_received(block.len() as u64)
        };
        transfer::copy(reader, sink, take).await?;
        Ok((hex(&hash.finalize()), first_byte_at))
    }

    fn count_received(&self, count: u64) -> io::Result<()> {
        let received = self.received.fetch_add(count, Ordering::Relaxed) + count;
        if received > self.sent.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, MORE_THAN_SENT));
        }
        Ok(())
    }

    /// Whether the remote has to do something: take or return bytes, or end.
    fn is_waiting(&self) -> bool {
        let all_is_back =
            self.received.load(Ordering::Relaxed) == self.sent.load(Ordering::Relaxed);
        self.is_sent.load(Ordering::Relaxed) || !all_is_back
    }

    fn compare(&self, sent: &str, received: &str) -> Result<(), Failure> {
        let counts = [&self.sent, &self.received].map(|count| count.load(Ordering::Relaxed));
        if counts[0] != counts[1] {
            let [sent, received] = counts;
            return Err(Failure::misbehaved(format!(
                "the remote ended its answer after {received} of {sent} bytes"
            )));
        }
        if sent != received {
            return Err(Failure::misbehaved(
                "the remote answered with other bytes than it was sent",
            ));
        }
        Ok(())
    }
}

const MORE_THAN_SENT: &str = "the remote answered with more bytes than it was sent";
