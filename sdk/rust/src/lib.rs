//! Write BullMQ job processors as WebAssembly components for Toril.
//!
//! A processor is one function, called once per attempt of a job:
//!
//! ```
//! use toril_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Paint {
//!     walls: u32,
//! }
//!
//! #[toril_sdk::processor]
//! fn process(job: Job) -> Result<impl Serialize, Failure> {
//!     let paint: Paint = job.data()?;
//!     job.log(format!("painting {} walls", paint.walls))?;
//!     Ok(json!({ "cost": paint.walls * 100 }))
//! }
//! # fn main() {}
//! ```
//!
//! The processor's crate is a `cdylib` that also depends on `serde`; `toril build`, or `cargo build --release --target
//! wasm32-wasip2`, builds it. `?` on any error, and on a text, fails the attempt ([`Error::ChildFailed`] fails the job for good). The
//! other ways to end an attempt are values of [`Failure`], which other errors may wrap. A panic fails only the attempt, with its
//! message. [`http`] sends requests to other servers, [`net`] connects to them, [`postgres`] uses databases, and [`kv`] stores
//! values that outlive a job.

mod children;
mod error;
mod failure;
mod flow;
pub mod http;
mod job;
pub mod kv;
mod log;
pub mod net;
pub mod postgres;
mod queue;
mod scheduler;
mod steps;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use children::{Dependencies, DependenciesQuery, DependencyCounts, Page};
pub use error::Error;
pub use failure::{Failure, FailureError};
pub use flow::{Flow, FlowJob};
pub use job::Job;
pub use log::Level;
pub use queue::{Describe, JobCounts, NewJob, Queue};
pub use scheduler::Schedule;
pub use steps::Cursor;
pub use toril_sdk_macros::processor;

/// What a processor usually needs: `use toril_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Describe, Error, Failure, Flow, FlowJob, Job, NewJob, Queue, Schedule, debug, error, http,
        info, trace, warn,
    };
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
}

/// What the macros of this crate expand to. Not part of its interface.
#[doc(hidden)]
pub mod __internal {
    pub use crate::job::run;
    pub use crate::log::write;
    pub use bindings::Guest;
    pub use bindings::export_processor;
    pub use bindings::toril::processor::jobs::{Failure as RawFailure, Job as RawJob};

    #[allow(
        unsafe_code,
        unreachable_pub,
        missing_docs,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    pub mod bindings {
        wit_bindgen::generate!({
            path: "wit",
            world: "processor",
            pub_export_macro: true,
            export_macro_name: "export_processor",
            default_bindings_module: "toril_sdk::__internal::bindings",
        });
    }
}
