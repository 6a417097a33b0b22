//! Yamux as a muxer of connections.

use std::sync::Arc;

use futures::future::BoxFuture;
use peerkit_core::{
    Channel, Connection, DriverConfig, MuxerContext, MuxerUpgrade, ProtocolId, SessionConnection,
};

use crate::{Config, Session, limits::Reserve};

/// The yamux muxer.
#[derive(Clone, Debug)]
pub struct Yamux {
    config: Config,
    reserve: Reserve,
    driver: DriverConfig,
}

impl Yamux {
    /// Every connection gets a [`Session`] with this configuration. Clones share what sessions share.
    pub fn new(config: Config) -> Self {
        Self {
            reserve: Reserve::new(&config),
            config,
            driver: DriverConfig::default(),
        }
    }

    /// Sets the limits of the task that moves a connection's bytes.
    pub fn with_driver(mut self, driver: DriverConfig) -> Self {
        self.driver = driver;
        self
    }
}

impl Default for Yamux {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl MuxerUpgrade for Yamux {
    fn protocol(&self) -> &ProtocolId {
        &PROTOCOL
    }

    fn upgrade(
        &self,
        channel: Channel,
        context: MuxerContext,
    ) -> (Arc<dyn Connection>, BoxFuture<'static, ()>) {
        let MuxerContext { role, runtime } = context;
        let (reserve, config) = (self.reserve.clone(), self.config.clone());
        let session = Session::sharing(reserve, config, role, channel.layout(), runtime.now());
        SessionConnection::start(channel, Box::new(session), runtime, self.driver.clone())
    }
}

static PROTOCOL: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");
