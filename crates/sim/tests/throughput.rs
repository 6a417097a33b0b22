//! How much of a long fat link one stream uses.

#[allow(dead_code, reason = "the command uses the rest")]
#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::time::Duration;

use scenarios::throughput::{Transfer, run};

/// The link for which three seconds are allowed; these tests are over earlier.
const LINK: Transfer = Transfer {
    bandwidth: 5_000_000_000,
    round_trip: Duration::from_millis(63),
    time: Duration::from_millis(1200),
    download: false,
};

#[test]
fn an_upload_uses_a_long_fat_link_after_a_second() {
    let progress = run(1, LINK);
    assert!(progress.best() > 0.8, "{progress:?}");
}

#[test]
fn a_download_uses_a_long_fat_link_after_a_second() {
    let download = Transfer {
        download: true,
        ..LINK
    };
    let progress = run(1, download);
    assert!(progress.best() > 0.8, "{progress:?}");
}

#[test]
fn on_a_short_link_a_stream_is_fast_from_the_beginning() {
    let short = Transfer {
        bandwidth: 1_000_000_000,
        round_trip: Duration::from_millis(1),
        time: Duration::from_millis(240),
        download: false,
    };
    let progress = run(1, short);
    let reached = progress.reached(0.8);
    assert!(
        reached.is_some_and(|it| it <= short.time / 4),
        "{progress:?}"
    );
}

#[test]
fn twice_as_far_it_takes_twice_as_long() {
    let far = Transfer {
        round_trip: Duration::from_millis(126),
        time: Duration::from_millis(2400),
        ..LINK
    };
    let progress = run(1, far);
    assert!(progress.best() > 0.8, "{progress:?}");
}
