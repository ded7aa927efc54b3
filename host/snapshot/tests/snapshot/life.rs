//! From the script to jobs: what is kept, and what is not.

use std::collections::BTreeSet;

use toril_sandbox::{LoadError, Outcome};
use toril_snapshot::{Error, Script, Snapshots};

use crate::processor::{
    Jobs, SDK, cache_dir, load, policy, reused, script_engine, snapshot, value_of, with_runtime,
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
async fn functions_show_their_own_text_and_share_it() {
    let script = "const outer = (a) => {
  const inner = function (b) { const last = () => { /* text of the last one */ return 'é' + b; }; return last; };
  class Wall { paint(c) { return c; } }
  return [inner(1), Wall, Wall.prototype.paint, new Function('d', 'return d')];
};
const main = () => outer(1).map(String);";
    let component = snapshot(&with_runtime(script), "").unwrap();
    let text = b"text of the last one";
    let copies = component.windows(text.len()).filter(|part| part == text);
    assert_eq!(copies.count(), 1);
    let jobs = Jobs::of_component(reused(), component).await;
    let expected = [
        "() => { /* text of the last one */ return 'é' + b; }",
        "class Wall { paint(c) { return c; } }",
        "paint(c) { return c; }",
        "function anonymous(d\n) {\nreturn d\n}",
    ];
    for _ in 0..3 {
        let shown: Vec<String> = serde_json::from_str(&jobs.value().await).unwrap();
        assert_eq!(shown, expected);
    }
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
    let jobs = Jobs::under(reused(), script).await;
    // The second job sees its own two, not those of the first.
    assert_eq!(jobs.value().await, "[1,0]");
    assert_eq!(jobs.value().await, "[2,2]");
    assert_eq!(jobs.value().await, "[3,4]");
}

#[test]
fn compiled_engine_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    drop(Snapshots::new(script_engine(), Some(dir.path())).unwrap());
    assert_eq!(files(), 1);
    let snapshots = Snapshots::new(script_engine(), Some(dir.path())).unwrap();
    assert_eq!(files(), 1);
    let source = &with_runtime("const main = () => 1;");
    let script = Script {
        source,
        source_map: "",
        sdk: SDK,
    };
    assert!(!snapshots.snapshot(&script).unwrap().component.is_empty());
}

#[test]
fn script_that_never_ends_is_given_up() {
    let mut snapshots = Snapshots::new(script_engine(), Some(&cache_dir())).unwrap();
    snapshots.set_load_time_max(std::time::Duration::from_millis(100));
    let script = Script {
        source: "for (;;);",
        source_map: "",
        sdk: SDK,
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

/// What a job may do with what was there before: a script that does it, and says what it found.
const CHANGES: &str = "
    const shared = { list: [1, 2], text: 'ab', map: new Map([['a', { n: 1 }]]), set: new Set([1]), big: 12345678901234567890n };
    const twins = [{ x: 1, y: 2 }, { x: 1, y: 2 }];
    const loose = { a: 1, b: 2, c: 3 };
    delete loose.b;
    let rope = 'r'.repeat(9000) + 's'.repeat(9000);
    const weak = new WeakMap([[shared, 1]]);
    class Wall { #layers = 1; paint() { return ++this.#layers; } }
    const wall = new Wall();
    const numbers = (function* () { for (let n = 0; ; n++) yield { n }; })();
    numbers.next();
    const base = Object.create({ inherited: 'yes' });
    const change = (job) => {
        shared.list.push({ job }, job);
        shared.list.splice(0, 1);
        shared.text += job % 10;
        const copy = shared.text; const longer = copy + '!';
        shared.map.set(`k${job}`, { n: job }); shared.map.delete(`k${job - 1}`); shared.map.get('a').n += 1;
        shared.set.add(job); shared.set.delete(job - 2);
        shared.big += 1n;
        shared[`p${job}`] = [job]; delete shared[`p${job - 1}`];
        twins[0][`q${job}`] = job;
        loose[`d${job}`] = job; delete loose[`d${job - 1}`];
        rope += 't';
        weak.set({ job }, shared); weak.set(shared, job);
        base[`own${job}`] = { back: base }; delete base[`own${job - 1}`];
        return [shared.list.length, shared.list[0], copy.length, longer.length, shared.map.size, shared.map.get('a').n,
            [...shared.set].length, String(shared.big), Object.keys(shared).length, Object.keys(twins[0]).length,
            Object.keys(twins[1]).length, Object.keys(loose).join(), rope.length, rope.slice(17999, 18002), weak.get(shared),
            wall.paint(), numbers.next().value.n, base.inherited, Object.keys(base).join()];
    };
    let job = 0;
";

#[tokio::test]
async fn what_a_snapshot_holds_changes_as_ever() {
    let snapshotted = format!("{CHANGES} const main = () => change(++job);");
    let jobs = Jobs::under(reused(), &snapshotted).await;
    let rounds = 300;
    let mut seen = Vec::new();
    for _ in 0..rounds {
        seen.push(jobs.value().await);
    }
    // In one job, nothing of it was there before.
    let in_one = format!(
        "const main = () => {{ {CHANGES} return Array.from({{ length: {rounds} }}, () => change(++job)); }};"
    );
    assert_eq!(value_of(&in_one).await, format!("[{}]", seen.join(",")));
}

#[tokio::test]
async fn what_jobs_make_of_a_snapshot_is_collected() {
    let mut policy = reused();
    policy.limits.memory_bytes_max = 48 << 20;
    // Each job makes 4 MiB of cycles, and has the snapshot's objects refer to them for a while.
    let script = "
        const kept = { last: null, all: new Map(), list: [] };
        const main = () => {
            for (let n = 0; n < 20_000; n++) {
                const [a, b] = [{ n }, { n, text: `number ${n}` }];
                a.b = b; b.a = a;
                kept.last = a;
                if (n % 1000 === 0) { kept.all.set(n, a); kept.list.push(b); }
            }
            kept.all.clear(); kept.list.length = 0;
            return kept.last.b.a.n;
        };
    ";
    let jobs = Jobs::under(policy, script).await;
    for _ in 0..60 {
        assert_eq!(jobs.value().await, "19999");
    }
}

#[tokio::test]
async fn garbage_is_collected_before_memory_is_refused() {
    // 60 MiB of cycles, beside as much as stays.
    let script = "
        const main = () => {
            const kept = Array.from({ length: 20_000 }, (_, n) => ({ n }));
            for (let n = 0; n < 300_000; n++) {
                const [a, b] = [{ n }, { n }];
                a.b = b; b.a = a;
            }
            return kept.length;
        };
    ";
    for mut policy in [policy(), reused()] {
        policy.limits.memory_bytes_max = 10 << 20;
        let jobs = Jobs::under(policy, script).await;
        for _ in 0..3 {
            assert_eq!(jobs.value().await, "20000");
        }
    }
}

#[tokio::test]
async fn instance_that_ran_out_of_memory_runs_no_other_job() {
    let mut policy = reused();
    policy.limits.memory_bytes_max = 12 << 20;
    // What it keeps leaves no room in the end.
    let script = "
        let jobs = 0;
        const kept = [];
        const main = () => {
            jobs += 1;
            for (let n = 0; n < 1000; n++) kept.push('wall'.repeat(100 + (jobs % 7)) + n);
            return jobs;
        };
    ";
    let jobs = Jobs::under(policy, script).await;
    for _ in 0..3 {
        assert_eq!(jobs.value().await, "1");
        let reason = loop {
            match jobs.run().await {
                Outcome::Completed(_) => {}
                Outcome::Failed { message, .. } => break message,
                outcome => panic!("{outcome:?}"),
            }
        };
        assert_eq!(reason, "out of memory");
    }
}

#[tokio::test]
async fn what_an_object_of_the_snapshot_referred_to_last_is_collected_where_instances_are_reused() {
    let mut policy = reused();
    policy.limits.memory_bytes_max = 32 << 20;
    // The first node is the snapshot's: whatever is behind it was dropped long since.
    let script = "
        let head = { next: null, value: null }, tail = head;
        const push = (value) => { tail = tail.next = { next: null, value }; };
        const shift = () => { head = head.next; return head.value; };
        const main = () => { push('wall'.repeat(50_000)); return shift().length; };
    ";
    let jobs = Jobs::under(policy, script).await;
    for _ in 0..400 {
        assert_eq!(jobs.value().await, "200000");
    }
}

#[tokio::test]
async fn what_is_freed_of_the_build_is_no_place_for_a_jobs_objects() {
    let mut policy = policy();
    policy.limits.memory_bytes_max = 32 << 20;
    // A node that counted as the snapshot's would keep all that come behind it.
    let script = "
        const main = () => {
            let first = { n: 0 }, last = first;
            for (let n = 1; n < 500_000; n++) {
                last = last.next = { n };
                if (n > 20_000) first = first.next;
            }
            return last.n - first.n;
        };
    ";
    let empty = "A".repeat(2 << 20);
    let map =
        format!(r#"{{"version":3,"sources":["paint.ts"],"names":["{empty}"],"mappings":"AAAA"}}"#);
    let component = snapshot(&with_runtime(script), &map).unwrap();
    let jobs = Jobs::of_component(policy, component).await;
    assert_eq!(jobs.value().await, "20000");
}
