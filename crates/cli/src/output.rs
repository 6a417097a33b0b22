//! What commands print: readable lines, or one JSON object a line.

use std::{fmt, io::Write, time::Duration};

use peerkit::{
    Direction, HostEvent, Multiaddr, PeerId, core::ConnectionInfo, pubsub::Received,
    swarm::LimitExceeded,
};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Prints events on stdout and failures where the caller looks for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints one event.
    pub(crate) fn event(self, event: &Event<'_>) -> Result<(), Failure> {
        let line = if self.json {
            event.to_json().to_string()
        } else {
            event.to_string()
        };
        self.line(&line)
    }

    /// Prints one event on stderr when stdout carries something else, which JSON does not allow.
    pub(crate) fn event_beside_data(self, event: &Event<'_>) -> Result<(), Failure> {
        if self.json {
            return self.event(event);
        }
        writeln!(std::io::stderr(), "{event}").map_err(|error| unwritable(&error))
    }

    /// Prints a line as it is.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        written.map_err(|error| unwritable(&error))
    }

    /// Prints why the command has failed: on stdout as JSON, else on stderr.
    pub(crate) fn failure(self, failure: &Failure) {
        // When even this can't be written, the exit code is left.
        let _ = if self.json {
            let event =
                json!({"event": "error", "error": failure.to_string(), "fault": failure.fault()});
            writeln!(std::io::stdout(), "{event}")
        } else {
            writeln!(std::io::stderr(), "error: {failure}")
        };
    }
}

fn unwritable(error: &std::io::Error) -> Failure {
    Failure::local(format!("the output can't be written: {error}"))
}

/// What commands tell. The JSON form is an interface for other programs.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Listening {
        addr: &'a Multiaddr,
    },
    Connected(&'a ConnectionInfo),
    Disconnected {
        peer: PeerId,
        reason: String,
    },
    Identified {
        peer: PeerId,
        agent: &'a str,
        protocols: Vec<String>,
    },
    /// A limit was reached.
    Limit {
        refused: &'a Refused<'a>,
        /// How often since the last line about it.
        times: u64,
    },
    /// Connections were closed since there were more than needed.
    Trimmed {
        connections: usize,
        closed: usize,
        high_watermark: usize,
    },
    Ping {
        round_trip: Duration,
    },
    Identify(&'a Identity),
    Echo(&'a Echoed),
    Perf(&'a Measured),
    Key(&'a KeyFacts),
    DemoPeer(&'a DemoPeer),
    DemoGossip {
        published: usize,
        delivered: usize,
    },
    Message(&'a Received),
    Missed {
        missed: u64,
    },
    Published(&'a PublishedMessage),
    Membership {
        peer: PeerId,
        topic: &'a str,
        is_member: bool,
    },
    Info(&'a Info),
}

/// What was refused because of a limit.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    /// A word for it.
    pub(crate) what: &'static str,
    /// From whom or where.
    pub(crate) remote: String,
    pub(crate) limit: &'a LimitExceeded,
}

impl<'a> Refused<'a> {
    /// What an event tells of a limit, if it does.
    pub(crate) fn of(event: &'a HostEvent) -> Option<Self> {
        let limit = event.limit()?;
        let (what, remote) = if let HostEvent::InboundRefused { remote_addr, .. } = event {
            ("connection", remote_addr.to_string())
        } else if let HostEvent::OutboundRefused { addr, .. } = event {
            ("dial", addr.to_string())
        } else if let HostEvent::StreamRefused { peer, .. } = event {
            ("stream", peer.to_string())
        } else {
            return None;
        };
        Some(Self {
            what,
            remote,
            limit,
        })
    }

    fn to_json(&self, times: u64) -> Value {
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

/// What a peer says of itself, ready to be printed.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) peer: PeerId,
    pub(crate) agent: String,
    pub(crate) protocol_version: String,
    pub(crate) protocols: Vec<String>,
    pub(crate) listen_addrs: Vec<String>,
    pub(crate) observed_addr: Option<String>,
    pub(crate) public_key: String,
    pub(crate) signed_record: bool,
}

/// A finished echo.
#[derive(Debug)]
pub(crate) struct Echoed {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) elapsed: Duration,
    /// From the start of the dial to the first byte of the answer.
    pub(crate) first_byte: Option<Duration>,
}

/// A finished measurement of throughput.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) upload_bytes: u64,
    pub(crate) upload: Duration,
    pub(crate) download_bytes: u64,
    pub(crate) download: Duration,
}

/// What there is to show of a key.
#[derive(Debug)]
pub(crate) struct KeyFacts {
    pub(crate) key_type: String,
    pub(crate) peer: PeerId,
    /// In libp2p's protobuf format, as hexadecimal text.
    pub(crate) public_key: String,
    pub(crate) file: String,
}

/// One row of the demonstration.
#[derive(Debug)]
pub(crate) struct DemoPeer {
    pub(crate) peer: PeerId,
    pub(crate) muxer: String,
    pub(crate) security: String,
    pub(crate) round_trip: Duration,
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

/// A message that was sent.
#[derive(Debug)]
pub(crate) struct PublishedMessage {
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) peers: usize,
    /// Who should have got it and doesn't, and why.
    pub(crate) dropped: Vec<(PeerId, String)>,
}

/// What this program is and speaks.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) version: &'static str,
    pub(crate) muxers: Vec<String>,
    pub(crate) securities: Vec<String>,
    pub(crate) routers: Vec<String>,
    /// The key types that an identity of this program can have.
    pub(crate) key_types: Vec<String>,
    /// The key types that are accepted from a remote.
    pub(crate) remote_key_types: Vec<String>,
}

impl Event<'_> {
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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
    fn to_json(&self) -> Value {
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

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { addr } => write!(f, "listening on {addr}"),
            Self::Connected(info) => write!(
                f,
                "connected with {} at {} ({}, {}, {})",
                info.remote_peer,
                info.remote_addr,
                direction(info.direction),
                info.security,
                info.muxer
            ),
            Self::Disconnected { peer, reason } => write!(f, "disconnected from {peer}: {reason}"),
            Self::Identified {
                peer,
                agent,
                protocols,
            } => {
                let protocols = protocols.join(", ");
                write!(
                    f,
                    "{peer} is {agent:?} and speaks {}",
                    protocols.escape_debug()
                )
            }
            Self::Limit { refused, times } => {
                let Refused {
                    what,
                    remote,
                    limit,
                } = refused;
                write!(
                    f,
                    "limit reached: a {what} of {remote} was refused: {limit}"
                )?;
                match times {
                    1 => Ok(()),
                    times => write!(f, " ({times} refusals since the last line)"),
                }
            }
            Self::Trimmed {
                connections,
                closed,
                high_watermark,
            } => write!(
                f,
                "closing {closed} of {connections} connections: there are more than trim.high_watermark, {high_watermark}"
            ),
            Self::Ping { round_trip } => {
                write!(f, "round trip {:.3} ms", milliseconds(*round_trip))
            }
            Self::Identify(identity) => identity.fmt(f),
            Self::Echo(echoed) => echoed.fmt(f),
            Self::Perf(measured) => measured.fmt(f),
            Self::Key(key) => write!(
                f,
                "file        {}\ntype        {}\npeer id     {}\npublic key  {}",
                key.file, key.key_type, key.peer, key.public_key
            ),
            Self::DemoPeer(peer) => peer.fmt(f),
            Self::DemoGossip {
                published,
                delivered,
            } => write!(
                f,
                "published {published} messages over gossipsub; all {delivered} deliveries arrived"
            ),
            // Texts of the remote are shown escaped: they could steer a terminal.
            Self::Message(message) => write!(
                f,
                "{} {}: {}",
                message.topic.as_str().escape_debug(),
                author(message),
                String::from_utf8_lossy(&message.data).escape_debug()
            ),
            Self::Missed { missed } => write!(f, "{missed} messages came too fast and are lost"),
            Self::Published(message) => message.fmt(f),
            Self::Membership {
                peer,
                topic,
                is_member,
            } => {
                let verb = if *is_member { "joined" } else { "left" };
                write!(f, "{peer} has {verb} {}", topic.escape_debug())
            }
            Self::Info(info) => info.fmt(f),
        }
    }
}

fn author(message: &Received) -> String {
    let author = message.from.map(|author| author.to_string());
    author.unwrap_or_else(|| "somebody".into())
}

impl fmt::Display for PublishedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = match self.peers {
            1 => "one peer".into(),
            count => format!("{count} peers"),
        };
        write!(f, "published {} to {peers}", self.id)?;
        for (peer, reason) in &self.dropped {
            write!(f, "; not to {peer}: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "peer id           {}", self.peer)?;
        // Texts of the remote are shown escaped: they could steer a terminal.
        writeln!(f, "agent             {}", self.agent.escape_debug())?;
        writeln!(
            f,
            "protocol version  {}",
            self.protocol_version.escape_debug()
        )?;
        writeln!(f, "public key        {}", self.public_key)?;
        let record = if self.signed_record { "yes" } else { "no" };
        writeln!(f, "signed record     {record}")?;
        let observed = self.observed_addr.as_deref().unwrap_or("-");
        writeln!(f, "sees this node at {observed}")?;
        list(f, "listens on", &self.listen_addrs)?;
        f.write_str("\n")?;
        list(f, "speaks", &self.protocols)
    }
}

/// The first entry beside the title, the others below it.
fn list(f: &mut fmt::Formatter<'_>, title: &str, entries: &[String]) -> fmt::Result {
    write!(f, "{title:<18}")?;
    let entries: Vec<_> = entries
        .iter()
        .map(|it| it.escape_debug().to_string())
        .collect();
    f.write_str(&entries.join("\n                  "))
}

impl fmt::Display for Echoed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "echoed {} bytes in {:.3} s ({}), sha256 {}",
            self.bytes,
            self.elapsed.as_secs_f64(),
            rate(self.bytes, self.elapsed),
            self.sha256
        )?;
        match self.first_byte {
            Some(first) => write!(f, ", first byte after {:.3} ms", milliseconds(first)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("upload  ", self.upload_bytes, self.upload),
            ("download", self.download_bytes, self.download),
        ];
        for (at, (title, bytes, time)) in rows.into_iter().enumerate() {
            let line_end = if at == 0 { "\n" } else { "" };
            let seconds = time.as_secs_f64();
            let rate = rate(bytes, time);
            write!(
                f,
                "{title}  {bytes} bytes in {seconds:.3} s ({rate}){line_end}"
            )?;
        }
        Ok(())
    }
}

impl DemoPeer {
    /// The titles of the columns that `Display` fills.
    pub(crate) fn header() -> String {
        row("peer", "muxer", "security", "round trip", "throughput")
    }
}

impl fmt::Display for DemoPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&row(
            &self.peer.to_string(),
            &self.muxer,
            &self.security,
            &format!("{:.3} ms", milliseconds(self.round_trip)),
            &rate(self.bytes, self.elapsed),
        ))
    }
}

fn row(peer: &str, muxer: &str, security: &str, round_trip: &str, throughput: &str) -> String {
    format!("{peer:<52}  {muxer:<12}  {security:<16}  {round_trip:>10}  {throughput:>11}")
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "peerkit {}\nmuxers      {}\nsecurities  {}\nrouters     {}\nkeys        {}",
            self.version,
            self.muxers.join(", "),
            self.securities.join(", "),
            self.routers.join(", "),
            self.key_types.join(", ")
        )
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

/// Milliseconds with three decimals.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn rate(bytes: u64, time: Duration) -> String {
    if bytes == 0 || time.is_zero() {
        return "-".into();
    }
    format!("{:.1} MB/s", bytes as f64 / 1e6 / time.as_secs_f64())
}

/// Bytes as hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_events_begin_with_their_name() {
        let event = Event::Ping {
            round_trip: Duration::from_micros(410),
        };
        let line = event.to_json().to_string();
        assert_eq!(line, r#"{"event":"ping","ok":true,"ms":0.41}"#);
        assert_eq!(event.to_string(), "round trip 0.410 ms");
    }

    #[test]
    fn an_echo_without_bytes_has_no_first_byte() {
        let echoed = Echoed {
            bytes: 0,
            sha256: hex(&[0xe3, 0x0b]),
            elapsed: Duration::from_millis(2),
            first_byte: None,
        };
        assert!(echoed.to_json()["first_byte_ms"].is_null());
        assert_eq!(
            echoed.to_string(),
            "echoed 0 bytes in 0.002 s (-), sha256 e30b"
        );
    }
}
