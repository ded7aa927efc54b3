//! Pooled sessions of Postgres, for users who do not trust each other: nothing of a session reaches its next user, and
//! nothing that the server sends is held beyond a limit. Knows neither wasm nor Redis.
//!
//! A [`Pool`] hands out [`Lease`]s; a lease runs statements, one round trip each, on one [`Session`]. When it is dropped,
//! the session is put back, reset first, or closed, as `pool/give_back.rs` decides.
//!
//! The messages are those of `postgres-protocol`. The exchange is ours (`session.rs`): a message is judged by its length
//! before it is read, the server's word on the state of the transaction is kept, and a statement whose user is gone is
//! cancelled at the server.

mod address;
mod array;
mod connect;
mod error;
mod framed;
mod pool;
mod session;
mod statement;
mod statements;
mod value;

pub use address::{Address, AddressError};
pub use error::{Error, ServerError};
pub use pool::{Lease, Pool, PoolOptions};
pub use session::{Bounds, Column, Isolation, Rows, Session, Transaction};
pub use statement::{Kind, Statement};
pub use value::Value;
