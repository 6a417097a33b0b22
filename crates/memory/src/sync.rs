//! Locks; the models put their own in their place.

pub(crate) use std::sync::Mutex;

pub(crate) use peerkit_core::lock;
