//! `[runtime]`: what the engine is built with, for all queues of the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::served_queue::spec::QueueSpec;
use toril_sandbox::{
    EngineOptions, GUEST_MEMORY_BYTES_MAX, Limits, TABLE_ELEMENTS_MAX, check_at_most,
};

/// The largest stack of a guest, in bytes: each place of a job reserves one.
const STACK_BYTES_MAX: u64 = 1 << 30;

/// The section as it is written; what is not named gets a default.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RuntimeFile {
    /// Jobs that run at once, over all queues (default: 1000).
    executions_max: Option<u32>,
    /// Memory of all guests together, in bytes (default: three quarters of the machine's, or of what its control group allows;
    /// less where that is under 256 MiB).
    memory_bytes_max: Option<usize>,
    /// The largest memory of one guest, in bytes (default: the largest limit of a queue).
    guest_memory_bytes_max: Option<usize>,
    /// Core instances of one component (default: at least the largest limit of a queue).
    core_instances_max: Option<u32>,
    /// Memories of one component.
    memories_max: Option<u32>,
    /// Tables of one component.
    tables_max: Option<u32>,
    /// Elements of one table (default: at least the largest limit of a queue).
    table_elements_max: Option<usize>,
    /// What the host may keep about the instances of one component, in bytes.
    instance_bytes_max: Option<usize>,
    /// Size of a component, in bytes.
    component_bytes_max: Option<usize>,
    /// How long compiling a component may take, in ms.
    compile_ms_max: Option<u64>,
    /// The stack of a guest, in bytes.
    stack_bytes_max: Option<usize>,
    /// Where compiled code is kept, up to 1 GiB; the host's user alone may write to it (default: `~/.cache/toril/compiled`).
    cache_dir: Option<PathBuf>,
    /// `false` compiles at each start.
    cache: Option<bool>,
}

impl RuntimeFile {
    pub(super) fn options(
        &self,
        dir: &Path,
        queues: &BTreeMap<String, QueueSpec>,
    ) -> anyhow::Result<EngineOptions> {
        self.check()?;
        let limits = queues.values().map(|queue| &queue.limits);
        Ok(EngineOptions {
            idle_max: idle_max(queues),
            ..self.over_defaults(dir, limits)
        })
    }

    /// With what holds for each key that is not written.
    pub(super) fn filled_in<'a>(&self, limits: impl Iterator<Item = &'a Limits> + Clone) -> Self {
        let options = self.over_defaults(Path::new(""), limits);
        RuntimeFile {
            executions_max: Some(options.executions_max),
            memory_bytes_max: options.memory_bytes_max,
            guest_memory_bytes_max: Some(options.guest_memory_bytes_max),
            core_instances_max: Some(options.core_instances_max),
            memories_max: Some(options.memories_max),
            tables_max: Some(options.tables_max),
            table_elements_max: Some(options.table_elements_max),
            instance_bytes_max: Some(options.instance_bytes_max),
            component_bytes_max: Some(options.component_bytes_max),
            compile_ms_max: Some(options.compile_ms_max),
            stack_bytes_max: Some(options.stack_bytes_max),
            cache: Some(options.cache_dir.is_some()),
            cache_dir: options.cache_dir,
        }
    }

    fn over_defaults<'a>(
        &self,
        dir: &Path,
        limits: impl Iterator<Item = &'a Limits> + Clone,
    ) -> EngineOptions {
        let defaults = with_room_for(limits);
        let or = |written: Option<usize>, default| written.unwrap_or(default);
        let or_count = |written: Option<u32>, default| written.unwrap_or(default);
        let cache_dir = self.cache_dir.as_ref().map(|cache| dir.join(cache));
        let cache_dir = cache_dir.or_else(super::default_cache_dir);
        EngineOptions {
            executions_max: or_count(self.executions_max, defaults.executions_max),
            memory_bytes_max: self.memory_bytes_max,
            guest_memory_bytes_max: or(
                self.guest_memory_bytes_max,
                defaults.guest_memory_bytes_max,
            ),
            core_instances_max: or_count(self.core_instances_max, defaults.core_instances_max),
            memories_max: or_count(self.memories_max, defaults.memories_max),
            tables_max: or_count(self.tables_max, defaults.tables_max),
            table_elements_max: or(self.table_elements_max, defaults.table_elements_max),
            instance_bytes_max: or(self.instance_bytes_max, defaults.instance_bytes_max),
            component_bytes_max: or(self.component_bytes_max, defaults.component_bytes_max),
            compile_ms_max: self.compile_ms_max.unwrap_or(defaults.compile_ms_max),
            stack_bytes_max: or(self.stack_bytes_max, defaults.stack_bytes_max),
            idle_max: defaults.idle_max,
            cache_dir: cache_dir.filter(|_| self.cache != Some(false)),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let as_usize = |number: Option<u32>| number.map(|number| number as usize);
        for (key, value) in [
            ("executions_max", as_usize(self.executions_max)),
            ("memory_bytes_max", self.memory_bytes_max),
            ("guest_memory_bytes_max", self.guest_memory_bytes_max),
            ("core_instances_max", as_usize(self.core_instances_max)),
            ("memories_max", as_usize(self.memories_max)),
            ("tables_max", as_usize(self.tables_max)),
            ("table_elements_max", self.table_elements_max),
            ("instance_bytes_max", self.instance_bytes_max),
            ("component_bytes_max", self.component_bytes_max),
            ("stack_bytes_max", self.stack_bytes_max),
        ] {
            ensure!(value != Some(0), "`runtime.{key}` must be 1 or more");
        }
        ensure!(
            self.compile_ms_max != Some(0),
            "`runtime.compile_ms_max` must be 1 or more"
        );
        for (key, value, max) in [
            (
                "guest_memory_bytes_max",
                self.guest_memory_bytes_max,
                GUEST_MEMORY_BYTES_MAX,
            ),
            (
                "table_elements_max",
                self.table_elements_max,
                TABLE_ELEMENTS_MAX,
            ),
            ("stack_bytes_max", self.stack_bytes_max, STACK_BYTES_MAX),
        ] {
            let checked = check_at_most(&format!("runtime.{key}"), value.unwrap_or(1), max);
            checked.map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    /// The keys that are written differently.
    pub(super) fn keys_changed(&self, new: &RuntimeFile) -> Vec<String> {
        let keys = |file: &RuntimeFile| match serde_json::to_value(file) {
            Ok(serde_json::Value::Object(keys)) => keys,
            _ => serde_json::Map::new(),
        };
        let old = keys(self);
        let new = keys(new).into_iter();
        let changed = new.filter(|(key, value)| old.get(key) != Some(value));
        changed.map(|(key, _)| format!("runtime.{key}")).collect()
    }
}

/// The defaults, and more where the limits of a queue ask for more.
fn with_room_for<'a>(limits: impl Iterator<Item = &'a Limits> + Clone) -> EngineOptions {
    let defaults = EngineOptions::default();
    let largest = |limit: fn(&Limits) -> usize, default: usize| {
        limits.clone().map(limit).fold(default, usize::max)
    };
    let core_instances = largest(
        |limits| limits.instances_max,
        defaults.core_instances_max as usize,
    );
    EngineOptions {
        guest_memory_bytes_max: largest(
            |limits| limits.memory_bytes_max,
            defaults.guest_memory_bytes_max,
        ),
        table_elements_max: largest(
            |limits| limits.table_elements_max,
            defaults.table_elements_max,
        ),
        core_instances_max: u32::try_from(core_instances).unwrap_or(u32::MAX),
        ..defaults
    }
}

/// Instances that may rest between jobs: one per slot of a queue that reuses them, twice for the time of a
/// canary.
fn idle_max(queues: &BTreeMap<String, QueueSpec>) -> u32 {
    let reusing = queues.values().filter(|queue| queue.reuse.is_some());
    let slots = reusing.fold(0, |slots: usize, queue| {
        slots.saturating_add(queue.worker.concurrency)
    });
    u32::try_from(slots.saturating_mul(2)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(section: &str, limits: Limits) -> anyhow::Result<EngineOptions> {
        let file: RuntimeFile = toml::from_str(section)?;
        let queue = QueueSpec {
            limits,
            ..QueueSpec::new(None)
        };
        file.options(
            Path::new(""),
            &BTreeMap::from([("paint".to_owned(), queue)]),
        )
    }

    #[test]
    fn engine_has_room_for_the_largest_limits_and_never_less_than_the_defaults() {
        let defaults = EngineOptions::default();
        let small = Limits {
            memory_bytes_max: 1,
            table_elements_max: 1,
            instances_max: 1,
            ..Limits::default()
        };
        let built = options("", small).unwrap();
        let sizes = |options: &EngineOptions| {
            (
                options.guest_memory_bytes_max,
                options.table_elements_max,
                options.core_instances_max,
            )
        };
        assert_eq!(sizes(&built), sizes(&defaults));
        let large = Limits {
            memory_bytes_max: 1 << 30,
            table_elements_max: 50_000,
            instances_max: 70,
            ..Limits::default()
        };
        let built = options("", large.clone()).unwrap();
        assert_eq!(sizes(&built), (1 << 30, 50_000, 70));
        let built = options("table_elements_max = 60000", large).unwrap();
        assert_eq!(built.table_elements_max, 60_000);
    }

    #[test]
    fn zeros_are_refused_with_their_key() {
        for key in [
            "memory_bytes_max",
            "component_bytes_max",
            "compile_ms_max",
            "stack_bytes_max",
        ] {
            let error = options(&format!("{key} = 0"), Limits::default()).unwrap_err();
            let expected = format!("`runtime.{key}` must be 1 or more");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn room_that_no_guest_can_use_is_refused_with_its_key() {
        for (key, max) in [
            ("guest_memory_bytes_max", GUEST_MEMORY_BYTES_MAX),
            ("table_elements_max", TABLE_ELEMENTS_MAX),
            ("stack_bytes_max", STACK_BYTES_MAX),
        ] {
            assert!(options(&format!("{key} = {max}"), Limits::default()).is_ok());
            for more in [max + 1, i64::MAX as u64] {
                let error = options(&format!("{key} = {more}"), Limits::default()).unwrap_err();
                let expected =
                    format!("`runtime.{key}` must be {max} or less: no guest can use more");
                assert_eq!(error.to_string(), expected);
            }
        }
    }
}
