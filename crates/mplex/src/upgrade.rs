//! The machine on a channel.

use std::sync::Arc;

use futures::future::BoxFuture;
use peerkit_core::{
    Channel, Connection, DriverConfig, MuxerContext, MuxerUpgrade, ProtocolId, SessionConnection,
};

use crate::{Config, Session};

/// The name under which mplex is negotiated.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/mplex/6.7.0");

/// Multiplexes channels with mplex.
#[derive(Clone, Debug)]
pub struct Mplex {
    protocol: ProtocolId,
    config: Config,
    driver: DriverConfig,
}

impl Mplex {
    /// A muxer whose sessions have these limits.
    pub fn new(config: Config) -> Self {
        Self {
            protocol: PROTOCOL,
            config,
            driver: DriverConfig::default(),
        }
    }

    /// The same muxer with other limits of the task that drives each connection.
    pub fn with_driver_config(self, driver: DriverConfig) -> Self {
        Self { driver, ..self }
    }
}

impl Default for Mplex {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl MuxerUpgrade for Mplex {
    fn protocol(&self) -> &ProtocolId {
        &self.protocol
    }

    fn upgrade(
        &self,
        channel: Channel,
        context: MuxerContext,
    ) -> (Arc<dyn Connection>, BoxFuture<'static, ()>) {
        let now = context.runtime.now();
        let session = Session::new(self.config.clone(), context.role, channel.layout(), now);
        SessionConnection::start(
            channel,
            Box::new(session),
            context.runtime,
            self.driver.clone(),
        )
    }
}
