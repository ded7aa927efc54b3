//! The worked examples run to their end without Redis.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use toril::sandbox::dry_run::{DryRun, State};
use toril::sandbox::{Engine, EngineOptions, Grants, Policy};

use crate::harness::processor;

/// A dry run in which an example works these queues.
async fn dry_run(example: &str, queues: &[&str]) -> DryRun {
    let options = EngineOptions {
        executions_max: 2,
        ..EngineOptions::default()
    };
    let engine = Arc::new(Engine::new(&options).unwrap());
    let grants = Grants {
        queues: vec!["*".into()],
        ..Grants::default()
    };
    let policy = Arc::new(Policy {
        grants: Arc::new(grants),
        ..Policy::default()
    });
    let component = std::fs::read(processor(example)).unwrap();
    let loaded = Arc::new(engine.load(component, &policy).await.unwrap());
    let mut dry_run = DryRun::new(engine);
    for queue in queues {
        dry_run.serve_loaded(queue, Arc::clone(&loaded), Arc::clone(&policy));
    }
    dry_run
}

fn value(dry_run: &DryRun, queue: &str, id: &str) -> Value {
    let job = dry_run.job(queue, id).unwrap();
    assert_eq!(job.state, State::Completed, "{:?}", job.failed_reason);
    serde_json::from_str(&job.returnvalue.unwrap()).unwrap()
}

#[tokio::test]
async fn parent_sums_up_the_values_of_its_children() {
    let mut dry_run = dry_run("renovate-interior", &["renovate", "steps"]).await;
    let steps = [("paint", 100), ("paint", 200), ("fix", 300)];
    let children: Vec<Value> = steps
        .iter()
        .map(|(name, price)| json!({ "name": name, "queueName": "steps", "data": { "place": "walls", "price": price } }))
        .collect();
    let flow =
        json!({ "name": "renovate-interior", "queueName": "renovate", "children": children });
    let id = dry_run.add_flow(&flow.to_string()).unwrap();
    let parent = dry_run.job("renovate", &id).unwrap();
    assert_eq!(parent.state, State::WaitingChildren);
    let ended = dry_run.run_to_end().await.unwrap();
    assert_eq!(ended.len(), 4);
    assert_eq!(value(&dry_run, "renovate", &id), json!(600));
}

#[tokio::test]
async fn step_job_rests_until_its_time() {
    let mut dry_run = dry_run("delayed-step-job", &["steps"]).await;
    let id = dry_run
        .add("steps", "rest", r#"{"restMs":60000}"#, "{}")
        .unwrap();
    assert_eq!(dry_run.run().await.unwrap().len(), 1);
    let state = dry_run.job("steps", &id).unwrap().state;
    assert!(matches!(state, State::Delayed(_)), "{state:?}");
    dry_run.advance(Duration::from_secs(30));
    assert_eq!(dry_run.run().await.unwrap().len(), 0);
    dry_run.advance(Duration::from_secs(31));
    assert_eq!(dry_run.run().await.unwrap().len(), 1);
    assert_eq!(value(&dry_run, "steps", &id), "finish");
    let job = dry_run.job("steps", &id).unwrap();
    assert_eq!(job.logs, ["initial step", "second step"]);
    assert_eq!((job.attempts_made, job.attempts_started), (1, 2));
}

#[tokio::test]
async fn jobs_add_children_and_flows_and_wait_for_them() {
    let mut with_children = dry_run("step-job-with-children", &["steps", "parts"]).await;
    let id = with_children.add("steps", "build", "{}", "{}").unwrap();
    with_children.run_to_end().await.unwrap();
    let parts = &value(&with_children, "steps", &id)["parts"];
    assert_eq!(parts.as_object().unwrap().len(), 2, "{parts}");

    let queues = ["chained", "children", "grandchildren"];
    let mut chained = dry_run("chained-flow", &queues).await;
    let id = chained.add("chained", "chain", "{}", "{}").unwrap();
    chained.run_to_end().await.unwrap();
    let values = value(&chained, "chained", &id);
    let values: Vec<&Value> = values.as_object().unwrap().values().collect();
    assert_eq!(values[0].as_array().unwrap().len(), 2, "{values:?}");
}

fn uploads(broken: &str) -> String {
    let servers = ["server-1", "server-2", "server-3"].iter().enumerate();
    let children: Vec<Value> = servers
        .map(|(number, server)| {
            json!({
                "name": format!("upload-to-{server}"), "queueName": "file-uploads",
                "data": { "server": server, "broken": *server == broken },
                "opts": { "jobId": server, "continueParentOnFailure": true,
                    "delay": if number == 2 { 3_600_000 } else { 0 }, "priority": number + 1 },
            })
        })
        .collect();
    json!({ "name": "upload-batch", "queueName": "uploads", "data": { "batchId": "123" },
        "opts": { "jobId": "batch" }, "children": children })
    .to_string()
}

#[tokio::test]
async fn parent_of_a_failed_child_continues_and_cleans_up() {
    let mut dry_run = dry_run("upload-batch", &["uploads", "file-uploads"]).await;
    dry_run.add_flow(&uploads("server-2")).unwrap();
    dry_run.run_to_end().await.unwrap();
    let batch = dry_run.job("uploads", "batch").unwrap();
    assert_eq!(batch.state, State::Failed);
    assert!(batch.failed_reason.unwrap().contains("Upload batch failed"));
    assert_eq!(
        batch.logs,
        [
            "cancelled 1 uploads",
            "deleted https://server-1.example/server-1"
        ]
    );
    assert!(dry_run.job("file-uploads", "server-3").is_none());
}

#[tokio::test]
async fn clock_runs_on_to_delayed_children() {
    let mut dry_run = dry_run("upload-batch", &["uploads", "file-uploads"]).await;
    let begin = dry_run.now_ms();
    dry_run.add_flow(&uploads("none")).unwrap();
    dry_run.run_to_end().await.unwrap();
    assert!(dry_run.now_ms() - begin >= 3_600_000);
    value(&dry_run, "uploads", "batch");
}

#[tokio::test]
async fn retries_wait_for_their_backoff() {
    let mut dry_run = dry_run("fixture-misbehaving", &["ring"]).await;
    let options = json!({ "attempts": 3, "backoff": { "type": "exponential", "delay": 1000 } });
    let id = dry_run
        .add("ring", "panic", "{}", &options.to_string())
        .unwrap();
    let begin = dry_run.now_ms();
    assert_eq!(dry_run.run_to_end().await.unwrap().len(), 3);
    assert_eq!(dry_run.now_ms() - begin, 3_000);
    let job = dry_run.job("ring", &id).unwrap();
    assert_eq!((job.state, job.attempts_made), (State::Failed, 3));
    assert_eq!(job.stacktrace.len(), 3);
}
