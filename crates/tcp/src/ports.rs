//! Where this transport listens, for dialing from the same port.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use peerkit_core::lock;

/// The sockets of all listeners. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListeningPorts(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    sockets: BTreeMap<u64, SocketAddr>,
}

/// A place on the list, until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    ports: ListeningPorts,
    id: u64,
}

impl ListeningPorts {
    pub(crate) fn add(&self, local: SocketAddr) -> Registration {
        let mut list = lock(&self.0);
        let id = list.next;
        list.next += 1;
        list.sockets.insert(id, local);
        Registration {
            ports: self.clone(),
            id,
        }
    }

    /// The oldest listener's socket from which `remote` can be reached.
    pub(crate) fn local_for(&self, remote: IpAddr) -> Option<SocketAddr> {
        let list = lock(&self.0);
        let mut sockets = list.sockets.values();
        sockets.find(|local| reaches(local.ip(), remote)).copied()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.ports.0).sockets.remove(&self.id);
    }
}

fn reaches(local: IpAddr, remote: IpAddr) -> bool {
    let same_family = local.is_ipv4() == remote.is_ipv4();
    same_family && (local.is_unspecified() || local.is_loopback() == remote.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_chosen_that_reaches_the_remote() {
        let ports = ListeningPorts::default();
        let add = |text: &str| ports.add(text.parse().unwrap());
        let find = |text: &str| {
            let local = ports.local_for(text.parse().unwrap());
            local.map(|local| local.to_string())
        };
        assert_eq!(find("192.0.2.1"), None);
        let _loopback = add("127.0.0.1:1");
        let public = add("192.0.2.7:2");
        let _all = add("0.0.0.0:3");
        assert_eq!(find("127.0.0.1").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(find("192.0.2.1").as_deref(), Some("192.0.2.7:2"));
        assert_eq!(find("::1"), None);
        drop(public);
        assert_eq!(find("192.0.2.1").as_deref(), Some("0.0.0.0:3"));
    }
}
