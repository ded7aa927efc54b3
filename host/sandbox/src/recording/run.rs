//! Runs a recorded attempt again, and compares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Departure, Recording, Replay, Replayed, Tape};
use crate::attempt::{self, AttemptInput};
use crate::backend::{JobBackend, Shown};
use crate::cancel::Cancel;
use crate::compile::Processor;
use crate::digest::Digest;
use crate::dry_run;
use crate::engine::Engine;
use crate::outcome::Outcome;
use crate::policy::{Policy, Secret};

/// The longest stand-in of a secret: a recording may come from anybody.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// What came of an attempt that ran again.
#[derive(Debug)]
pub struct Rerun {
    /// The calls that it made, as people read them.
    pub calls: Vec<String>,
    /// What it came to. Where it departed, that is only how it was stopped.
    pub outcome: Outcome,
    /// Where it did something else, if it did.
    pub departure: Option<Departure>,
    /// After how many calls.
    pub departed_after: Option<usize>,
    /// What the recorded attempt did next, and this one did not.
    pub missing: Option<String>,
    /// Processor time.
    pub cpu: Duration,
    /// The sum of its memories, in bytes.
    pub memory_bytes: usize,
}

impl Rerun {
    /// True if it did the same, and came to the same; if the recorded one was stopped, as far as that came.
    pub fn is_same(&self, recording: &Recording) -> bool {
        // How far one came that was stopped from outside is chance.
        let came_to_it = recording.learned.is_stopped || self.outcome == recording.outcome;
        came_to_it && self.departure.is_none() && self.missing.is_none()
    }
}

impl Recording {
    /// The policy under which the attempt ran. A secret has a stand-in, which no recorded answer tells from it, and an
    /// environment variable the value that is given here.
    pub fn policy(&self, env: &BTreeMap<String, String>) -> Arc<Policy> {
        let mut grants = self.grants.clone();
        for (name, value) in &mut grants.env {
            *value = env.get(name).cloned().unwrap_or_default();
        }
        for (name, bytes) in &self.secrets {
            // As long as the secret: sizes are among what is compared.
            let text: String = Digest::of(name.as_bytes())
                .hex()
                .chars()
                .cycle()
                .take((*bytes).min(SECRET_BYTES_MAX))
                .collect();
            if let Ok(secret) = Secret::new(text) {
                grants.secrets.insert(name.clone(), secret);
            }
        }
        if let Some(http) = &mut grants.http {
            // There are no connections.
            (http.ca_file, http.cert_file, http.key_file, http.proxy) = (None, None, None, None);
        }
        Arc::new(Policy {
            limits: self.limits.clone(),
            grants: Arc::new(grants),
            ..Policy::default()
        })
    }

    /// Runs the attempt again. Nothing leaves the machine, and nothing is changed anywhere.
    pub async fn rerun(
        self,
        engine: &Engine,
        processor: &Processor,
        policy: &Arc<Policy>,
    ) -> Rerun {
        self.rerun_and_go_on(engine, processor, policy, false).await
    }

    /// Runs the attempt again. With `goes_on` it goes on in a dry run where it departs: calls change a queue in memory, and no
    /// server is there.
    pub async fn rerun_and_go_on(
        self,
        engine: &Engine,
        processor: &Processor,
        policy: &Arc<Policy>,
        goes_on: bool,
    ) -> Rerun {
        let cancel = Arc::<Cancel>::default();
        let dry = dry_run::backend_of(&self.job);
        let replay = Replay::new(self, policy, Arc::clone(&cancel), goes_on);
        let backend: Box<dyn JobBackend> = Box::new(Replayed {
            replay: Arc::clone(&replay),
            dry,
        });
        let input = AttemptInput {
            backend: Box::new(Shown::watched(backend, Arc::clone(&replay) as _)),
            cancel,
            trace: None,
            tape: Tape::Replay(Arc::clone(&replay)),
        };
        let result = attempt::run(engine, processor, policy, input).await;
        let (departed, is_at_end) = (replay.departure(), replay.is_at_end());
        let (departure, departed_after) = departed.unzip();
        let outcome = match departure.is_none() && is_at_end {
            // The recorded one was ended there, by its deadline or from outside.
            true => replay.recording().outcome.clone(),
            false => result.outcome,
        };
        Rerun {
            calls: replay.calls(),
            missing: replay
                .missing()
                .filter(|_| departure.is_none() && !is_at_end),
            outcome,
            departure,
            departed_after,
            cpu: result.cpu,
            memory_bytes: result.memory_bytes,
        }
    }
}
