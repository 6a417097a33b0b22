//! `peerkit ping`: round trips.

use std::time::Duration;

use peerkit::{Host, core::sleep_until};

use crate::{
    arguments::PingArguments,
    failure::Failure,
    output::{Event, Output},
};

pub(crate) async fn run(
    host: &Host,
    arguments: &PingArguments,
    output: Output,
) -> Result<(), Failure> {
    let mut pinger = host.ping().open(arguments.target.addr()?).await?;
    for at in 0..arguments.count {
        if at > 0 {
            sleep_until(host.runtime().as_ref(), host.runtime().now() + PAUSE).await;
        }
        let round_trip = pinger.ping().await?;
        output.event(&Event::Ping { round_trip })?;
    }
    Ok(())
}

/// Between two pings. Remotes limit how many pings a second they answer, and
/// their waiting would count as time on the way.
const PAUSE: Duration = Duration::from_millis(100);
