//! Redis itself: where it is, connections that mend themselves, scripts, and how their replies are read.

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod reader;
pub(crate) mod script;
pub(crate) mod sentinel;
