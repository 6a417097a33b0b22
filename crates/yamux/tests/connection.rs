//! The muxer on real sockets, with the task of the core crate.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use std::sync::Arc;

use futures::{future::join_all, join};
use peerkit_core::{CloseReason, ConnectionError, MuxedStream, ResetCode, StreamError};
use peerkit_runtime::block_on;
use peerkit_testkit::{MuxedPair, echo, read, receive, send, write};
use peerkit_yamux::{Config, Yamux};

#[test]
fn a_transfer_much_larger_than_all_windows_is_echoed() {
    block_on(async {
        let peers = connect().await;
        let (near, far) = stream(&peers).await;
        let total = 64 << 20;
        let (sent, received, echoed) = join!(
            send(near.as_ref(), total),
            receive(near.as_ref()),
            echo(far.as_ref()),
        );
        sent.unwrap();
        assert_eq!((received.unwrap(), echoed.unwrap()), (total, total));
    });
}

#[test]
fn two_tasks_may_read_and_write_one_stream_at_once() {
    block_on(async {
        let peers = connect().await;
        let (near, far) = stream(&peers).await;
        let (near, far) = (Arc::<dyn MuxedStream>::from(near), Arc::from(far));
        let halves = [near, far].map(|stream: Arc<dyn MuxedStream>| {
            let (writer, reader) = (stream.clone(), stream);
            let (finished, wait) = futures::channel::oneshot::channel();
            let send = async move { send(writer.as_ref(), 1000 * 64 * 1024).await.unwrap() };
            let receive = async move {
                let received = receive(reader.as_ref()).await.unwrap();
                finished.send(received).unwrap();
            };
            peers.tasks.spawn(peers.runtime.as_ref(), send);
            peers.tasks.spawn(peers.runtime.as_ref(), receive);
            wait
        });
        for received in join_all(halves).await {
            assert_eq!(received.unwrap(), 1000 * 64 * 1024);
        }
    });
}

#[test]
fn many_streams_at_once_each_get_their_own_bytes() {
    block_on(async {
        let peers = connect().await;
        let mut pairs = Vec::new();
        for _ in 0..100 {
            pairs.push(stream(&peers).await);
        }
        let transfers = pairs.iter().enumerate().map(|(n, (near, far))| async move {
            let total = (n + 1) * 10_000;
            let (sent, received) = join!(send(near.as_ref(), total), receive(far.as_ref()));
            sent.unwrap();
            assert_eq!(received.unwrap(), total);
        });
        join_all(transfers).await;
    });
}

#[test]
fn more_streams_than_the_limits_allow_wait_for_their_turn() {
    block_on(async {
        let peers = connect().await;
        let dialer = &peers.dialer;
        let requests = (0..2000).map(|_| async move {
            let stream = dialer.open().await.unwrap();
            send(stream.as_ref(), 100).await.unwrap();
            assert_eq!(receive(stream.as_ref()).await.unwrap(), 100);
        });
        let listener = &peers.listener;
        let serve = async {
            for _ in 0..2000 {
                let stream = listener.accept().await.unwrap();
                let task = async move { drop(echo(stream.as_ref()).await) };
                peers.tasks.spawn(peers.runtime.as_ref(), task);
            }
        };
        join!(join_all(requests), serve);
    });
}

#[test]
fn a_reader_that_never_reads_holds_up_nobody_else() {
    block_on(async {
        let peers = connect().await;
        let (ignored, ignored_far) = stream(&peers).await;
        let (alive, alive_far) = stream(&peers).await;
        let flood = send(ignored.as_ref(), 1 << 30);
        let others = async {
            let (sent, received) =
                join!(send(alive.as_ref(), 8 << 20), receive(alive_far.as_ref()));
            sent.unwrap();
            assert_eq!(received.unwrap(), 8 << 20);
            ignored_far.reset(ResetCode(42));
        };
        let (flooded, ()) = join!(flood, others);
        let error = flooded.unwrap_err();
        let reason = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(matches!(
            reason,
            Some(StreamError::ResetByRemote(ResetCode(42)))
        ));
    });
}

#[test]
fn closing_ends_both_sides_and_what_was_sent_arrives() {
    block_on(async {
        let peers = connect().await;
        let (near, far) = stream(&peers).await;
        send(near.as_ref(), 100_000).await.unwrap();
        peers.dialer.close(CloseReason::Normal);
        assert_eq!(receive(far.as_ref()).await.unwrap(), 100_000);
        drop((near, far));
        assert!(matches!(
            peers.dialer.closed().await,
            ConnectionError::Closed
        ));
        assert!(matches!(
            peers.listener.closed().await,
            ConnectionError::ClosedByRemote(0)
        ));
        assert!(peers.listener.open().await.is_err());
        assert!(peers.listener.accept().await.is_err());
        peers.tasks.join().await;
    });
}

async fn connect() -> MuxedPair {
    MuxedPair::connect(&Yamux::new(Config::default())).await
}

/// A stream comes into being with its first byte.
async fn stream(peers: &MuxedPair) -> (Box<dyn MuxedStream>, Box<dyn MuxedStream>) {
    let near = peers.dialer.open().await.unwrap();
    assert_eq!(write(near.as_ref(), b"!").await.unwrap(), 1);
    let far = peers.listener.accept().await.unwrap();
    assert_eq!(read(far.as_ref(), &mut [0]).await.unwrap(), 1);
    (near, far)
}
