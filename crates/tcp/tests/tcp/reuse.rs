//! Dialing from the port of a listener.

use std::io;

use futures::{executor::block_on, future::join};
use peerkit_tcp::Config;

use crate::{
    accept, addr, dial,
    fake::{FakeRuntime, Rule, Script},
    fake_tcp, listen, port, tcp,
};

fn reusing() -> Config {
    let mut config = Config::default();
    config.reuse_port = true;
    config
}

#[test]
fn others_see_the_listeners_port() {
    block_on(async {
        let (here, there) = (tcp(reusing()), tcp(Config::default()));
        let (_listener, own) = listen(&here, "/ip4/127.0.0.1/tcp/0").await;
        let (mut remote, address) = listen(&there, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&here, &address), accept(&mut remote)).await;
        assert_eq!(dialed.unwrap().info.local_addr, own);
        assert_eq!(accepted.unwrap().info.remote_addr, own);
    });
}

#[test]
fn a_second_connection_to_the_same_remote_takes_another_port() {
    block_on(async {
        let (here, there) = (tcp(reusing()), tcp(Config::default()));
        let (_listener, own) = listen(&here, "/ip4/127.0.0.1/tcp/0").await;
        let (mut remote, address) = listen(&there, "/ip4/127.0.0.1/tcp/0").await;
        let (first, kept) = join(dial(&here, &address), accept(&mut remote)).await;
        let (second, accepted) = join(dial(&here, &address), accept(&mut remote)).await;
        assert!(kept.is_ok() && accepted.is_ok());
        assert_eq!(first.unwrap().info.local_addr, own);
        assert_ne!(second.unwrap().info.local_addr, own);
    });
}

#[test]
fn a_wildcard_listener_lends_its_port() {
    block_on(async {
        let (here, there) = (tcp(reusing()), tcp(Config::default()));
        let (_listener, own) = listen(&here, "/ip4/0.0.0.0/tcp/0").await;
        let (mut remote, address) = listen(&there, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&here, &address), accept(&mut remote)).await;
        assert!(dialed.is_ok());
        assert_eq!(port(&accepted.unwrap().info.remote_addr), port(&own));
    });
}

#[test]
fn without_the_option_or_a_listener_the_system_chooses() {
    block_on(async {
        let runtime = FakeRuntime::new(Script::default());
        let (plain, reusing) = (
            fake_tcp(&runtime, Config::default()),
            fake_tcp(&runtime, reusing()),
        );
        let (mut listener, address) = listen(&plain, "/ip4/127.0.0.1/tcp/0").await;
        for tcp in [&plain, &reusing] {
            let (dialed, accepted) = join(dial(tcp, &address), accept(&mut listener)).await;
            assert!(dialed.is_ok() && accepted.is_ok());
        }
        let dialed = runtime.script(|script| std::mem::take(&mut script.dialed));
        assert!(dialed.iter().all(|(_, options)| options.bind.is_none()));
    });
}

#[test]
fn a_port_that_can_not_be_shared_is_given_up_for_another() {
    for kind in [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable] {
        block_on(async {
            let runtime = FakeRuntime::new(Script::default());
            let tcp = fake_tcp(&runtime, reusing());
            let (_own, _) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
            let other = fake_tcp(&runtime, Config::default());
            let (mut remote, address) = listen(&other, "/ip4/127.0.0.1/tcp/0").await;
            let socket = format!("127.0.0.1:{}", port(&address)).parse().unwrap();
            runtime.script(|script| script.rules.insert(socket, Rule::FailWhenBound(kind)));
            let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut remote)).await;
            assert!(dialed.is_ok() && accepted.is_ok());
            let binds = runtime.script(|script| {
                let options = script.dialed.iter().map(|(_, options)| options);
                options
                    .map(|options| options.bind.is_some())
                    .collect::<Vec<_>>()
            });
            assert_eq!(binds, [true, false]);
        });
    }
}

#[test]
fn a_node_that_dials_itself_reaches_its_listener() {
    block_on(async {
        let tcp = tcp(reusing());
        let (mut listener, address) = listen(&tcp, "/ip4/127.0.0.1/tcp/0").await;
        let (dialed, accepted) = join(dial(&tcp, &address), accept(&mut listener)).await;
        assert_ne!(dialed.unwrap().info.local_addr, address);
        assert!(accepted.is_ok());
    });
}

#[test]
fn a_socket_connected_with_itself_counts_as_refused() {
    block_on(async {
        let runtime = FakeRuntime::new(Script::default());
        let tcp = fake_tcp(&runtime, Config::default());
        let target = "/ip4/192.0.2.1/tcp/7";
        runtime.script(|script| {
            script
                .rules
                .insert("192.0.2.1:7".parse().unwrap(), Rule::ToItself)
        });
        let error = dial(&tcp, &addr(target)).await.unwrap_err();
        let peerkit_core::TransportError::Connect(source) = error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    });
}
