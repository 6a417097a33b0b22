#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
//! What honest peers do.

mod common;

use common::{next, run};

#[test]
fn a_message_crosses_a_line_of_three() {
    run(|net| async move {
        let [a, b, c] = [net.node().await, net.node().await, net.node().await];
        a.connect(&b).await;
        b.connect(&c).await;
        let mut at_b = b.join("news", &[&a, &c]).await;
        let mut at_c = c.join("news", &[&b]).await;
        for number in 0..100_u32 {
            let report = a.flood.publish("news", number.to_be_bytes()).await.unwrap();
            assert_eq!((report.peers, &report.dropped[..]), (1, &[][..]));
        }
        for number in 0..100_u32 {
            for (subscription, source) in [(&mut at_b, &a), (&mut at_c, &b)] {
                let message = next(subscription).await;
                assert_eq!(message.data, number.to_be_bytes()[..]);
                assert_eq!(message.from, Some(a.host.local_peer()));
                assert_eq!(message.source, source.host.local_peer());
                assert!(message.signed);
            }
        }
        let metrics = b.flood.metrics();
        let topic = metrics.topics[0].1;
        assert_eq!(
            (topic.received, topic.new, topic.delivered, topic.sent),
            (100, 100, 100, 100)
        );
    });
}
