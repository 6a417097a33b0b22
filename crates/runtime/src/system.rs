//! What every back end takes from the standard library: clock, names, interfaces, randomness.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{TryRng, rngs::SysRng};

#[expect(
    clippy::disallowed_methods,
    reason = "a runtime is where the clock comes from"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A clock set before 1970 reads as 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a runtime is where the clock comes from"
)]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// # Panics
///
/// If the operating system has no randomness, without which no key is safe.
pub(crate) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    SysRng
        .try_fill_bytes(&mut seed)
        .expect("the operating system provides randomness");
    seed
}

/// Asks the system's resolver; blocks the thread.
pub(crate) fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    // The resolver of the standard library wants a port; it does not look at it.
    let mut found = Vec::new();
    for addr in (host, 0).to_socket_addrs()? {
        if !found.contains(&addr.ip()) {
            found.push(addr.ip());
        }
    }
    Ok(found)
}

pub(crate) fn interfaces() -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let ip = interface.ip();
        if interface.is_oper_up() && !found.contains(&ip) {
            found.push(ip);
        }
    }
    Ok(found)
}
