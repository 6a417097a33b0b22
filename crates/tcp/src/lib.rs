#![doc = include_str!("../README.md")]

mod address;
mod config;
mod connect;
mod error;
mod interfaces;
mod listener;
mod ports;
mod transport;

pub use config::Config;
pub use error::{ConnectAttempt, ConnectAttempts};
pub use transport::Tcp;
