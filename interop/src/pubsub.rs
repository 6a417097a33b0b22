//! Publish/subscribe: pairs and chains of members of one topic.

use std::{
    collections::BTreeSet,
    fmt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde_json::Value;

use crate::{
    peers::{Peer, Router, Signing, Stack, Talk},
    process::{Member, Unsupported},
    progress::Progress,
    report::{Detail, Table},
};

const MESSAGES: usize = 100;
const TOPIC: &str = "interop";
const TEXT: &str = "message";
const ANY_PORT: &str = "/ip4/127.0.0.1/tcp/0";
/// No message takes longer when it comes at all, even on a busy machine.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// Enough to see that what is known to fail still does.
const KNOWN_FAILURE_MAX: Duration = Duration::from_secs(5);
/// How long the news that someone comes or leaves may take.
const NEWS_MAX: Duration = Duration::from_secs(10);
/// Until a gossipsub node has made its mesh: a heartbeat is one second.
const MESH_TIME: Duration = Duration::from_secs(2);

/// What to run.
pub(crate) struct Options {
    pub(crate) routers: Vec<Router>,
    /// How long the messages may take; never more than 30 seconds.
    pub(crate) timeout: Duration,
}

/// Some members of one topic, and what each of them is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Members<'a> {
    /// Both publish to each other in turn.
    Pair {
        dialer: &'a Peer,
        listener: &'a Peer,
    },
    /// Both ends dial the middle, which carries the messages.
    Chain {
        publisher: &'a Peer,
        middle: &'a Peer,
        subscriber: &'a Peer,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) members: Members<'a>,
    pub(crate) talk: Talk,
}

/// What came of a row: as many cells as the members' kind has columns.
pub(crate) struct Outcome<'a> {
    pub(crate) row: Row<'a>,
    cells: Vec<(&'static str, Cell)>,
}

/// What came of one test.
enum Cell {
    Passed(Duration),
    Failed(Error),
    /// One of the libraries cannot do it, as it says itself.
    Unsupported(String),
    /// Fails between foreign libraries for a reason that is known.
    Known(&'static str, Error),
}

/// One delivery: all messages, and then the news that the subscriber left.
struct Delivery {
    messages: Cell,
    leave: Cell,
}

/// The pairs and the chains that each router allows.
pub(crate) fn plan<'a>(
    peers: &'a [Peer],
    pairs: &[(&'a Peer, &'a Peer)],
    options: &Options,
) -> Vec<Row<'a>> {
    let talks = options.routers.iter().flat_map(|&router| {
        [Signing::Signed, Signing::Unsigned].map(|signing| Talk { router, signing })
    });
    let talks: Vec<_> = talks.collect();
    let meetings = pairs
        .iter()
        .map(|&(dialer, listener)| Members::Pair { dialer, listener });
    let all = meetings.chain(chains(peers, pairs));
    let rows = all.flat_map(|members| talks.iter().map(move |&talk| Row { members, talk }));
    rows.filter(Row::is_possible).collect()
}

/// With peerkit: it stands between any two of the others. Without: each peer
/// stands between two of another kind.
fn chains<'a>(peers: &'a [Peer], pairs: &[(&'a Peer, &'a Peer)]) -> Vec<Members<'a>> {
    let Some(middle) = peers.iter().find(|peer| peer.is_local()) else {
        let chain = |&(end, middle): &(&'a Peer, &'a Peer)| Members::Chain {
            publisher: end,
            middle,
            subscriber: end,
        };
        return pairs.iter().map(chain).collect();
    };
    let foreign = || peers.iter().filter(|peer| !peer.is_local());
    let ends = foreign().flat_map(|publisher| foreign().map(move |end| (publisher, end)));
    ends.map(|(publisher, subscriber)| Members::Chain {
        publisher,
        middle,
        subscriber,
    })
    .collect()
}

/// Runs the rows one after the other.
pub(crate) fn run<'a>(rows: Vec<Row<'a>>, options: &Options) -> Vec<Outcome<'a>> {
    let what = format!("{} meetings of publishers and subscribers", rows.len());
    let progress = Progress::bar(rows.len(), &what);
    let run_one = |row: Row<'a>| {
        progress.now(&row.to_string());
        let outcome = run_row(row, options);
        progress.step();
        progress.line(&outcome.summary());
        outcome
    };
    rows.into_iter().map(run_one).collect()
}

fn run_row<'a>(row: Row<'a>, options: &Options) -> Outcome<'a> {
    let limit = |members: &[&Peer]| {
        let known = known_failure(row.talk, members);
        let most = known.map_or(DELIVERY_MAX, |_| KNOWN_FAILURE_MAX);
        options.timeout.min(most)
    };
    let cells = match row.members {
        Members::Pair { dialer, listener } => {
            let there = [dialer, listener];
            let back = [listener, dialer];
            let went = Delivery::of(deliver(there, Dials::Publisher, row.talk, limit(&there)));
            let came = Delivery::of(deliver(back, Dials::Subscriber, row.talk, limit(&back)));
            let (went, came) = (
                went.explained(row.talk, &there),
                came.explained(row.talk, &back),
            );
            vec![
                ("there", went.messages),
                ("leave there", went.leave),
                ("back", came.messages),
                ("leave back", came.leave),
            ]
        }
        Members::Chain {
            publisher,
            middle,
            subscriber,
        } => {
            let ends = [publisher, middle, subscriber];
            let across = Delivery::of(deliver_across(ends, row.talk, limit(&ends)));
            let across = across.explained(row.talk, &ends);
            vec![
                ("across", across.messages),
                ("come and leave", across.leave),
            ]
        }
    };
    Outcome { row, cells }
}

/// Who of two opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dials {
    Publisher,
    Subscriber,
}

fn deliver(
    [publisher, subscriber]: [&Peer; 2],
    dials: Dials,
    talk: Talk,
    limit: Duration,
) -> Result<Delivery> {
    let publish = publish(publisher, talk);
    let subscribe = subscribe_and_leave(subscriber, talk);
    let (mut publisher, subscriber) = match dials {
        Dials::Publisher => {
            let mut subscriber = start_listener(subscribe, "subscriber")?;
            let publisher = start_dialer(publish, "publisher", &subscriber.address()?)?;
            (publisher, subscriber)
        }
        Dials::Subscriber => {
            let mut publisher = start_listener(publish, "publisher")?;
            let subscriber = start_dialer(subscribe, "subscriber", &publisher.address()?)?;
            (publisher, subscriber)
        }
    };
    let (messages, took) = watch(&publisher, subscriber, None, talk, limit)?;
    let subscriber = match messages {
        Ok(subscriber) => subscriber,
        Err(error) => return Ok(Delivery::incomplete(error)),
    };
    let news = Instant::now();
    // The publisher ends by itself when the subscriber, which stays
    // connected, has told it that it left.
    let leave = publisher.ended(NEWS_MAX).and_then(|()| {
        let took = news.elapsed();
        subscriber.stop()?;
        Ok(took)
    });
    Ok(Delivery::complete(took, leave))
}

/// Both ends dial the middle, the subscriber first.
fn deliver_across(
    [publisher, middle, subscriber]: [&Peer; 3],
    talk: Talk,
    limit: Duration,
) -> Result<Delivery> {
    let carry = middle.pubsub("subscribe", TOPIC, talk);
    let mut middle = start_listener(carry, "middle")?;
    let address = middle.address()?;
    let subscribe = subscribe_and_leave(subscriber, talk);
    let subscriber = start_dialer(subscribe, "subscriber", &address)?;
    let came = middle.wait_for(NEWS_MAX, |events| member(events, "subscribed"));
    subscriber.ensure_supported()?;
    let came = came.with_context(|| {
        let tails = middle.tail() + &subscriber.tail();
        format!("the middle did not see the subscriber come in {NEWS_MAX:?}{tails}")
    })?;
    if talk.router == Router::Gossipsub {
        thread::sleep(MESH_TIME);
    }
    let publisher = start_dialer(publish(publisher, talk), "publisher", &address)?;
    let (messages, took) = watch(&publisher, subscriber, Some(&middle), talk, limit)?;
    let subscriber = match messages {
        Ok(subscriber) => subscriber,
        Err(error) => return Ok(Delivery::incomplete(error)),
    };
    let news = Instant::now();
    let gone = middle.wait_for(NEWS_MAX, |events| {
        (member(events, "unsubscribed")? == came).then_some(())
    });
    let gone = gone.with_context(|| {
        let tail = middle.tail();
        format!("the middle did not see the subscriber leave in {NEWS_MAX:?}{tail}")
    });
    let leave = gone.and_then(|()| {
        let took = news.elapsed();
        subscriber.stop()?;
        publisher.stop()?;
        middle.stop()?;
        Ok(took)
    });
    Ok(Delivery::complete(took, leave))
}

fn start_listener(mut command: Command, role: &'static str) -> Result<Member> {
    command.args(["--listen", ANY_PORT]);
    Member::start(command, role)
}

fn start_dialer(mut command: Command, role: &'static str, address: &str) -> Result<Member> {
    command.args(["--connect", address]);
    Member::start(command, role)
}

/// Waits for all messages, and returns the subscriber if they are as they
/// should be, and how long it took; an error if one of the peers cannot take part.
fn watch(
    publisher: &Member,
    mut subscriber: Member,
    middle: Option<&Member>,
    talk: Talk,
    limit: Duration,
) -> Result<(Result<Member>, Duration)> {
    let start = Instant::now();
    subscriber.wait_for(limit, |events| {
        let over = messages(events).count() >= MESSAGES || publisher.has_given_up();
        over.then_some(())
    });
    publisher.ensure_supported()?;
    subscriber.ensure_supported()?;
    let took = start.elapsed();
    let checked = subscriber.look(|events| check_messages(events, talk));
    let checked = checked.map_err(|error| {
        let published = publisher.look(published);
        let carried = middle.map(|middle| middle.look(|events| distinct(events).len()));
        let carried = carried.map(|carried| format!(", {carried} came to the middle"));
        let tails = [Some(publisher), middle, Some(&subscriber)]
            .into_iter()
            .flatten();
        let tails: String = tails.map(Member::tail).collect();
        let carried = carried.unwrap_or_default();
        anyhow!("{error} in {took:.1?}; {published} were published{carried}{tails}")
    });
    Ok((checked.map(|()| subscriber), took))
}

fn publish(peer: &Peer, talk: Talk) -> Command {
    let mut command = peer.pubsub("publish", TOPIC, talk);
    command.args(["--message", TEXT, "--count", &MESSAGES.to_string()]);
    command
}

fn subscribe_and_leave(peer: &Peer, talk: Talk) -> Command {
    let mut command = peer.pubsub("subscribe", TOPIC, talk);
    command.args(["--count", &MESSAGES.to_string(), "--leave"]);
    command
}

fn messages(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event"] == "message")
}

fn distinct(events: &[Value]) -> BTreeSet<&str> {
    messages(events)
        .filter_map(|message| message["data"].as_str())
        .collect()
}

fn published(events: &[Value]) -> usize {
    events
        .iter()
        .filter(|event| event["event"] == "published")
        .count()
}

/// The peer of the first such event.
fn member(events: &[Value], what: &str) -> Option<String> {
    let event = events.iter().find(|event| event["event"] == what)?;
    Some(event["peer"].as_str()?.to_owned())
}

/// All of them, each once, of one author or of none.
fn check_messages(events: &[Value], talk: Talk) -> Result<()> {
    let (all, different) = (messages(events).count(), distinct(events).len());
    ensure!(
        different >= MESSAGES,
        "{different} of {MESSAGES} messages came"
    );
    ensure!(
        all == different,
        "{} messages came more than once",
        all - different
    );
    for message in messages(events) {
        let text = message["data"].as_str().unwrap_or_default();
        ensure!(
            text.starts_with(TEXT),
            "this is no text that was published: {message}"
        );
        ensure!(message["topic"] == TOPIC, "another topic: {message}");
    }
    let authors: BTreeSet<_> = messages(events)
        .map(|message| message["from"].as_str())
        .collect();
    let expected = match talk.signing {
        Signing::Signed => authors.len() == 1 && !authors.contains(&None),
        Signing::Unsigned => authors == BTreeSet::from([None]),
    };
    ensure!(expected, "{} messages from {authors:?}", talk.signing);
    Ok(())
}

impl Cell {
    /// A failure whose reason is known is named by it.
    fn explained(self, talk: Talk, members: &[&Peer]) -> Self {
        match self {
            Self::Failed(error) => match known_failure(talk, members) {
                Some(why) => Self::Known(why, error),
                None => Self::Failed(error),
            },
            Self::Passed(_) | Self::Unsupported(_) | Self::Known(..) => self,
        }
    }

    fn shown(&self, detail: Detail) -> String {
        match (self, detail) {
            (Self::Passed(took), Detail::Measured) => format!("ok {:.2} s", took.as_secs_f64()),
            (Self::Passed(_), Detail::Verdict) => "ok".to_owned(),
            (Self::Failed(_), _) => "FAILED".to_owned(),
            (Self::Unsupported(_), _) => "-".to_owned(),
            (Self::Known(..), _) => "no".to_owned(),
        }
    }
}

/// Why foreign libraries do not understand each other, the publisher first; docs/interop.md has the
/// evidence. peerkit between two of them carries what it gets, so that they still have to agree on messages.
fn known_failure(talk: Talk, members: &[&Peer]) -> Option<&'static str> {
    let direct = !members.iter().any(|peer| peer.is_local());
    let foreign = members.iter().filter(|peer| !peer.is_local());
    let names: Vec<_> = foreign.map(|peer| peer.name.as_str()).collect();
    match (talk.router, talk.signing, &names[..]) {
        (Router::Floodsub, _, ["rust", other]) if *other != "rust" => {
            Some("rust-libp2p's floodsub does not sign, and has a stream for each RPC")
        }
        (Router::Floodsub, _, names)
            if direct && names.contains(&"rust") && names.iter().any(|&name| name != "rust") =>
        {
            Some("rust-libp2p's floodsub has a stream for each RPC, and does not sign")
        }
        (Router::Floodsub, Signing::Signed, ["py", others @ ..]) if others.contains(&"js") => {
            Some("js-libp2p's floodsub verifies without the zeros that a number begins with")
        }
        (Router::Gossipsub, Signing::Unsigned, [_, "py", _]) => {
            Some("py-libp2p's gossipsub does not forward a second message without an author")
        }
        _ => None,
    }
}

impl Delivery {
    fn of(result: Result<Self>) -> Self {
        let error = match result {
            Ok(delivery) => return delivery,
            Err(error) => error,
        };
        let cell = || match error.downcast_ref::<Unsupported>() {
            Some(why) => Cell::Unsupported(why.to_string()),
            None => Cell::Failed(anyhow!("{error:#}")),
        };
        Self {
            messages: cell(),
            leave: cell(),
        }
    }

    fn complete(messages: Duration, leave: Result<Duration>) -> Self {
        Self {
            messages: Cell::Passed(messages),
            leave: leave.map_or_else(Cell::Failed, Cell::Passed),
        }
    }

    fn incomplete(error: Error) -> Self {
        Self {
            messages: Cell::Failed(error),
            leave: Cell::Failed(anyhow!("not tried, as messages are missing")),
        }
    }

    fn explained(self, talk: Talk, members: &[&Peer]) -> Self {
        Self {
            messages: self.messages.explained(talk, members),
            leave: self.leave.explained(talk, members),
        }
    }
}

impl Row<'_> {
    fn is_possible(&self) -> bool {
        let members: &[&Peer] = match &self.members {
            Members::Pair { dialer, listener } => &[dialer, listener],
            Members::Chain {
                publisher,
                middle,
                subscriber,
            } => &[publisher, middle, subscriber],
        };
        let able =
            |peer: &&Peer| peer.can(Stack::DEFAULT) && peer.routers.contains(&self.talk.router);
        members.iter().all(able)
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.members {
            Members::Pair { dialer, listener } => {
                write!(f, "{} dials {}", dialer.name, listener.name)?;
            }
            Members::Chain {
                publisher,
                middle,
                subscriber,
            } => {
                let (first, last) = (&publisher.name, &subscriber.name);
                write!(f, "{first} to {last} through {}", middle.name)?;
            }
        }
        write!(f, ", {}, {}", self.talk.router, self.talk.signing)
    }
}

impl Outcome<'_> {
    pub(crate) fn passed(&self) -> usize {
        self.count(|cell| matches!(cell, Cell::Passed(_)))
    }

    pub(crate) fn failed(&self) -> usize {
        self.count(|cell| matches!(cell, Cell::Failed(_)))
    }

    fn count(&self, which: impl Fn(&Cell) -> bool) -> usize {
        self.cells.iter().filter(|(_, cell)| which(cell)).count()
    }

    /// One line, and below it what failed and why.
    fn summary(&self) -> String {
        let mut summary = match self.failed() {
            0 => format!("ok     {}", self.row),
            _ => format!("FAILED {}", self.row),
        };
        for (what, cell) in &self.cells {
            match cell {
                Cell::Passed(_) => {}
                Cell::Failed(why) => summary += &format!("\n  {what}: {why:#}"),
                Cell::Unsupported(why) => summary += &format!("\n  {what}: not possible: {why}"),
                Cell::Known(why, error) => {
                    let error = error.to_string();
                    let first = error.lines().next().unwrap_or_default();
                    summary += &format!("\n  {what}: as is known, {why} ({first})");
                }
            }
        }
        summary
    }
}

/// The pairs of a run.
pub(crate) fn pairs_table(outcomes: &[Outcome], detail: Detail) -> Table {
    let mut table = Table::new(&[
        "dialer", "listener", "router", "messages", "there", "leave", "back", "leave",
    ]);
    for Outcome { row, cells } in outcomes {
        if let Members::Pair { dialer, listener } = row.members {
            table.push(line(&[dialer, listener], row.talk, cells, detail));
        }
    }
    table
}

/// The chains of a run.
pub(crate) fn chains_table(outcomes: &[Outcome], detail: Detail) -> Table {
    let mut table = Table::new(&[
        "publisher",
        "middle",
        "subscriber",
        "router",
        "messages",
        "across",
        "come and leave",
    ]);
    for Outcome { row, cells } in outcomes {
        if let Members::Chain {
            publisher,
            middle,
            subscriber,
        } = row.members
        {
            table.push(line(
                &[publisher, middle, subscriber],
                row.talk,
                cells,
                detail,
            ));
        }
    }
    table
}

fn line(
    members: &[&Peer],
    talk: Talk,
    cells: &[(&'static str, Cell)],
    detail: Detail,
) -> Vec<String> {
    let mut line: Vec<_> = members.iter().map(|peer| peer.name.clone()).collect();
    line.extend([talk.router.to_string(), talk.signing.to_string()]);
    line.extend(cells.iter().map(|(_, cell)| cell.shown(detail)));
    line
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde_json::json;

    use super::*;
    use crate::peers::{Language, Launcher};

    #[test]
    fn every_message_has_to_come_once() {
        let events = all_of("A".into());
        assert!(check_messages(&events, SIGNED).is_ok());
        assert!(check_messages(&events[1..], SIGNED).is_err());
        let twice = [&events[..], &events[..1]].concat();
        assert!(check_messages(&twice, SIGNED).is_err());
    }

    #[test]
    fn signed_messages_have_one_author_and_unsigned_ones_none() {
        assert!(check_messages(&all_of(Value::Null), SIGNED).is_err());
        assert!(check_messages(&all_of(Value::Null), UNSIGNED).is_ok());
        assert!(check_messages(&all_of("A".into()), UNSIGNED).is_err());
        let mut events = all_of("A".into());
        events[0]["from"] = "B".into();
        assert!(check_messages(&events, SIGNED).is_err());
    }

    #[test]
    fn peerkit_stands_between_any_two_others() {
        let peers = [
            Peer::local(Path::new("peerkit"), BTreeMap::new()),
            foreign(Language::Go),
            foreign(Language::Js),
        ];
        let shown: Vec<_> = chains(&peers, &[]).iter().map(shown).collect();
        assert_eq!(shown, ["go go", "go js", "js go", "js js"]);
    }

    #[test]
    fn nothing_between_peerkit_and_another_is_known_to_fail() {
        let local = Peer::local(Path::new("peerkit"), BTreeMap::new());
        let (py, js) = (foreign(Language::Py), foreign(Language::Js));
        let talk = Talk {
            router: Router::Floodsub,
            signing: Signing::Signed,
        };
        assert!(known_failure(talk, &[&py, &local]).is_none());
        assert!(known_failure(talk, &[&local, &js]).is_none());
        assert!(known_failure(talk, &[&py, &js]).is_some());
    }

    const SIGNED: Talk = Talk {
        router: Router::Gossipsub,
        signing: Signing::Signed,
    };
    const UNSIGNED: Talk = Talk {
        router: Router::Gossipsub,
        signing: Signing::Unsigned,
    };

    fn all_of(author: Value) -> Vec<Value> {
        let message = |number: usize| {
            let data = format!("{TEXT} {number}");
            json!({"event": "message", "topic": TOPIC, "from": author, "data": data})
        };
        (1..=MESSAGES).map(message).collect()
    }

    fn foreign(language: Language) -> Peer {
        let info = json!({"muxers": ["yamux"], "securities": ["noise"], "routers": ["floodsub"]});
        Peer::of_info(language, Launcher::new("peer".into(), []), &info)
    }

    fn shown(members: &Members) -> String {
        let Members::Chain {
            publisher,
            subscriber,
            ..
        } = members
        else {
            return "a pair".to_owned();
        };
        format!("{} {}", publisher.name, subscriber.name)
    }
}
