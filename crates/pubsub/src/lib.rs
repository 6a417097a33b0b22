//! What libp2p's publish/subscribe protocols share.

mod message;
mod router;
mod rpc;
mod topic;

pub use message::{Message, MessageId};
pub use router::{Outgoing, PeerLink, PublishRefused, Published, Router, RouterEvent, Verdict};
pub use rpc::{Control, Extensions, IHave, Partial, PeerInfo, Prune, Rpc, SubscriptionChange};
pub use topic::Topic;
