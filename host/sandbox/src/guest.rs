//! What a guest can call: one file for each WIT interface, the data of its store, and the linker.

mod current_attempt;
mod current_job;
mod files;
mod held;
mod http;
mod jobs;
mod keyvalue;
mod last_lines;
mod logging;
mod notes;
mod output;
mod polls;
mod postgres;
mod producer;
mod queues;
mod schedulers;
mod sockets;
mod state;
mod steps;
mod stream_errors;
mod wasi;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Processor;
use crate::bindings::plain::toril::processor::current_job as plain_job;
use crate::bindings::postgres::toril::postgres::client;
pub use current_attempt::AttemptInput;
pub(crate) use current_job::InvalidData;
#[allow(unreachable_pub, reason = "they are in what is generated")]
pub use postgres::{ConnectionHandle, TransactionHandle};
pub(crate) use state::AttemptState;
pub(crate) use wasi::too_many_handles;

/// Offers a guest everything that it may import. What needs a grant gives nothing without; a component that
/// imports it was refused before.
pub(crate) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    files::add_to_linker(linker)?;
    polls::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    held::add_to_linker(linker)?;
    stream_errors::add_to_linker(linker)?;
    wasmtime_wasi_config::add_to_linker(linker, |state| state.wasi_config())?;
    keyvalue::add_to_linker(linker)?;
    Processor::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)?;
    client::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)?;
    // All that the other world imports besides.
    plain_job::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)
}
