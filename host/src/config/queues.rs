//! From a file and what flags say over it to a config: what each queue should be, and which cannot be so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::{Config, File, Overrides};
use crate::served_queue::spec::Section;
use crate::telemetry::OtlpConfig;
use toril_queue::QueueName;

impl File {
    pub(super) fn into_config(self, overrides: Overrides) -> anyhow::Result<Config> {
        self.into_usable_config(overrides, |name, error| {
            Err(error.context(format!("queue `{name}`")))
        })
    }

    /// Asks `refused` what to do about a queue that cannot be as its section says: left out, or an error of all.
    pub(super) fn into_usable_config(
        mut self,
        overrides: Overrides,
        refused: impl Fn(&str, anyhow::Error) -> anyhow::Result<()>,
    ) -> anyhow::Result<Config> {
        let (admin, redis) = (self.admin(&overrides)?, self.redis(&overrides)?);
        let processors_dir = self.processors_dir.as_ref().map(|dir| self.dir.join(dir));
        let (sections, found) = self.sections(&overrides, processors_dir.as_deref())?;
        let (mut queues, mut unusable) = (BTreeMap::new(), BTreeMap::new());
        for (name, section) in sections {
            let known = QueueName::new(&name).map_err(anyhow::Error::from);
            match known.and_then(|_| section.spec()) {
                Ok(spec) => {
                    queues.insert(name, spec);
                }
                Err(error) => {
                    refused(&name, error)?;
                    unusable.insert(name, Arc::new(section));
                }
            }
        }
        let runtime = self.runtime.options(&self.dir, &queues)?;
        Ok(Config {
            redis,
            grace_ms: self.grace_ms,
            otlp: OtlpConfig::new(self.otlp_endpoint, self.otlp_protocol)?,
            admin,
            watch: overrides.watch || self.watch,
            processors_dir,
            runtime,
            runtime_file: self.runtime,
            queues,
            unusable,
            found,
        })
    }

    /// The sections of all queues, and the queues whose processors a directory has.
    fn sections(
        &mut self,
        overrides: &Overrides,
        processors_dir: Option<&Path>,
    ) -> anyhow::Result<(BTreeMap<String, Section>, BTreeSet<String>)> {
        let only = |name: &String| {
            overrides
                .only_queue
                .as_ref()
                .is_none_or(|only| only == name)
        };
        let written = std::mem::take(&mut self.queues).into_iter();
        let written = written.filter(|(name, _)| only(name)).map(|(name, file)| {
            let section = Section::new(file, &self.dir, overrides.stand_in_secrets);
            (name, section)
        });
        let mut sections: BTreeMap<_, _> = written.collect();
        for (name, processor) in &overrides.queues {
            let section: &mut Section = sections.entry(name.clone()).or_default();
            section.processor = processor.clone().or(section.processor.take());
        }
        let mut found = BTreeSet::new();
        for (name, processor) in processors_in(processors_dir)? {
            let section = sections.entry(name.clone()).or_default();
            if section.processor.is_none() {
                section.processor = Some(processor);
                found.insert(name);
            }
        }
        for section in sections.values_mut() {
            section.concurrency = overrides.concurrency;
        }
        Ok((sections, found))
    }
}

/// The queues that a directory of processors names.
pub(super) fn processors_in(dir: Option<&Path>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let Some(dir) = dir else {
        return Ok(Vec::new());
    };
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let files = read().with_context(|| format!("failed to list `{}`", dir.display()))?;
    let named = files.into_iter().filter_map(|file| {
        let name = file.file_stem()?.to_str()?.to_owned();
        let is_processor = file.extension()? == "wasm" && !name.starts_with('.');
        if is_processor && let Err(error) = QueueName::new(&name) {
            tracing::warn!(file = %file.display(), %error, "file is left out");
            return None;
        }
        is_processor.then_some((name, file))
    });
    Ok(named.collect())
}
