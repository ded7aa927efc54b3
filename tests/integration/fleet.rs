//! Deployments in Redis, followed by every host.

use serde_json::{Value, json};
use tempfile::tempdir;
use toril::queue::{JobState, Queue};

use crate::harness::{TestHost, TestRedis, add, eventually, new_job, reaches, toril, version};

const QUEUE: &str = "[queues.ring]\n";

/// Runs a command that must succeed, and returns what it printed.
async fn does(redis: &TestRedis, arguments: &[&str]) -> String {
    let output = toril(redis, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail, and returns what it said.
async fn fails(redis: &TestRedis, arguments: &[&str]) -> String {
    let output = toril(redis, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Writes a version to a file, and returns the file's name.
fn file(dir: &tempfile::TempDir, name: &str) -> String {
    let file = dir.path().join(format!("{name}.wasm"));
    std::fs::write(&file, version(name)).unwrap();
    file.display().to_string()
}

async fn status(redis: &TestRedis) -> Value {
    serde_json::from_str(&does(redis, &["status", "ring", "--json"]).await).unwrap()
}

/// The digests that the hosts that are alive run, in the order of their names.
async fn runs(redis: &TestRedis) -> Vec<String> {
    let status = status(redis).await;
    let hosts = status[0]["hosts"].as_array().unwrap();
    let alive = hosts.iter().filter(|host| host["alive"] == true);
    alive
        .map(|host| host["active"].as_str().unwrap_or("none").to_owned())
        .collect()
}

fn digest(name: &str) -> String {
    toril::sandbox::Digest::of(&version(name)).to_string()
}

async fn returned(queue: &Queue) -> Value {
    let id = add(queue, "any", json!(null)).await;
    reaches(queue, &id, JobState::Completed).await["returnvalue"].clone()
}

#[tokio::test]
async fn three_hosts_follow_deployments_canaries_and_rollbacks() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let one = TestHost::serve(&redis, QUEUE).await;
    let two = TestHost::serve(&redis, QUEUE).await;
    let three = TestHost::serve(&redis, QUEUE).await;

    // Jobs wait for the first processor.
    let early = add(&queue, "any", json!(null)).await;
    let said = does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    assert_eq!(said.matches(": ok").count(), 3, "{said}");
    let job = reaches(&queue, &early, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "\"good-00001\"");

    // One dies while the next version is deployed, and comes back right.
    three.kill().await;
    let second = file(&dir, "good-00002");
    let arguments = ["deploy", "ring", &second, "--wait", "0"];
    let deploy = does(&redis, &arguments);
    let (_, three) = tokio::join!(deploy, TestHost::serve(&redis, QUEUE));
    let all_follow = async || (runs(&redis).await == vec![digest("good-00002"); 3]).then_some(());
    eventually("three hosts that are alive run the new version", all_follow).await;
    assert_eq!(returned(&queue).await, "\"good-00002\"");

    // A canary that does as well as the others stays until it is promoted.
    let good = file(&dir, "good-00003");
    does(&redis, &["deploy", "ring", &good, "--canary", "50%"]).await;
    let taken = async || (returned(&queue).await == "\"good-00003\"").then_some(());
    eventually("the candidate takes jobs", taken).await;
    let left = async || (returned(&queue).await == "\"good-00002\"").then_some(());
    eventually("the active version takes jobs, too", left).await;
    does(&redis, &["promote", "ring"]).await;
    assert_eq!(runs(&redis).await, vec![digest("good-00003"); 3]);

    // One that fails goes back by itself.
    let bad = file(&dir, "bad--00004");
    let canary = [
        "--canary",
        "50%",
        "--abort-after",
        "10",
        "--abort-margin",
        "20%",
    ];
    does(&redis, &[&["deploy", "ring", &bad], &canary[..]].concat()).await;
    let aborted = async || {
        for _ in 0..10 {
            add(&queue, "any", json!(null)).await;
        }
        let versions = does(&redis, &["versions", "ring"]).await;
        versions.contains("aborted").then_some(versions)
    };
    let versions = eventually("the canary is aborted", aborted).await;
    assert!(versions.contains("first attempts failed"), "{versions}");
    for host in [&one, &two, &three] {
        let told = async || host.log().contains("canary was aborted").then_some(());
        eventually("each host logs it", told).await;
        assert!(host.log().contains("first attempts failed"));
    }
    let ended = async || {
        let status = status(&redis).await;
        let hosts = status[0]["hosts"].as_array().unwrap().clone();
        hosts
            .iter()
            .all(|host| host["candidate"].is_null())
            .then_some(())
    };
    eventually("no host runs the candidate any more", ended).await;
    for _ in 0..20 {
        assert_eq!(returned(&queue).await, "\"good-00003\"");
    }

    // Back to the one before, to a named one, and to one that comes later.
    does(&redis, &["rollback", "ring"]).await;
    assert_eq!(runs(&redis).await, vec![digest("good-00002"); 3]);
    let first = digest("good-00001");
    does(&redis, &["rollback", "ring", &first[..20]]).await;
    assert_eq!(runs(&redis).await, vec![first.clone(); 3]);
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    let fourth = TestHost::serve(&redis, QUEUE).await;
    assert_eq!(runs(&redis).await, vec![first; 4]);
    for host in [one, two, three, fourth] {
        host.stop().await;
    }
    assert!(
        runs(&redis).await.is_empty(),
        "hosts that stop leave the list"
    );
}

#[tokio::test]
async fn canary_is_judged_by_jobs_and_only_where_both_versions_have_some() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let host = TestHost::serve(&redis, QUEUE).await;
    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    let bad = file(&dir, "bad--00002");
    let canary = ["--jobs", "poison", "--abort-after", "2"];
    does(&redis, &[&["deploy", "ring", &bad], &canary[..]].concat()).await;
    let poison = new_job("poison", json!(null), json!({ "attempts": 20 }));
    let poison = queue.add(&poison).await.unwrap();
    let job = reaches(&queue, &poison, JobState::Failed).await;
    assert_eq!(job["atm"], "20");
    // Jobs that the candidate could not have taken are no measure for it.
    for _ in 0..10 {
        returned(&queue).await;
    }
    for poison in 0..10 {
        let job = new_job("poison", json!(poison), json!({}));
        let id = queue.add(&job).await.unwrap();
        reaches(&queue, &id, JobState::Failed).await;
    }
    let counted = async || {
        let canary = status(&redis).await[0]["deployment"]["canary"].clone();
        assert!(!canary.is_null(), "it was aborted");
        (canary["candidate"] == json!([0, 11])).then_some(canary)
    };
    let canary = eventually("each job counts once", counted).await;
    assert_eq!(canary["active"], json!([0, 0]));
    host.stop().await;
}

#[tokio::test]
async fn canary_by_name_takes_the_jobs_of_these_names_only() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let host = TestHost::serve(&redis, QUEUE).await;
    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    does(
        &redis,
        &[
            "deploy",
            "ring",
            &file(&dir, "good-00002"),
            "--jobs",
            "new,newer",
        ],
    )
    .await;
    for (name, value) in [
        ("any", "\"good-00001\""),
        ("new", "\"good-00002\""),
        ("newer", "\"good-00002\""),
    ] {
        let id = add(&queue, name, json!(null)).await;
        assert_eq!(
            reaches(&queue, &id, JobState::Completed).await["returnvalue"],
            value
        );
    }
    assert!(does(&redis, &["status"]).await.contains("named new, newer"));
    does(&redis, &["abort", "ring", "--reason", "seen enough"]).await;
    let id = add(&queue, "new", json!(null)).await;
    assert_eq!(
        reaches(&queue, &id, JobState::Completed).await["returnvalue"],
        "\"good-00001\""
    );
    assert!(
        does(&redis, &["versions", "ring"])
            .await
            .contains("seen enough")
    );
    host.stop().await;
}

#[tokio::test]
async fn deployment_goes_before_the_file_until_it_is_taken_away() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let own = file(&dir, "good-00001");
    let config = format!("[queues.ring]\nprocessor = {own:?}\n");
    let mut host = TestHost::serve(&redis, &config).await;
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    does(&redis, &["deploy", "ring", &file(&dir, "good-00002")]).await;
    assert_eq!(returned(&queue).await, "\"good-00002\"");
    std::fs::write(&own, version("good-00003")).unwrap();
    host.signal("HUP");
    host.logs("a deployment takes precedence").await;
    assert_eq!(returned(&queue).await, "\"good-00002\"");
    does(&redis, &["undeploy", "ring"]).await;
    assert_eq!(returned(&queue).await, "\"good-00003\"");
    host.stop().await;
}

#[tokio::test]
async fn refused_deployments_change_nothing() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let good = file(&dir, "good-00001");
    let corrupt = dir.path().join("corrupt.wasm");
    std::fs::write(&corrupt, "nonsense").unwrap();
    let corrupt = corrupt.display().to_string();
    assert!(
        fails(&redis, &["deploy", "ring", &corrupt])
            .await
            .contains("not a WebAssembly component")
    );
    for (command, reason) in [
        (&["rollback", "ring"][..], "nothing is deployed"),
        (&["rollback", "ring", "abcdef"], "has no version `abcdef`"),
        (&["promote", "ring"], "has no canary"),
        (&["abort", "ring"], "has no canary"),
        (&["undeploy", "ring"], "nothing is deployed"),
        (&["deploy", "ri:ng", &good], "contains `:`"),
    ] {
        let said = fails(&redis, command).await;
        assert!(said.contains(reason), "{command:?}: {said}");
    }
    let stored: Vec<String> = redis.command(&["KEYS", "toril:{*"]).await;
    assert!(stored.is_empty(), "{stored:?}");

    // A host with less room than the one who deploys says so, and what it runs goes on.
    let queue = redis.queue("ring").await;
    let small = format!("[runtime]\ncomponent_bytes_max = 1000\n{QUEUE}");
    let (roomy, small) = (
        TestHost::serve(&redis, QUEUE).await,
        TestHost::serve(&redis, &small).await,
    );
    let said = fails(&redis, &["deploy", "ring", &good]).await;
    assert!(
        said.contains("more than the limit of 1000") && said.contains(": ok"),
        "{said}"
    );
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    // What is stored is not trusted to be what it was stored as.
    let key = format!("toril:{{bull:ring}}:component:{}", digest("good-00001"));
    let other = redis.connect().await;
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(version("good-00009"));
    let _: () = set.query_async(&mut other.shared()).await.unwrap();
    let later = TestHost::serve(&redis, QUEUE).await;
    assert!(
        later.log().contains("redis holds `sha256:"),
        "{}",
        later.log()
    );
    for host in [roomy, small, later] {
        host.stop().await;
    }
}

#[tokio::test]
async fn old_versions_are_pruned_but_none_in_use() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve(&redis, QUEUE).await;
    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    for n in 2..=14 {
        does(
            &redis,
            &["deploy", "ring", &file(&dir, &format!("good-{n:05}"))],
        )
        .await;
    }
    let stored: Vec<String> = redis
        .command(&["KEYS", "toril:{bull:ring}:component:*"])
        .await;
    let has = |name: &str| stored.iter().any(|key| key.ends_with(&digest(name)));
    assert!(has("good-00001"), "a job still runs on it");
    assert!(has("good-00014") && !has("good-00002") && !has("good-00003"));
    assert!(stored.len() <= 12, "{} are stored", stored.len());
    host.signal("TERM");
    // Two signals that come together may be heard as one.
    host.logs("stopping").await;
    host.signal("TERM");
    assert!(host.ended().await.success());
}

#[tokio::test]
async fn pinned_job_finds_its_version_after_its_host_died() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let pinned = format!("{QUEUE}pinned = true\n");
    let host = TestHost::serve(&redis, &pinned).await;
    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    let options = json!({ "attempts": 2, "backoff": 3_600_000 });
    let job = new_job("in-two-steps", json!([]), options);
    let id = queue.add(&job).await.unwrap();
    reaches(&queue, &id, JobState::Delayed).await;
    host.kill().await;
    does(
        &redis,
        &["deploy", "ring", &file(&dir, "good-00002"), "--wait", "0"],
    )
    .await;
    let host = TestHost::serve(&redis, &pinned).await;
    queue.promote(&id).await.unwrap();
    let job = reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "[\"good-00001\",\"good-00001\"]");
    assert_eq!(returned(&queue).await, "\"good-00002\"");
    host.stop().await;
}

#[tokio::test]
async fn version_that_is_back_reuses_its_instances() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let options = "concurrency = 1\nreuse = { jobs = 1000 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    does(&redis, &["undeploy", "ring"]).await;
    for seen in ["0", "1"] {
        let id = add(&queue, "remember", json!(null)).await;
        let job = reaches(&queue, &id, JobState::Completed).await;
        assert_eq!(job["returnvalue"], seen);
    }
    host.stop().await;
}

#[tokio::test]
async fn jobs_wait_while_a_queue_has_no_processor() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve(&redis, QUEUE).await;
    let good = file(&dir, "good-00001");
    does(&redis, &["deploy", "ring", &good]).await;
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    does(&redis, &["undeploy", "ring"]).await;
    host.logs("jobs wait for the next one").await;
    let waits = add(&queue, "any", json!(null)).await;
    // Another queue's worker has done a job meanwhile: this one had its chance, too.
    let other = TestHost::serve_queue(&redis, "paint", "fixture-noop", "").await;
    let paint = redis.queue("paint").await;
    let id = add(&paint, "any", json!(null)).await;
    reaches(&paint, &id, JobState::Completed).await;
    assert_eq!(queue.state(&waits).await.unwrap(), JobState::Waiting);
    does(&redis, &["deploy", "ring", &good]).await;
    let job = reaches(&queue, &waits, JobState::Completed).await;
    assert_eq!(job["ats"], "1", "no start was spent while it waited");
    assert!(
        !host.log().contains("the host failed to run a job"),
        "{}",
        host.log()
    );
    for host in [host, other] {
        host.stop().await;
    }
}

/// The component of a version, larger by a section that means nothing.
fn larger(name: &str) -> Vec<u8> {
    let mut component = version(name);
    // A custom section: its id, its length, the length of its name, its name, and zeros.
    component.extend([0, 100, 4]);
    component.extend(b"more");
    component.extend([0; 95]);
    component
}

#[tokio::test]
async fn deployment_that_no_host_takes_is_withdrawn() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let max = version("good-00001").len() + 10;
    let small = format!("[runtime]\ncomponent_bytes_max = {max}\n{QUEUE}");
    let host = TestHost::serve(&redis, &small).await;
    let large = dir.path().join("large.wasm");
    std::fs::write(&large, larger("good-00002")).unwrap();
    let large = large.display().to_string();

    // Nothing was deployed before: nothing is again.
    let said = fails(&redis, &["deploy", "ring", &large]).await;
    assert!(said.contains("more than the limit"), "{said}");
    assert!(said.contains("nothing is deployed now"), "{said}");
    assert!(status(&redis).await[0]["deployment"]["active"].is_null());

    does(&redis, &["deploy", "ring", &file(&dir, "good-00001")]).await;
    let said = fails(&redis, &["deploy", "ring", &large]).await;
    assert!(said.contains("is deployed again"), "{said}");
    let canary = fails(&redis, &["deploy", "ring", &large, "--canary", "50%"]).await;
    assert!(canary.contains("is deployed again"), "{canary}");
    let deployed = &status(&redis).await[0]["deployment"];
    assert_eq!(deployed["active"], digest("good-00001"));
    assert!(deployed["canary"].is_null());
    let versions = does(&redis, &["versions", "ring"]).await;
    assert_eq!(
        versions.matches("no host accepted it").count(),
        3,
        "{versions}"
    );
    assert_eq!(returned(&queue).await, "\"good-00001\"");

    // A canary that ran goes on.
    let third = file(&dir, "good-00003");
    does(&redis, &["deploy", "ring", &third, "--canary", "50%"]).await;
    let said = fails(&redis, &["deploy", "ring", &large]).await;
    let again = format!("with the candidate {}", digest("good-00003"));
    assert!(said.contains(&again), "{said}");
    let taken = async || (returned(&queue).await == "\"good-00003\"").then_some(());
    eventually("the candidate takes jobs again", taken).await;
    host.stop().await;
}

#[tokio::test]
async fn refused_deployment_is_tried_again_also_by_hosts_that_start_later() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let good = file(&dir, "good-00001");
    let mut host = TestHost::serve(&redis, QUEUE).await;
    // What a host cannot read now it may be able to read later.
    let key = format!("toril:{{bull:ring}}:component:{}", digest("good-00001"));
    does(&redis, &["deploy", "ring", &good, "--wait", "0"]).await;
    assert_eq!(returned(&queue).await, "\"good-00001\"");
    let aside = "{bull:ring}:aside";
    let _: String = redis.command(&["RENAME", &key, aside]).await;
    let mut later = TestHost::serve(&redis, QUEUE).await;
    later.logs("is no longer in redis").await;
    let refused = async || {
        let status = status(&redis).await;
        let hosts = status[0]["hosts"].as_array().unwrap().clone();
        hosts
            .iter()
            .any(|host| host["refusal"]["digest"] == digest("good-00001"))
            .then_some(())
    };
    eventually("the refusal is reported", refused).await;
    let _: String = redis.command(&["RENAME", aside, &key]).await;
    let both = async || (runs(&redis).await == vec![digest("good-00001"); 2]).then_some(());
    eventually("both hosts run it", both).await;
    let forgotten = async || {
        let status = status(&redis).await;
        let hosts = status[0]["hosts"].as_array().unwrap().clone();
        hosts
            .iter()
            .all(|host| host["refusal"].is_null())
            .then_some(())
    };
    eventually("the refusal is history", forgotten).await;
    host.logs("serving").await;
    for host in [host, later] {
        host.stop().await;
    }
}
