use peerkit_core::Direction;
use peerkit_gossipsub::{Config, Version};
use peerkit_pubsub::{Extensions, Outgoing, Router};

use crate::node::{Node, peer, topic};

const TEST: Extensions = Extensions {
    partial_messages: false,
    test: true,
};

fn testing() -> Config {
    Config {
        test_extension: true,
        ..Config::default()
    }
}

#[test]
fn the_hello_names_topics_and_to_new_peers_extensions() {
    let mut node = Node::new(testing());
    node.subscribe();
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    node.connect_as(2, Version::V1_2, Direction::Inbound);
    let hello = |extensions| Outgoing::Hello(vec![crate::node::joining(&topic())], extensions);
    assert_eq!(
        node.sent,
        [(peer(1), hello(Some(TEST))), (peer(2), hello(None))]
    );
}

#[test]
fn a_node_with_nothing_to_say_says_nothing() {
    let mut node = Node::new(Config::default());
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    assert_eq!(node.sent, []);
}

#[test]
fn both_sides_with_the_test_extension_send_its_message() {
    let mut node = Node::new(testing());
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    node.forget_output();
    node.extends(1, TEST);
    assert_eq!(node.sent, [(peer(1), Outgoing::TestExtension)]);
}

#[test]
fn one_side_alone_sends_none() {
    let mut node = Node::new(Config::default());
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    node.extends(1, TEST);
    assert_eq!(node.sent, []);
}

#[test]
fn a_second_extensions_message_is_punished() {
    let mut node = Node::new(testing());
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    node.extends(1, TEST);
    assert_eq!(node.score(1).behaviour, 0.0);
    node.forget_output();
    node.extends(1, TEST);
    assert_eq!(node.score(1).behaviour, -810.0);
    assert_eq!(node.sent, []);
}

#[test]
fn extensions_after_the_first_rpc_are_punished() {
    let mut node = Node::new(testing());
    node.member_as(1, Version::V1_3, Direction::Inbound);
    node.forget_output();
    node.extends(1, TEST);
    assert!(node.score(1).behaviour < 0.0);
    assert_eq!(node.sent, []);
}

#[test]
fn a_new_stream_begins_with_extensions_again() {
    let mut node = Node::new(testing());
    node.connect_as(1, Version::V1_3, Direction::Inbound);
    node.extends(1, TEST);
    node.router.handle_stream(&peer(1), node.now);
    node.extends(1, TEST);
    assert_eq!(node.score(1).behaviour, 0.0);
}
