pub(crate) mod network;
pub(crate) mod upgrader;
