//! Hosts: connections, streams, handlers and events.
