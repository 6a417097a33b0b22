//! Moving many bytes in constant memory, and noticing when nothing moves any more.

use std::{
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
};
use peerkit::{Runtime, core::sleep_until};

/// How long a transfer may stand still.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Copies `source` to `sink` until the source ends, and shows every block to `see`, which
/// may end the copying. The sink is left open. Returns the number of bytes.
pub(crate) async fn copy(
    source: impl AsyncRead,
    sink: impl AsyncWrite,
    mut see: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut source, mut sink) = (pin!(source), pin!(sink));
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        let count = source.read(&mut block).await?;
        if count == 0 {
            return Ok(total);
        }
        see(&block[..count])?;
        sink.write_all(&block[..count]).await?;
        // A person may be waiting for it; with streams and sockets this costs nothing.
        sink.flush().await?;
        total += count as u64;
    }
}

/// Bytes that no compression and no repetition make smaller, the same in every run.
///
/// The generator is SplitMix64: fast, and not for secrets.
#[derive(Debug)]
pub(crate) struct PseudoRandom {
    position: u64,
    end: u64,
}

impl PseudoRandom {
    /// So many bytes, then the end.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            position: 0,
            end: bytes,
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        let to_boundary = (self.position.wrapping_neg() % 8) as usize;
        let (first, others) = buffer.split_at_mut(to_boundary.min(buffer.len()));
        let (words, last) = others.as_chunks_mut();
        self.fill_bytes(first);
        for bytes in words {
            *bytes = word(self.position / 8);
            self.position += 8;
        }
        self.fill_bytes(last);
    }

    /// Within one word.
    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        let skipped = (self.position % 8) as usize;
        buffer.copy_from_slice(&word(self.position / 8)[skipped..][..buffer.len()]);
        self.position += buffer.len() as u64;
    }
}

impl AsyncRead for PseudoRandom {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        self.fill(&mut buffer[..count]);
        Poll::Ready(Ok(count))
    }
}

/// The eight bytes at this place of the sequence.
fn word(place: u64) -> [u8; 8] {
    let mut mixed = place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

/// Counts what moves, so that [`unless_stalled`](Self::unless_stalled) can tell when nothing does.
#[derive(Debug)]
pub(crate) struct Meter {
    moved: AtomicU64,
    limit: Duration,
}

impl Default for Meter {
    /// With [`STALL_LIMIT`].
    fn default() -> Self {
        Self::new(STALL_LIMIT)
    }
}

impl Meter {
    fn new(limit: Duration) -> Self {
        Self {
            moved: AtomicU64::new(0),
            limit,
        }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Runs `work` until it ends. `None` when this meter stood still for its limit
    /// while `is_waiting` said that somebody else has to move.
    pub(crate) async fn unless_stalled<T>(
        &self,
        runtime: &dyn Runtime,
        is_waiting: impl Fn() -> bool,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match select(pin!(work), pin!(self.stalled(runtime, is_waiting))).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(((), _)) => None,
        }
    }

    async fn stalled(&self, runtime: &dyn Runtime, is_waiting: impl Fn() -> bool) {
        let (mut seen, mut still) = (self.total(), 0);
        while still < LOOKS {
            sleep_until(runtime, runtime.now() + self.limit / LOOKS).await;
            let total = self.total();
            still = if total == seen && is_waiting() {
                still + 1
            } else {
                0
            };
            seen = total;
        }
    }
}

/// Large enough that calls do not count, small enough for a cache.
const BLOCK: usize = 64 * 1024;

/// How often a meter is looked at within the limit.
const LOOKS: u32 = 10;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use async_std::task::block_on;
    use peerkit::runtime::AsyncStd;

    use super::*;

    #[test]
    fn pseudo_random_bytes_do_not_depend_on_the_reads() {
        let mut copied = Vec::new();
        let count = block_on(copy(PseudoRandom::new(200_001), &mut copied, |_| Ok(()))).unwrap();
        assert_eq!(count, 200_001);
        let mut source = PseudoRandom::new(200_001);
        let mut pieces = vec![0; 200_001];
        for (at, piece) in pieces.chunks_mut(1013).enumerate() {
            let (first, rest) = piece.split_at_mut(at.min(3));
            block_on(source.read_exact(first)).unwrap();
            block_on(source.read_exact(rest)).unwrap();
        }
        assert!(copied == pieces);
        assert_eq!(block_on(source.read(&mut [0; 8])).unwrap(), 0);
    }

    #[test]
    fn pseudo_random_bytes_are_those_of_the_generator() {
        let mut bytes = [0; 8];
        block_on(PseudoRandom::new(8).read_exact(&mut bytes)).unwrap();
        // The first number of SplitMix64 with seed 0.
        assert_eq!(u64::from_le_bytes(bytes), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn a_look_at_a_block_may_end_the_copying() {
        let refuse = |_: &[u8]| Err(io::ErrorKind::Other.into());
        let error = block_on(copy(PseudoRandom::new(10), futures::io::sink(), refuse));
        assert!(error.is_err());
    }

    #[test]
    fn a_transfer_that_stands_still_ends() {
        let runtime = AsyncStd::new();
        let meter = Meter::new(Duration::from_millis(20));
        let silent = meter.unless_stalled(&runtime, || true, pending::<()>());
        assert!(block_on(silent).is_none());
    }

    #[test]
    fn a_transfer_that_moves_or_waits_for_nobody_goes_on() {
        let runtime = AsyncStd::new();
        let meter = Meter::new(Duration::from_millis(100));
        let work = async {
            for _ in 0..30 {
                sleep_until(&runtime, runtime.now() + Duration::from_millis(10)).await;
                meter.add(1);
            }
        };
        assert!(block_on(meter.unless_stalled(&runtime, || true, work)).is_some());

        let idle = sleep_until(&runtime, runtime.now() + Duration::from_millis(300));
        assert!(block_on(meter.unless_stalled(&runtime, || false, idle)).is_some());
    }
}
