//! The policy of `toril:processor/queues` and `schedulers`.

use serde_json::{Value, json};

use super::{NOT_GRANTED, World, in_either_world, refused_parents};

in_either_world! {
    queues_and_schedulers_are_looked_after_only_where_that_was_granted
    retry_reaches_no_parent_that_is_not_granted
    what_a_scheduler_or_an_event_may_not_say_is_refused
    rate_limit_of_a_guest_has_an_end
}

/// Calls that name a job: a queue, an id, and what else they are given.
fn calls_on_jobs(queue: &str, id: &str) -> Vec<Value> {
    vec![
        json!(["change-delay", queue, id, 5]),
        json!(["change-priority", queue, id, 5, false]),
        json!(["promote", queue, id]),
        json!(["retry", queue, id, "failed"]),
        json!(["retry", queue, id, "completed"]),
    ]
}

fn calls_on_schedulers(queue: &str, id: &str) -> Vec<Value> {
    vec![
        json!(["upsert-scheduler", queue, id, r#"{"every":60000}"#, "{}"]),
        json!(["remove-scheduler", queue, id]),
        json!(["scheduler", queue, id]),
    ]
}

fn calls_on_queues(queue: &str) -> Vec<Value> {
    let mut calls = vec![
        json!(["counts", queue]),
        json!(["remove-deduplication-key", queue, "d"]),
        json!(["rate-limit", queue, 60_000]),
        json!(["publish-event", queue, "painted", { "wall": "north" }]),
        json!(["schedulers", queue, "{}"]),
    ];
    calls.extend(calls_on_jobs(queue, "a1"));
    calls.extend(calls_on_schedulers(queue, "s"));
    calls
}

async fn queues_and_schedulers_are_looked_after_only_where_that_was_granted(guest: &str) {
    let world = World::new(guest, &["open", "other:shared"]).await;
    for (kind, queue) in NOT_GRANTED {
        for call in calls_on_queues(queue) {
            world.refuses(kind, call).await;
        }
    }
    for id in ["a:5x", "meta", "wait", "p1:dependencies", "p1:lock", ""] {
        for call in calls_on_jobs("open", id) {
            world.refuses("invalid", call).await;
        }
    }
    for id in ["", "s:17", "a:b:17"] {
        for call in calls_on_schedulers("open", id) {
            world.refuses("invalid", call).await;
        }
    }
    for id in ["nobody", "a1"] {
        for state in ["failed", "completed"] {
            let kind = if id == "a1" {
                "not-in-state"
            } else {
                "not-found"
            };
            world
                .refuses(kind, json!(["retry", "open", id, state]))
                .await;
        }
    }
}

async fn retry_reaches_no_parent_that_is_not_granted(guest: &str) {
    let world = World::new(guest, &["open"]).await;
    for (id, state) in [("rc1", "failed"), ("q2", "failed"), ("k1", "completed")] {
        let key = format!("bull:open:{state}");
        let _: u64 = world
            .redis
            .command(&["LREM", "bull:open:wait", "0", id])
            .await;
        let _: u64 = world.redis.command(&["ZADD", &key, "1", id]).await;
    }
    // The parents: `r1` of `vault`; `q1` of `open`; the running job itself.
    world
        .refuses("denied", json!(["retry", "open", "rc1", "failed"]))
        .await;
    world.allows(json!(["retry", "open", "q2", "failed"])).await;
    world
        .allows(json!(["retry", "open", "k1", "completed"]))
        .await;
}

async fn what_a_scheduler_or_an_event_may_not_say_is_refused(guest: &str) {
    let world = World::new(guest, &["open"]).await;
    let event = |name: &str, fields: Value| json!(["publish-event", "open", name, fields]);
    for name in [
        "completed",
        "failed",
        "drained",
        "completed:a1",
        "failed:a1",
        "",
    ] {
        world.refuses("invalid", event(name, json!({}))).await;
    }
    world
        .refuses("invalid", event("painted", json!({ "event": "completed" })))
        .await;
    world
        .refuses(
            "limit",
            event("painted", json!({ "a": "x".repeat(70_000) })),
        )
        .await;
    let many: serde_json::Map<String, Value> =
        (0..101).map(|n| (n.to_string(), json!("x"))).collect();
    world.refuses("limit", event("painted", json!(many))).await;
    world
        .allows(event("painted", json!({ "wall": "north" })))
        .await;

    let upsert = |schedule: Value, options: Value| {
        json!([
            "upsert-scheduler",
            "open",
            "s",
            schedule.to_string(),
            options.to_string()
        ])
    };
    let every = || json!({ "every": 60_000 });
    for schedule in [
        json!({}),
        json!([]),
        json!({ "every": 5, "pattern": "* * * * *" }),
        json!({ "every": -5 }),
        json!({ "pattern": "every day" }),
        json!({ "pattern": "* * * * *", "tz": "Nowhere/City" }),
    ] {
        world.refuses("invalid", upsert(schedule, json!({}))).await;
    }
    let repeat = json!({ "repeat": { "every": 5 } });
    world.refuses("invalid", upsert(every(), repeat)).await;
    for (kind, parent) in refused_parents() {
        let options = json!({ "parent": parent });
        world.refuses(kind, upsert(every(), options)).await;
    }
    // As in BullMQ they have no effect, or are not checked.
    let odd = json!({ "attempts": 3, "jobId": "a:b", "delay": 5, "priority": 1.5, "failParentOnFailure": true,
        "ignoreDependencyOnFailure": true, "parent": { "queue": "bull:open", "id": "a1" } });
    let id = world.allows(upsert(every(), odd)).await;
    assert!(id.as_str().unwrap().starts_with("repeat:s:"));
    assert_eq!(
        world.allows(json!(["remove-scheduler", "open", "s"])).await,
        true
    );
    assert_eq!(
        world.allows(json!(["remove-scheduler", "open", "s"])).await,
        false
    );
}

async fn rate_limit_of_a_guest_has_an_end(guest: &str) {
    let world = World::new(guest, &["open"]).await;
    world.allows(json!(["rate-limit", "open", u64::MAX])).await;
    let ttl: i64 = world.redis.command(&["PTTL", "bull:open:limiter"]).await;
    assert!((1..=86_400_000).contains(&ttl), "{ttl}");
}
