//! The chain of a scheduler's jobs, and values that only pass through.

use serde_json::json;
use toril_queue::{DependenciesQuery, FlowQuery, Flows, NewJob, Queue, QueueName, Redis};

use crate::harness::{TestRedis, add, take};

/// JSON that no `Value` of `serde_json` keeps as it is.
const ODD: [&str; 4] = [
    "1e400",
    r#""\ud800""#,
    r#"{"b":1,"a":1.50}"#,
    r#"{"$serde_json::private::RawValue":"[1,2]"}"#,
];

/// Takes the job of a scheduler that has these options, and adds the next one. Returns its fields.
async fn next_job(redis: &TestRedis, queue: &Queue, opts: &str) -> Vec<Option<String>> {
    let () = redis.run("FLUSHALL").await;
    let () = redis.run("ZADD bull:q:repeat 1000 s").await;
    let () = redis
        .run("HSET bull:q:repeat:s name n ic 1 every 100")
        .await;
    let () = redis
        .run(&format!(
            "HSET bull:q:repeat:s:1000 name n timestamp 1 priority 7 rjk s data {{}} opts {opts}"
        ))
        .await;
    let () = redis.run("LPUSH bull:q:wait repeat:s:1000").await;
    let jobs = take(queue, 1, "t").await;
    let next = queue.advance_scheduler(&jobs[0]).await.unwrap().unwrap();
    redis
        .run(&format!("HMGET bull:q:{next} priority deid opts"))
        .await
}

#[tokio::test]
async fn next_job_of_a_scheduler_has_the_priority_and_the_id_that_it_gave() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for (opts, priority, id) in [
        (r"", "0", None),
        (r#","priority":3,"de":{"id":5}"#, "3", Some("5")),
        (r#","priority":2.5,"de":{"id":"x"}"#, "2.5", Some("x")),
        (r#","priority":-1,"de":{"id":true}"#, "-1", None),
    ] {
        let opts = format!(r#"{{"repeat":{{"every":100}}{opts}}}"#);
        let fields = next_job(&redis, &queue, &opts).await;
        assert_eq!(fields[0].as_deref(), Some(priority), "{opts}");
        assert_eq!(fields[1].as_deref(), id, "{opts}");
    }
    // As in BullMQ, one below zero is none in line.
    let prioritized: u64 = redis.run("ZCARD bull:q:prioritized").await;
    assert_eq!(prioritized, 0);
}

#[tokio::test]
async fn next_job_of_a_scheduler_has_the_backoff_of_the_job_before() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for (given, handed_on) in [
        ("20", Some(r#""backoff":{"delay":20,"type":"fixed"}"#)),
        (
            r#"{"type":"gentle","delay":1.50}"#,
            Some(r#""backoff":{"type":"gentle","delay":1.50}"#),
        ),
        ("false", None),
    ] {
        let opts = format!(r#"{{"backoff":{given},"repeat":{{"every":100}}}}"#);
        let stored = next_job(&redis, &queue, &opts).await[2].clone().unwrap();
        let has_it = |backoff: &str| stored.contains(backoff);
        assert!(has_it(handed_on.unwrap_or("{")), "{stored}");
        assert_eq!(has_it("backoff"), handed_on.is_some(), "{stored}");
    }
}

#[tokio::test]
async fn options_of_any_kind_are_handed_on_by_a_scheduler() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let deep = "[".repeat(2_000) + &"]".repeat(2_000);
    for odd in ODD.into_iter().chain([deep.as_str()]) {
        let field = format!("\"odd\":{odd}");
        let opts = format!(r#"{{"repeat":{{"every":100,{field}}},{field}}}"#);
        let fields = next_job(&redis, &queue, &opts).await;
        let stored = fields[2].clone().unwrap();
        assert_eq!(stored.matches(&field).count(), 2, "{stored}");
    }
}

#[tokio::test]
async fn values_of_children_and_schedulers_are_shown_as_they_are_stored() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["p"]).await;
    let () = redis.run("HSET bull:q:repeat:s name n ic 1").await;
    let () = redis.run("ZADD bull:q:repeat 1000 s").await;
    let every = DependenciesQuery::default();
    for odd in ODD {
        let () = redis
            .run(&format!("HSET bull:q:p:processed bull:q:c {odd}"))
            .await;
        let all = queue.dependencies("p", &every).await.unwrap();
        let all = serde_json::to_string(&all).unwrap();
        assert!(
            all.contains(&format!(r#""processed":{{"bull:q:c":{odd}}}"#)),
            "{all}"
        );
        let () = redis
            .run(&format!(
                r#"HSET bull:q:repeat:s data {odd} opts {{"kl":{odd}}}"#
            ))
            .await;
        let scheduler = queue.scheduler("s").await.unwrap();
        let template = scheduler.as_ref().unwrap()["template"].get();
        assert_eq!(
            template,
            format!(r#"{{"data":{odd},"opts":{{"keepLogs":{odd}}}}}"#)
        );
        let () = redis.run(&format!("HSET bull:q:p returnvalue {odd}")).await;
        let flows = Flows::new(Redis::connect(redis.url()).await.unwrap(), "bull");
        let name = QueueName::new("q").unwrap();
        let flow = flows.get(&name, "p", FlowQuery::default());
        let shown = flow.await.unwrap().unwrap().returnvalue.unwrap();
        assert_eq!(shown.get(), odd);
    }
    // What is no JSON is shown as text, and hides nothing else.
    let () = redis.run("HSET bull:q:p:processed bull:q:c nope").await;
    let all = queue.dependencies("p", &every).await.unwrap();
    let values = all.processed.unwrap();
    assert_eq!(values["bull:q:c"].get(), "\"nope\"");
}

#[tokio::test]
async fn first_job_of_a_scheduler_has_an_id_that_is_a_number() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let serde_json::Value::Object(schedule) = json!({ "every": 1000 }) else {
        panic!("a schedule is an object")
    };
    let options = json!({ "deduplication": { "id": 5 } });
    let template = NewJob::of_template("n", "{}", options.as_object().unwrap()).unwrap();
    let id = queue.upsert_scheduler("s", schedule, &template).await;
    let id = id.unwrap().unwrap();
    let stored: String = redis.run(&format!("HGET bull:q:{id} deid")).await;
    assert_eq!(stored, "5");
}
