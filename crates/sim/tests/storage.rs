//! What a host stores, through crashes and restarts.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use common::{PORT, secs};
use futures::future::pending;
use peerkit::{Host, Keypair, Multiaddr, PeerId, core::lock};
use peerkit_core::Runtime;
use peerkit_sim::{HostId, Node, Sim};

#[test]
fn what_was_synced_survives_a_crash_and_what_was_not_is_lost() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    let storage = sim.storage(host);
    storage.put("old", "1").unwrap();
    storage.put("gone", "1").unwrap();
    storage.sync().unwrap();
    storage.put("old", "2").unwrap();
    storage.put("new", "2").unwrap();
    storage.remove("gone").unwrap();
    assert_eq!(storage.get("old").unwrap(), b"2");
    assert_eq!(storage.keys(), ["new", "old"]);
    sim.crash(host);
    sim.restart(host);
    let storage = sim.storage(host);
    assert_eq!(storage.keys(), ["gone", "old"]);
    assert_eq!(storage.get("old").unwrap(), b"1");
    assert_eq!(storage.get("new"), None);
}

#[test]
fn the_end_of_a_program_loses_no_write() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    sim.storage(host).put("key", "value").unwrap();
    sim.kill(host);
    sim.restart(host);
    assert_eq!(sim.storage(host).get("key").unwrap(), b"value");
}

#[test]
fn an_empty_restart_and_a_wipe_leave_nothing() {
    let mut sim = Sim::new(1);
    let [one, two] = [sim.host(), sim.host()];
    for host in [one, two] {
        let storage = sim.storage(host);
        storage.put("a", "1").unwrap();
        storage.sync().unwrap();
        storage.put("b", "2").unwrap();
    }
    sim.restart_empty(one);
    assert_eq!(sim.storage(one).keys(), Vec::<String>::new());
    sim.wipe(two);
    assert_eq!(sim.storage(two).keys(), Vec::<String>::new());
}

#[test]
fn a_former_life_writes_nothing() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    let former = sim.storage(host);
    sim.restart(host);
    for refused in [former.put("a", "1"), former.remove("a"), former.sync()] {
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::StaleNetworkFileHandle
        );
    }
    assert_eq!(sim.storage(host).get("a"), None);
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_takes_what_does() {
    let mut sim = Sim::new(1);
    let host = sim.host();
    sim.limit_storage(host, 10);
    let storage = sim.storage(host);
    storage.put("a", "12345").unwrap();
    let full = storage.put("b", "1234").unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(storage.get("b"), None);
    storage.put("a", "123456789").unwrap();
    storage.put("a", "1").unwrap();
    storage.put("b", "1234567").unwrap();
    storage.remove("b").unwrap();
    storage.sync().unwrap();
    storage.put("c", "1234567").unwrap();
    assert!(storage.put("d", "").is_err());
    sim.crash(host);
    sim.restart(host);
    sim.storage(host).put("c", "1234567").unwrap();
}

#[test]
fn a_difference_in_what_is_stored_shows_in_the_hash() {
    let run = |value: &str| {
        let mut sim = Sim::new(1);
        let host = sim.host();
        sim.storage(host).put("key", value).unwrap();
        sim.trace_hash()
    };
    assert_eq!(run("one"), run("one"));
    assert_ne!(run("one"), run("two"));
}

/// Keeps its key in its storage, and makes one if there is none.
async fn node(node: Node) -> Host {
    let storage = node.storage();
    let stored = storage.get("identity");
    let secret = stored.unwrap_or_else(|| node.runtime().seed().to_vec());
    storage.put("identity", &secret[..]).unwrap();
    storage.sync().unwrap();
    let secret: [u8; 32] = secret.try_into().unwrap();
    let identity = Keypair::ed25519_from_bytes(secret).unwrap();
    let host = Host::builder()
        .identity(identity)
        .listen_on(multiaddr(node.id()));
    host.runtime(node.runtime()).build().await.unwrap()
}

fn multiaddr(host: HostId) -> Multiaddr {
    format!("/ip4/{}/tcp/{PORT}", host.ipv4()).parse().unwrap()
}

#[test]
fn a_node_that_keeps_its_key_comes_back_as_the_same_peer() {
    let mut sim = Sim::new(1);
    let peers = Arc::new(Mutex::new(Vec::<PeerId>::new()));
    let seen = peers.clone();
    let server = sim.hosts(1, move |it| {
        let seen = seen.clone();
        async move {
            let host = node(it).await;
            lock(&seen).push(host.local_peer());
            pending().await
        }
    })[0];
    let client = sim.host();
    let runtime = sim.runtime(client);
    let dialer = sim
        .block_on(Host::builder().runtime(runtime).build())
        .unwrap();
    let mut met = Vec::new();
    for step in 0..4 {
        match step {
            1 => sim.crash(server),
            2 => sim.kill(server),
            3 => sim.restart_empty(server),
            _ => {}
        }
        if matches!(step, 1 | 2) {
            sim.restart(server);
        }
        sim.run_for(secs(60));
        met.push(sim.block_on(dialer.connect(&multiaddr(server))).unwrap());
        sim.run_for(secs(60));
    }
    assert_eq!(*lock(&peers), met);
    assert!(met[0] == met[1] && met[1] == met[2], "the key was stored");
    assert_ne!(met[2], met[3], "the key was lost");
}
