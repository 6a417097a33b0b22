//! What libp2p's publish/subscribe protocols share.

mod id;
mod message;
mod router;
mod rpc;
mod seen;
mod topic;

pub use id::{MessageId, MessageIdFn};
pub use message::Message;
pub use router::{Outgoing, PeerLink, PublishRefused, Published, Router, RouterEvent, Verdict};
pub use rpc::{Control, Extensions, IHave, Partial, PeerInfo, Prune, Rpc, SubscriptionChange};
pub use seen::SeenCache;
pub use topic::Topic;
