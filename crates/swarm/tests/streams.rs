//! Streams between two hosts.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::sync::Arc;

use common::{ECHO, Net, Setup, ask, listening_side, mplex, pause, run, yamux};
use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt, channel::oneshot, future::poll_fn, lock::Mutex,
};
use peerkit_core::{Multiaddr, ResetCode, StreamError, Upgrader};
use peerkit_memory::Pipe;
use peerkit_swarm::{DialTarget, Host, OpenStreamError, Stream};

#[test]
fn a_stream_echoes_what_it_is_sent_over_each_muxer() {
    run(async {
        for muxer in [yamux(), mplex()] {
            let net = Net::new();
            let setup = || Setup {
                muxers: vec![muxer.clone()],
                ..Setup::default()
            };
            let (_listener, addr) = net.echo_host_with(setup()).await;
            let dialer = net.host_with(setup());
            assert_eq!(ask(&dialer, &addr, b"hello").await, b"hello");
            let long: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
            let mut stream = dialer.open_stream(&addr, ECHO).await.unwrap();
            let (mut read, mut write) = (&stream, &stream);
            let mut back = vec![0; long.len()];
            let (sent, received) = futures::join!(
                async {
                    write.write_all(&long).await?;
                    write.close().await
                },
                read.read_exact(&mut back)
            );
            sent.unwrap();
            received.unwrap();
            assert!(back == long);
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        }
    });
}

#[test]
fn an_unknown_protocol_shows_in_the_first_read_when_it_was_proposed_alone() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/nobody/1").await.unwrap();
        // Looks like lines of a negotiation, and like too many of them.
        stream.write_all(&b"\x02/\n".repeat(500)).await.unwrap();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(matches!(inner, Some(StreamError::Unsupported(id)) if id.as_str() == "/nobody/1"));
        assert_eq!(
            ask(&dialer, &addr, b"the connection goes on").await.len(),
            22
        );
    });
}

#[test]
fn an_unknown_protocol_shows_in_a_write_when_there_is_much_to_write() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        // More than a window at once, and less: the remote takes nothing after its refusal.
        for size in [4096, 300_000] {
            let mut stream = dialer.open_stream(&addr, "/nobody/1").await.unwrap();
            let error = loop {
                if let Err(error) = stream.write_all(&vec![0; size]).await {
                    break error;
                }
            };
            let inner = error.get_ref().unwrap().downcast_ref::<StreamError>();
            let is_refusal = matches!(inner, Some(StreamError::Unsupported(_)));
            assert!(is_refusal, "{error}");
        }
    });
}

#[test]
fn a_one_way_stream_learns_on_close_that_nobody_understood() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/nobody/1").await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        assert!(stream.close().await.is_err());
        let stream = dialer.open_stream(&addr, ECHO).await.unwrap();
        stream.confirmed().await.unwrap();
    });
}

#[test]
fn of_several_protocols_the_first_that_the_remote_knows_is_chosen() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let stream = dialer
            .open_stream(&addr, ["/echo/2.0.0", ECHO])
            .await
            .unwrap();
        assert_eq!(stream.protocol().as_str(), ECHO);
        let error = dialer
            .open_stream(&addr, ["/a/1", "/b/1"])
            .await
            .unwrap_err();
        assert!(
            matches!(error, OpenStreamError::Unsupported { protocols, .. } if protocols.len() == 2)
        );
    });
}

#[test]
fn a_stream_can_be_opened_on_a_given_connection() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        dialer.connect(&addr).await.unwrap();
        let connection = dialer.connections()[0].id;
        let stream = dialer.open_stream_on(connection, ECHO).await.unwrap();
        assert_eq!(stream.connection_id(), connection);
        stream.confirmed().await.unwrap();
        dialer.close_connection(connection);
        let error = dialer.open_stream_on(connection, ECHO).await.unwrap_err();
        assert!(matches!(error, OpenStreamError::Connection(_)), "{error}");
    });
}

#[test]
fn invalid_protocol_names_are_refused_before_anything_is_dialed() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let error = dialer.open_stream(&addr, "no-slash").await.unwrap_err();
        assert!(matches!(error, OpenStreamError::InvalidProtocol(_)));
        assert!(dialer.peers().is_empty());
    });
}

#[test]
fn after_a_half_close_the_other_direction_goes_on() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        listener.set_stream_handler("/late/1", |mut stream: Stream| async move {
            let mut question = Vec::new();
            stream.read_to_end(&mut question).await?;
            pause(20).await;
            stream.write_all(&question).await?;
            stream.close().await
        });
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/late/1").await.unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"question");
    });
}

#[test]
fn a_one_way_message_arrives_although_its_sender_lets_go_at_once() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let (told, heard) = oneshot::channel();
        let told = Arc::new(Mutex::new(Some(told)));
        listener.set_stream_handler("/notice/1", move |mut stream: Stream| {
            let told = told.clone();
            async move {
                pause(20).await;
                let mut notice = Vec::new();
                stream.read_to_end(&mut notice).await.unwrap();
                told.lock().await.take().unwrap().send(notice).unwrap();
            }
        });
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/notice/1").await.unwrap();
        stream.write_all(b"notice").await.unwrap();
        stream.close().await.unwrap();
        drop(stream);
        assert_eq!(heard.await.unwrap(), b"notice");
    });
}

#[test]
fn a_handler_that_succeeds_closes_its_stream_and_one_that_fails_resets_it() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        listener.set_stream_handler("/short/1", |stream: Stream| async move {
            (&stream).write_all(b"whole").await
        });
        listener.set_stream_handler("/failing/1", |stream: Stream| async move {
            (&stream).write_all(b"half").await?;
            Err::<(), _>(std::io::Error::other("no more"))
        });
        let dialer = net.host();
        let mut answer = Vec::new();
        let mut stream = dialer.open_stream(&addr, "/short/1").await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"whole");
        let mut stream = dialer.open_stream(&addr, "/failing/1").await.unwrap();
        assert!(stream.read_to_end(&mut answer).await.is_err());
    });
}

#[test]
fn a_reset_reaches_the_remote_with_its_reason() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        listener.set_stream_handler("/reset/1", |stream: Stream| async move {
            let mut byte = [0];
            (&stream).read_exact(&mut byte).await.unwrap();
            stream.reset(ResetCode::RATE_LIMITED);
        });
        let dialer = net.host();
        let mut stream = dialer.open_stream(&addr, "/reset/1").await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let error = loop {
            match stream.read(&mut [0; 8]).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        let inner = error.get_ref().unwrap().downcast_ref::<StreamError>();
        assert!(
            matches!(
                inner,
                Some(StreamError::ResetByRemote(ResetCode::RATE_LIMITED))
            ),
            "{error:?}"
        );
    });
}

#[test]
fn two_tasks_use_the_halves_of_a_stream_at_once() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let stream = dialer.open_stream(&addr, ECHO).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let (done, finished) = oneshot::channel();
        dialer.spawn(async move {
            for _ in 0..200 {
                write.write_all(&[7; 5000]).await.unwrap();
            }
            write.close().await.unwrap();
        });
        dialer.spawn(async move {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            done.send(all.len()).unwrap();
        });
        assert_eq!(finished.await.unwrap(), 1_000_000);
    });
}

/// Takes the connection, answers the first stream after a while, then cuts the connection.
async fn answer_late(upgrader: Arc<dyn Upgrader>, pipe: Pipe, answer: &[u8]) {
    let new = upgrader.upgrade(Box::new(pipe), listening_side()).await;
    let new = new.unwrap();
    let work = async {
        let muxed = new.connection.accept().await.unwrap();
        pause(200).await;
        let written = poll_fn(|cx| muxed.poll_write(cx, answer)).await;
        assert_eq!(written.unwrap(), answer.len());
        pause(100).await;
    };
    futures::future::select(new.driver, Box::pin(work)).await;
}

fn host_answered_late(answer: &'static [u8]) -> (Host, DialTarget) {
    let net = Net::new();
    let listener = Setup::default();
    let peer = listener.keypair.public().to_peer_id();
    let upgrader = net.upgrader(&listener);
    let host = net.host_facing(Setup::default(), move |pipe: Pipe| {
        let upgrader = upgrader.clone();
        answer_late(upgrader, pipe, answer).boxed()
    });
    let addr: Multiaddr = "/memory/1".parse().unwrap();
    (host, (peer, addr).into())
}

#[test]
fn a_reader_hears_of_the_end_also_while_another_task_closes() {
    run(async {
        let (host, target) = host_answered_late(b"\x13/multi");
        let stream = host.open_stream(target, ECHO).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let (read_done, read_outcome) = oneshot::channel();
        let (close_done, close_outcome) = oneshot::channel();
        host.spawn(async move {
            read_done
                .send(read.read(&mut [0; 8]).await.is_err())
                .unwrap()
        });
        pause(50).await;
        host.spawn(async move { close_done.send(write.close().await.is_err()).unwrap() });
        assert!(close_outcome.await.unwrap());
        assert!(read_outcome.await.unwrap());
    });
}

#[test]
fn a_reader_hears_of_the_answer_also_after_another_task_gave_up_closing() {
    run(async {
        let (host, target) = host_answered_late(b"\x13/multistream/1.0.0\n\x0c/echo/1.0.0\nhello");
        let stream = host.open_stream(target, ECHO).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let (done, outcome) = oneshot::channel();
        host.spawn(async move {
            let mut message = [0; 5];
            read.read_exact(&mut message).await.unwrap();
            done.send(message).unwrap();
        });
        pause(50).await;
        assert!(write.close().now_or_never().is_none());
        assert_eq!(&outcome.await.unwrap(), b"hello");
    });
}

#[test]
fn hundred_streams_run_at_once_on_one_connection() {
    run(async {
        let net = Net::new();
        let (_listener, addr) = net.echo_host().await;
        let dialer = net.host();
        let asks = (0..100_u32).map(|n| {
            let (dialer, addr) = (dialer.clone(), addr.clone());
            async move {
                let message = n.to_be_bytes().repeat(1000);
                assert_eq!(ask(&dialer, &addr, &message).await, message);
            }
        });
        futures::future::join_all(asks).await;
        assert_eq!(dialer.connections().len(), 1);
    });
}

#[test]
fn dropping_futures_and_streams_leaves_nothing_behind() {
    run(async {
        let net = Net::new();
        let (listener, addr) = net.echo_host().await;
        let dialer = net.host();
        dialer.connect(&addr).await.unwrap();
        let mut events = dialer.events();
        for _ in 0..50 {
            let open = dialer.open_stream(&addr, ["/echo/2.0.0", ECHO]);
            // Polled once, then dropped in the middle of the negotiation.
            let _ = futures::FutureExt::now_or_never(open);
            let mut stream = dialer.open_stream(&addr, ECHO).await.unwrap();
            stream.write_all(b"unfinished").await.unwrap();
        }
        for _ in 0..100 {
            let ended = futures::FutureExt::now_or_never(events.next());
            assert!(ended.is_none(), "{ended:?}");
            let open = [&dialer, &listener].map(|host| Some(host.connections().first()?.streams));
            if open == [Some(0), Some(0)] {
                return;
            }
            pause(20).await;
        }
        panic!("streams were left behind");
    });
}

/// The remote closes its node a moment after it has sent everything.
#[test]
fn what_was_sent_before_the_node_closed_can_still_be_read() {
    run(async {
        for muxer in [yamux(), mplex()] {
            for len in [1000, 200_000] {
                let net = Net::new();
                let setup = || Setup {
                    muxers: vec![muxer.clone()],
                    ..Setup::default()
                };
                let (listener, addr) = net.echo_host_with(setup()).await;
                let (report, total) = oneshot::channel();
                let report = Mutex::new(Some(report));
                let report = Arc::new(report);
                listener.set_stream_handler("/sink/1", move |mut stream: Stream| {
                    let report = report.clone();
                    async move {
                        let (mut total, mut buffer) = (0, vec![0; 16 * 1024]);
                        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                            total += read;
                            pause(30).await;
                        }
                        let report = report.lock().await.take().unwrap();
                        report.send(total).unwrap();
                    }
                });
                let dialer = net.host_with(setup());
                let mut stream = dialer.open_stream(&addr, "/sink/1").await.unwrap();
                stream.write_all(&vec![7; len]).await.unwrap();
                stream.close().await.unwrap();
                dialer.close().await;
                assert_eq!(total.await.unwrap(), len);
            }
        }
    });
}
