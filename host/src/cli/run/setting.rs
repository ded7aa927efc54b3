//! With what a job runs: the config of a queue, or nothing but defaults.

use std::path::PathBuf;
use std::sync::Arc;

use toril::config::default_cache_dir;
use toril::sandbox::{EngineOptions, Grants, KvGrant, Policy};

use crate::cli::queue_config::{self, QueueConfig};

/// What a job runs with.
pub(super) struct Setting {
    pub(super) engine: EngineOptions,
    pub(super) policy: Policy,
    pub(super) file: PathBuf,
}

impl Setting {
    /// Nothing is real, so all queues and a store may be used.
    pub(super) fn without_config(file: PathBuf) -> Self {
        let grants = Grants {
            queues: vec!["*".into()],
            kv: Some(KvGrant::default()),
            ..Grants::default()
        };
        Setting {
            engine: EngineOptions {
                executions_max: 1,
                cache_dir: default_cache_dir(),
                ..EngineOptions::default()
            },
            policy: Policy {
                grants: Arc::new(grants),
                ..Policy::default()
            },
            file,
        }
    }

    /// As the config has the queue, with another file if one is named.
    pub(super) fn of_queue(
        queue: &str,
        config: Option<PathBuf>,
        file: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let QueueConfig { engine, spec } = queue_config::of(config, queue)?;
        let policy = spec.policy();
        let file = queue_config::file_or(file, Some(queue), spec.processor)?;
        Ok(Setting {
            engine,
            policy,
            file,
        })
    }
}
