//! The muxer on real sockets, with the task of the core crate.

use std::{io, time::Duration};

use futures::{
    future::{join_all, try_join},
    join,
};
use peerkit_core::{CloseReason, ConnectionError, MuxedStream};
use peerkit_mplex::{Config, Mplex};
use peerkit_runtime::block_on;
use peerkit_testkit::{MuxedPair, echo, read, receive, send};

#[test]
fn a_transfer_much_larger_than_all_buffers_is_echoed() {
    block_on(async {
        let peers = connect(Config::default()).await;
        let (near, far) = stream(&peers).await;
        let total = 32 << 20;
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
fn a_reader_that_never_reads_holds_up_the_others_only_for_a_while() {
    block_on(async {
        let mut config = Config::default();
        config.stall_timeout = Duration::from_millis(300);
        let peers = connect(config).await;
        let (ignored, ignored_far) = stream(&peers).await;
        let (alive, alive_far) = stream(&peers).await;
        let flood = async {
            let error = send(ignored.as_ref(), 1 << 30).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            send(alive.as_ref(), 1 << 20).await
        };
        let (_, received) = try_join(flood, receive(alive_far.as_ref())).await.unwrap();
        assert_eq!(received, 1 << 20);
        let mut buffer = [0; 10];
        let error = read(ignored_far.as_ref(), &mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn many_streams_at_once_each_get_their_own_bytes() {
    block_on(async {
        let peers = connect(Config::default()).await;
        let mut pairs = Vec::new();
        for _ in 0..50 {
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
fn closing_ends_both_sides_without_an_error_of_the_network() {
    block_on(async {
        let peers = connect(Config::default()).await;
        let (near, far) = stream(&peers).await;
        let (sent, received) = join!(send(near.as_ref(), 100_000), receive(far.as_ref()));
        sent.unwrap();
        assert_eq!(received.unwrap(), 100_000);
        drop((near, far));
        peers.dialer.close(CloseReason::Normal);
        assert!(matches!(
            peers.dialer.closed().await,
            ConnectionError::Closed
        ));
        assert!(matches!(
            peers.listener.closed().await,
            ConnectionError::ClosedByRemote(_)
        ));
        peers.tasks.join().await;
    });
}

/// Connects two ends with this configuration.
async fn connect(config: Config) -> MuxedPair {
    MuxedPair::connect(&Mplex::new(config)).await
}

async fn stream(peers: &MuxedPair) -> (Box<dyn MuxedStream>, Box<dyn MuxedStream>) {
    let both = try_join(peers.dialer.open(), peers.listener.accept());
    both.await.expect("the connection is up")
}
