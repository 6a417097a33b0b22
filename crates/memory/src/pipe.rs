//! Two ends of a bounded pipe in memory.

use std::{
    collections::VecDeque,
    fmt, io,
    io::{IoSlice, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};

use crate::sync::{Mutex, lock};

/// Makes a pipe with two ends that holds at most `capacity` bytes in each direction (at least one).
///
/// It behaves like a TCP connection on loopback: writes wait while the buffer
/// is full, `close` ends one direction only, and the two sides may live in
/// different tasks.
///
/// ```
/// use futures::{AsyncReadExt, AsyncWriteExt, executor::block_on};
///
/// let (mut here, mut there) = peerkit_memory::duplex(1024);
/// block_on(async {
///     here.write_all(b"hello").await?;
///     here.close().await?;
///     let mut received = String::new();
///     there.read_to_string(&mut received).await?;
///     assert_eq!(received, "hello");
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn duplex(capacity: usize) -> (Pipe, Pipe) {
    let (one, two) = (Lane::new(capacity), Lane::new(capacity));
    let first = Pipe {
        inbound: one.clone(),
        outbound: two.clone(),
    };
    let second = Pipe {
        inbound: two,
        outbound: one,
    };
    (first, second)
}

/// One end of a [`duplex`] pipe.
///
/// When the other end is dropped, what it had written can still be read and is
/// followed by the end of the input; writing fails with [`io::ErrorKind::BrokenPipe`].
pub struct Pipe {
    inbound: Arc<Lane>,
    outbound: Arc<Lane>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.inbound.poll_read(cx, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inbound.poll_read(cx, buffers)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outbound.poll_write(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outbound.poll_write(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.outbound.finish();
        self.inbound.abandon();
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("to_read", &lock(&self.inbound.state).buffer.len())
            .field("to_send", &lock(&self.outbound.state).buffer.len())
            .finish()
    }
}

/// One direction.
struct Lane {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Default)]
struct State {
    buffer: VecDeque<u8>,
    /// Nobody writes any more.
    finished: bool,
    /// Nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            capacity: capacity.max(1),
        })
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut state = lock(&self.state);
        if state.buffer.is_empty() && !state.finished {
            remember(&mut state.reader, cx);
            return Poll::Pending;
        }
        let taken = state.take(buffers);
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        Poll::Ready(Ok(taken))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if state.finished || state.abandoned {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.capacity - state.buffer.len();
        if room == 0 && buffers.iter().any(|buffer| !buffer.is_empty()) {
            remember(&mut state.writer, cx);
            return Poll::Pending;
        }
        let written = state.put(buffers, room);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Poll::Ready(Ok(written))
    }

    /// The writer is done: after what is buffered comes the end.
    fn finish(&self) {
        let mut state = lock(&self.state);
        state.finished = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().for_each(wake);
    }

    /// The reader is gone: what is buffered will never be read.
    fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        state.buffer = VecDeque::new();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().for_each(wake);
    }
}

impl State {
    fn take(&mut self, buffers: &mut [IoSliceMut<'_>]) -> usize {
        let mut taken = 0;
        for buffer in buffers {
            // A deque reads from its first contiguous part only, so it is asked until it is empty.
            let mut rest = &mut buffer[..];
            while !rest.is_empty() && !self.buffer.is_empty() {
                let (front, _) = self.buffer.as_slices();
                let count = front.len().min(rest.len());
                rest[..count].copy_from_slice(&front[..count]);
                self.buffer.drain(..count);
                rest = &mut rest[count..];
                taken += count;
            }
        }
        taken
    }

    fn put(&mut self, buffers: &[IoSlice<'_>], room: usize) -> usize {
        let mut written = 0;
        for buffer in buffers {
            let count = buffer.len().min(room - written);
            self.buffer.extend(&buffer[..count]);
            written += count;
        }
        written
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures::{
        AsyncReadExt, AsyncWriteExt, FutureExt,
        executor::block_on,
        future::{join, poll_fn},
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_wait_for_room_and_for_the_reader() {
        let (mut here, mut there) = duplex(4);
        assert_eq!(block_on(here.write(b"abcdef")).unwrap(), 4);
        assert!(here.write(b"ef").now_or_never().is_none());
        let mut buffer = [0; 3];
        assert_eq!(block_on(there.read(&mut buffer)).unwrap(), 3);
        assert_eq!(&buffer, b"abc");
        assert_eq!(block_on(here.write(b"ef")).unwrap(), 2);
        assert_eq!(block_on(there.read(&mut buffer)).unwrap(), 3);
        assert_eq!(&buffer, b"def");
        assert!(there.read(&mut buffer).now_or_never().is_none());
    }

    #[test]
    fn a_closed_direction_ends_after_its_bytes_and_the_other_goes_on() {
        let (mut here, mut there) = duplex(64);
        block_on(async {
            here.write_all(b"question").await.unwrap();
            here.close().await.unwrap();
            let error = here.write(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            let mut question = String::new();
            there.read_to_string(&mut question).await.unwrap();
            there.write_all(b"answer").await.unwrap();
            drop(there);
            let mut answer = String::new();
            here.read_to_string(&mut answer).await.unwrap();
            assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        });
    }

    #[test]
    fn writing_to_a_dropped_end_fails_also_for_a_writer_that_waits() {
        let (mut here, there) = duplex(4);
        let dropping = async { drop(there) };
        let flood = async { here.write_all(b"more than four").await };
        let (flooded, ()) = block_on(join(flood, dropping));
        assert_eq!(flooded.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(block_on(here.read(&mut [0])).unwrap(), 0);
    }

    #[test]
    fn slices_are_gathered_and_scattered() {
        let (mut here, mut there) = duplex(64);
        let slices = [b"one ", &b""[..], b"two"].map(IoSlice::new);
        let writing = poll_fn(|cx| Pin::new(&mut here).poll_write_vectored(cx, &slices));
        assert_eq!(block_on(writing).unwrap(), 7);
        let (mut front, mut back) = ([0; 2], [0; 9]);
        let mut slices = [&mut front[..], &mut back[..]].map(IoSliceMut::new);
        let reading = poll_fn(|cx| Pin::new(&mut there).poll_read_vectored(cx, &mut slices));
        assert_eq!(block_on(reading).unwrap(), 7);
        assert_eq!((&front[..], &back[..5]), (&b"on"[..], &b"e two"[..]));
    }

    #[test]
    fn halves_in_two_threads_move_everything() {
        let (mut here, mut there) = duplex(100);
        let payload: Vec<u8> = (0..200_000).map(|i| (i % 251) as u8).collect();
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                block_on(async {
                    here.write_all(&payload).await.unwrap();
                    here.close().await.unwrap();
                });
            });
            let mut received = Vec::new();
            block_on(there.read_to_end(&mut received)).unwrap();
            received
        });
        assert!(received == payload, "the bytes differ");
    }

    proptest! {
        #[test]
        fn any_pattern_of_reads_and_writes_keeps_the_bytes(
            capacity in 1usize..20,
            steps in proptest::collection::vec((any::<bool>(), 0usize..30), 0..100),
        ) {
            let (mut here, mut there) = duplex(capacity);
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for (write, size) in steps {
                if write {
                    let chunk: Vec<u8> = (0..size).map(|i| (sent.len() + i) as u8).collect();
                    let written = here.write(&chunk).now_or_never().map_or(0, Result::unwrap);
                    sent.extend_from_slice(&chunk[..written]);
                } else {
                    let mut chunk = vec![0; size];
                    let read = there.read(&mut chunk).now_or_never().map_or(0, Result::unwrap);
                    received.extend_from_slice(&chunk[..read]);
                }
                prop_assert!(sent.len() - received.len() <= capacity);
                prop_assert_eq!(&sent[..received.len()], &received[..]);
            }
        }
    }
}
