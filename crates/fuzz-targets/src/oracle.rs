//! The RPC of publish/subscribe as prost reads it. Names of topics are bytes here, so that their text is no matter.

use bytes::Bytes;
use peerkit_pubsub::{Control, MessageId, Partial, Topic};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Rpc {
    #[prost(message, repeated, tag = "1")]
    pub(crate) subscriptions: Vec<SubOpts>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) publish: Vec<Message>,
    #[prost(message, optional, tag = "3")]
    pub(crate) control: Option<Controls>,
    #[prost(message, optional, tag = "10")]
    pub(crate) partial: Option<Part>,
    #[prost(message, optional, tag = "6492434")]
    pub(crate) test: Option<Test>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SubOpts {
    #[prost(bool, tag = "1")]
    subscribe: bool,
    #[prost(bytes = "bytes", tag = "2")]
    topic: Bytes,
    #[prost(bool, tag = "3")]
    requests: bool,
    #[prost(bool, tag = "4")]
    supports: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(bytes = "bytes", optional, tag = "1")]
    from: Option<Bytes>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
    #[prost(bytes = "bytes", optional, tag = "3")]
    seqno: Option<Bytes>,
    #[prost(bytes = "bytes", tag = "4")]
    topic: Bytes,
    #[prost(bytes = "bytes", optional, tag = "5")]
    signature: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    key: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Controls {
    #[prost(message, repeated, tag = "1")]
    ihave: Vec<IHave>,
    #[prost(message, repeated, tag = "2")]
    iwant: Vec<Ids>,
    #[prost(message, repeated, tag = "3")]
    graft: Vec<Graft>,
    #[prost(message, repeated, tag = "4")]
    prune: Vec<Prune>,
    #[prost(message, repeated, tag = "5")]
    idontwant: Vec<Ids>,
    #[prost(message, optional, tag = "6")]
    extensions: Option<Extensions>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IHave {
    #[prost(bytes = "bytes", tag = "1")]
    topic: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    ids: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ids {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    ids: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Graft {
    #[prost(bytes = "bytes", tag = "1")]
    topic: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Prune {
    #[prost(bytes = "bytes", tag = "1")]
    topic: Bytes,
    #[prost(message, repeated, tag = "2")]
    peers: Vec<PeerInfo>,
    #[prost(uint64, optional, tag = "3")]
    backoff: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PeerInfo {
    #[prost(bytes = "bytes", optional, tag = "1")]
    peer: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    record: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Extensions {
    #[prost(bool, tag = "10")]
    partial: bool,
    #[prost(bool, tag = "6492434")]
    test: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Part {
    #[prost(bytes = "bytes", tag = "1")]
    topic: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    group: Bytes,
    #[prost(bytes = "bytes", optional, tag = "3")]
    message: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    metadata: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Test {}

impl Rpc {
    /// What peerkit has read, in this form.
    pub(crate) fn of(rpc: &peerkit_pubsub::Rpc) -> Self {
        Self {
            subscriptions: rpc.subscriptions.iter().map(subscription).collect(),
            publish: rpc.messages.iter().map(|it| message(it)).collect(),
            control: Some(controls(&rpc.control)),
            partial: rpc.partial.as_ref().map(part),
            test: rpc.test_extension.then_some(Test {}),
        }
    }

    /// How the ids are spread over several lists means nothing, nor does an empty list.
    pub(crate) fn normalized(mut self) -> Self {
        let control = self.control.get_or_insert_default();
        for lists in [&mut control.iwant, &mut control.idontwant] {
            let ids = lists.drain(..).flat_map(|list| list.ids).collect();
            lists.push(Ids { ids });
        }
        self
    }
}

fn subscription(change: &peerkit_pubsub::SubscriptionChange) -> SubOpts {
    SubOpts {
        subscribe: change.subscribe,
        topic: name(&change.topic),
        requests: change.requests_partial,
        supports: change.supports_sending_partial,
    }
}

fn message(message: &peerkit_pubsub::Message) -> Message {
    Message {
        from: message.from.clone(),
        data: message.data.clone(),
        seqno: message.seqno.clone(),
        topic: name(&message.topic),
        signature: message.signature.clone(),
        key: message.key.clone(),
    }
}

fn controls(control: &Control) -> Controls {
    let ihave = control.ihave.iter().map(|it| IHave {
        topic: name(&it.topic),
        ids: bytes(&it.ids),
    });
    let graft = control
        .graft
        .iter()
        .map(|topic| Graft { topic: name(topic) });
    let prune = control.prune.iter().map(|it| Prune {
        topic: name(&it.topic),
        peers: it.peers.iter().map(peer_info).collect(),
        backoff: it.backoff,
    });
    Controls {
        ihave: ihave.collect(),
        iwant: vec![Ids {
            ids: bytes(&control.iwant),
        }],
        graft: graft.collect(),
        prune: prune.collect(),
        idontwant: vec![Ids {
            ids: bytes(&control.idontwant),
        }],
        extensions: control.extensions.map(|it| Extensions {
            partial: it.partial_messages,
            test: it.test,
        }),
    }
}

fn peer_info(info: &peerkit_pubsub::PeerInfo) -> PeerInfo {
    PeerInfo {
        peer: info.peer.clone(),
        record: info.signed_record.clone(),
    }
}

fn part(partial: &Partial) -> Part {
    Part {
        topic: name(&partial.topic),
        group: partial.group.clone(),
        message: partial.message.clone(),
        metadata: partial.metadata.clone(),
    }
}

fn name(topic: &Topic) -> Bytes {
    Bytes::copy_from_slice(topic.as_str().as_bytes())
}

fn bytes(ids: &[MessageId]) -> Vec<Bytes> {
    ids.iter().map(|id| id.clone().into_bytes()).collect()
}
