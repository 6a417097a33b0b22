//! Events for people.

use std::{fmt, time::Duration};

use peerkit::pubsub::Received;

use super::{
    DemoPeer, Echoed, Event, Identity, Info, Measured, PublishedMessage, Refused, direction,
    milliseconds,
};

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

fn rate(bytes: u64, time: Duration) -> String {
    if bytes == 0 || time.is_zero() {
        return "-".into();
    }
    format!("{:.1} MB/s", bytes as f64 / 1e6 / time.as_secs_f64())
}
