//! Processors exchanged under load, from files that change, and refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tempfile::{TempDir, tempdir};
use toril::host::{Host, Reloaded};
use toril::queue::{JobState, NewJob, Queue};
use toril::sandbox::{Engine, EngineOptions};
use toril::served_queue::QueueSpec;

use crate::harness::{
    TestHost, TestRedis, add, count, eventually, handwritten, new_job, processor, reaches, version,
};

const SWAPS: usize = 1_000;
const VERSIONS: usize = 8;

/// Puts a file in the place of another one, whole.
fn replace(file: &Path, bytes: &[u8]) {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, bytes).unwrap();
    std::fs::rename(draft, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_swaps_under_load_disturb_no_job() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let versions: Vec<_> = (0..VERSIONS)
        .map(|n| version(&format!("good-{n:05}")))
        .collect();
    let file = dir.path().join("processor.wasm");
    replace(&file, &versions[0]);
    let options = EngineOptions {
        cache_dir: Some(dir.path().join("cache")),
        ..EngineOptions::default()
    };
    let runtime = Arc::new(Engine::new(&options).unwrap());
    let host = Host::new(runtime, redis.connect().await, "bull");
    host.attach("ring", QueueSpec::new(Some(file.clone())))
        .await
        .unwrap();

    let swapping = AtomicBool::new(true);
    let swap = async {
        for n in 1..=SWAPS {
            replace(&file, &versions[n % VERSIONS]);
            let reloaded = host.reload(false).await;
            assert_eq!(reloaded, [("ring".to_owned(), Reloaded::Swapped)]);
        }
        swapping.store(false, Ordering::Relaxed);
    };
    let (added, ()) = tokio::join!(keep_busy(&redis, &swapping), swap);

    let done = async || (count(&redis, "ring", "completed").await == added).then_some(());
    eventually("every job completes", done).await;
    assert_eq!(count(&redis, "ring", "failed").await, 0);
    let get = |field: &str| format!("bull:ring:*->{field}");
    let jobs: Vec<(String, u64)> = redis
        .command(&[
            "SORT",
            "bull:ring:completed",
            "BY",
            "nosort",
            "GET",
            &get("returnvalue"),
            "GET",
            &get("ats"),
        ])
        .await;
    assert!(
        jobs.iter().all(|(_, started)| *started == 1),
        "each job ran once"
    );
    let ran: BTreeSet<String> = jobs.into_iter().map(|(value, _)| value).collect();
    let known: BTreeSet<String> = (0..VERSIONS).map(|n| format!("\"good-{n:05}\"")).collect();
    assert_eq!(ran, known, "every version ran jobs, and nothing else did");
    assert!(
        host.metrics()
            .contains(&format!("toril_swaps_total{{queue=\"ring\"}} {SWAPS}"))
    );
    assert!(host.queue_status("ring").unwrap().versions.len() <= 2);
}

/// Keeps more jobs waiting than can run at once; returns how many there were.
async fn keep_busy(redis: &TestRedis, go_on: &AtomicBool) -> u64 {
    let queue = redis.queue("ring").await;
    let mut added = 0;
    while go_on.load(Ordering::Relaxed) {
        let jobs: Vec<NewJob> = (0..200)
            .map(|_| new_job("slow", json!(null), json!({})))
            .collect();
        added += queue.add_bulk(&jobs).await.unwrap().len() as u64;
        let room = async || {
            let waiting: u64 = redis.command(&["LLEN", "bull:ring:wait"]).await;
            (waiting < 200 || !go_on.load(Ordering::Relaxed)).then_some(())
        };
        eventually("the host keeps up", room).await;
    }
    added
}

/// A host with one watched file.
struct Watched {
    redis: TestRedis,
    queue: Queue,
    host: TestHost,
    dir: TempDir,
}

impl Watched {
    async fn start(component: &[u8], options: &str) -> Self {
        let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
        let queue = redis.queue("ring").await;
        let file = dir.path().join("processor.wasm");
        replace(&file, component);
        let config = format!("watch = true\n{options}\n[queues.ring]\nprocessor = {file:?}\n");
        let host = TestHost::serve(&redis, &config).await;
        Watched {
            redis,
            queue,
            host,
            dir,
        }
    }

    fn replace(&self, bytes: &[u8]) {
        replace(&self.dir.path().join("processor.wasm"), bytes);
    }

    /// Runs a job and returns what it returned.
    async fn runs(&self) -> String {
        let id = add(&self.queue, "any", json!(null)).await;
        let job = reaches(&self.queue, &id, JobState::Completed).await;
        job["returnvalue"].as_str().unwrap().to_owned()
    }

    async fn becomes(&self, returned: &str) {
        let what = format!("jobs return {returned}");
        eventually(&what, async || {
            (self.runs().await == returned).then_some(())
        })
        .await;
    }

    async fn status(&self) -> String {
        let output = crate::harness::toril(&self.redis, &["status", "ring"]).await;
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test]
async fn watched_file_is_swapped_however_it_is_replaced() {
    let watched = Watched::start(&version("good-00001"), "").await;
    assert_eq!(watched.runs().await, "\"good-00001\"");
    watched.replace(&version("good-00002"));
    watched.becomes("\"good-00002\"").await;
    // Written in place, as a compiler does.
    let file = watched.dir.path().join("processor.wasm");
    std::fs::write(&file, version("good-00003")).unwrap();
    watched.becomes("\"good-00003\"").await;
    // Removed and made anew, as some editors do.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, version("good-00004")).unwrap();
    watched.becomes("\"good-00004\"").await;
    // A link that is turned to another file, as mounted config maps do.
    let other = watched.dir.path().join("other.wasm");
    std::fs::write(&other, version("good-00005")).unwrap();
    let link = watched.dir.path().join("link");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    std::fs::rename(&link, &file).unwrap();
    watched.becomes("\"good-00005\"").await;
    watched.host.stop().await;
}

#[tokio::test]
async fn refused_processors_leave_the_old_one_serving_and_say_why() {
    let mut watched = Watched::start(
        &version("good-00001"),
        "[runtime]\ncomponent_bytes_max = 1000000\n",
    )
    .await;
    let good = version("good-00002");
    let mut newer = good.clone();
    overwrite(
        &mut newer,
        b"toril:processor/jobs@1",
        b"toril:processor/jobs@2",
    );
    let trap = handwritten(
        r#"(memory (export "memory") 1)
           (func (export "process") (param i32) (result i32) unreachable)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
           (func $start unreachable) (start $start)"#,
    );
    let another_world = std::fs::read(processor("fixture-another-world")).unwrap();
    let too_large = [good.clone(), vec![0; 1_000_000]].concat();
    let refused: [(&[u8], &str); 6] = [
        (b"\0asm not really", "not a WebAssembly component"),
        (&good[..good.len() / 2], "component is damaged"),
        (&another_world, "component is not a job processor"),
        (&newer, "component was built for version 2.1.0"),
        (&trap, "failed to instantiate component"),
        (&too_large, "more than the limit of 1000000"),
    ];
    for (component, reason) in refused {
        watched.replace(component);
        watched.host.logs(reason).await;
        assert_eq!(watched.runs().await, "\"good-00001\"", "after: {reason}");
        let shown = async || watched.status().await.contains(reason).then_some(());
        eventually("the status shows the reason", shown).await;
    }
    // Half of it was there before: now it is whole.
    watched.replace(&good);
    watched.becomes("\"good-00002\"").await;
    let forgotten = async || (!watched.status().await.contains("refused")).then_some(());
    eventually("the refusal is history", forgotten).await;
    watched.host.stop().await;
}

fn overwrite(component: &mut [u8], old: &[u8], new: &[u8]) {
    let places: Vec<usize> = (0..component.len() - old.len())
        .filter(|at| component[*at..].starts_with(old))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        component[at..at + new.len()].copy_from_slice(new);
    }
}

#[tokio::test]
async fn half_written_file_is_taken_when_it_is_whole() {
    use std::io::Write as _;
    let mut watched = Watched::start(&version("good-00001"), "").await;
    let whole = version("good-00002");
    let (first, second) = whole.split_at(whole.len() / 2);
    let mut file = std::fs::File::create(watched.dir.path().join("processor.wasm")).unwrap();
    file.write_all(first).unwrap();
    file.flush().unwrap();
    watched.host.logs("component is damaged").await;
    assert_eq!(watched.runs().await, "\"good-00001\"");
    file.write_all(second).unwrap();
    drop(file);
    watched.becomes("\"good-00002\"").await;
    watched.host.stop().await;
}

#[tokio::test]
async fn directory_of_processors_names_the_queues() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let file = |name: &str| dir.path().join(name);
    replace(&file("ring.wasm"), &version("good-00001"));
    let config = format!("watch = true\nprocessors_dir = {:?}\n", dir.path());
    let mut host = TestHost::serve(&redis, &config).await;
    let runs = async |queue: &str| {
        let queue = redis.queue(queue).await;
        let id = add(&queue, "any", json!(null)).await;
        reaches(&queue, &id, JobState::Completed).await["returnvalue"].clone()
    };
    assert_eq!(runs("ring").await, "\"good-00001\"");
    replace(&file("paint.wasm"), &version("good-00002"));
    assert_eq!(runs("paint").await, "\"good-00002\"");
    std::fs::remove_file(file("ring.wasm")).unwrap();
    host.logs("queue was detached").await;
    assert_eq!(runs("paint").await, "\"good-00002\"");
    host.stop().await;
}

#[tokio::test]
async fn hangup_takes_up_the_config_queue_by_queue() {
    let redis = TestRedis::start(false).await;
    let section = |queue: &str, options: &str| {
        crate::harness::queue_section(queue, "fixture-misbehaving", options)
    };
    let header = format!("redis = \"{}\"\n", redis.server.url());
    let mut host = TestHost::serve(
        &redis,
        &(section("ring", "concurrency = 1") + &section("gone", "")),
    )
    .await;
    let (ring, new) = (redis.queue("ring").await, redis.queue("new").await);
    let first = add(&ring, "sleep", json!(3_600_000)).await;
    reaches(&ring, &first, JobState::Active).await;
    let second = add(&ring, "sleep", json!(3_600_000)).await;

    let file = host.dir.path().join("toril.toml");
    std::fs::write(&file, "[queues.ring]\nconcurency = 1").unwrap();
    host.signal("HUP");
    host.logs("the config was refused; the old one stays in effect")
        .await;

    let limits = "concurrency = 2\nlimits = { deadline_ms = 200 }";
    std::fs::write(
        &file,
        header + &section("ring", limits) + &section("new", ""),
    )
    .unwrap();
    host.signal("HUP");
    // A slot more, and the new limit: for the job that begins now, not for the one that runs.
    let job = reaches(&ring, &second, JobState::Failed).await;
    assert_eq!(
        job["failedReason"],
        "processor exceeded its time limit of 200 ms"
    );
    assert_eq!(ring.state(&first).await.unwrap(), JobState::Active);
    let id = add(&new, "fine", json!(null)).await;
    reaches(&new, &id, JobState::Completed).await;
    host.logs("queue was detached").await;
    host.signal("TERM");
    // Two signals that come together may be heard as one.
    host.logs("stopping").await;
    host.signal("TERM");
    assert!(host.ended().await.success());
}

#[tokio::test]
async fn pinned_jobs_go_on_with_the_version_that_they_started_on() {
    for (pinned, second) in [(true, "good-00001"), (false, "good-00002")] {
        let redis = TestRedis::start(false).await;
        let (queue, dir) = (redis.queue("ring").await, tempdir().unwrap());
        let file = dir.path().join("processor.wasm");
        replace(&file, &version("good-00001"));
        let runtime = Arc::new(Engine::new(&EngineOptions::default()).unwrap());
        let host = Host::new(runtime, redis.connect().await, "bull");
        let mut config = QueueSpec::new(Some(file.clone()));
        config.pinned = pinned;
        host.attach("ring", config).await.unwrap();
        let options = json!({ "attempts": 2, "backoff": 3_600_000 });
        let id = queue
            .add(&new_job("in-two-steps", json!([]), options))
            .await
            .unwrap();
        reaches(&queue, &id, JobState::Delayed).await;
        replace(&file, &version("good-00002"));
        host.reload(false).await;
        queue.promote(&id).await.unwrap();
        let job = reaches(&queue, &id, JobState::Completed).await;
        assert_eq!(job["returnvalue"], format!("[\"good-00001\",\"{second}\"]"));
        let fresh = add(&queue, "any", json!(null)).await;
        let job = reaches(&queue, &fresh, JobState::Completed).await;
        assert_eq!(job["returnvalue"], "\"good-00002\"");
    }
}

#[tokio::test]
async fn hangup_with_a_refused_processor_keeps_the_old_one_and_tries_again() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let (old, new) = (dir.path().join("old.wasm"), dir.path().join("new.wasm"));
    replace(&old, &version("good-00001"));
    replace(&new, b"\0asm not really");
    let header = format!("redis = \"{}\"\n", redis.server.url());
    let section = |file: &Path, more: &str| format!("[queues.ring]\nprocessor = {file:?}\n{more}");
    let mut host = TestHost::serve(&redis, &section(&old, "")).await;
    let returned = async || {
        let id = add(&queue, "any", json!(null)).await;
        reaches(&queue, &id, JobState::Completed).await["returnvalue"].clone()
    };
    assert_eq!(returned().await, "\"good-00001\"");
    let config = host.dir.path().join("toril.toml");
    for more in ["", "lock_duration_ms = 7000\n"] {
        std::fs::write(&config, header.clone() + &section(&new, more)).unwrap();
        host.signal("HUP");
        host.logs("queue could not be changed as the config says")
            .await;
        assert_eq!(returned().await, "\"good-00001\"");
    }
    let shown = async || {
        let output = crate::harness::toril(&redis, &["status", "ring"]).await;
        let shown = String::from_utf8(output.stdout).unwrap();
        let reason = "not a WebAssembly component";
        (shown.contains("refused") && shown.contains(reason)).then_some(())
    };
    eventually("the status shows the refusal", shown).await;
    // Nobody asks again: it is noticed.
    replace(&new, &version("good-00002"));
    let taken = async || (returned().await == "\"good-00002\"").then_some(());
    eventually("the new one serves", taken).await;
    host.stop().await;
}

#[tokio::test]
async fn queue_that_drains_holds_up_no_other_one() {
    let redis = TestRedis::start(false).await;
    let section = |queue: &str, options: &str| {
        crate::harness::queue_section(queue, "fixture-misbehaving", options)
    };
    let header = format!("redis = \"{}\"\n", redis.server.url());
    let config = section("aisle", "") + &section("ring", "concurrency = 1");
    let mut host = TestHost::serve(&redis, &config).await;
    let (aisle, ring) = (redis.queue("aisle").await, redis.queue("ring").await);
    let endless = add(&aisle, "sleep", json!(3_600_000)).await;
    reaches(&aisle, &endless, JobState::Active).await;
    let config = header
        + "prefix = \"other\"\n"
        + &section("aisle", "lock_duration_ms = 20000")
        + &section(
            "ring",
            "lock_duration_ms = 20000\nlimits = { deadline_ms = 200 }",
        )
        + &section("new", "");
    std::fs::write(host.dir.path().join("toril.toml"), config).unwrap();
    host.signal("HUP");
    host.logs("these keys have changed").await;
    assert!(host.log().contains("keys=\"prefix\""), "{}", host.log());
    let new = redis.queue("new").await;
    let id = add(&new, "fine", json!(null)).await;
    reaches(&new, &id, JobState::Completed).await;
    let limited = async || {
        let id = add(&ring, "sleep", json!(1_000)).await;
        let ended = async || {
            let state = ring.state(&id).await.ok()?;
            matches!(state, JobState::Completed | JobState::Failed).then_some(state)
        };
        let state = eventually("the job ends", ended).await;
        (state == JobState::Failed).then_some(())
    };
    eventually("the new limit holds", limited).await;
    assert_eq!(aisle.state(&endless).await.unwrap(), JobState::Active);
    host.signal("TERM");
    // Two signals that come together may be heard as one.
    host.logs("stopping").await;
    host.signal("TERM");
    assert!(host.ended().await.success());
}
