//! `peerkit-noise` alone, over a byte pipe.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::io::ErrorKind;

use common::*;
use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt,
    executor::block_on,
    future::{BoxFuture, join, try_join},
    io::copy,
    stream::FuturesUnordered,
};
use peerkit_core::SecurityError;
use peerkit_noise::NoiseStream;

#[test]
fn streams_connect_and_name_the_peers() {
    let (near, far) = pipe(1 << 16);
    let (dialer, listener) = (noise(1), noise(2));
    let (dialed, accepted) =
        block_on(try_join(dialer.dial(near, peer(2)), listener.accept(far))).unwrap();
    assert_eq!((dialed.1, accepted.1), (peer(2), peer(1)));
}

#[test]
fn a_dialer_that_never_writes_does_not_keep_the_listener_waiting() {
    let (near, far) = connected(1 << 16);
    drop((near, far));
}

#[test]
fn bytes_pass_a_pipe_that_takes_one_at_a_time() {
    let (mut near, mut far) = connected(1);
    let sent = pattern(1000);
    let ((), received) = block_on(join(
        async {
            near.write_all(&sent).await.unwrap();
            near.flush().await.unwrap();
        },
        async {
            let mut received = vec![0; 1000];
            far.read_exact(&mut received).await.unwrap();
            received
        },
    ));
    assert_eq!(received, pattern(1000));
}

#[test]
fn long_data_is_echoed_by_a_copy_loop_that_never_flushes() {
    for capacity in [300, 5_000, 70_000, 1 << 20] {
        let (near, far) = connected(capacity);
        let (mut reader, mut writer) = near.split();
        let write = async move {
            writer.write_all(&pattern(300_000)).await.unwrap();
        };
        let read = async move {
            let mut received = vec![0; 300_000];
            reader.read_exact(&mut received).await.unwrap();
            assert!(received == pattern(300_000));
        };
        let echo = async move {
            let (mut reader, mut writer) = far.split();
            let error = copy(&mut reader, &mut writer).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        };
        run_as_tasks([write.boxed(), read.boxed(), echo.boxed()]);
    }
}

#[test]
fn a_write_is_on_its_way_without_a_flush() {
    let (mut near, mut far) = connected(1 << 16);
    let mut received = [0; 5];
    block_on(async {
        near.write_all(b"hello").await.unwrap();
        far.read_exact(&mut received).await.unwrap();
    });
    assert_eq!(&received, b"hello");
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer_at_a_bound() {
    let (mut near, _far) = connected(1000);
    let mut written = 0;
    while let Some(count) = near.write(&[7; 5000]).now_or_never() {
        written += count.unwrap();
        assert!(
            written <= 1000 + 2 * 65_536,
            "nothing holds the writer back"
        );
    }
    assert!(near.flush().now_or_never().is_none());
}

#[test]
fn tiny_reads_get_what_one_record_held() {
    let (mut near, mut far) = connected(1 << 16);
    block_on(async {
        near.write_all(b"abc").await.unwrap();
        for expected in b"abc" {
            let mut byte = [0];
            assert_eq!(far.read(&mut byte).await.unwrap(), 1);
            assert_eq!(byte[0], *expected);
        }
    });
}

#[test]
fn an_end_without_a_goodbye_is_an_error_and_stays_one() {
    let (mut near, mut far) = connected(1 << 16);
    block_on(async {
        near.write_all(b"last words").await.unwrap();
        near.close().await.unwrap();
        let mut received = [0; 10];
        far.read_exact(&mut received).await.unwrap();
        for _ in 0..2 {
            let error = far.read(&mut received).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn a_record_that_is_cut_delivers_nothing() {
    let (mut near, mut far) = tampered(|record| record.truncate(10));
    let mut received = [0; 5];
    block_on(async {
        near.write_all(b"hello").await.unwrap();
        let error = far.read(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_damaged_record_ends_the_stream_with_its_reason() {
    let (mut near, mut far) = tampered(|record| record[4] ^= 1);
    let mut received = [0; 5];
    block_on(async {
        near.write_all(b"hello").await.unwrap();
        for _ in 0..2 {
            let error = far.read(&mut received).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            assert!(matches!(cause, Some(SecurityError::Authentication)));
        }
    });
}

#[test]
fn writing_to_somebody_who_left_is_an_error() {
    let (mut near, far) = connected(1 << 16);
    drop(far);
    let error = block_on(near.write_all(b"hello")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

fn connected(capacity: usize) -> (NoiseStream, NoiseStream) {
    let (near, far) = pipe(capacity);
    let (dialer, listener) = (noise(1), noise(2));
    let (near, far) = block_on(try_join(dialer.dial(near, peer(2)), listener.accept(far))).unwrap();
    (near.0, far.0)
}

/// Polls each future only when its own waker was called, as tasks are.
fn run_as_tasks<const N: usize>(tasks: [BoxFuture<'_, ()>; N]) {
    let tasks: FuturesUnordered<_> = tasks.into_iter().collect();
    block_on(tasks.collect::<()>());
}

/// Connected streams of which the first record from `near` is changed on its way.
fn tampered(change: fn(&mut Vec<u8>)) -> (NoiseStream, NoiseStream) {
    let (near, far) = pipe(1 << 16);
    let log = near.log();
    let (dialer, listener) = (noise(1), noise(2));
    let (near, far) = block_on(try_join(dialer.dial(near, None), listener.accept(far))).unwrap();
    log.change_next(change);
    (near.0, far.0)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
