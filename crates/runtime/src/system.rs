//! What every back end takes from the standard library: clock, names, interfaces, randomness.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peerkit_core::Machine;
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

/// What Linux tells of the machine. Where nothing is told, a small machine is assumed.
pub(crate) fn machine() -> Machine {
    let read = |path| std::fs::read_to_string(path).ok();
    let installed = read("/proc/meminfo").and_then(|text| total_memory(&text));
    let granted = read("/sys/fs/cgroup/memory.max")
        .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .and_then(|text| text.trim().parse().ok());
    let memory = installed.into_iter().chain(granted).min();
    let descriptors = read("/proc/self/limits").and_then(|text| open_files(&text));
    Machine::new(
        memory.unwrap_or(UNKNOWN_MEMORY),
        descriptors.unwrap_or(UNKNOWN_DESCRIPTORS),
    )
}

/// 1 GiB, as a single-board computer has.
const UNKNOWN_MEMORY: u64 = 1 << 30;

/// What macOS grants; Windows has no limit on sockets.
const UNKNOWN_DESCRIPTORS: u64 = if cfg!(windows) { 16_384 } else { 256 };

/// `MemTotal:       24683888 kB`
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// `Max open files            1024                 1048576              files`; the first is the one in force.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|it| it.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_understood() {
        let meminfo = "MemTotal:       24683888 kB\nMemFree:  1 kB\n";
        assert_eq!(total_memory(meminfo), Some(24_683_888 * 1024));
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files(limits), Some(1024));
        let unlimited = "Max open files            unlimited            unlimited            files";
        assert_eq!(open_files(unlimited), Some(u64::MAX));
    }

    #[test]
    fn what_it_does_not_tell_is_nothing() {
        for garbage in [
            "",
            "MemTotal: kB",
            "Max open files",
            "MemTotal: 1 MB\nMax open files  x",
        ] {
            assert_eq!(total_memory(garbage), None);
            assert_eq!(open_files(garbage), None);
        }
        let machine = machine();
        assert!(machine.memory > 0 && machine.descriptors > 0);
    }
}
