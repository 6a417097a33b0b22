//! Publish/subscribe between processes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Listener, events, failure, run_with_stdin, text};
use serde_json::Value;

#[test]
fn gossipsub_messages_arrive_signed() {
    messages_arrive("gossipsub", &[]);
}

#[test]
fn floodsub_messages_arrive_signed() {
    messages_arrive("floodsub", &[]);
}

#[test]
fn unsigned_messages_arrive_where_they_are_wanted() {
    messages_arrive("gossipsub", &["--unsigned"]);
    messages_arrive("floodsub", &["--unsigned"]);
}

fn messages_arrive(router: &str, options: &[&str]) {
    let options = [&["--router", router], options].concat();
    let mut listener =
        Listener::start(&[&["--topic", "news", "--topic", "more"], &*options].concat());
    let publish = ["pubsub", "publish", "news", "--connect", &listener.addr];
    let publish = [&publish, &*options, &["--message", "hello", "--count", "3"]].concat();
    let events = events(&publish);
    let of = |name: &str| -> Vec<_> { events.iter().filter(|it| it["event"] == name).collect() };
    assert_eq!(of("subscribed").len(), 1, "{events:?}");
    let published = of("published");
    assert_eq!(published.len(), 3, "{events:?}");
    for (number, published) in published.into_iter().enumerate() {
        assert_eq!(published["peers"], 1);
        assert_eq!(published["dropped"], Value::Array(Vec::new()));
        let message = listener.event("message");
        assert_eq!(message["topic"], "news");
        assert_eq!(message["data"], format!("hello {}", number + 1));
        assert_eq!(message["id"], published["id"]);
        let unsigned = options.contains(&"--unsigned");
        assert_eq!(message["signed"], !unsigned);
        assert_eq!(message["from"].is_null(), unsigned);
    }
    listener.stop();
}

#[test]
fn lines_of_stdin_are_messages_and_large_ones_arrive() {
    let mut listener = Listener::start(&["--topic", "news"]);
    let publish = [
        "pubsub",
        "publish",
        "news",
        "--connect",
        &listener.addr.clone(),
    ];
    let output = run_with_stdin(&[&publish[..], &["--stdin"]].concat(), b"one\ntwo\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(listener.event("message")["data"], "one");
    assert_eq!(listener.event("message")["data"], "two");

    events(&[&publish[..], &["--size", "300000"]].concat());
    assert_eq!(listener.event("message")["bytes"], 300_000);
    listener.stop();
}

#[test]
fn a_subscriber_ends_after_its_messages_and_is_seen_to_leave() {
    let mut publisher = Listener::start_command(&[
        "pubsub",
        "publish",
        "news",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--count",
        "5",
        "--until-stdin-ends",
    ]);
    let subscribe = [
        "pubsub",
        "subscribe",
        "news",
        "--connect",
        &publisher.addr.clone(),
    ];
    let events = events(&[&subscribe[..], &["--count", "5"]].concat());
    let messages = events.iter().filter(|it| it["event"] == "message");
    assert_eq!(messages.count(), 5, "{events:?}");
    assert_eq!(publisher.event("subscribed")["topic"], "news");
    assert_eq!(publisher.event("unsubscribed")["topic"], "news");
    publisher.expect_end();
}

#[test]
fn a_chat_says_what_stdin_says() {
    let mut listener = Listener::start(&["--topic", "kitchen"]);
    let chat = [
        "chat",
        "kitchen",
        "--name",
        "ann",
        "--connect",
        &listener.addr.clone(),
    ];
    let output = run_with_stdin(&chat, b"dinner is ready\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(listener.event("message")["data"], "ann: dinner is ready");
    listener.stop();
}

#[test]
fn what_is_too_large_or_too_long_is_said_in_a_sentence() {
    let listener = Listener::start(&["--topic", "news"]);
    let publish = ["pubsub", "publish", "news", "--connect", &listener.addr];
    let sentence = failure(&[&publish[..], &["--size", "2000000"]].concat());
    assert!(sentence.contains("1048576"), "{sentence}");
    let topic = "x".repeat(100_000);
    let sentence = failure(&["pubsub", "subscribe", &topic, "--connect", &listener.addr]);
    assert!(sentence.contains("100000 bytes"), "{sentence}");
    listener.stop();
}
