//! From a file and what flags say over it to a config: what each queue should be, and which cannot be so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::{Config, File, Overrides, QueuesConfig};
use crate::served_queue::spec::{QueueSpec, Section};
use crate::telemetry::OtlpConfig;
use toril_queue::QueueName;

/// Who reads a config, and so what becomes of a part that is refused.
enum Reader<'a> {
    /// A host that starts: nothing of the config is taken up.
    Start,
    /// A host that serves: it goes on with the part as it was, and takes up the others.
    Serving {
        current: &'a Config,
        refused: Vec<anyhow::Error>,
    },
}

impl Reader<'_> {
    /// A part of the config, or the current one where it is refused.
    fn part<T>(
        &mut self,
        part: anyhow::Result<T>,
        current_part: impl FnOnce(&Config) -> T,
    ) -> anyhow::Result<T> {
        match (part, self) {
            (Err(error), Reader::Serving { current, refused }) => {
                refused.push(error);
                Ok(current_part(current))
            }
            (part, _) => part,
        }
    }
}

/// A config that a serving host read again.
pub(crate) struct Reread {
    pub(crate) config: Config,
    /// Why keys are as they were before, though a new start would refuse them.
    pub(crate) refused: Vec<anyhow::Error>,
    /// Why the queues of `processors_dir` are those that were found before.
    pub(crate) unlisted: Option<anyhow::Error>,
}

/// What becomes of all queues.
#[derive(Default)]
struct Queues {
    usable: BTreeMap<String, QueueSpec>,
    unusable: BTreeMap<String, Arc<Section>>,
    found: BTreeSet<String>,
}

impl File {
    pub(super) fn into_config(self, overrides: Overrides) -> anyhow::Result<Config> {
        let listed = processors_in(self.processors_dir().as_deref())?;
        let config = self.config(&overrides, listed, &mut Reader::Start)?;
        warn_of_left_out(&config.left_out);
        Ok(config)
    }

    /// What a host that serves takes up. What concerns no queue, or one of them alone, holds up no other one.
    pub(super) fn into_reread(
        self,
        overrides: &Overrides,
        current: &Config,
    ) -> anyhow::Result<Reread> {
        let (listed, unlisted) = match processors_in(self.processors_dir().as_deref()) {
            Ok(listed) => (listed, None),
            Err(error) => {
                let listed = Listed {
                    processors: current.processors_found(),
                    left_out: current.left_out.clone(),
                };
                (listed, Some(error))
            }
        };
        let mut reader = Reader::Serving {
            current,
            refused: Vec::new(),
        };
        let config = self.config(overrides, listed, &mut reader)?;
        let refused = match reader {
            Reader::Serving { refused, .. } => refused,
            Reader::Start => Vec::new(),
        };
        Ok(Reread {
            config,
            refused,
            unlisted,
        })
    }

    /// The queues and their engine, for a command that serves none of them.
    pub(super) fn into_queues_config(
        mut self,
        overrides: &Overrides,
    ) -> anyhow::Result<QueuesConfig> {
        let listed = processors_in(self.processors_dir().as_deref());
        let processors = match (&overrides.only_queue, listed) {
            (Some(queue), Err(error)) if !self.queues.contains_key(queue) => return Err(error),
            // The queue has a section of its own.
            (Some(_), Err(_)) => Vec::new(),
            (None, Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "processors are left out");
                Vec::new()
            }
            (_, Ok(listed)) => {
                warn_of_left_out(&listed.left_out);
                listed.processors
            }
        };
        let Queues { usable, .. } = self.queues(overrides, processors, &Reader::Start)?;
        Ok(QueuesConfig {
            runtime: self.runtime.options(&self.dir, &usable)?,
            queues: usable,
        })
    }

    fn config(
        mut self,
        overrides: &Overrides,
        listed: Listed,
        reader: &mut Reader<'_>,
    ) -> anyhow::Result<Config> {
        let queues = self.queues(overrides, listed.processors, reader)?;
        let admin = reader.part(self.admin(overrides), |current| current.admin.clone())?;
        let redis = reader.part(self.redis(overrides), |current| current.redis.clone())?;
        let otlp = OtlpConfig::new(self.otlp_endpoint.take(), self.otlp_protocol);
        let otlp = reader.part(otlp, |current| current.otlp.clone())?;
        let runtime = self.runtime.options(&self.dir, &queues.usable);
        let runtime = runtime.map(|runtime| (runtime, self.runtime.clone()));
        let (runtime, runtime_file) = reader.part(runtime, |current| {
            (current.runtime.clone(), current.runtime_file.clone())
        })?;
        Ok(Config {
            redis,
            grace_ms: self.grace_ms,
            otlp,
            admin,
            watch: overrides.watch || self.watch,
            processors_dir: self.processors_dir(),
            runtime,
            runtime_file,
            file: self.path,
            queues: queues.usable,
            unusable: queues.unusable,
            found: queues.found,
            left_out: listed.left_out,
        })
    }

    fn processors_dir(&self) -> Option<PathBuf> {
        let dir = self.processors_dir.as_ref();
        dir.map(|dir| self.dir.join(dir))
    }

    /// Each queue as its section says. One that cannot be so is an error of a host that starts.
    fn queues(
        &mut self,
        overrides: &Overrides,
        processors: Vec<(String, PathBuf)>,
        reader: &Reader<'_>,
    ) -> anyhow::Result<Queues> {
        let (sections, found) = self.sections(overrides, processors);
        let mut queues = Queues {
            found,
            ..Queues::default()
        };
        for (name, section) in sections {
            let known = QueueName::new(&name).map_err(anyhow::Error::from);
            match (known.and_then(|_| section.spec()), reader) {
                (Ok(spec), _) => {
                    queues.usable.insert(name, spec);
                }
                (Err(_), Reader::Serving { .. }) => {
                    queues.unusable.insert(name, Arc::new(section));
                }
                (Err(error), Reader::Start) => {
                    return Err(error.context(format!("queue `{name}`")));
                }
            }
        }
        Ok(queues)
    }

    /// The sections of all queues, and the queues whose processors a directory has.
    fn sections(
        &mut self,
        overrides: &Overrides,
        processors: Vec<(String, PathBuf)>,
    ) -> (BTreeMap<String, Section>, BTreeSet<String>) {
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
        for (name, processor) in processors.into_iter().filter(|(name, _)| only(name)) {
            let section = sections.entry(name.clone()).or_default();
            if section.processor.is_none() {
                section.processor = Some(processor);
                found.insert(name);
            }
        }
        for section in sections.values_mut() {
            section.concurrency = overrides.concurrency;
        }
        (sections, found)
    }
}

/// What is in a directory of processors.
#[derive(Default)]
pub(super) struct Listed {
    /// By queue.
    pub(super) processors: Vec<(String, PathBuf)>,
    pub(super) left_out: LeftOut,
}

/// The files in a directory of processors that no queue can have the name of, and why.
pub(crate) type LeftOut = BTreeMap<PathBuf, String>;

/// Lists the queues that a directory of processors names. It says nothing about the files that it leaves out: a host that
/// watches lists the directory often.
pub(super) fn processors_in(dir: Option<&Path>) -> anyhow::Result<Listed> {
    let mut listed = Listed::default();
    let Some(dir) = dir else {
        return Ok(listed);
    };
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let files = read().with_context(|| format!("failed to list `{}`", dir.display()))?;
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str());
        let (Some(name), Some(extension)) = (name, file.extension()) else {
            continue;
        };
        if extension != "wasm" || name.starts_with('.') {
            continue;
        }
        match QueueName::new(name) {
            Ok(_) => listed.processors.push((name.to_owned(), file)),
            Err(error) => {
                listed.left_out.insert(file, error.to_string());
            }
        }
    }
    Ok(listed)
}

pub(crate) fn warn_of_left_out<'a>(left_out: impl IntoIterator<Item = (&'a PathBuf, &'a String)>) {
    for (file, error) in left_out {
        tracing::warn!(file = %file.display(), error, "file is left out");
    }
}
