//! What commands print: readable lines, or one JSON object a line.

mod json;
mod text;

use std::{io::Write, time::Duration};

use peerkit::{
    Direction, HostEvent, Multiaddr, PeerId, core::ConnectionInfo, pubsub::Received,
    swarm::LimitExceeded,
};
use serde_json::json;

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
