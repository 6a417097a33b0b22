//! `/peerkit/delivery/1.0.0`: bytes in one direction; the receiver answers with their SHA-256.

use std::{io, sync::Arc};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Runtime, Stream};
use sha2::{Digest, Sha256};

use crate::{
    failure::Failure,
    transfer::{self, Meter, PseudoRandom, STALL_LIMIT},
};

pub(crate) const PROTOCOL: &str = "/peerkit/delivery/1.0.0";

/// Answers the protocol.
pub(crate) fn serve(host: &Host) {
    let runtime = host.runtime().clone();
    host.set_stream_handler(PROTOCOL, move |stream: Stream| {
        answer(runtime.clone(), stream)
    });
}

async fn answer(runtime: Arc<dyn Runtime>, stream: Stream) -> io::Result<()> {
    let meter = Meter::default();
    let work = async {
        let mut hash = Sha256::new();
        let see = |block: &[u8]| {
            hash.update(block);
            meter.add(block.len());
            Ok(())
        };
        transfer::copy(&stream, futures::io::sink(), see).await?;
        (&stream).write_all(&hash.finalize()).await
    };
    let outcome = meter.unless_stalled(runtime.as_ref(), || true, work).await;
    outcome.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends so many bytes and checks that all of them arrived.
///
/// `see` is told how many bytes moved with each block. Fails when nothing moves for [`STALL_LIMIT`].
pub(crate) async fn deliver(
    runtime: &dyn Runtime,
    stream: &Stream,
    bytes: u64,
    see: impl Fn(usize),
) -> Result<(), Failure> {
    let meter = Meter::default();
    let work = async {
        let mut hash = Sha256::new();
        let see = |block: &[u8]| {
            hash.update(block);
            meter.add(block.len());
            see(block.len());
            Ok(())
        };
        transfer::copy(PseudoRandom::new(bytes), stream, see).await?;
        let mut stream = stream;
        stream.close().await?;
        let mut answer = [0; 32];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer == *hash.finalize())
    };
    let outcome = meter.unless_stalled(runtime, || true, work).await;
    let is_equal = outcome
        .ok_or_else(|| Failure::stalled(STALL_LIMIT))?
        .map_err(|error| Failure::stream(&error))?;
    if !is_equal {
        return Err(Failure::misbehaved(
            "the remote received other bytes than were sent",
        ));
    }
    Ok(())
}
