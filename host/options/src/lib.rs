//! The options of jobs, read as BullMQ reads them: with the rules of JavaScript, and where BullMQ hands a value to a
//! script in Redis, with those of Lua. Options come from any producer, so any of them may be of any kind; one of the
//! wrong kind never changes how another is read.
//!
//! Knows neither Redis nor wasm: both the queue and the dry run read options here, and nowhere else.
//!
//! | module | what it owns |
//! |---|---|
//! | [`json`] | reading JSON that JavaScript wrote |
//! | [`js`] | what a JSON value is in a condition, as a number, as text |
//! | `lua` | what the same value is in a script |
//! | `raw` | JSON values that are read without being taken apart first |
//! | `stored`, `backoff`, `keep` | the options of a stored job that its worker looks at |
//! | `new`, `job_id` | the options of a job that is added: checked, and as they are stored |

mod backoff;
mod job_id;
pub mod js;
pub mod json;
mod keep;
mod lua;
mod new;
mod raw;
mod stored;

pub use backoff::{Backoff, Retry};
pub use job_id::{QUEUE_KEY_FAMILIES, QUEUE_KEYS};
pub use keep::KeepJobs;
pub use new::{NewOptions, job_backoff, long_names};
pub use stored::JobOptions;
