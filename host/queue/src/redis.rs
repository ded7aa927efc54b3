//! Redis itself: where it is, connections that mend themselves, scripts, and how their replies are read.

pub(crate) mod address;
mod link;
mod sentinel;
mod server;
mod shared;
mod stream;

pub(crate) mod connection;
pub(crate) mod reader;
pub(crate) mod script;
pub(crate) mod text;
