//! Every setting with its value and where that comes from, for `toril config`. Reads no secret and opens nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use toml::{Table, Value};

use super::{
    DEFAULT_REDIS_PORT, File, Overrides, Source, default_file, parse, queues::processors_in,
    warn_of_left_out,
};
use toril_queue::redacted;

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The keys that lead to it: `["queues", "paint", "concurrency"]`.
    pub path: Vec<String>,
    /// Its value.
    pub value: Value,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nothing says otherwise.
    Default,
    /// The config file.
    File(PathBuf),
    /// A flag, or the environment variable for it.
    Flag(&'static str),
    /// A file in `processors_dir`.
    ProcessorsDir,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File(file) => write!(formatter, "{}", file.display()),
            Origin::Flag(flag) => formatter.write_str(flag),
            Origin::ProcessorsDir => formatter.write_str("processors_dir"),
        }
    }
}

impl Source {
    /// All settings that have a value, those of the host first.
    pub fn settings(&self) -> anyhow::Result<Vec<Setting>> {
        let path = self.file.clone().or_else(default_file);
        let (file, written) = match &path {
            Some(path) => {
                let text = super::read_text(path)?;
                (parse(path, &text)?, text.parse().unwrap_or_default())
            }
            None => (File::default(), Table::new()),
        };
        let written = paths_of(&written);
        let origin = |setting: &[String]| match &path {
            Some(file) if written.contains(setting) => Origin::File(file.clone()),
            _ => Origin::Default,
        };
        let processors_dir = file.processors_dir.as_ref().map(|dir| file.dir.join(dir));
        let mut table = Table::try_from(&file).context("the config cannot be shown")?;
        fill_in(&mut table, &file)?;
        let mut settings = Vec::new();
        flatten(&table, &mut Vec::new(), &mut |path, value| {
            let (path, value) = (path.to_vec(), value.clone());
            let origin = origin(&path);
            settings.push(Setting {
                path,
                value,
                origin,
            });
        });
        let listed = processors_in(processors_dir.as_deref())?;
        warn_of_left_out(&listed.left_out);
        for (queue, file) in listed.processors {
            let path = ["queues", &queue, "processor"].map(str::to_owned).to_vec();
            if !settings.iter().any(|setting| setting.path == path) {
                let value = Value::from(file.display().to_string());
                let origin = Origin::ProcessorsDir;
                settings.push(Setting {
                    path,
                    value,
                    origin,
                });
            }
        }
        override_with(&mut settings, &self.overrides);
        for setting in &mut settings {
            if setting.path == ["redis"] || setting.path == ["otlp_endpoint"] {
                setting.value = Value::from(redacted(setting.value.as_str().unwrap_or_default()));
            }
        }
        // Stable: within a section, settings stay in the order of the types.
        settings.sort_by_key(|setting| {
            let section = &setting.path[..setting.path.len() - 1];
            section.to_vec()
        });
        Ok(settings)
    }
}

/// Puts in what is worked out from other settings, or from the machine.
fn fill_in(table: &mut Table, file: &File) -> anyhow::Result<()> {
    let limits = file.queues.values().map(|queue| &queue.limits);
    let runtime = file.runtime.filled_in(limits);
    table.insert("runtime".into(), Value::try_from(runtime)?);
    let port = Value::from(i64::from(DEFAULT_REDIS_PORT));
    table.entry("local_redis_port").or_insert(port);
    for (name, queue) in &file.queues {
        let shown = table.get_mut("queues").and_then(|all| all.get_mut(name));
        if let Some(shown) = shown.and_then(Value::as_table_mut) {
            let grants = queue.grants.shown();
            let grants = grants.with_context(|| format!("queue `{name}`"))?;
            shown.insert("grants".into(), Value::Table(grants));
        }
    }
    Ok(())
}

/// What flags and the environment say.
fn override_with(settings: &mut Vec<Setting>, overrides: &Overrides) {
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let path = |value: &Option<PathBuf>| {
        let text = value.as_ref().map(|path| path.display().to_string());
        text.map(Value::from)
    };
    let flags = [
        (
            "redis",
            "--redis or TORIL_REDIS",
            text(&overrides.redis_url),
        ),
        (
            "redis_ca_file",
            "--redis-ca-file or TORIL_REDIS_CA_FILE",
            path(&overrides.redis_ca_file),
        ),
        (
            "prefix",
            "--prefix or TORIL_PREFIX",
            text(&overrides.prefix),
        ),
    ];
    for (key, flag, value) in flags {
        let Some(value) = value else { continue };
        settings.retain(|setting| setting.path != [key]);
        settings.push(Setting {
            path: vec![key.to_owned()],
            value,
            origin: Origin::Flag(flag),
        });
    }
}

fn paths_of(table: &Table) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    flatten(table, &mut Vec::new(), &mut |path, _| {
        paths.insert(path.to_vec());
    });
    paths
}

/// Calls `each` for the settings in a table. What lies deeper than a section is one value.
fn flatten(table: &Table, path: &mut Vec<String>, each: &mut impl FnMut(&[String], &Value)) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(section) if is_section(path) => flatten(section, path, each),
            value => each(path, value),
        }
        path.pop();
    }
}

fn is_section(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path[..],
        ["admin" | "runtime" | "queues"]
            | ["queues", _]
            | ["queues", _, "limits" | "grants"]
            | ["queues", _, "grants", "http" | "kv"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, overrides: Overrides) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("toril.toml");
        std::fs::write(&file, text).unwrap();
        let source = Source {
            file: Some(file),
            overrides,
        };
        let line = |setting: Setting| {
            let origin = match setting.origin {
                Origin::File(_) => "file".to_owned(),
                origin => origin.to_string(),
            };
            format!("{} = {} # {origin}", setting.path.join("."), setting.value)
        };
        source.settings().unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let text = "redis = \"redis://:secret@a?password=secret\"\notlp_endpoint = \"http://u:secret@b\"\n[queues.paint]\nconcurrency = 7\nremove_on_fail = { age = 60.0 }\n\
            [queues.paint.grants]\nsecrets = { KEY = { env = \"NOWHERE\" } }\n[queues.paint.grants.http]\nhosts = [\"a.example\"]\n";
        let overrides = Overrides {
            prefix: Some("shop".into()),
            ..Overrides::default()
        };
        let settings = settings(text, overrides);
        for line in [
            "redis = \"redis://***@a?***\" # file",
            "otlp_endpoint = \"http://***@b\" # file",
            "prefix = \"shop\" # --prefix or TORIL_PREFIX",
            "grace_ms = 30000 # default",
            "runtime.executions_max = 1000 # default",
            "queues.paint.concurrency = 7 # file",
            "queues.paint.lock_duration_ms = 30000 # default",
            "queues.paint.remove_on_complete = false # default",
            "queues.paint.limits.deadline_ms = 300000 # default",
            "queues.paint.grants.http.requests_max = 100 # default",
            "queues.paint.grants.http.hosts = [\"a.example\"] # file",
        ] {
            assert!(
                settings.iter().any(|shown| shown == line),
                "{line} in {settings:#?}"
            );
        }
        let secrets = settings.iter().find(|line| line.contains("grants.secrets"));
        assert!(
            secrets.is_some_and(|line| line.contains("NOWHERE")),
            "{settings:#?}"
        );
    }
}
