//! Requests that are refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, TOKEN};
use crate::harness::{TestRedis, queue_section, version};
use crate::short_machine::{MIB, data_bytes, limit_data, with_memory};

#[tokio::test]
async fn refused_requests_change_nothing_and_say_why() {
    let redis = TestRedis::start(false).await;
    let runtime = "[runtime]\ncomponent_bytes_max = 2000000\n";
    let config = runtime.to_owned() + &queue_section("ring", "fixture-noop", "");
    let mut api = Api::start(&redis, &config).await;
    let before = api.get("/v1/queues").await;
    let refused: [(Method, &str, Vec<u8>, u16, &str); 30] = [
        (
            Method::PUT,
            "/v1/queues/ring/deployment",
            br#"{"digest":"ab","canary":[50,[],5,20]}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/new",
            b"[null,null,null,null]".into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/concurrency",
            b"[1]".into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/new",
            br#"{"queues":[""]}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/new",
            br#"{"queues":["other:"]}"#.into(),
            400,
            "invalid",
        ),
        (Method::GET, "/v1/queues/%ff", b"".into(), 400, "invalid"),
        (
            Method::DELETE,
            "/v1/queues/ring?wait=perhaps",
            b"".into(),
            400,
            "invalid",
        ),
        (
            Method::DELETE,
            "/v1/queues/ring/jobs/1?childs=true",
            b"".into(),
            400,
            "invalid",
        ),
        (
            Method::PATCH,
            "/v1/queues/ring",
            b"".into(),
            405,
            "unknown_method",
        ),
        (Method::PUT, "/v1/queues/new", b"{".into(), 400, "invalid"),
        (
            Method::PUT,
            "/v1/queues/new",
            br#"{"options":{"concurency":1}}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/new",
            br#"{"options":{"concurrency":0}}"#.into(),
            400,
            "invalid",
        ),
        (Method::PUT, "/v1/queues/n:ew", b"{}".into(), 400, "invalid"),
        (
            Method::PUT,
            "/v1/queues/new",
            vec![b' '; 2 << 20],
            413,
            "too_large",
        ),
        (
            Method::PUT,
            "/v1/queues/ring",
            b"{}".into(),
            409,
            "conflict",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/concurrency",
            br#"{"concurrency":0}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/concurrency",
            br#"{"concurrency":18446744073709551615}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::POST,
            "/v1/queues/ring/rehearsal",
            br#"{"digest":"ab","count":0}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/deployment",
            br#"{"digest":"ab","rehearse":{"count":0}}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/deployment",
            br#"{"digest":"ab","rehearse":{"allowPercent":-1}}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/deployment",
            br#"{"digest":"ab","canary":{"percent":0}}"#.into(),
            400,
            "invalid",
        ),
        (
            Method::POST,
            "/v1/queues/other/pause",
            b"".into(),
            404,
            "unknown_queue",
        ),
        (
            Method::DELETE,
            "/v1/queues/other",
            b"".into(),
            404,
            "unknown_queue",
        ),
        (
            Method::POST,
            "/v1/queues/other/versions",
            version("good-00001"),
            404,
            "unknown_queue",
        ),
        (
            Method::DELETE,
            "/v1/queues/ring/jobs/1",
            b"".into(),
            404,
            "unknown_job",
        ),
        (
            Method::POST,
            "/v1/queues/ring/versions",
            vec![0; 2_000_001],
            413,
            "too_large",
        ),
        (
            Method::POST,
            "/v1/queues/ring/versions",
            b"nonsense".into(),
            422,
            "component_refused",
        ),
        (
            Method::PUT,
            "/v1/queues/ring/deployment",
            br#"{"digest":"abcdef"}"#.into(),
            404,
            "unknown_version",
        ),
        (
            Method::POST,
            "/v1/queues/ring/canary/abort",
            b"".into(),
            409,
            "conflict",
        ),
        (
            Method::GET,
            "/v1/../etc/passwd",
            b"".into(),
            404,
            "unknown_route",
        ),
    ];
    for (method, path, body, status, code) in refused {
        let response = api.send(method.clone(), path, body).await;
        let (found, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(found, status, "{method} {path}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["code"], code, "{method} {path}: {text}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
    for token in [None, Some("wrong"), Some("")] {
        api.token = token;
        for path in ["/v1/queues", "/metrics", "/openapi.json"] {
            let error = api.asks(Method::GET, path, Value::Null, 401).await;
            assert_eq!(error["error"]["code"], "unauthorized");
        }
        api.asks(Method::DELETE, "/v1/queues/ring", Value::Null, 401)
            .await;
    }
    api.token = Some(TOKEN);
    assert_eq!(api.get("/v1/queues").await, before);
    let stored: Vec<String> = redis.command(&["KEYS", "toril:*component*"]).await;
    assert!(stored.is_empty(), "{stored:?}");
    api.host.stop().await;
}

#[tokio::test]
async fn mistakes_in_a_request_are_named_with_the_nearest_key() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, "").await;
    let mistakes = [
        (json!({ "options": { "concurency": 1 } }), "`concurrency`"),
        (
            json!({ "options": { "lockDurations": 1 } }),
            "`lockDuration`",
        ),
        (json!({ "option": {} }), "`options`"),
        (json!({ "limits": { "deadline": 1 } }), "`deadline_ms`"),
    ];
    for (body, nearest) in mistakes {
        let error = api.asks(Method::PUT, "/v1/queues/ring", body, 400).await;
        let message = error["error"]["message"].as_str().unwrap();
        let hint = format!("hint: did you mean {nearest}?");
        assert!(message.contains(&hint), "{message}");
    }
    // A name that would end a label.
    api.asks(Method::PUT, "/v1/queues/a%22b", json!({}), 201)
        .await;
    let metrics = api.send(Method::GET, "/metrics", "").await;
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains(r#"toril_concurrency{queue="a\"b"} 50"#),
        "{metrics}"
    );
    api.host.stop().await;
}

/// It says nothing of the component: the same request is accepted once there is memory.
#[tokio::test]
async fn machine_without_memory_is_told_from_a_component_that_is_refused() {
    let redis = TestRedis::start(false).await;
    let limits = format!("limits = {{ memory_bytes_max = {} }}", 300 * MIB);
    let api = Api::start(&redis, &queue_section("ring", "fixture-noop", &limits)).await;
    let (pid, large) = (api.host.pid(), with_memory(256, '1'));
    limit_data(pid, Some(data_bytes(pid) + 64 * MIB));
    let path = "/v1/queues/ring/versions";
    let refused = api.send(Method::POST, path, large.clone()).await;
    assert_eq!(refused.status().as_u16(), 503);
    let refused: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(refused["error"]["code"], "machine_is_short", "{refused}");
    limit_data(pid, None);
    api.uploads("ring", large).await;
    api.host.stop().await;
}
