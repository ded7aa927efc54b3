//! A job that a person may add to a queue to see it work, from the cases of its project.

use std::path::Path;

use serde_json::Value;

use super::{Case, Runner};
use toril_sandbox::regular_file::{self, LARGE_BYTES_MAX};

/// Data that a person may still paste.
const DATA_BYTES_MAX: usize = 300;

/// A job that completes.
#[derive(Debug, PartialEq, Eq)]
pub struct ExampleJob {
    /// Its name.
    pub name: String,
    /// Its data, JSON.
    pub data: String,
}

impl ExampleJob {
    /// That of the first case of a project which completes at its first attempt and needs nothing beside it. None if there is
    /// no such case; `is_only`: the project has no other queue.
    pub fn of_project(dir: &Path, queue: &str, is_only: bool) -> Option<Self> {
        let files = Runner::files(dir).ok()?;
        let read = |file| Case::parse(&regular_file::read_text(file, LARGE_BYTES_MAX).ok()?).ok();
        let mut cases = files.iter().filter_map(|file| read(file));
        cases.find_map(|case| {
            let is_of_queue = match &case.job.queue {
                Some(named) => named == queue,
                None => is_only,
            };
            Self::of(&case).filter(|_| is_of_queue)
        })
    }

    fn of(case: &Case) -> Option<Self> {
        if !case.needs_nothing() || !case.expect.is_a_completion() {
            return None;
        }
        // On one line.
        let data: Value = serde_json::from_str(&case.job.data().ok()?).ok()?;
        let (name, data) = (case.job.name.clone(), data.to_string());
        (data.len() <= DATA_BYTES_MAX).then_some(ExampleJob { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_case_that_completes_by_itself_is_the_example() {
        let project = tempfile::tempdir().unwrap();
        let example = |queue: &str, is_only| ExampleJob::of_project(project.path(), queue, is_only);
        assert_eq!(example("paint", true), None);
        std::fs::create_dir(project.path().join("cases")).unwrap();
        let completes = "[expect]\noutcome = \"completed\"";
        for (name, job, expect) in [
            (
                "a",
                "data = { walls = 0 }",
                "[expect]\noutcome = \"failed\"",
            ),
            ("b", "data = { walls = 1 }\nattempts_made = 1", completes),
            ("c", "queue = \"other\"\ndata = { walls = 2 }", completes),
            ("d", "not a case", ""),
            (
                "d2",
                "data = { walls = 5 }",
                "[config]\na = \"b\"\n[expect]\noutcome = \"completed\"",
            ),
            (
                "e",
                "name = \"walls\"\ndata_json = '''{\n \"walls\": 3}'''",
                completes,
            ),
        ] {
            let file = project.path().join(format!("cases/{name}.toml"));
            std::fs::write(file, format!("[job]\n{job}\n{expect}\n")).unwrap();
        }
        let job = |name: &str, data: &str| {
            let (name, data) = (name.to_owned(), data.to_owned());
            Some(ExampleJob { name, data })
        };
        assert_eq!(example("paint", true), job("walls", r#"{"walls":3}"#));
        assert_eq!(example("other", false), job("job", r#"{"walls":2}"#));
        assert_eq!(example("paint", false), None);
    }
}
