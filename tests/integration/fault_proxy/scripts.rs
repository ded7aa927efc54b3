//! Which script a request calls: the file that the end of its text comes from.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use super::resp::arguments;
use crate::harness::root;

pub(super) struct Scripts {
    /// By name: the lines of the file that are not comments.
    sources: Vec<(String, Vec<String>)>,
    /// Names by hash, as far as their texts were seen.
    names: Mutex<HashMap<String, String>>,
}

impl Scripts {
    /// Reads the sources of all scripts of the host: `lua/NAME.lua`, wherever they lie.
    pub(super) fn read() -> Self {
        let mut sources = Vec::new();
        collect(&root().join("host"), false, &mut sources);
        assert!(!sources.is_empty(), "no scripts were found");
        Scripts {
            sources,
            names: Mutex::default(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.sources.iter().any(|(known, _)| known == name)
    }

    /// The name of the script that a request calls, or its command in capitals.
    pub(super) fn name(&self, request: &[u8]) -> String {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let parts = arguments(request, 3);
        let command = parts
            .first()
            .map(|command| text(command).to_uppercase())
            .unwrap_or_default();
        let name = match (command.as_str(), &parts[..]) {
            ("SCRIPT", [_, action, script]) if action.eq_ignore_ascii_case(b"load") => {
                self.learn(&text(script));
                None
            }
            ("EVAL", [_, script, ..]) => self.learn(&text(script)),
            ("EVALSHA", [_, hash, ..]) => self.names.lock().unwrap().get(&text(hash)).cloned(),
            _ => None,
        };
        name.unwrap_or(command)
    }

    fn learn(&self, script: &str) -> Option<String> {
        let lines = code(script);
        // One that is carried out once stands in a function.
        let lines = lines.strip_suffix(&["end)".to_owned()]).unwrap_or(&lines);
        let ends = |(_, source): &&(String, Vec<String>)| lines.ends_with(source);
        let (name, _) = self
            .sources
            .iter()
            .filter(ends)
            .max_by_key(|(_, source)| source.len())?;
        let hash = redis::Script::new(script).get_hash().to_owned();
        self.names.lock().unwrap().insert(hash, name.clone());
        Some(name.clone())
    }
}

fn collect(dir: &Path, in_lua: bool, sources: &mut Vec<(String, Vec<String>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "lib") {
                collect(&path, in_lua || name == "lua", sources);
            }
        } else if in_lua && path.extension().is_some_and(|extension| extension == "lua") {
            let source = code(&std::fs::read_to_string(&path).unwrap());
            sources.push((name, source));
        }
    }
}

/// Lines without indentation, comments and empty ones, which a build may take away.
fn code(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .map(str::to_owned)
        .collect()
}
