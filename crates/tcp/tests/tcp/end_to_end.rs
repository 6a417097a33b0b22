//! With the real security protocol and muxer on top.

use std::{io, sync::Arc, time::Duration};

use futures::{
    executor::block_on,
    future::{join, poll_fn},
};
use peerkit_core::{
    Connection, DialRequest, Fault, Keypair, ListenerEvent, MuxedStream, NewConnection, Optimism,
    PeerId, Role, Runtime, SecurityError, Stage, Task, Transport, TransportError, UpgradeError,
};
use peerkit_noise::Noise;
use peerkit_tcp::{Config, Tcp};
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

use crate::{accept, listen, next};

#[test]
fn a_stream_echoes_whatever_the_optimism() {
    for optimism in [Optimism::Eager, Optimism::Careful] {
        block_on(async {
            let (here, there) = (Node::new(), Node::new());
            let (mut listener, address) = listen(&there.tcp, "/ip4/127.0.0.1/tcp/0").await;
            let request = DialRequest {
                addr: address,
                expected_peer: Some(there.peer),
                role: Role::Dialer,
                optimism,
            };
            // The end of the handshake travels with the muxer's first bytes, which the driver sends.
            let dial = async { here.run(here.tcp.dial(request).await.unwrap(), there.peer) };
            let accept = async { there.run(accept(&mut listener).await.unwrap(), here.peer) };
            let ((dialed, _driver), (accepted, _other)) = join(dial, accept).await;

            let payload: Vec<u8> = (0..400_000).map(|i| (i % 251) as u8).collect();
            let server = async {
                let stream = accepted.accept().await.unwrap();
                let received = read_all(stream.as_ref()).await.unwrap();
                write_all(stream.as_ref(), &received).await.unwrap();
                stream
            };
            let client = async {
                let stream = dialed.open().await.unwrap();
                write_all(stream.as_ref(), &payload).await.unwrap();
                read_all(stream.as_ref()).await.unwrap()
            };
            let (_stream, echoed) = join(server, client).await;
            assert!(echoed == payload, "the echo differs");
        });
    }
}

#[test]
fn the_wrong_peer_behind_an_address_is_named() {
    block_on(async {
        let (here, there, other) = (Node::new(), Node::new(), Node::new());
        let (mut listener, address) = listen(&there.tcp, "/ip4/127.0.0.1/tcp/0").await;
        let request = DialRequest {
            addr: address,
            expected_peer: Some(other.peer),
            role: Role::Dialer,
            optimism: Optimism::default(),
        };
        let (dialed, _) = join(here.tcp.dial(request), accept(&mut listener)).await;
        match dialed.unwrap_err() {
            TransportError::Upgrade(UpgradeError::Security(SecurityError::PeerMismatch {
                expected,
                found,
            })) => assert_eq!((expected, found), (other.peer, there.peer)),
            error => panic!("{error}"),
        }
    });
}

#[test]
fn a_listener_that_accepts_and_stays_silent_is_given_up_in_time() {
    block_on(async {
        let mut config = UpgradeConfig::default();
        config.timeout = Duration::from_millis(100);
        let (here, there) = (Node::with_config(config), Node::new());
        let (mut listener, address) = listen(&there.tcp, "/ip4/127.0.0.1/tcp/0").await;
        let silent = async {
            let ListenerEvent::Incoming(incoming) = next(&mut listener).await else {
                panic!("expected a connection");
            };
            // Held, but never polled.
            incoming
        };
        let (dialed, _held) = join(crate::dial(&here.tcp, &address), silent).await;
        let error = dialed.unwrap_err();
        let TransportError::Upgrade(UpgradeError::Timeout { stage, .. }) = &error else {
            panic!("{error}");
        };
        assert!(matches!(
            stage,
            Stage::SecurityNegotiation | Stage::Handshake
        ));
        assert_eq!(error.fault(), Fault::Limit);
    });
}

struct Node {
    tcp: Tcp,
    peer: PeerId,
    runtime: Arc<dyn Runtime>,
}

impl Node {
    fn new() -> Self {
        Self::with_config(UpgradeConfig::default())
    }

    fn with_config(config: UpgradeConfig) -> Self {
        let key = Keypair::generate_ed25519();
        let runtime = peerkit_runtime::default();
        let upgrader = StandardUpgrader::new(
            runtime.clone(),
            vec![Arc::new(Noise::new(&key).unwrap())],
            vec![Arc::new(Yamux::new(peerkit_yamux::Config::default()))],
            config,
        );
        Self {
            tcp: Tcp::new(runtime.clone(), Arc::new(upgrader), Config::default()),
            peer: key.public().to_peer_id(),
            runtime,
        }
    }

    fn run(&self, new: NewConnection, remote: PeerId) -> (Arc<dyn Connection>, Task) {
        assert_eq!(new.info.remote_peer, remote);
        let driver = Task::spawn(self.runtime.as_ref(), new.driver);
        (new.connection, driver)
    }
}

async fn write_all(stream: &dyn MuxedStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[written..];
    }
    poll_fn(|cx| stream.poll_close(cx)).await
}

async fn read_all(stream: &dyn MuxedStream) -> io::Result<Vec<u8>> {
    let (mut received, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let count = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await?;
        if count == 0 {
            return Ok(received);
        }
        received.extend_from_slice(&buffer[..count]);
    }
}
