//! Where to dial: multiaddresses, networks, the order of a dial.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    Io, Multiaddr, NewConnection, Transport as _, UpgradeError, UpgradeRequest, Upgrader,
    multiaddr::Protocol,
};
use peerkit_runtime::AsyncIo;
use peerkit_swarm::{DialPlan, DialRank, DialTarget, IpNetwork};
use peerkit_tcp::{Config, Tcp};

use crate::{clock, input::Input, keys::peer};

/// An address from the wire or from a user, as far as the first use of it.
pub fn multiaddr(data: &[u8]) {
    if let Ok(addr) = Multiaddr::try_from(data.to_vec()) {
        use_address(&addr);
    }
    let text = std::str::from_utf8(data).ok();
    if let Some(addr) = text.and_then(|text| text.parse::<Multiaddr>().ok()) {
        use_address(&addr);
    }
}

fn use_address(addr: &Multiaddr) {
    let again = Multiaddr::try_from(addr.to_vec()).expect("these are its bytes");
    assert_eq!(&again, addr);
    let target = DialTarget::from(addr);
    let named = match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    };
    assert_eq!(target.peer(), named);
    assert_eq!(
        DialTarget::from((peer(1), addr.clone())).peer(),
        Some(peer(1))
    );
    let _ = DialRank::of(addr);
    if TCP.supports(addr) {
        let parts = addr.iter().count();
        assert!((2..=3).contains(&parts), "{addr}");
        assert!(matches!(addr.iter().nth(1), Some(Protocol::Tcp(_))));
    }
}

/// The text of a network.
pub fn ip_network(data: &[u8]) {
    let Some(network) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<IpNetwork>().ok())
    else {
        return;
    };
    assert!(network.contains(network.addr()));
    let again: IpNetwork = network.to_string().parse().expect("it was written here");
    assert_eq!(again, network);
}

/// The race over the addresses of a peer: each is dialed once, the promising ones first, and time never stands still.
pub fn dial_plan(data: &[u8]) {
    let mut input = Input::new(data);
    let max = input.below(20);
    let addrs: Vec<_> = (0..input.below(40)).map(|_| address(&mut input)).collect();
    let mut now = clock();
    let mut plan = DialPlan::new(addrs.clone(), max, now);
    let mut started: Vec<Multiaddr> = Vec::new();
    let mut running = 0;
    while let Some(due) = plan.poll_timeout() {
        if input.flag() {
            now += Duration::from_millis(u64::from(input.byte()));
        } else {
            now = now.max(due);
        }
        running = if input.below(3) == 0 { 0 } else { running };
        let next = plan.poll_start(now, running);
        assert_eq!(next.is_some(), running == 0 || now >= due);
        running += usize::from(next.is_some());
        started.extend(next);
        assert!(plan.poll_timeout().is_none_or(|at| at <= far(now)));
    }
    let ranks: Vec<_> = started.iter().map(DialRank::of).collect();
    assert!(ranks.is_sorted());
    started.sort();
    let count = started.len();
    started.dedup();
    let mut unique = addrs;
    unique.sort();
    unique.dedup();
    assert_eq!((started.len(), count), (count, unique.len().min(max)));
}

fn far(now: Instant) -> Instant {
    now + Duration::from_secs(1)
}

fn address(input: &mut Input<'_>) -> Multiaddr {
    let (kind, host) = (input.byte() % 8, input.byte());
    let addr = match kind {
        0 => format!("/ip4/127.0.0.1/tcp/{host}"),
        1 => format!("/ip4/10.0.0.{host}/tcp/1"),
        2 => format!("/ip4/203.0.113.{host}/tcp/1"),
        3 => format!("/ip6/::1/tcp/{host}"),
        4 => format!("/ip6/fd00::{host}/udp/1/quic-v1"),
        5 => format!("/ip6/2001:db8::{host}/tcp/1"),
        6 => format!("/dns4/host{host}.example/tcp/1"),
        _ => format!("/ip4/203.0.113.{host}/tcp/1/p2p/{}/p2p-circuit", peer(3)),
    };
    addr.parse().expect("these are addresses")
}

static TCP: LazyLock<Tcp> = LazyLock::new(|| {
    let runtime = Arc::new(AsyncIo::new());
    Tcp::new(runtime, Arc::new(NoUpgrader), Config::default())
});

/// Nothing is dialed here.
#[derive(Debug)]
struct NoUpgrader;

impl Upgrader for NoUpgrader {
    fn upgrade(
        &self,
        _io: Box<dyn Io>,
        _request: UpgradeRequest,
    ) -> BoxFuture<'static, Result<NewConnection, UpgradeError>> {
        futures::future::pending().boxed()
    }
}
