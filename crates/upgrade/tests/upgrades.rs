//! Upgrades of a pipe whose other end is another upgrader, or nobody.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, join};
use peerkit_core::{
    Direction, Fault, Keypair, Multiaddr, MuxerUpgrade, NewConnection, Optimism, PeerId, Role,
    SecurityUpgrade, Stage, UpgradeError, UpgradeRequest, Upgrader,
};
use peerkit_memory::{Pipe, duplex};
use peerkit_mplex::Mplex;
use peerkit_noise::Noise;
use peerkit_plaintext::Plaintext;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};
use peerkit_yamux::Yamux;

type Outcome = Result<NewConnection, UpgradeError>;

struct Side {
    keypair: Keypair,
    securities: Vec<Arc<dyn SecurityUpgrade>>,
    muxers: Vec<Arc<dyn MuxerUpgrade>>,
    expected_peer: Option<PeerId>,
    optimism: Optimism,
}

impl Side {
    fn new() -> Self {
        let keypair = Keypair::generate_ed25519();
        Self {
            securities: vec![Arc::new(Noise::new(&keypair).unwrap())],
            muxers: vec![yamux(), mplex()],
            expected_peer: None,
            optimism: Optimism::Eager,
            keypair,
        }
    }

    fn careful(mut self) -> Self {
        self.optimism = Optimism::Careful;
        self
    }

    fn muxers(mut self, muxers: Vec<Arc<dyn MuxerUpgrade>>) -> Self {
        self.muxers = muxers;
        self
    }

    fn plaintext_after_noise(mut self) -> Self {
        let plaintext = Plaintext::new(&self.keypair);
        self.securities.push(Arc::new(plaintext));
        self
    }

    fn only_plaintext(mut self) -> Self {
        self.securities = vec![Arc::new(Plaintext::new(&self.keypair))];
        self
    }

    fn peer(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    async fn upgrade(&self, pipe: Pipe, role: Role) -> Outcome {
        let mut config = UpgradeConfig::default();
        config.timeout = Duration::from_millis(500);
        let upgrader = StandardUpgrader::new(
            peerkit_runtime::default(),
            self.securities.clone(),
            self.muxers.clone(),
            config,
        );
        let request = UpgradeRequest {
            local_addr: Multiaddr::empty(),
            remote_addr: "/memory/7".parse().unwrap(),
            direction: Direction::Outbound,
            role,
            expected_peer: self.expected_peer,
            optimism: self.optimism,
        };
        let mut outcome = upgrader.upgrade(Box::new(pipe), request).await;
        if let Ok(new) = &mut outcome {
            let driver = std::mem::replace(&mut new.driver, futures::future::ready(()).boxed());
            peerkit_runtime::default().spawn(driver);
        }
        outcome
    }
}

fn yamux() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Yamux::new(peerkit_yamux::Config::default()))
}

fn mplex() -> Arc<dyn MuxerUpgrade> {
    Arc::new(Mplex::new(peerkit_mplex::Config::default()))
}

fn upgrade(dialer: &Side, listener: &Side) -> (Outcome, Outcome) {
    let (near, far) = duplex(64 * 1024);
    futures::executor::block_on(async {
        join!(
            dialer.upgrade(near, Role::Dialer),
            listener.upgrade(far, Role::Listener)
        )
    })
}

/// What a dialer gets from a remote that sends `bytes` and then stays, silent.
fn dial_script(bytes: &'static [u8]) -> UpgradeError {
    let (near, mut far) = duplex(64 * 1024);
    futures::executor::block_on(async {
        let talk = async {
            far.write_all(bytes).await.unwrap();
            far.read_to_end(&mut Vec::new()).await
        };
        let (outcome, _) = join!(
            async { Side::new().upgrade(near, Role::Dialer).await },
            talk
        );
        outcome.map(drop).unwrap_err()
    })
}

#[test]
fn both_sides_learn_who_the_other_is_and_agree_on_the_dialers_first_muxer() {
    for dialer in [Side::new(), Side::new().careful()] {
        let listener = Side::new().muxers(vec![mplex(), yamux()]);
        let (dialed, listened) = upgrade(&dialer, &listener);
        let (dialed, listened) = (dialed.unwrap().info, listened.unwrap().info);
        assert_eq!(dialed.remote_peer, listener.peer());
        assert_eq!(listened.remote_peer, dialer.peer());
        assert_eq!(dialed.muxer.as_str(), "/yamux/1.0.0");
        assert_eq!(listened.muxer.as_str(), "/yamux/1.0.0");
        assert_eq!(dialed.security.as_str(), "/noise");
    }
}

#[test]
fn a_careful_dialer_goes_through_its_list_until_both_agree() {
    let dialer = Side::new().plaintext_after_noise().careful();
    let (dialed, listened) = upgrade(&dialer, &Side::new().only_plaintext());
    assert_eq!(dialed.unwrap().info.security.as_str(), "/plaintext/2.0.0");
    assert_eq!(listened.unwrap().info.muxer.as_str(), "/yamux/1.0.0");
    let dialer = Side::new().only_plaintext().careful();
    let listener = Side::new().only_plaintext().muxers(vec![mplex()]);
    let (dialed, _) = upgrade(&dialer, &listener);
    assert_eq!(dialed.unwrap().info.muxer.as_str(), "/mplex/6.7.0");
}

#[test]
fn an_eager_muxer_that_is_refused_shows_when_the_connection_is_confirmed() {
    let dialer = Side::new().only_plaintext();
    let listener = Side::new().only_plaintext().muxers(vec![mplex()]);
    let (near, far) = duplex(64 * 1024);
    futures::executor::block_on(async {
        let dial = async {
            let connection = dialer.upgrade(near, Role::Dialer).await.unwrap().connection;
            assert!(!connection.is_confirmed());
            let error = connection.confirmed().await.unwrap_err();
            assert_eq!(error.fault(), Fault::Incompatible, "{error}");
        };
        let (_, listened) = join!(dial, listener.upgrade(far, Role::Listener));
        assert!(listened.is_err());
    });
}

#[test]
fn without_a_common_protocol_both_sides_say_which() {
    let dialer = Side::new().careful();
    let (dialed, listened) = upgrade(&dialer, &Side::new().only_plaintext());
    let error = dialed.map(drop).unwrap_err();
    assert_eq!(error.fault(), Fault::Incompatible);
    assert_eq!(
        error.to_string(),
        "negotiating security failed: the remote supports none of: /noise"
    );
    assert!(listened.is_err());
}

#[test]
fn another_peer_than_expected_is_refused() {
    let mut dialer = Side::new();
    dialer.expected_peer = Some(PeerId::random());
    let (dialed, listened) = upgrade(&dialer, &Side::new());
    assert!(
        dialed
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("expected peer")
    );
    assert!(listened.is_err(), "the dialer has not told who it is");
}

#[test]
fn a_silent_remote_costs_a_deadline_that_names_the_stage() {
    let error = dial_script(b"");
    assert!(
        matches!(
            error,
            UpgradeError::Timeout {
                stage: Stage::Handshake,
                heard: false,
                ..
            }
        ),
        "{error:?}"
    );
    let error = dial_script(b"\x13/multistream/1.0.0\n\x07/noise\n");
    assert!(
        matches!(error, UpgradeError::Timeout { heard: true, .. }),
        "{error:?}"
    );
    let (near, _far) = duplex(1024);
    let listener = Side::new();
    let error = futures::executor::block_on(listener.upgrade(near, Role::Listener));
    assert!(matches!(
        error,
        Err(UpgradeError::Timeout {
            stage: Stage::SecurityNegotiation,
            heard: false,
            ..
        })
    ));
}

#[test]
fn garbage_names_the_remote_as_the_one_at_fault() {
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x13/multistream/1.0.0\n\x05/tls\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x10aaaaaaaaaaaaaaaa",
        &[0xff; 4000],
    ] {
        let error = dial_script(garbage);
        assert_eq!(error.fault(), Fault::PeerMisbehaved, "{error}");
    }
}

#[test]
fn a_pipe_that_is_cut_is_a_failure_of_the_network() {
    let (near, far) = duplex(1024);
    drop(far);
    let outcome = futures::executor::block_on(Side::new().upgrade(near, Role::Dialer));
    assert_eq!(outcome.map(drop).unwrap_err().fault(), Fault::Network);
}
