//! The steps from a raw pipe to a connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::{FutureExt, future::BoxFuture};
use peerkit_core::{
    Channel, ConnectionInfo, Handshake, Io, MuxerContext, MuxerUpgrade, NegotiationError,
    NewConnection, Optimism, ProtocolId, Role, Runtime, Secured, SecurityUpgrade, Stage,
    UpgradeError, UpgradeRequest, Upgrader, Wire, with_deadline,
};

use crate::{
    UpgradeConfig,
    negotiation::{Carrier, SecuredCarrier, answer, propose, propose_eagerly},
};

/// Negotiates security and muxer with multistream-select, best first, and runs both.
///
/// As dialer with [`Optimism::Eager`] it proposes the first security protocol
/// together with its first handshake message, and the first muxer together with
/// the muxer's first frames; a muxer that was agreed on inside the handshake
/// needs no negotiation at all. So the application's first byte can leave one
/// round trip after the transport has connected.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct StandardUpgrader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtime: Arc<dyn Runtime>,
    securities: Vec<Arc<dyn SecurityUpgrade>>,
    muxers: Vec<Arc<dyn MuxerUpgrade>>,
    security_ids: Arc<[ProtocolId]>,
    muxer_ids: Arc<[ProtocolId]>,
    config: UpgradeConfig,
}

impl StandardUpgrader {
    /// An upgrader for the given protocols, the preferred ones first.
    ///
    /// # Panics
    ///
    /// If there is no security protocol or no muxer.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        securities: Vec<Arc<dyn SecurityUpgrade>>,
        muxers: Vec<Arc<dyn MuxerUpgrade>>,
        config: UpgradeConfig,
    ) -> Self {
        assert!(
            !securities.is_empty(),
            "an upgrader needs a security protocol"
        );
        assert!(!muxers.is_empty(), "an upgrader needs a muxer");
        let security_ids = securities.iter().map(|it| it.protocol().clone()).collect();
        let muxer_ids = muxers.iter().map(|it| it.protocol().clone()).collect();
        Self {
            shared: Arc::new(Shared {
                runtime,
                securities,
                muxers,
                security_ids,
                muxer_ids,
                config,
            }),
        }
    }
}

impl Upgrader for StandardUpgrader {
    fn upgrade(
        &self,
        io: Box<dyn Io>,
        request: UpgradeRequest,
    ) -> BoxFuture<'static, Result<NewConnection, UpgradeError>> {
        let shared = self.shared.clone();
        async move {
            let since = shared.runtime.now();
            let wire = Wire::new(io);
            let run = Upgrade {
                shared: &shared,
                request,
                since,
                heard: wire.heard(),
            };
            run.upgrade(wire).await
        }
        .boxed()
    }
}

/// One upgrade under way.
struct Upgrade<'a> {
    shared: &'a Shared,
    request: UpgradeRequest,
    since: Instant,
    heard: Arc<AtomicBool>,
}

impl Upgrade<'_> {
    async fn upgrade(self, mut wire: Wire) -> Result<NewConnection, UpgradeError> {
        let security = self.choose_security(&mut wire).await?;
        let secured = self.secure(security.as_ref(), wire).await?;
        let mut channel = secured.channel;
        let muxer = self
            .choose_muxer(&mut channel, secured.early_muxer.as_ref())
            .await?;
        let context = MuxerContext {
            role: self.request.role,
            runtime: self.shared.runtime.clone(),
        };
        let info = ConnectionInfo {
            remote_peer: secured.remote_peer,
            remote_key: secured.remote_key,
            local_addr: self.request.local_addr.clone(),
            remote_addr: self.request.remote_addr.clone(),
            direction: self.request.direction,
            security: security.protocol().clone(),
            muxer: muxer.protocol().clone(),
        };
        let (connection, driver) = muxer.upgrade(channel, context);
        Ok(NewConnection {
            connection,
            driver,
            info,
        })
    }

    async fn choose_security(
        &self,
        wire: &mut Wire,
    ) -> Result<Arc<dyn SecurityUpgrade>, UpgradeError> {
        let stage = Stage::SecurityNegotiation;
        let securities = &self.shared.securities;
        if self.is_eager() {
            let first = securities[0].clone();
            let answer = propose_eagerly(wire, first.protocol().clone())
                .map_err(|source| UpgradeError::Negotiation { stage, source })?;
            wire.expect(Box::new(answer));
            return Ok(first);
        }
        let ids = &self.shared.security_ids;
        let chosen = self.within(stage, self.negotiate(wire, ids)).await?;
        let chosen = chosen.map_err(|source| UpgradeError::Negotiation { stage, source })?;
        let found = securities.iter().find(|it| *it.protocol() == chosen);
        Ok(found.expect("only own protocols are agreed on").clone())
    }

    async fn secure(
        &self,
        security: &dyn SecurityUpgrade,
        wire: Wire,
    ) -> Result<Secured, UpgradeError> {
        let handshake = Handshake {
            wire,
            role: self.request.role,
            expected_peer: self.request.expected_peer,
            muxers: self.shared.muxer_ids.to_vec(),
        };
        let secured = self
            .within(Stage::Handshake, security.secure(handshake))
            .await?;
        Ok(secured?)
    }

    async fn choose_muxer(
        &self,
        channel: &mut Channel,
        early: Option<&ProtocolId>,
    ) -> Result<&Arc<dyn MuxerUpgrade>, UpgradeError> {
        let muxers = &self.shared.muxers;
        let by_id = |id: &ProtocolId| muxers.iter().find(|it| it.protocol() == id);
        if let Some(muxer) = early.and_then(by_id) {
            return Ok(muxer);
        }
        if self.is_eager() {
            let first = &muxers[0];
            self.in_channel(channel, async |carrier| {
                propose_eagerly(carrier, first.protocol().clone())
            })
            .await
            .map(|answer| channel.expect(Box::new(answer)))?;
            return Ok(first);
        }
        let ids = &self.shared.muxer_ids;
        let chosen = self
            .in_channel(channel, async |carrier| self.negotiate(carrier, ids).await)
            .await?;
        Ok(by_id(&chosen).expect("only own protocols are agreed on"))
    }

    async fn in_channel<T>(
        &self,
        channel: &mut Channel,
        work: impl AsyncFnOnce(&mut SecuredCarrier<'_>) -> Result<T, NegotiationError>,
    ) -> Result<T, UpgradeError> {
        let stage = Stage::MuxerNegotiation;
        let mut carrier = SecuredCarrier {
            channel,
            failure: None,
        };
        let outcome = self.within(stage, work(&mut carrier)).await?;
        match carrier.failure {
            Some(failure) => Err(failure.into()),
            None => outcome.map_err(|source| UpgradeError::Negotiation { stage, source }),
        }
    }

    async fn negotiate(
        &self,
        carrier: &mut dyn Carrier,
        ids: &Arc<[ProtocolId]>,
    ) -> Result<ProtocolId, NegotiationError> {
        match self.request.role {
            Role::Dialer => propose(carrier, ids.to_vec()).await,
            Role::Listener => answer(carrier, ids.clone()).await,
        }
    }

    fn is_eager(&self) -> bool {
        self.request.role == Role::Dialer && self.request.optimism == Optimism::Eager
    }

    /// Runs one stage within what is left of the whole upgrade's time.
    async fn within<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = T>,
    ) -> Result<T, UpgradeError> {
        let limit = self.shared.config.timeout;
        let now = self.shared.runtime.now();
        let left = limit.saturating_sub(now.saturating_duration_since(self.since));
        with_deadline(self.shared.runtime.as_ref(), left, work)
            .await
            .ok_or_else(|| UpgradeError::Timeout {
                stage,
                limit,
                heard: self.heard.load(Ordering::Relaxed),
            })
    }
}
