//! Who may connect.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::sync::{Arc, Mutex};

use common::{ECHO, Net, Setup, ask, listen, pause, run};
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{ConnectionInfo, Direction, Multiaddr, PeerId};
use peerkit_memory::Memory;
use peerkit_swarm::{
    AttemptError, ConnectionGate, DenyRule, DialError, Events, GateStage, GateVerdict, Host,
    HostEvent, Refusal, Unlisted,
};

/// Denies at one stage and writes down who was asked.
#[derive(Clone, Debug, Default)]
struct Picky {
    denies: Option<GateStage>,
    asked: Arc<Mutex<Vec<GateStage>>>,
}

impl Picky {
    fn say(&self, stage: GateStage) -> GateVerdict {
        self.asked.lock().unwrap().push(stage);
        if self.denies == Some(stage) {
            GateVerdict::Deny
        } else {
            GateVerdict::Allow
        }
    }
}

impl ConnectionGate for Picky {
    fn dial(&self, _peer: Option<PeerId>, _addr: &Multiaddr) -> GateVerdict {
        self.say(GateStage::Dial)
    }

    fn accept(&self, _local: &Multiaddr, _remote: &Multiaddr) -> GateVerdict {
        self.say(GateStage::Accept)
    }

    fn secured(
        &self,
        _direction: Direction,
        _peer: &PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> GateVerdict {
        self.say(GateStage::Secured)
    }

    fn upgraded(&self, _connection: &ConnectionInfo) -> GateVerdict {
        self.say(GateStage::Upgraded)
    }
}

fn gated(net: &Net, gate: Picky) -> Host {
    let setup = Setup::default();
    let upgrader = net.upgrader(&setup);
    let memory = Memory::new(net.network.clone(), net.runtime.clone(), upgrader);
    let host = Host::builder(setup.keypair, net.runtime.clone())
        .gate(gate)
        .transport(memory)
        .build();
    host.set_stream_handler(ECHO, common::echo);
    host
}

fn picky(denies: GateStage) -> Picky {
    Picky {
        denies: Some(denies),
        ..Picky::default()
    }
}

async fn refused(events: &mut Events) -> (Option<PeerId>, Arc<Refusal>) {
    loop {
        if let HostEvent::InboundRefused { peer, reason, .. } = events.next().await.unwrap() {
            return (peer, reason);
        }
    }
}

/// Tries to talk; the error, if that fails.
async fn talk(host: &Host, addr: &Multiaddr) -> Result<(), String> {
    let stream = host.open_stream(addr, ECHO).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let answer = async {
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await
    };
    answer.await.map_err(|error| error.to_string())
}

#[test]
fn a_gate_is_asked_at_each_point_on_both_sides() {
    run(async {
        let net = Net::new();
        let (dialing, listening) = (Picky::default(), Picky::default());
        let (dialer, listener) = (gated(&net, dialing.clone()), gated(&net, listening.clone()));
        let addr = listen(&listener).await;
        assert_eq!(ask(&dialer, &addr, b"hello").await, b"hello");
        let asked = |gate: &Picky| gate.asked.lock().unwrap().clone();
        let [dial, accept] = [GateStage::Dial, GateStage::Accept];
        let rest = [GateStage::Secured, GateStage::Upgraded];
        assert_eq!(asked(&dialing), [[dial].as_slice(), &rest].concat());
        assert_eq!(asked(&listening), [[accept].as_slice(), &rest].concat());
    });
}

#[test]
fn a_gate_denies_inbound_connections_at_any_point() {
    run(async {
        for stage in [GateStage::Accept, GateStage::Secured, GateStage::Upgraded] {
            let net = Net::new();
            let listener = gated(&net, picky(stage));
            let addr = listen(&listener).await;
            let mut events = listener.events();
            let visitor = net.host();
            let told = talk(&visitor, &addr).await.unwrap_err();
            let (peer, reason) = refused(&mut events).await;
            let Refusal::Denied(denied) = reason.as_ref() else {
                panic!("{reason:?}")
            };
            assert_eq!((denied.stage, denied.rule), (stage, DenyRule::Gate));
            assert_eq!(peer.is_some(), stage != GateStage::Accept);
            if stage == GateStage::Upgraded {
                assert!(told.contains("code 0x1007: not wanted"), "{told}");
            }
            assert!(listener.connections().is_empty());
        }
    });
}

#[test]
fn a_gate_denies_outbound_connections_at_any_point() {
    run(async {
        for stage in [GateStage::Dial, GateStage::Secured, GateStage::Upgraded] {
            let net = Net::new();
            let (_listener, addr) = net.echo_host().await;
            let error = gated(&net, picky(stage)).connect(&addr).await.unwrap_err();
            let DialError::Failed { attempts, .. } = &error else {
                panic!("{error:?}")
            };
            let AttemptError::Denied(denied) = attempts[0].error else {
                panic!("{error:?}")
            };
            assert_eq!(denied.stage, stage);
        }
    });
}

#[test]
fn a_blocked_peer_loses_its_connections_and_gets_no_new_ones() {
    run(async {
        let net = Net::new();
        let (host, addr) = net.echo_host().await;
        let (bad, good) = (net.host(), net.host());
        talk(&bad, &addr).await.unwrap();
        talk(&good, &addr).await.unwrap();
        host.access().block_peer(bad.local_peer());
        while host.is_connected(&bad.local_peer()) || bad.is_connected(&host.local_peer()) {
            pause(5).await;
        }
        let mut events = host.events();
        assert!(talk(&bad, &addr).await.is_err());
        let (peer, reason) = refused(&mut events).await;
        assert_eq!(peer, Some(bad.local_peer()));
        assert!(
            reason.to_string().contains("the peer is blocked"),
            "{reason}"
        );
        talk(&good, &addr).await.unwrap();

        bad.listen("/memory/0".parse().unwrap()).await.unwrap();
        let error = host.connect(&bad.addrs()[0]).await.unwrap_err();
        assert!(error.to_string().contains("the peer is blocked"), "{error}");

        host.access().forget_peer(&bad.local_peer());
        talk(&bad, &addr).await.unwrap();
    });
}

#[test]
fn a_blocked_network_is_not_dialed() {
    run(async {
        let net = Net::new();
        let host = net.host_facing(Setup::default(), |_| Box::pin(async {}));
        host.access().block_network("10.0.0.0/8".parse().unwrap());
        let addr: Multiaddr = "/ip4/10.1.2.3/tcp/1".parse().unwrap();
        let error = host.connect(&addr).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("the network 10.0.0.0/8 is blocked (before dialing)"),
            "{text}"
        );
        host.access().forget_network(&"10.0.0.0/8".parse().unwrap());
        let error = host.connect(&addr).await.unwrap_err().to_string();
        assert!(!error.contains("blocked"), "{error}");
    });
}

#[test]
fn a_host_may_talk_with_its_friends_only() {
    run(async {
        let net = Net::new();
        let (host, addr) = net.echo_host().await;
        let (friend, stranger) = (net.host(), net.host());
        host.access().set_unlisted(Unlisted::Denied);
        host.access().allow_peer(friend.local_peer());
        talk(&friend, &addr).await.unwrap();
        assert!(talk(&stranger, &addr).await.is_err());
        host.access().set_unlisted(Unlisted::Allowed);
        talk(&stranger, &addr).await.unwrap();
    });
}
