//! Putting a node together.

use std::{fmt, sync::Arc};

use peerkit_core::{
    Keypair, Multiaddr, MuxerUpgrade, Runtime, SecurityError, SecurityUpgrade, Transport, Upgrader,
};
use peerkit_swarm::HostConfig;
use peerkit_upgrade::{StandardUpgrader, UpgradeConfig};

use crate::{BuildError, Host};

/// Builds a [`Host`]. Everything has a default; what is named replaces it.
///
/// Securities and muxers are offered in the order in which they are named; the
/// first time one is named, it replaces the default list.
#[derive(Default)]
pub struct Builder {
    keypair: Option<Keypair>,
    runtime: Option<Arc<dyn Runtime>>,
    listen_on: Vec<Multiaddr>,
    securities: Vec<MakeSecurity>,
    muxers: Vec<Arc<dyn MuxerUpgrade>>,
    transports: Vec<MakeTransport>,
    config: HostConfig,
    upgrade: UpgradeConfig,
    #[cfg(feature = "tcp")]
    tcp: peerkit_tcp::Config,
    #[cfg(feature = "ping")]
    ping: peerkit_ping::Config,
    #[cfg(feature = "identify")]
    identify: peerkit_identify::Config,
}

type MakeSecurity = Box<
    dyn FnOnce(&Keypair, &dyn Runtime) -> Result<Arc<dyn SecurityUpgrade>, SecurityError> + Send,
>;
type MakeTransport =
    Box<dyn FnOnce(Arc<dyn Runtime>, Arc<dyn Upgrader>) -> Arc<dyn Transport> + Send>;

impl Builder {
    /// The identity; a fresh Ed25519 key by default.
    pub fn identity(mut self, keypair: Keypair) -> Self {
        self.keypair = Some(keypair);
        self
    }

    /// The runtime; the async-io reactor with threads of its own by default.
    ///
    /// For example `peerkit::runtime::AsyncStd::new()` or `peerkit::runtime::Tokio::current()`.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// One more address to listen on; none by default.
    pub fn listen_on(mut self, addr: Multiaddr) -> Self {
        self.listen_on.push(addr);
        self
    }

    /// Limits and deadlines.
    pub fn config(mut self, config: HostConfig) -> Self {
        self.config = config;
        self
    }

    /// The deadline for securing and multiplexing a connection.
    pub fn upgrade(mut self, config: UpgradeConfig) -> Self {
        self.upgrade = config;
        self
    }

    /// Offers Noise.
    #[cfg(any(feature = "noise", feature = "ring"))]
    pub fn noise(self) -> Self {
        self.security_with(|keypair, runtime| {
            let noise = peerkit_noise::Noise::with_seed(keypair, runtime.seed())?;
            Ok(Arc::new(noise))
        })
    }

    /// Offers plaintext: no encryption and no proof of identity. For tests only: whoever
    /// sits between two peers can be anybody.
    #[cfg(feature = "plaintext")]
    pub fn danger_plaintext(self) -> Self {
        self.security_with(|keypair, _| Ok(Arc::new(peerkit_plaintext::Plaintext::new(keypair))))
    }

    /// Offers another security protocol, made for the node's identity.
    pub fn security_with(
        mut self,
        make: impl FnOnce(&Keypair, &dyn Runtime) -> Result<Arc<dyn SecurityUpgrade>, SecurityError>
        + Send
        + 'static,
    ) -> Self {
        self.securities.push(Box::new(make));
        self
    }

    /// Offers yamux.
    #[cfg(feature = "yamux")]
    pub fn yamux(self, config: peerkit_yamux::Config) -> Self {
        self.muxer(peerkit_yamux::Yamux::new(config))
    }

    /// Offers mplex.
    #[cfg(feature = "mplex")]
    pub fn mplex(self, config: peerkit_mplex::Config) -> Self {
        self.muxer(peerkit_mplex::Mplex::new(config))
    }

    /// Offers another muxer.
    pub fn muxer(mut self, muxer: impl MuxerUpgrade) -> Self {
        self.muxers.push(Arc::new(muxer));
        self
    }

    /// How TCP is set up.
    #[cfg(feature = "tcp")]
    pub fn tcp(mut self, config: peerkit_tcp::Config) -> Self {
        self.tcp = config;
        self
    }

    /// Adds the in-process transport.
    #[cfg(feature = "memory")]
    pub fn memory(self, network: peerkit_memory::MemoryNetwork) -> Self {
        self.transport_with(move |runtime, upgrader| {
            Arc::new(peerkit_memory::Memory::new(network, runtime, upgrader))
        })
    }

    /// Adds another transport; it is asked before TCP.
    pub fn transport_with(
        mut self,
        make: impl FnOnce(Arc<dyn Runtime>, Arc<dyn Upgrader>) -> Arc<dyn Transport> + Send + 'static,
    ) -> Self {
        self.transports.push(Box::new(make));
        self
    }

    /// How pings are answered.
    #[cfg(feature = "ping")]
    pub fn ping(mut self, config: peerkit_ping::Config) -> Self {
        self.ping = config;
        self
    }

    /// What this node says of itself.
    #[cfg(feature = "identify")]
    pub fn identify(mut self, config: peerkit_identify::Config) -> Self {
        self.identify = config;
        self
    }

    /// The node. It runs when this returns, and listens on every address that was named.
    ///
    /// # Errors
    ///
    /// An address can't be listened on, the identity key can't be used, or a part has no default
    /// because its feature is off.
    ///
    /// Cancel safety: dropping the future closes the node.
    pub async fn build(self) -> Result<Host, BuildError> {
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => default_runtime()?,
        };
        let keypair = match self.keypair {
            Some(keypair) => keypair,
            None => Keypair::ed25519_from_bytes(runtime.seed())
                .expect("any 32 bytes are an Ed25519 secret key"),
        };
        let securities = make_securities(self.securities, &keypair, runtime.as_ref())?;
        let muxers = or_default_muxers(self.muxers)?;
        let upgrader: Arc<dyn Upgrader> = Arc::new(StandardUpgrader::new(
            runtime.clone(),
            securities,
            muxers,
            self.upgrade,
        ));
        let mut builder =
            peerkit_swarm::Host::builder(keypair, runtime.clone()).config(self.config);
        for make in self.transports {
            builder = builder.shared_transport(make(runtime.clone(), upgrader.clone()));
        }
        #[cfg(feature = "tcp")]
        {
            builder = builder.transport(peerkit_tcp::Tcp::new(runtime, upgrader, self.tcp));
        }
        let swarm = builder.build();
        let host = Host {
            #[cfg(feature = "ping")]
            ping: peerkit_ping::Ping::spawn(&swarm, self.ping),
            #[cfg(feature = "identify")]
            identify: peerkit_identify::Identify::spawn(&swarm, self.identify),
            swarm,
        };
        for addr in self.listen_on {
            host.listen(addr).await?;
        }
        Ok(host)
    }
}

fn make_securities(
    makers: Vec<MakeSecurity>,
    keypair: &Keypair,
    runtime: &dyn Runtime,
) -> Result<Vec<Arc<dyn SecurityUpgrade>>, BuildError> {
    if makers.is_empty() {
        return default_securities(keypair, runtime);
    }
    let made = makers.into_iter().map(|make| make(keypair, runtime));
    made.collect::<Result<_, _>>().map_err(BuildError::Identity)
}

#[cfg(any(feature = "noise", feature = "ring"))]
fn default_securities(
    keypair: &Keypair,
    runtime: &dyn Runtime,
) -> Result<Vec<Arc<dyn SecurityUpgrade>>, BuildError> {
    let noise = peerkit_noise::Noise::with_seed(keypair, runtime.seed());
    Ok(vec![Arc::new(noise.map_err(BuildError::Identity)?)])
}

#[cfg(not(any(feature = "noise", feature = "ring")))]
fn default_securities(
    _keypair: &Keypair,
    _runtime: &dyn Runtime,
) -> Result<Vec<Arc<dyn SecurityUpgrade>>, BuildError> {
    Err(BuildError::NoSecurity)
}

fn or_default_muxers(
    named: Vec<Arc<dyn MuxerUpgrade>>,
) -> Result<Vec<Arc<dyn MuxerUpgrade>>, BuildError> {
    if !named.is_empty() {
        return Ok(named);
    }
    let defaults: Vec<Arc<dyn MuxerUpgrade>> = vec![
        #[cfg(feature = "yamux")]
        Arc::new(peerkit_yamux::Yamux::new(peerkit_yamux::Config::default())),
        #[cfg(feature = "mplex")]
        Arc::new(peerkit_mplex::Mplex::new(peerkit_mplex::Config::default())),
    ];
    if defaults.is_empty() {
        return Err(BuildError::NoMuxer);
    }
    Ok(defaults)
}

#[cfg(feature = "async-io")]
fn default_runtime() -> Result<Arc<dyn Runtime>, BuildError> {
    Ok(peerkit_runtime::default())
}

#[cfg(not(feature = "async-io"))]
fn default_runtime() -> Result<Arc<dyn Runtime>, BuildError> {
    Err(BuildError::NoRuntime)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("listen_on", &self.listen_on)
            .field("muxers", &self.muxers)
            .finish_non_exhaustive()
    }
}
