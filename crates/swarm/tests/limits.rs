//! Every limit is reached once, and not reached with the default.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use common::{ECHO, Net, Setup, ask, echo, listen, pause, run};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use peerkit_core::{
    DialRequest, Fault, Keypair, ListenError, Listener, ListenerEvent, Multiaddr, NewConnection,
    Transport, TransportError,
};
use peerkit_memory::{Memory, Pipe};
use peerkit_swarm::{
    AttemptError, Capacity, DialError, Events, Host, Limits, OpenStreamError, PrefixLimit,
    Resource, ResourceScope, Stream,
};

/// A host that echoes under limits, and where its visitors come from.
struct Scene {
    net: Net,
    host: Host,
    addr: Multiaddr,
    visitors: Visitors,
    /// Connections and streams that are to stay open.
    held: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
}

/// Runs `scenario` twice: tightened, the limit `setting` has to be reported; with the
/// defaults, no limit may be.
fn reached<Scenario>(setting: &str, tighten: fn(&mut Limits), scenario: fn(Arc<Scene>) -> Scenario)
where
    Scenario: Future<Output = ()>,
{
    run(async {
        let mut limits = Limits::default();
        let seen = settings_seen(limits.clone(), scenario, Duration::from_millis(100)).await;
        assert!(seen.is_empty(), "with the defaults: {seen:?}");
        tighten(&mut limits);
        let seen = settings_seen(limits, scenario, Duration::from_secs(5)).await;
        assert_eq!(seen.first().map(String::as_str), Some(setting));
    });
}

/// The limits that are reported, until there is one or `patience` ends.
async fn settings_seen<Scenario>(
    limits: Limits,
    scenario: fn(Arc<Scene>) -> Scenario,
    patience: Duration,
) -> Vec<String>
where
    Scenario: Future<Output = ()>,
{
    let scene = Scene::new(limits).await;
    let mut events = scene.host.events();
    scenario(scene.clone()).await;
    let runtime = scene.net.runtime.clone();
    let limit = peerkit_core::with_deadline(runtime.as_ref(), patience, next_limit(&mut events));
    let seen = limit.await.flatten().into_iter().collect();
    scene.host.close().await;
    seen
}

async fn next_limit(events: &mut Events) -> Option<String> {
    loop {
        let event = events.next().await?;
        if let Some(limit) = event.limit() {
            assert!(limit.to_string().contains(limit.setting), "{limit}");
            assert_eq!(limit.fault(), Fault::Limit);
            return Some(limit.setting.to_owned());
        }
    }
}

impl Scene {
    async fn new(limits: Limits) -> Arc<Self> {
        let net = Net::new();
        let mut setup = Setup::default();
        setup.config.limits = limits;
        let visitors = Visitors::default();
        let transport = FromElsewhere {
            memory: Memory::new(
                net.network.clone(),
                net.runtime.clone(),
                net.upgrader(&setup),
            ),
            visitors: visitors.clone(),
        };
        let host = Host::builder(setup.keypair, net.runtime.clone())
            .config(setup.config)
            .transport(transport)
            .build();
        host.set_stream_handler(ECHO, echo);
        let addr = listen(&host).await;
        Arc::new(Self {
            net,
            host,
            addr,
            visitors,
            held: Mutex::default(),
        })
    }

    fn hold(&self, thing: impl std::any::Any + Send) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(Box::new(thing));
    }

    /// Somebody who connects to the host; whether that works is not asked.
    async fn visitor(&self) -> Host {
        let visitor = self.net.host();
        let _ = visitor.connect(&self.addr).await;
        self.hold(visitor.clone());
        visitor
    }

    /// So many streams of one visitor, in which one byte is echoed as far as they are not refused.
    async fn inbound_streams(&self, count: usize) {
        let visitor = self.visitor().await;
        for _ in 0..count {
            self.inbound_stream(&visitor).await;
        }
    }

    async fn inbound_stream(&self, visitor: &Host) -> bool {
        let Ok(mut stream) = visitor.open_stream(&self.addr, ECHO).await else {
            return false;
        };
        let _ = stream.write_all(b"x").await;
        let answered = stream.read_exact(&mut [0]).await.is_ok();
        self.hold(stream);
        answered
    }

    /// So many streams that the host opens to somebody.
    async fn outbound_streams(&self, count: usize) {
        let (other, addr) = self.net.echo_host().await;
        self.hold(other);
        for _ in 0..count {
            match self.host.open_stream(&addr, ECHO).await {
                Ok(stream) => self.hold(stream),
                Err(error) => {
                    assert!(matches!(error, OpenStreamError::Limit(_)), "{error}");
                    assert_eq!(error.fault(), Fault::Limit);
                }
            }
        }
    }
}

#[test]
fn connections_in_all() {
    reached(
        "limits.connections_max",
        |limits| limits.connections_max = 1.into(),
        two_visitors,
    );
}

#[test]
fn inbound_connections() {
    reached(
        "limits.inbound_connections_max",
        |limits| limits.inbound_connections_max = 1.into(),
        two_visitors,
    );
}

async fn two_visitors(scene: Arc<Scene>) {
    scene.visitor().await;
    scene.visitor().await;
}

#[test]
fn memory_of_connections() {
    reached(
        "limits.memory_max",
        |limits| {
            limits.memory_max = 100_000.into();
            limits.memory_per_peer_max = usize::MAX.into();
        },
        two_visitors,
    );
}

#[test]
fn outbound_connections() {
    reached(
        "limits.outbound_connections_max",
        |limits| limits.outbound_connections_max = 1.into(),
        |scene| async move {
            for _ in 0..2 {
                let (other, addr) = scene.net.echo_host().await;
                scene.hold(other);
                if let Err(error) = scene.host.connect(&addr).await {
                    assert_eq!(error.fault(), Fault::Limit);
                }
            }
        },
    );
}

#[test]
fn sockets() {
    reached(
        "limits.descriptors_max",
        |limits| limits.descriptors_max = 1.into(),
        |scene| async move {
            for last in 1..3 {
                scene
                    .visitors
                    .come_from(&format!("/ip4/192.0.2.{last}/tcp/1"));
                scene.visitor().await;
            }
        },
    );
}

#[test]
fn half_open_connections() {
    reached(
        "limits.inbound_upgrades_max",
        |limits| limits.inbound_upgrades_max = 2,
        |scene| async move {
            for _ in 0..3 {
                let silent: Pipe = scene.net.raw(&scene.addr).await;
                scene.hold(silent);
            }
        },
    );
}

#[test]
fn half_open_connections_of_one_address() {
    reached(
        "limits.inbound_upgrades_per_ip_max",
        |limits| limits.inbound_upgrades_per_ip_max = 2,
        |scene| async move {
            scene.visitors.come_from("/ip4/10.0.0.1/tcp/1");
            for _ in 0..3 {
                let silent: Pipe = scene.net.raw(&scene.addr).await;
                scene.hold(silent);
            }
        },
    );
}

#[test]
fn finished_connections_of_one_ip4_network() {
    reached(
        "limits.inbound_connections_per_ip4",
        |limits| limits.inbound_connections_per_ip4 = vec![prefix(24, 2)],
        |scene| async move {
            for last in 1..4 {
                scene
                    .visitors
                    .come_from(&format!("/ip4/192.0.2.{last}/tcp/1"));
                scene.visitor().await;
            }
        },
    );
}

#[test]
fn finished_connections_of_one_ip6_network() {
    reached(
        "limits.inbound_connections_per_ip6",
        |limits| limits.inbound_connections_per_ip6 = vec![prefix(48, 2)],
        |scene| async move {
            for part in 1..4 {
                scene
                    .visitors
                    .come_from(&format!("/ip6/2001:db8:0:{part}00::1/tcp/1"));
                scene.visitor().await;
            }
        },
    );
}

fn prefix(prefix_len: u8, connections_max: usize) -> PrefixLimit {
    PrefixLimit {
        prefix_len,
        connections_max,
    }
}

#[test]
fn connections_of_one_address_in_a_row() {
    reached(
        "limits.inbound_rate_per_ip",
        |limits| limits.inbound_rate_per_ip.burst = 2,
        |scene| async move {
            scene.visitors.come_from("/ip4/10.0.0.1/tcp/1");
            for _ in 0..3 {
                let visitor = scene.visitor().await;
                visitor.close().await;
            }
        },
    );
}

#[test]
fn a_trusted_network_is_not_limited_by_itself() {
    run(async {
        let mut limits = Limits::default();
        limits.inbound_upgrades_per_ip_max = 1;
        limits.inbound_connections_per_ip4 = vec![prefix(32, 1)];
        limits.inbound_rate_per_ip.burst = 1;
        limits.trusted_networks.push("10.0.0.0/8".parse().unwrap());
        let scene = Scene::new(limits).await;
        scene.visitors.come_from("/ip4/10.0.0.1/tcp/1");
        for _ in 0..5 {
            assert_eq!(
                ask(&scene.visitor().await, &scene.addr, b"hello").await,
                b"hello"
            );
        }
    });
}

#[test]
fn a_peer_that_has_enough_connections_is_told_so() {
    reached(
        "limits.connections_per_peer_max",
        |limits| limits.connections_per_peer_max = 1,
        |scene| async move {
            let keypair = Keypair::generate_ed25519();
            let mut errors = Vec::new();
            for _ in 0..2 {
                let twin = scene.net.host_with(Setup {
                    keypair: keypair.clone(),
                    ..Setup::default()
                });
                let told = async {
                    let mut stream = twin.open_stream(&scene.addr, ECHO).await.ok()?;
                    stream.write_all(b"x").await.ok()?;
                    stream.read_exact(&mut [0]).await.err()
                };
                errors.extend(told.await.map(|error| error.to_string()));
                scene.hold(twin);
            }
            let told = "the remote closed the connection (code 0x1001: resource limit exceeded)";
            assert!(errors.iter().all(|error| error == told), "{errors:?}");
        },
    );
}

#[test]
fn streams_in_all() {
    reached(
        "limits.streams_max",
        |limits| limits.streams_max = 1.into(),
        two_outbound,
    );
}

#[test]
fn streams_with_one_peer() {
    reached(
        "limits.streams_per_peer_max",
        |limits| limits.streams_per_peer_max = 1,
        two_outbound,
    );
}

#[test]
fn streams_of_one_connection() {
    reached(
        "limits.streams_per_connection_max",
        |limits| limits.streams_per_connection_max = 1,
        two_outbound,
    );
}

#[test]
fn streams_of_one_protocol() {
    reached(
        "limits.streams_per_protocol_max",
        |limits| limits.streams_per_protocol_max = 1,
        two_outbound,
    );
}

#[test]
fn memory_with_one_peer() {
    reached(
        "limits.memory_per_peer_max",
        |limits| limits.memory_per_peer_max = 400_000.into(),
        two_outbound,
    );
}

#[test]
fn memory_of_one_connection() {
    reached(
        "limits.memory_per_connection_max",
        |limits| limits.memory_per_connection_max = 400_000,
        two_outbound,
    );
}

#[test]
fn memory_of_one_protocol() {
    reached(
        "limits.memory_per_protocol_max",
        |limits| limits.memory_per_protocol_max = 400_000.into(),
        two_outbound,
    );
}

async fn two_outbound(scene: Arc<Scene>) {
    scene.outbound_streams(2).await;
}

#[test]
fn inbound_streams_in_all() {
    reached(
        "limits.inbound_streams_max",
        |limits| limits.inbound_streams_max = 1.into(),
        two_inbound,
    );
}

#[test]
fn inbound_streams_of_one_peer() {
    reached(
        "limits.inbound_streams_per_peer_max",
        |limits| limits.inbound_streams_per_peer_max = 1,
        two_inbound,
    );
}

#[test]
fn streams_that_agree_on_no_protocol() {
    reached(
        "limits.inbound_negotiations_total_max",
        |limits| limits.inbound_negotiations_total_max = 0,
        two_inbound,
    );
}

#[test]
fn handlers_of_one_protocol() {
    reached(
        "limits.handlers_per_protocol_max",
        |limits| limits.handlers_per_protocol_max = 1,
        two_inbound,
    );
}

#[test]
fn handlers_of_one_connection() {
    reached(
        "limits.handlers_per_connection_max",
        |limits| limits.handlers_per_connection_max = 1,
        two_inbound,
    );
}

async fn two_inbound(scene: Arc<Scene>) {
    scene.inbound_streams(2).await;
}

#[test]
fn one_peer_leaves_handlers_to_others() {
    reached(
        "limits.handlers_per_protocol_and_peer_max",
        |limits| limits.handlers_per_protocol_and_peer_max = 2,
        |scene| async move {
            scene.inbound_streams(3).await;
            let other = scene.visitor().await;
            assert!(
                scene.inbound_stream(&other).await,
                "there is room for others"
            );
        },
    );
}

#[test]
fn memory_that_a_handler_reserves() {
    run(async {
        let mut limits = Limits::default();
        limits.memory_per_stream_max = 1_000_000;
        let scene = Scene::new(limits).await;
        let (reserved, outcomes) = futures::channel::oneshot::channel();
        let reserved = Mutex::new(Some(reserved));
        scene
            .host
            .set_stream_handler("/hungry/1", move |stream: Stream| {
                let first = stream.reserve_memory(700_000).unwrap();
                let second = stream.reserve_memory(700_000).unwrap_err();
                drop(first);
                let third = stream.reserve_memory(700_000).map(|it| it.bytes());
                let sender = reserved.lock().unwrap().take();
                let _ = sender.unwrap().send((second, third));
                async {}
            });
        let visitor = scene.visitor().await;
        let mut stream = visitor.open_stream(&scene.addr, "/hungry/1").await.unwrap();
        stream.close().await.unwrap();
        let (refused, granted) = outcomes.await.unwrap();
        assert_eq!(refused.setting, "limits.memory_per_stream_max");
        assert_eq!(refused.scope, ResourceScope::Stream);
        assert_eq!(granted, Ok(700_000));
    });
}

#[test]
fn what_is_in_use_can_be_looked_at_and_goes_back_to_nothing() {
    run(async {
        let scene = Scene::new(Limits::default()).await;
        scene.visitors.come_from("/ip4/10.0.0.1/tcp/1");
        let visitor = scene.visitor().await;
        assert!(scene.inbound_stream(&visitor).await);
        let used = |scope: &ResourceScope, resource| {
            let usage = scene.host.resources().usage(scope, resource);
            usage.map(|usage| usage.used)
        };
        let peer = ResourceScope::Peer(visitor.local_peer());
        let network = ResourceScope::Network("10.0.0.1".parse().unwrap());
        let connection = ResourceScope::Connection(scene.host.connections()[0].id);
        let protocol = ResourceScope::Protocol(ECHO.parse().unwrap());
        for (scope, resource) in [
            (&ResourceScope::System, Resource::InboundConnections),
            (&ResourceScope::System, Resource::Descriptors),
            (&network, Resource::InboundConnections),
            (&peer, Resource::Connections),
            (&peer, Resource::InboundStreams),
            (&protocol, Resource::Handlers),
            (&protocol, Resource::Streams),
            (&connection, Resource::Streams),
        ] {
            assert_eq!(used(scope, resource), Some(1), "{resource} of {scope}");
        }
        assert_eq!(used(&connection, Resource::Memory), Some((64 + 256) * 1024));
        assert_eq!(
            used(&ResourceScope::Transient, Resource::HalfOpenConnections),
            Some(0)
        );

        visitor.close().await;
        while scene
            .host
            .resources()
            .scopes
            .iter()
            .flat_map(|it| &it.usage)
            .any(|it| it.used > 0)
        {
            pause(5).await;
        }
        assert_eq!(used(&peer, Resource::Connections), None);
        assert_eq!(used(&network, Resource::InboundConnections), None);
    });
}

#[test]
fn a_thousand_streams_leave_nothing_behind() {
    run(async {
        let scene = Scene::new(Limits::default()).await;
        let visitor = scene.visitor().await;
        for _ in 0..1000 {
            ask(&visitor, &scene.addr, b"x").await;
        }
        let streams = |host: &Host| {
            let usage = host
                .resources()
                .usage(&ResourceScope::System, Resource::Streams);
            usage.unwrap().used
        };
        while streams(&scene.host) + streams(&visitor) > 0 {
            pause(5).await;
        }
    });
}

#[test]
fn a_refused_dial_names_the_limit() {
    run(async {
        let net = Net::new();
        let mut setup = Setup::default();
        setup.config.limits.outbound_connections_max = Capacity::Exactly(0);
        let (_other, addr) = net.echo_host().await;
        let error = net.host_with(setup).connect(&addr).await.unwrap_err();
        let DialError::Failed { attempts, .. } = &error else {
            panic!("{error:?}")
        };
        let AttemptError::Limit(limit) = &attempts[0].error else {
            panic!("{error:?}")
        };
        assert_eq!(
            limit.to_string(),
            "0 of 0 outbound connections of this node are in use; \
             limits.outbound_connections_max raises that"
        );
    });
}

#[test]
fn extreme_limits_are_errors_and_no_panics() {
    run(async {
        for extreme in [0, usize::MAX] {
            let mut limits = Limits::default();
            for capacity in [
                &mut limits.connections_max,
                &mut limits.inbound_connections_max,
                &mut limits.outbound_connections_max,
                &mut limits.descriptors_max,
                &mut limits.memory_max,
                &mut limits.streams_max,
                &mut limits.inbound_streams_max,
                &mut limits.memory_per_peer_max,
                &mut limits.memory_per_protocol_max,
            ] {
                *capacity = extreme.into();
            }
            for limit in [
                &mut limits.inbound_upgrades_max,
                &mut limits.inbound_negotiations_max,
                &mut limits.memory_per_connection_max,
                &mut limits.connection_memory,
                &mut limits.stream_memory,
            ] {
                *limit = extreme;
            }
            limits.inbound_rate_per_ip.burst = extreme as u32;
            limits.inbound_rate_per_ip.interval = Duration::MAX;
            let scene = Scene::new(limits).await;
            scene.visitors.come_from("/ip4/10.0.0.1/tcp/1");
            scene.inbound_streams(1).await;
            let (_other, addr) = scene.net.echo_host().await;
            let _ = scene.host.connect(&addr).await;
            scene.host.close().await;
        }
    });
}

/// Where those who connect seem to come from; from memory at first.
#[derive(Clone, Debug, Default)]
struct Visitors(Arc<Mutex<Option<Multiaddr>>>);

impl Visitors {
    fn come_from(&self, addr: &str) {
        *self.0.lock().unwrap() = Some(addr.parse().unwrap());
    }
}

/// Memory whose visitors seem to come from elsewhere.
#[derive(Debug)]
struct FromElsewhere {
    memory: Memory,
    visitors: Visitors,
}

#[derive(Debug)]
struct ElsewhereListener {
    memory: Box<dyn Listener>,
    visitors: Visitors,
}

impl Transport for FromElsewhere {
    fn supports(&self, addr: &Multiaddr) -> bool {
        self.memory.supports(addr)
    }

    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<NewConnection, TransportError>> {
        self.memory.dial(request)
    }

    fn listen(&self, addr: Multiaddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        async move {
            let memory = self.memory.listen(addr).await?;
            let visitors = self.visitors.clone();
            Ok(Box::new(ElsewhereListener { memory, visitors }) as Box<dyn Listener>)
        }
        .boxed()
    }
}

impl Listener for ElsewhereListener {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListenerEvent>> {
        self.memory.poll_event(cx).map(|event| {
            let mut event = event?;
            if let ListenerEvent::Incoming(incoming) = &mut event
                && let Some(addr) = self.visitors.0.lock().unwrap().clone()
            {
                incoming.remote_addr = addr;
            }
            Some(event)
        })
    }
}
