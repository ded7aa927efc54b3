//! From the script to jobs: what is kept, and what is not.

use std::collections::BTreeSet;

use toril_sandbox::{LoadError, Outcome, Policy, Reuse};
use toril_snapshot::{Error, Script, Snapshots};

use crate::processor::{
    Jobs, cache_dir, engine_wasm, load, policy, snapshot, value_of, with_runtime,
};

#[tokio::test]
async fn job_sees_what_the_script_has_loaded() {
    let script = "
        const loaded = { at: 'build', count: 1 };
        const main = async () => [loaded.at, ++loaded.count, JSON.parse(toril.job.data()).color];
    ";
    let jobs = Jobs::of(script).await;
    for _ in 0..2 {
        let outcome = jobs.run_with(r#"{"color":"grün"}"#).await;
        assert_eq!(outcome, Outcome::Completed(r#"["build",2,"grün"]"#.into()));
    }
}

#[tokio::test]
async fn random_numbers_and_times_are_each_jobs_own() {
    let script = "
        const captured = Math.random;
        const loaded = [Math.random(), Date.now()];
        const main = () => [captured(), loaded[0], loaded[1], Date.now(), toril.monotonicMs()];
    ";
    let jobs = Jobs::of(script).await;
    let mut numbers = BTreeSet::new();
    let mut while_loaded = BTreeSet::new();
    for _ in 0..1000 {
        let value = jobs.value().await;
        let value: Vec<&str> = value.trim_matches(['[', ']']).split(',').collect();
        numbers.insert(value[0].to_owned());
        while_loaded.insert(value[1].to_owned());
        let times = [value[2], value[3]].map(|time| time.parse::<f64>().unwrap());
        assert!(times[0] < times[1], "{value:?}");
    }
    assert_eq!((numbers.len(), while_loaded.len()), (1000, 1));
}

#[test]
fn same_script_gives_the_same_component() {
    let script =
        with_runtime("const seen = new Map([['a', Math.random()]]); const main = () => 1;");
    assert_eq!(
        snapshot(&script, "").unwrap(),
        snapshot(&script, "").unwrap()
    );
}

#[test]
fn what_was_freed_is_no_part_of_the_component() {
    let script = with_runtime(
        "
        let secret = []; for (let i = 0; i < 2000; i++) secret.push(`${i}-forgotten-` + 'x'.repeat(i % 900));
        secret = secret.join('-') .length;
        const main = () => secret;
        ",
    );
    let component = snapshot(&script, "").unwrap();
    let found = component
        .windows(15)
        .filter(|text| text.ends_with(b"77-forgotten-xx"))
        .count();
    assert_eq!(found, 0);
}

#[tokio::test]
async fn warmup_runs_once_and_when_the_processor_is_built() {
    let script = "
        let warm = 0;
        toril_warm = async () => { await null; warm += 1; };
        globalThis.__toril.warmup = toril_warm;
        const main = () => warm;
    "
    .replace("toril_warm = ", "const toril_warm = ");
    assert_eq!(value_of(&script).await, "1");
}

#[test]
fn warmup_that_waits_is_refused() {
    let script = "
        globalThis.__toril.warmup = () => new Promise((done) => setTimeout(done, 1));
        const main = () => 1;
    ";
    let error = snapshot(&with_runtime(script), "").unwrap_err().to_string();
    assert!(
        error.starts_with("`warmup` waits for a timer or a request"),
        "{error}"
    );
}

#[tokio::test]
async fn reused_instance_keeps_values_and_no_timers() {
    let script = "
        let count = 0, late = 0;
        const main = async () => {
            setTimeout(() => { late += 1; }, 1);
            new Promise((done) => setTimeout(done, 5)).then(() => { late += 1; });
            if (count++ > 0) await new Promise((done) => setTimeout(done, 20));
            return [count, late];
        };
    ";
    let reuse = Some(Reuse {
        jobs: 10,
        age_ms: 60_000,
    });
    let jobs = Jobs::under(Policy { reuse, ..policy() }, script).await;
    // The second job sees its own two, not those of the first.
    assert_eq!(jobs.value().await, "[1,0]");
    assert_eq!(jobs.value().await, "[2,2]");
    assert_eq!(jobs.value().await, "[3,4]");
}

#[test]
fn compiled_engine_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    drop(Snapshots::new(engine_wasm(), Some(dir.path())).unwrap());
    assert_eq!(files(), 1);
    let snapshots = Snapshots::new(engine_wasm(), Some(dir.path())).unwrap();
    assert_eq!(files(), 1);
    let source = &with_runtime("const main = () => 1;");
    let script = Script {
        source,
        source_map: "",
        sdk: "{}",
    };
    assert!(!snapshots.snapshot(&script).unwrap().is_empty());
}

#[test]
fn script_that_never_ends_is_given_up() {
    let mut snapshots = Snapshots::new(engine_wasm(), Some(&cache_dir())).unwrap();
    snapshots.set_load_time_max(std::time::Duration::from_millis(100));
    let script = Script {
        source: "for (;;);",
        source_map: "",
        sdk: "{}",
    };
    let error = snapshots.snapshot(&script).unwrap_err();
    assert!(matches!(error, Error::Time(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "loading the processor took more than 0.1 s"
    );
}

/// The host's engine and the one that makes snapshots are one build of wasmtime: what the one needs, the other has.
#[tokio::test]
async fn components_with_threads_or_garbage_collection_are_refused() {
    for module in [
        "(memory 1 1 shared)",
        "(type (struct (field i32)))",
        "(func (param externref))",
        "(tag)",
        "(memory i64 1)",
    ] {
        let text = format!(
            r#"(component
                (core module {module})
                (type $failure (variant (case "waiting")))
                (import "failure" (type $named (eq $failure)))
                (import "f" (func $f (result (result string (error $named)))))
                (export "process" (func $f)))"#
        );
        let component = wat::parse_str(text).unwrap();
        let refused = load(component, policy()).await;
        assert!(
            matches!(refused, Err(LoadError::Compile(_))),
            "{module}: {:?}",
            refused.err()
        );
    }
}
