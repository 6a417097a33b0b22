#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! The codec beside prost, which is what rust-libp2p and others use.

use std::sync::Arc;

use bytes::Bytes;
use peerkit_pubsub::{
    Control, DecodeError, DecodeLimits, Decoded, Extensions, FrameDecoder, IHave, Message,
    MessageId, Partial, PeerInfo, Prune, Rpc, RpcDecoder, SubscriptionChange, Topic, encode_rpc,
};
use proptest::{collection::vec, option::of, prelude::*};
use prost::Message as _;

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Rpc {
        #[prost(message, repeated, tag = "1")]
        pub(super) subscriptions: Vec<SubOpts>,
        #[prost(message, repeated, tag = "2")]
        pub(super) publish: Vec<Message>,
        #[prost(message, optional, tag = "3")]
        pub(super) control: Option<Control>,
        #[prost(message, optional, tag = "10")]
        pub(super) partial: Option<Partial>,
        #[prost(message, optional, tag = "6492434")]
        pub(super) test: Option<Test>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SubOpts {
        #[prost(bool, optional, tag = "1")]
        pub(super) subscribe: Option<bool>,
        #[prost(string, optional, tag = "2")]
        pub(super) topic: Option<String>,
        #[prost(bool, optional, tag = "3")]
        pub(super) requests: Option<bool>,
        #[prost(bool, optional, tag = "4")]
        pub(super) supports: Option<bool>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Message {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(super) from: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) data: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "3")]
        pub(super) seqno: Option<bytes::Bytes>,
        #[prost(string, optional, tag = "4")]
        pub(super) topic: Option<String>,
        #[prost(bytes = "bytes", optional, tag = "5")]
        pub(super) signature: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "6")]
        pub(super) key: Option<bytes::Bytes>,
        #[prost(uint64, optional, tag = "77")]
        pub(super) unknown: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Control {
        #[prost(message, repeated, tag = "1")]
        pub(super) ihave: Vec<IHave>,
        #[prost(message, repeated, tag = "2")]
        pub(super) iwant: Vec<Ids>,
        #[prost(message, repeated, tag = "3")]
        pub(super) graft: Vec<Graft>,
        #[prost(message, repeated, tag = "4")]
        pub(super) prune: Vec<Prune>,
        #[prost(message, repeated, tag = "5")]
        pub(super) idontwant: Vec<Ids>,
        #[prost(message, optional, tag = "6")]
        pub(super) extensions: Option<Extensions>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct IHave {
        #[prost(string, optional, tag = "1")]
        pub(super) topic: Option<String>,
        #[prost(bytes = "bytes", repeated, tag = "2")]
        pub(super) ids: Vec<bytes::Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Ids {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub(super) ids: Vec<bytes::Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Graft {
        #[prost(string, optional, tag = "1")]
        pub(super) topic: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Prune {
        #[prost(string, optional, tag = "1")]
        pub(super) topic: Option<String>,
        #[prost(message, repeated, tag = "2")]
        pub(super) peers: Vec<PeerInfo>,
        #[prost(uint64, optional, tag = "3")]
        pub(super) backoff: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PeerInfo {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(super) peer: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) record: Option<bytes::Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Extensions {
        #[prost(bool, optional, tag = "10")]
        pub(super) partial: Option<bool>,
        #[prost(bool, optional, tag = "6492434")]
        pub(super) test: Option<bool>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Partial {
        #[prost(string, optional, tag = "1")]
        pub(super) topic: Option<String>,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) group: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "3")]
        pub(super) message: Option<bytes::Bytes>,
        #[prost(bytes = "bytes", optional, tag = "4")]
        pub(super) metadata: Option<bytes::Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Test {}
}

/// The same as prost has it.
fn to_schema(rpc: &Rpc) -> schema::Rpc {
    let control = to_schema_control(&rpc.control);
    schema::Rpc {
        subscriptions: rpc.subscriptions.iter().map(to_schema_change).collect(),
        publish: rpc
            .messages
            .iter()
            .map(|it| to_schema_message(it))
            .collect(),
        control: (control != schema::Control::default()).then_some(control),
        partial: rpc.partial.as_ref().map(|it| schema::Partial {
            topic: Some(it.topic.to_string()),
            group: Some(it.group.clone()),
            message: it.message.clone(),
            metadata: it.metadata.clone(),
        }),
        test: rpc.test_extension.then_some(schema::Test {}),
    }
}

fn to_schema_change(change: &SubscriptionChange) -> schema::SubOpts {
    schema::SubOpts {
        subscribe: Some(change.subscribe),
        topic: Some(change.topic.to_string()),
        requests: change.requests_partial.then_some(true),
        supports: change.supports_sending_partial.then_some(true),
    }
}

fn to_schema_message(message: &Message) -> schema::Message {
    schema::Message {
        from: message.from.clone(),
        data: Some(message.data.clone()),
        seqno: message.seqno.clone(),
        topic: Some(message.topic.to_string()),
        signature: message.signature.clone(),
        key: message.key.clone(),
        unknown: None,
    }
}

fn to_schema_control(control: &Control) -> schema::Control {
    let ids = |ids: &[MessageId]| {
        let ids: Vec<_> = ids.iter().map(|id| id.clone().into_bytes()).collect();
        (!ids.is_empty()).then_some(schema::Ids { ids })
    };
    schema::Control {
        ihave: control
            .ihave
            .iter()
            .map(|it| schema::IHave {
                topic: Some(it.topic.to_string()),
                ids: it.ids.iter().map(|id| id.clone().into_bytes()).collect(),
            })
            .collect(),
        iwant: ids(&control.iwant).into_iter().collect(),
        graft: control
            .graft
            .iter()
            .map(|topic| schema::Graft {
                topic: Some(topic.to_string()),
            })
            .collect(),
        prune: control
            .prune
            .iter()
            .map(|it| schema::Prune {
                topic: Some(it.topic.to_string()),
                peers: it
                    .peers
                    .iter()
                    .map(|info| schema::PeerInfo {
                        peer: info.peer.clone(),
                        record: info.signed_record.clone(),
                    })
                    .collect(),
                backoff: it.backoff,
            })
            .collect(),
        idontwant: ids(&control.idontwant).into_iter().collect(),
        extensions: control.extensions.map(|it| schema::Extensions {
            partial: it.partial_messages.then_some(true),
            test: it.test.then_some(true),
        }),
    }
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..70).prop_map(Bytes::from)
}

fn topic() -> impl Strategy<Value = Topic> {
    "[a-zäß日]{0,9}".prop_map(Topic::from)
}

fn ids() -> impl Strategy<Value = Vec<MessageId>> {
    vec(bytes().prop_map(MessageId::from), 0..4)
}

fn change() -> impl Strategy<Value = SubscriptionChange> {
    (any::<[bool; 3]>(), topic()).prop_map(|(flags, topic)| SubscriptionChange {
        subscribe: flags[0],
        topic,
        requests_partial: flags[1],
        supports_sending_partial: flags[2],
    })
}

fn message() -> impl Strategy<Value = Arc<Message>> {
    let parts = (
        of(bytes()),
        bytes(),
        of(bytes()),
        topic(),
        of(bytes()),
        of(bytes()),
    );
    parts.prop_map(|(from, data, seqno, topic, signature, key)| {
        let mut message = Message {
            from,
            data,
            seqno,
            topic,
            signature,
            key,
            encoded: Bytes::new(),
        };
        message.encoded = to_schema_message(&message).encode_to_vec().into();
        Arc::new(message)
    })
}

fn control() -> impl Strategy<Value = Control> {
    let ihave = (topic(), vec(bytes().prop_map(MessageId::from), 1..4));
    let ihave = ihave.prop_map(|(topic, ids)| IHave { topic, ids });
    let info = (of(bytes()), of(bytes()));
    let info = info.prop_map(|(peer, signed_record)| PeerInfo {
        peer,
        signed_record,
    });
    let prune = (topic(), vec(info, 0..3), of(any::<u64>()));
    let prune = prune.prop_map(|(topic, peers, backoff)| Prune {
        topic,
        peers,
        backoff,
    });
    let extensions = any::<[bool; 2]>().prop_map(|flags| Extensions {
        partial_messages: flags[0],
        test: flags[1],
    });
    let parts = (
        vec(ihave, 0..3),
        ids(),
        vec(topic(), 0..3),
        vec(prune, 0..3),
        ids(),
        of(extensions),
    );
    parts.prop_map(
        |(ihave, iwant, graft, prune, idontwant, extensions)| Control {
            ihave,
            iwant,
            graft,
            prune,
            idontwant,
            extensions,
        },
    )
}

fn rpc() -> impl Strategy<Value = Rpc> {
    let partial = (topic(), bytes(), of(bytes()), of(bytes()));
    let partial = partial.prop_map(|(topic, group, message, metadata)| Partial {
        topic,
        group,
        message,
        metadata,
    });
    let parts = (
        vec(change(), 0..4),
        vec(message(), 0..4),
        control(),
        of(partial),
        any::<bool>(),
    );
    parts.prop_map(
        |(subscriptions, messages, control, partial, test_extension)| Rpc {
            subscriptions,
            messages,
            control,
            partial,
            test_extension,
        },
    )
}

fn decode(body: impl Into<Bytes>) -> Result<Decoded, DecodeError> {
    RpcDecoder::new(DecodeLimits::default()).decode(&body.into())
}

/// The one frame in these bytes; empty when there is none.
fn body(frame: &[u8]) -> Bytes {
    let found = FrameDecoder::new(1 << 24).decode(&mut &*frame).unwrap();
    found.unwrap_or_default()
}

proptest! {
    #[test]
    fn what_is_written_is_what_prost_writes_and_reads(rpc in rpc()) {
        let ours = body(&encode_rpc(&rpc));
        let theirs = to_schema(&rpc);
        prop_assert_eq!(schema::Rpc::decode(&*ours).unwrap(), theirs.clone());
        prop_assert_eq!(&*ours, &*theirs.encode_to_vec());
        let decoded = decode(ours).unwrap();
        prop_assert_eq!(decoded.rpc, rpc);
        prop_assert_eq!(decoded.skipped, 0);
    }

    #[test]
    fn what_is_cut_off_is_an_error_or_less_but_never_a_panic(rpc in rpc()) {
        let whole = body(&encode_rpc(&rpc));
        for len in 0..whole.len() {
            let ours = decode(whole.slice(..len));
            prop_assert_eq!(ours.is_ok(), schema::Rpc::decode(&whole[..len]).is_ok());
        }
    }

    #[test]
    fn noise_never_panics_and_is_not_read_as_more_than_prost_reads(noise in vec(any::<u8>(), 0..200)) {
        let ours = decode(noise.clone());
        if let (Ok(ours), Ok(theirs)) = (ours, schema::Rpc::decode(&*noise)) {
            prop_assert!(ours.rpc.messages.len() <= theirs.publish.len());
        }
        let mut decoder = FrameDecoder::new(1000);
        let mut input = &*noise;
        while let Ok(Some(frame)) = decoder.decode(&mut input) {
            let _ = decode(frame);
        }
    }

    #[test]
    fn bytes_that_were_changed_never_panic(rpc in rpc(), at: prop::sample::Index, to: u8) {
        let mut whole = body(&encode_rpc(&rpc)).to_vec();
        if !whole.is_empty() {
            let at = at.index(whole.len());
            whole[at] = to;
        }
        let _ = decode(whole);
    }
}

#[test]
fn a_message_is_kept_as_it_was_sent_unknown_fields_included() {
    let message = schema::Message {
        topic: Some("news".into()),
        unknown: Some(5),
        ..Default::default()
    };
    let encoded = message.encode_to_vec();
    let rpc = schema::Rpc {
        publish: vec![message],
        ..Default::default()
    };
    let decoded = decode(rpc.encode_to_vec()).unwrap().rpc;
    assert_eq!(decoded.messages[0].encoded, encoded);
    let again = body(&encode_rpc(&decoded));
    assert_eq!(again, rpc.encode_to_vec());
}

/// What is kept of a frame would otherwise be far more than what limits count.
#[test]
fn a_small_message_does_not_hold_on_to_a_large_frame_and_a_large_one_is_not_copied() {
    for (padding, copied) in [(0, false), (500_000, true)] {
        let rpc = schema::Rpc {
            publish: [10_000, padding]
                .map(|len| schema::Message {
                    data: Some(vec![7; len].into()),
                    topic: Some("news".into()),
                    ..schema::Message::default()
                })
                .into(),
            ..schema::Rpc::default()
        };
        let frame = Bytes::from(rpc.encode_to_vec());
        let message = &decode(frame.clone()).unwrap().rpc.messages[0];
        for part in [&message.encoded, &message.data] {
            let shared = frame.as_ptr_range().contains(&part.as_ptr());
            assert_eq!(shared, !copied, "{padding}");
        }
        assert_eq!(message.data.len(), 10_000);
    }
}

/// Written by go-libp2p-pubsub 0.16.0.
#[test]
fn partial_messages_look_like_those_of_go() {
    let expected = b"\x0a\x0c\x08\x01\x12\x04news\x18\x01\x20\x01\
        \x1a\x04\x32\x02\x50\x01\
        \x52\x11\x0a\x04news\x12\x03one\x1a\x01\x01\x22\x01\x02";
    let topic = Topic::from("news");
    let rpc = Rpc {
        subscriptions: vec![SubscriptionChange {
            subscribe: true,
            topic: topic.clone(),
            requests_partial: true,
            supports_sending_partial: true,
        }],
        control: Control {
            extensions: Some(Extensions {
                partial_messages: true,
                test: false,
            }),
            ..Control::default()
        },
        partial: Some(Partial {
            topic,
            group: Bytes::from_static(b"one"),
            message: Some(Bytes::from_static(&[1])),
            metadata: Some(Bytes::from_static(&[2])),
        }),
        ..Rpc::default()
    };
    assert_eq!(body(&encode_rpc(&rpc)), expected[..]);
    assert_eq!(decode(&expected[..]).unwrap().rpc, rpc);
}

#[test]
fn old_messages_may_name_several_topics() {
    // Field 4, twice.
    let message = [0x22, 1, b'a', 0x22, 1, b'b'];
    let mut frame = vec![0x12, message.len() as u8];
    frame.extend_from_slice(&message);
    let decoded = decode(frame).unwrap();
    assert_eq!(decoded.rpc.messages[0].topic.as_str(), "b");
    assert_eq!(decoded.rpc.messages[0].encoded, &message[..]);
}

#[test]
fn topics_that_are_no_text_or_too_long_or_missing_are_left_out() {
    for topic in [vec![0xff, 0xfe], vec![b'x'; 65_536]] {
        let mut change = vec![0x08, 1, 0x12];
        prost::encoding::encode_varint(topic.len() as u64, &mut change);
        change.extend_from_slice(&topic);
        let mut frame = vec![0x0a];
        prost::encoding::encode_varint(change.len() as u64, &mut frame);
        frame.extend_from_slice(&change);
        // And a message in the same one, and a good subscription.
        frame.extend_from_slice(&[0x12, 4, 0x22, 2, 0xff, 0xfe]);
        frame.extend_from_slice(&[0x0a, 5, 0x08, 1, 0x12, 1, b'a']);
        let decoded = decode(frame).unwrap();
        assert_eq!(decoded.skipped, 2);
        assert_eq!(decoded.rpc.messages.len(), 0);
        assert_eq!(decoded.rpc.subscriptions.len(), 1);
    }
    assert_eq!(decode(vec![0x12, 2, 0x12, 0]).unwrap().skipped, 1);
}

/// Attacks G01, G02, G13, R19, R40.
#[test]
fn floods_are_cut_off_at_their_limits() {
    let subscriptions = (0..87_381).map(|at| schema::SubOpts {
        subscribe: Some(true),
        topic: Some(format!("{at:05}")),
        ..Default::default()
    });
    let rpc = schema::Rpc {
        subscriptions: subscriptions.collect(),
        ..Default::default()
    };
    let decoded = decode(rpc.encode_to_vec()).unwrap();
    assert_eq!(decoded.rpc.subscriptions.len(), 100);
    assert_eq!(decoded.skipped, 87_281);

    // Half a million empty ids, in each of the three kinds, in one mebibyte.
    let ids = schema::Ids {
        ids: vec![Bytes::new(); 524_288 / 3],
    };
    let control = schema::Control {
        ihave: vec![schema::IHave {
            topic: Some("news".into()),
            ids: ids.ids.clone(),
        }],
        iwant: vec![ids.clone()],
        idontwant: vec![ids],
        ..Default::default()
    };
    let rpc = schema::Rpc {
        control: Some(control),
        ..Default::default()
    };
    let decoded = decode(rpc.encode_to_vec()).unwrap();
    let control = &decoded.rpc.control;
    let counts = [
        control.ihave[0].ids.len(),
        control.iwant.len(),
        control.idontwant.len(),
    ];
    assert_eq!(counts, [5000; 3]);
    assert_eq!(decoded.skipped, 3 * (524_288 / 3 - 5000));
}

/// Attacks G13, R19.
#[test]
fn floods_of_control_entries_and_peers_are_cut_off() {
    let graft = schema::Graft {
        topic: Some("t".into()),
    };
    let prune = schema::Prune {
        topic: Some("t".into()),
        peers: vec![schema::PeerInfo::default(); 10_000],
        backoff: Some(u64::MAX),
    };
    let rpc = schema::Rpc {
        control: Some(schema::Control {
            graft: vec![graft; 100_000],
            prune: vec![prune],
            ..Default::default()
        }),
        ..Default::default()
    };
    let decoded = decode(rpc.encode_to_vec()).unwrap();
    let control = &decoded.rpc.control;
    assert_eq!(
        (control.graft.len(), control.prune[0].peers.len()),
        (1000, 16)
    );
    assert_eq!(decoded.skipped, 99_000 + 9_984);
}

/// Attacks G13, R49.
#[test]
fn known_fields_of_the_wrong_type_and_groups_are_errors() {
    assert_eq!(
        decode(vec![0x08, 1]),
        Err(DecodeError::WrongType { field: 1 })
    );
    assert_eq!(decode(vec![0x13, 0x14]), Err(DecodeError::BadTag));
    assert_eq!(decode(vec![0x00, 0x00]), Err(DecodeError::BadTag));
    assert_eq!(
        decode(vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        Err(DecodeError::Truncated)
    );
}
