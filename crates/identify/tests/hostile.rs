//! Peers that say wrong things, too much, or nothing.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{MOMENT, ask, impatient, info, next_about, node, push, quick, says};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use peerkit_core::{
    Envelope, Fault, Keypair, Multiaddr, PeerRecord, ProtocolId, ResetCode, multiaddr::Protocol,
};
use peerkit_identify::{
    Config, DecodeError, Identify, IdentifyError, IdentifyEvent, Message, PROTOCOL, RecordError,
};
use peerkit_swarm::{Host, Stream, StreamHandler};
use peerkit_testkit::{Net, listen, reset_code, run};

#[test]
fn garbage_is_refused() {
    run(|net| async move {
        for garbage in [
            &[0xff; 64][..],
            b"\x05hello",
            b"\x13HTTP/1.1 200 OK\r\n\r\n",
            &[3, 0x0a, 1, 0],
        ] {
            let error = failed(&net, says(garbage)).await;
            assert!(matches!(error, IdentifyError::Malformed { .. }), "{error}");
            assert_eq!(error.fault(), Fault::PeerMisbehaved, "{error}");
        }
    });
}

#[test]
fn messages_that_are_too_large_or_too_many_are_refused() {
    run(|net| async move {
        let mut large = vec![0x81, 0x40];
        large.resize(8195, 0);
        let error = failed(&net, says(large)).await;
        assert!(matches!(
            decode_error(&error),
            DecodeError::MessageTooLarge { len: 8193 }
        ));
        let message = Message {
            agent_version: Some("a".into()),
            ..Message::default()
        };
        let error = failed(&net, says(message.encode().repeat(11))).await;
        assert!(matches!(decode_error(&error), DecodeError::TooManyMessages));
    });
}

#[test]
fn a_remote_that_never_ends_is_refused() {
    run(|net| async move {
        let endless =
            |mut stream: Stream| async move { while stream.write_all(&[0; 4096]).await.is_ok() {} };
        let error = failed(&net, endless).await;
        assert!(matches!(decode_error(&error), DecodeError::TooManyMessages));
    });
}

#[test]
fn a_message_that_is_cut_off_or_missing_is_an_error() {
    run(|net| async move {
        let whole = Message {
            agent_version: Some("a".into()),
            ..Message::default()
        }
        .encode();
        let error = failed(&net, says(whole.slice(..whole.len() - 1))).await;
        assert!(matches!(decode_error(&error), DecodeError::Truncated));
        let error = failed(&net, says(Vec::new())).await;
        assert!(matches!(decode_error(&error), DecodeError::NoMessage));
    });
}

#[test]
fn a_silent_remote_is_given_up_and_stays_connected() {
    run(|net| async move {
        let error = failed_with(&net, impatient(), silent).await;
        assert!(matches!(error, IdentifyError::Timeout { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Limit);
    });
}

#[test]
fn a_remote_that_sends_byte_by_byte_is_given_up() {
    run(|net| async move {
        let runtime = net.runtime.clone();
        let drip = move |mut stream: Stream| {
            let runtime = runtime.clone();
            async move {
                for byte in [100].into_iter().chain([0; 100]) {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    let later = runtime.now() + Duration::from_millis(50);
                    peerkit_core::sleep_until(runtime.as_ref(), later).await;
                }
            }
        };
        let error = failed_with(&net, impatient(), drip).await;
        assert!(matches!(error, IdentifyError::Timeout { .. }), "{error}");
    });
}

#[test]
fn somebody_elses_key_is_refused() {
    run(|net| async move {
        let other = Keypair::generate_ed25519().public();
        let said = Message {
            public_key: Some(other.clone()),
            ..Message::default()
        };
        let error = failed(&net, says(said.encode())).await;
        let claimed = other.to_peer_id();
        assert!(
            matches!(error, IdentifyError::WrongKey { claimed: it, .. } if it == claimed),
            "{error}"
        );
        assert_eq!(error.fault(), Fault::PeerMisbehaved);
    });
}

#[test]
fn a_remote_that_resets_or_knows_nothing_is_named() {
    run(|net| async move {
        let reset = |stream: Stream| async move { stream.reset(ResetCode::SHUTDOWN) };
        let error = failed(&net, reset).await;
        assert!(matches!(error, IdentifyError::Stream { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Closed);

        let (_remote, addr) = net.listener().await;
        let (_host, identify, _) = node(&net).await;
        let error = identify.identify(&addr).await.expect_err("no handler");
        assert!(
            matches!(error, IdentifyError::Unsupported { .. }),
            "{error}"
        );
        assert_eq!(error.fault(), Fault::Incompatible);
    });
}

#[test]
fn a_record_of_somebody_else_or_a_broken_one_is_left_out() {
    run(|net| async move {
        let other = Keypair::generate_ed25519();
        let addrs = vec!["/memory/66".parse().unwrap()];
        let of_other = PeerRecord::sign(&other, 1, addrs.clone()).unwrap();
        let foreign = rejected(&net, |_| of_other.envelope().clone()).await;
        let signer = other.public().to_peer_id();
        assert!(matches!(*foreign, RecordError::OtherPeer { signer: it } if it == signer));
        assert_eq!(foreign.fault(), Fault::PeerMisbehaved);

        let forged = rejected_forgery(&net).await;
        assert!(matches!(*forged, RecordError::Invalid(_)), "{forged}");
        assert_eq!(forged.fault(), Fault::PeerMisbehaved);

        let unknown = |keypair: &Keypair| Envelope::sign(keypair, "x", b"/x", b"").unwrap();
        let unknown = rejected(&net, unknown).await;
        assert!(matches!(*unknown, RecordError::Invalid(_)), "{unknown}");
        assert_eq!(unknown.fault(), Fault::Incompatible);
    });
}

#[test]
fn an_older_record_does_not_replace_a_newer_one() {
    run(|net| async move {
        let (host, identify, addr) = node(&net).await;
        let remote = net.host();
        remote.connect(&addr).await.unwrap();
        let mut events = identify.events();
        let new = record(&remote, 7, "/memory/70");
        let pushes = [
            (new.clone(), None),
            (new.clone(), None),
            (record(&remote, 6, "/memory/60"), Some(6)),
            (record(&remote, 7, "/memory/71"), Some(7)),
        ];
        for (pushed, rejected) in pushes {
            let message = Message {
                signed_peer_record: Some(pushed),
                ..Message::default()
            };
            push(&remote, host.local_peer(), &message.encode())
                .await
                .unwrap();
            let info = loop {
                let event = next_about(&mut events, remote.local_peer()).await;
                if let IdentifyEvent::Pushed { info, .. } = event {
                    break info;
                }
            };
            let known = info.signed_record.as_ref().unwrap();
            assert_eq!(known.envelope(), &new);
            match (rejected, info.rejected_record.as_deref()) {
                (None, None) => {}
                (Some(seq), Some(RecordError::Outdated { seq: it, known: 7 })) => {
                    assert_eq!(seq, *it);
                }
                other => panic!("{other:?}"),
            }
        }
        let known = host.known_addresses(&remote.local_peer());
        assert!(known.contains(&"/memory/70".parse().unwrap()));
        assert!(!known.contains(&"/memory/60".parse().unwrap()));
        assert!(!known.contains(&"/memory/71".parse().unwrap()));
    });
}

#[test]
fn addresses_of_somebody_else_are_not_remembered() {
    run(|net| async move {
        let (host, identify, addr) = node(&net).await;
        let remote = net.host();
        let own: Multiaddr = "/memory/70".parse().unwrap();
        let other = Keypair::generate_ed25519().public().to_peer_id();
        let foreign: Multiaddr = "/memory/71".parse().unwrap();
        let unusable: Multiaddr = "/ip4/0.0.0.0/tcp/1".parse().unwrap();
        let said = Message {
            listen_addrs: vec![
                own.clone().with(Protocol::P2p(remote.local_peer())),
                foreign.clone().with(Protocol::P2p(other)),
                unusable.clone(),
            ],
            ..Message::default()
        };
        remote.set_stream_handler(&PROTOCOL, says(said.encode()));
        remote.connect(&addr).await.unwrap();
        info(&net, &identify, remote.local_peer()).await;
        let known = host.known_addresses(&remote.local_peer());
        assert!(known.contains(&own));
        assert!(!known.contains(&foreign) && !known.contains(&unusable));
        assert!(host.known_addresses(&other).is_empty());
    });
}

#[test]
fn bad_pushes_are_errors_and_change_nothing() {
    run(|net| async move {
        let (host, identify, addr) = node(&net).await;
        let remote = net.host();
        remote.connect(&addr).await.unwrap();
        let mut events = identify.events();
        let key = Keypair::generate_ed25519().public();
        let wrong_key = Message {
            public_key: Some(key),
            agent_version: Some("liar".into()),
            ..Message::default()
        };
        for bad in [&[0xff; 40][..], &[0x81, 0x40], &[], &wrong_key.encode()] {
            let _ = push(&remote, host.local_peer(), bad).await;
            let error = loop {
                let event = next_about(&mut events, remote.local_peer()).await;
                let IdentifyEvent::Failed { error, .. } = event else {
                    panic!("{event:?}");
                };
                // That it can't be asked is another matter.
                if !matches!(*error, IdentifyError::Unsupported { .. }) {
                    break error;
                }
            };
            assert_ne!(error.fault(), Fault::Misuse);
        }
        let info = identify.info(&remote.local_peer());
        assert!(info.is_none_or(|info| info.agent_version.is_none()));
        assert!(remote.is_connected(&host.local_peer()));
    });
}

#[test]
fn a_flood_of_pushes_is_refused_and_others_are_heard() {
    run(|net| async move {
        let host = net.host();
        let addr = listen(&host).await;
        let mut config = quick();
        config.push_burst = 10;
        config.push_interval = Duration::from_secs(60);
        let identify = Identify::spawn(&host, config);
        let flooder = net.host();
        flooder.connect(&addr).await.unwrap();
        let message = |text: &str| Message {
            agent_version: Some(text.into()),
            ..Message::default()
        };
        let mut refused = 0;
        for _ in 0..100 {
            let outcome = push(&flooder, host.local_peer(), &message("flood").encode()).await;
            refused += usize::from(reset_code(&outcome) == Some(ResetCode::RATE_LIMITED));
        }
        assert_eq!(refused, 90);

        let other = net.host();
        other.connect(&addr).await.unwrap();
        push(&other, host.local_peer(), &message("calm").encode())
            .await
            .unwrap();
        let info = info(&net, &identify, other.local_peer()).await;
        assert_eq!(info.agent_version.as_deref(), Some("calm"));
    });
}

#[test]
fn who_asks_too_often_at_once_is_reset() {
    run(|net| async move {
        let (host, addr) = net.listener().await;
        let _identify = Identify::spawn(&host, impatient());
        let greedy = net.host();
        greedy.connect(&addr).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = greedy.open_stream(&addr, &PROTOCOL).await.unwrap();
            // The answer is read, but not to its end.
            stream.read_exact(&mut [0; 1]).await.unwrap();
            streams.push(stream);
        }
        let mut further = greedy.open_stream(&addr, &PROTOCOL).await.unwrap();
        let outcome = further.read(&mut [0; 1]).await;
        assert_eq!(reset_code(&outcome), Some(ResetCode::LIMIT_EXCEEDED));
        let other = net.host();
        other.connect(&addr).await.unwrap();
        ask(&other, host.local_peer()).await;
        // Then there is room again.
        drop(streams);
        net.sleep(Duration::from_millis(700)).await;
        ask(&greedy, host.local_peer()).await;
    });
}

#[test]
fn silent_peers_hold_up_others_for_a_limited_time() {
    run(|net| async move {
        let host = net.host();
        let addr = listen(&host).await;
        let mut config = impatient();
        config.concurrent_max = 2;
        let identify = Identify::spawn(&host, config);
        let mut silents = Vec::new();
        for _ in 0..4 {
            let remote = net.host();
            remote.set_stream_handler(&PROTOCOL, silent);
            remote.connect(&addr).await.unwrap();
            silents.push(remote);
        }
        let (honest, _service, _) = node(&net).await;
        honest.connect(&addr).await.unwrap();
        info(&net, &identify, honest.local_peer()).await;
        assert!(silents.iter().all(|it| it.is_connected(&host.local_peer())));
    });
}

#[test]
fn lists_and_texts_are_cut_off_at_their_limits() {
    run(|net| async move {
        let (remote, addr) = net.listener().await;
        let protocol = |it: usize| ProtocolId::try_from(format!("/p/{it}").as_str()).unwrap();
        let address = |it: usize| format!("/memory/{it}").parse().unwrap();
        let chunk = |start: usize| {
            Message {
                protocols: (start..start + 200).map(protocol).collect(),
                listen_addrs: (start..start + 40).map(address).collect(),
                agent_version: Some("\u{1b}[31m".repeat(100)),
                ..Message::default()
            }
            .encode()
        };
        let flood: Vec<u8> = (0..10).flat_map(|it| chunk(it * 200 + 1)).collect();
        remote.set_stream_handler(&PROTOCOL, says(flood));
        let (host, identify, _) = node(&net).await;
        let info = identify.identify(&addr).await.unwrap();
        assert_eq!(info.protocols.len(), Message::MAX_PROTOCOLS);
        assert_eq!(info.listen_addrs.len(), Message::MAX_ADDRESSES);
        let agent = info.agent_version.as_deref().unwrap();
        assert!(agent.len() <= Message::MAX_TEXT_LEN && !agent.contains('\u{1b}'));
        let known = host.known_addresses(&info.peer);
        assert!(known.len() <= host.config().limits.known_addresses_max);
    });
}

#[test]
fn an_extreme_configuration_does_not_panic() {
    run(|net| async move {
        let mut zero = Config::default();
        zero.timeout = Duration::ZERO;
        zero.push_debounce = Duration::ZERO;
        zero.push_interval = Duration::ZERO;
        zero.concurrent_max = 0;
        zero.streams_per_peer_max = 0;
        zero.push_burst = 0;
        zero.observers_min = 0;
        zero.event_capacity = 0;
        zero.agent_version = "x".repeat(100_000);
        zero.protocol_version = String::new();
        let host = net.host();
        let identify = Identify::spawn(&host, zero);
        let addr = listen(&host).await;
        let (other, of_other, _) = node(&net).await;
        let outcome = of_other.identify(&addr).await;
        assert!(outcome.is_err(), "{outcome:?}");
        host.set_stream_handler("/new/1", |_: Stream| async {});
        net.sleep(MOMENT).await;
        // No time at all may still be enough.
        drop(identify.identify(other.local_peer()).await);
        assert!(identify.observed_addrs().is_empty());

        let mut endless = Config::default();
        endless.timeout = Duration::MAX;
        endless.push_debounce = Duration::MAX;
        endless.push_interval = Duration::MAX;
        endless.concurrent_max = usize::MAX;
        endless.push_burst = u32::MAX;
        endless.observers_min = usize::MAX;
        let host = net.host();
        let identify = Identify::spawn(&host, endless);
        host.set_stream_handler("/new/1", |_: Stream| async {});
        let (remote, _service, addr) = node(&net).await;
        identify.identify(&addr).await.unwrap();
        push(&remote, host.local_peer(), &Message::default().encode())
            .await
            .unwrap();
    });
}

/// Asks a remote that answers like this; says why that failed. It is told by an event as well,
/// and the connection goes on.
async fn failed(net: &Net, handler: impl StreamHandler) -> IdentifyError {
    failed_with(net, quick(), handler).await
}

async fn failed_with(net: &Net, config: Config, handler: impl StreamHandler) -> IdentifyError {
    let (remote, addr) = net.listener().await;
    remote.set_stream_handler(&PROTOCOL, handler);
    remote.set_stream_handler("/echo/1", |stream: Stream| async move {
        futures::io::copy(&stream, &mut &stream).await?;
        (&stream).close().await
    });
    let host = net.host();
    let identify = Identify::spawn(&host, config);
    let mut events = identify.events();
    let error = identify.identify(&addr).await.expect_err("it is wrong");
    let event = next_about(&mut events, remote.local_peer()).await;
    let IdentifyEvent::Failed { error: told, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(told.to_string(), error.to_string());
    assert!(identify.info(&remote.local_peer()).is_none());

    let mut echo = host.open_stream(remote.local_peer(), "/echo/1").await;
    let stream = echo.as_mut().unwrap();
    stream.write_all(b"still here").await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    assert_eq!(host.connections().len(), 1);
    error
}

fn decode_error(error: &IdentifyError) -> &DecodeError {
    let IdentifyError::Malformed { source, .. } = error else {
        panic!("{error}");
    };
    source
}

/// Why a record was left out of what a remote says, while the rest was taken over.
async fn rejected(net: &Net, make: impl Fn(&Keypair) -> Envelope) -> Arc<RecordError> {
    let (remote, addr) = net.listener().await;
    let said = Message {
        agent_version: Some("a/1".into()),
        signed_peer_record: Some(make(remote.keypair())),
        ..Message::default()
    };
    remote.set_stream_handler(&PROTOCOL, says(said.encode()));
    let (host, identify, _) = node(net).await;
    let info = identify.identify(&addr).await.unwrap();
    assert_eq!(info.agent_version.as_deref(), Some("a/1"));
    assert!(info.signed_record.is_none());
    let known = host.known_addresses(&remote.local_peer());
    assert!(!known.contains(&"/memory/66".parse().unwrap()));
    info.rejected_record.clone().unwrap()
}

/// A record whose addresses were changed after it was signed.
async fn rejected_forgery(net: &Net) -> Arc<RecordError> {
    rejected(net, |keypair| {
        let addr: Multiaddr = "/memory/65".parse().unwrap();
        let record = PeerRecord::sign(keypair, 1, vec![addr.clone()]).unwrap();
        let mut bytes = record.envelope().encoded().to_vec();
        let at = bytes.windows(addr.len()).position(|it| it == addr.as_ref());
        bytes[at.unwrap() + addr.len() - 1] = 66;
        Envelope::decode(bytes).unwrap()
    })
    .await
}

fn record(host: &Host, seq: u64, addr: &str) -> Envelope {
    let addrs = vec![addr.parse().unwrap()];
    let record = PeerRecord::sign(host.keypair(), seq, addrs).unwrap();
    record.envelope().clone()
}

/// Waits until the other side has had enough.
fn silent(mut stream: Stream) -> futures::future::BoxFuture<'static, ()> {
    async move { drop(stream.read(&mut [0; 1]).await) }.boxed()
}
