//! Reading a queue's file again, and trying again what was refused.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::refusals::Part;
use super::{GivenUp, Reconciler};
use crate::language::Language;
use crate::processor_file::read_processor;
use crate::served_queue::Reloaded;
use crate::versions::{Version, Versions};
use toril_sandbox::Digest;

/// How long a build may take while a host serves.
const BUILD_TIME_MAX: Duration = Duration::from_secs(300);

impl Reconciler {
    /// Reads the component of a file. A build is given up where something else is asked for: it may take minutes.
    pub(super) async fn read(&mut self, file: &Path) -> anyhow::Result<Vec<u8>> {
        let bytes_max = self.context.engine.component_bytes_max();
        if Language::of(file).is_none() {
            return read_processor(file, bytes_max).await;
        }
        let building = tokio::time::timeout(BUILD_TIME_MAX, read_processor(file, bytes_max));
        let built = self.unless_asked(building).await?;
        built.with_context(|| {
            let seconds = BUILD_TIME_MAX.as_secs();
            format!("building `{}` took more than {seconds} s", file.display())
        })?
    }

    /// Reads the file again. None: there is none.
    pub(super) async fn reload(&mut self, again: bool) -> Option<Reloaded> {
        if again && let Some(wanted) = self.wanted.clone() {
            // Refused again, it is noted.
            let _ = self.take_up(wanted, None).await;
        }
        let file = self.spec.as_ref()?.processor.clone()?;
        let serving = self.shared.serving.load_full()?;
        let source = self.next.clone();
        let versions = source.unwrap_or_else(|| serving.source.clone()).versions;
        let engine = Arc::clone(&self.context.engine);
        let begun = Instant::now();
        self.unfinished = false;
        self.shared.observers.listeners.building(&file);
        let component = match self.read(&file).await {
            Ok(component) => component,
            Err(error) if error.is::<GivenUp>() => {
                self.unfinished = true;
                return None;
            }
            Err(error) => {
                self.refusals.refuse(Part::File, None, format!("{error:#}"));
                return Some(Reloaded::Refused);
            }
        };
        let digest = Digest::of(&component);
        if versions.file().is_some_and(|file| *file.digest() == digest) {
            self.note_unchanged(&versions, begun);
            return Some(Reloaded::Unchanged);
        }
        let refused = self.refusals.of(Part::File);
        let refused = refused.and_then(|refusal| refusal.digest.as_deref());
        if !again && refused == Some(&*digest) {
            return Some(Reloaded::Unchanged);
        }
        let loading = Instant::now();
        let loaded = engine.load(component, &versions.policy()).await;
        self.retry.took += loading.elapsed();
        match loaded {
            Ok(processor) => {
                self.refusals.accept(Part::File);
                versions.put_file(Some(Version::new(processor)));
            }
            Err(error) => {
                let reason = format!("file `{}`: {error}", file.display());
                self.refusals.refuse(Part::File, Some(&digest), reason);
                return Some(Reloaded::Refused);
            }
        }
        let active = versions.active();
        let active = active.filter(|active| *active.digest() == digest);
        let serves = active.is_some();
        if let Some(active) = active {
            self.tell_serving(&active, begun);
        }
        Some(match serves {
            true => Reloaded::Swapped,
            false => Reloaded::Hidden,
        })
    }

    /// The file holds again what it held before.
    fn note_unchanged(&mut self, versions: &Versions, begun: Instant) {
        if self.refusals.of(Part::File).is_some()
            && let Some(active) = versions.active()
        {
            self.tell_serving(&active, begun);
        }
        self.refusals.accept(Part::File);
    }

    /// Tries again what was refused.
    pub(super) async fn try_again(&mut self) -> bool {
        self.retry.begin();
        let unfinished = std::mem::take(&mut self.unfinished);
        if let Some(wanted) = self.wanted.clone() {
            let _ = self.take_up(wanted, None).await;
        }
        if self.wanted.is_none() && unfinished || self.refusals.of(Part::File).is_some() {
            self.reload(true).await;
        }
        let refused = |part| self.refusals.of(part).is_some();
        if self.unread || refused(Part::Deployed) || refused(Part::Candidate) {
            self.follow().await;
        }
        true
    }
}
