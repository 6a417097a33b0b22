//! Events for other programs: one JSON object a line.

use peerkit::{core::ConnectionInfo, pubsub::Received};
use serde_json::{Value, json};

use super::{
    DemoPeer, Echoed, Event, Identity, Info, Measured, PublishedMessage, Refused, direction,
    milliseconds,
};

impl Event<'_> {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Listening { addr } => json!({"event": "listening", "addr": addr.to_string()}),
            Self::Connected(info) => connected(info),
            Self::Disconnected { peer, reason } => {
                json!({"event": "disconnected", "peer": peer.to_string(), "reason": reason})
            }
            Self::Identified {
                peer,
                agent,
                protocols,
            } => json!({
                "event": "identified", "peer": peer.to_string(), "agent": agent, "protocols": protocols,
            }),
            Self::Limit { refused, times } => refused.to_json(*times),
            Self::Trimmed {
                connections,
                closed,
                high_watermark,
            } => json!({
                "event": "trimmed", "connections": connections, "closed": closed,
                "setting": "trim.high_watermark", "max": high_watermark,
            }),
            Self::Ping { round_trip } => {
                json!({"event": "ping", "ok": true, "ms": milliseconds(*round_trip)})
            }
            Self::Identify(identity) => identity.to_json(),
            Self::Echo(echoed) => echoed.to_json(),
            Self::Perf(measured) => measured.to_json(),
            Self::Key(key) => json!({
                "event": "key", "type": key.key_type, "peer": key.peer.to_string(),
                "public_key": key.public_key, "file": key.file,
            }),
            Self::DemoPeer(peer) => peer.to_json(),
            Self::DemoGossip {
                published,
                delivered,
            } => json!({
                "event": "gossip", "ok": true, "published": published, "delivered": delivered,
            }),
            Self::Message(message) => message_json(message),
            Self::Missed { missed } => json!({"event": "missed", "messages": missed}),
            Self::Published(message) => message.to_json(),
            Self::Membership {
                peer,
                topic,
                is_member,
            } => json!({
                "event": if *is_member { "subscribed" } else { "unsubscribed" },
                "peer": peer.to_string(), "topic": topic,
            }),
            Self::Info(info) => info.to_json(),
        }
    }
}

impl Refused<'_> {
    pub(super) fn to_json(&self, times: u64) -> Value {
        let limit = self.limit;
        json!({
            "event": "limit",
            "refused": self.what,
            "remote": self.remote,
            "scope": limit.scope.to_string(),
            "resource": limit.resource.to_string(),
            "used": limit.used,
            "max": limit.max,
            "setting": limit.setting,
            "times": times,
        })
    }
}

fn connected(info: &ConnectionInfo) -> Value {
    json!({
        "event": "connected",
        "peer": info.remote_peer.to_string(),
        "addr": info.remote_addr.to_string(),
        "direction": direction(info.direction),
        "security": info.security.as_str(),
        "muxer": info.muxer.as_str(),
    })
}

fn message_json(message: &Received) -> Value {
    json!({
        "event": "message",
        "topic": message.topic.as_str(),
        "from": message.from.map(|from| from.to_string()),
        "data": String::from_utf8_lossy(&message.data),
        "bytes": message.data.len(),
        "id": message.id.to_string(),
        "signed": message.signed,
    })
}

impl PublishedMessage {
    pub(super) fn to_json(&self) -> Value {
        let dropped = self.dropped.iter();
        let dropped: Vec<_> = dropped
            .map(|(peer, reason)| json!({"peer": peer.to_string(), "reason": reason}))
            .collect();
        json!({
            "event": "published", "topic": self.topic, "id": self.id, "peers": self.peers, "dropped": dropped,
        })
    }
}

impl Identity {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "event": "identify",
            "ok": true,
            "peer": self.peer.to_string(),
            "agent": self.agent,
            "protocol_version": self.protocol_version,
            "protocols": self.protocols,
            "listen_addrs": self.listen_addrs,
            "observed_addr": self.observed_addr,
            "public_key": self.public_key,
            "signed_record": self.signed_record,
        })
    }
}

impl Echoed {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "event": "echo",
            "ok": true,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "seconds": self.elapsed.as_secs_f64(),
            "first_byte_ms": self.first_byte.map(milliseconds),
        })
    }
}

impl Measured {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "event": "perf",
            "ok": true,
            "upload_bytes": self.upload_bytes,
            "upload_seconds": self.upload.as_secs_f64(),
            "download_bytes": self.download_bytes,
            "download_seconds": self.download.as_secs_f64(),
        })
    }
}

impl DemoPeer {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "event": "demo",
            "ok": true,
            "peer": self.peer.to_string(),
            "muxer": self.muxer,
            "security": self.security,
            "ms": milliseconds(self.round_trip),
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl Info {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "event": "info",
            "name": "peerkit",
            "version": self.version,
            "muxers": self.muxers,
            "securities": self.securities,
            "routers": self.routers,
            "key_types": self.key_types,
            "remote_key_types": self.remote_key_types,
        })
    }
}
