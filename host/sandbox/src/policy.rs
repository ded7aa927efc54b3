//! What an attempt may use and do: the one place that says yes. Nothing is granted unless the operator says so.

mod addresses;
mod events;
pub(crate) mod files;
mod grants;
mod hosts;
mod http;
mod job_ids;
mod keyvalue;
pub(crate) mod postgres;
mod queues;
mod record;
pub(crate) mod redact;
mod tcp;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml_writer::ToTomlKey as _;

use crate::connections::Connections;
use crate::limits::Limits;
pub(crate) use events::check_event;
pub use grants::{DirGrant, Grants, Stub};
pub(crate) use hosts::place;
pub use hosts::{HostAndPort, Net};
pub use http::HttpGrant;
pub(crate) use http::HttpRefusal;
pub use keyvalue::{KvGrant, StoreName};
pub(crate) use keyvalue::{StoreRefusal, check_batch, check_key};
pub use postgres::{PostgresGrant, SecretSource};
pub use queues::{QueueAccess, Refusal};
pub use record::{Record, Recorded};
pub(crate) use redact::Redactor;
pub use redact::{Secret, Secrets};
pub use tcp::TcpGrant;
pub(crate) use tcp::{TcpJudge, TcpRefusal, judge_tls};

/// The section of a queue in the config, as it is written there.
pub fn section(queue: &str) -> String {
    format!("queues.{}", queue.to_toml_key())
}

/// What a queue's processors may use and do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may do beyond its own job.
    pub grants: Arc<Grants>,
    /// How often an instance is used; none makes a fresh one for each attempt.
    pub reuse: Option<Reuse>,
    /// Which attempts are recorded.
    pub record: Record,
    /// The connections that its attempts share.
    pub connections: Connections,
}

impl Policy {
    /// A policy that refuses no import and no number of parts: to look at a component that is not for a queue of this
    /// host.
    pub fn unjudged() -> Arc<Self> {
        let limits = Limits {
            table_elements_max: usize::MAX,
            instances_max: usize::MAX,
            ..Limits::default()
        };
        let grants = Grants {
            kv: Some(KvGrant::default()),
            stub: vec![
                Stub::Http,
                Stub::Sockets,
                Stub::Tls,
                Stub::Config,
                Stub::Postgres,
            ],
            ..Grants::default()
        };
        Arc::new(Policy {
            limits,
            grants: Arc::new(grants),
            ..Policy::default()
        })
    }
}

/// How long an instance is used for further jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reuse {
    /// Jobs that it runs at most.
    pub jobs: u32,
    /// Milliseconds that it lives at most.
    #[serde(default = "Reuse::default_age_ms")]
    pub age_ms: u64,
}

impl Reuse {
    /// Refuses numbers with which no instance is used twice, or at all.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [("jobs", u64::from(self.jobs)), ("age_ms", self.age_ms)] {
            if value == 0 {
                return Err(format!(
                    "`reuse.{key}` must be 1 or more; without `reuse` each attempt has a fresh instance"
                ));
            }
        }
        Ok(())
    }

    fn default_age_ms() -> u64 {
        60_000
    }
}
