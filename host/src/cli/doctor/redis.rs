//! The Redis that hosts and producers share.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use toril::private_redis;
use toril::queue::{QueueError, Redis};

use super::{Finding, Fix, RedisArgs};

/// Each job takes a round trip to Redis at least.
const LATENCY_MAX: Duration = Duration::from_millis(5);
const PINGS: usize = 20;
/// What to do where Redis does not answer a question.
const REACHABLE: &str = "start Redis, or let this user ask it: `redis-cli -u URL INFO` must answer";
const POLICY: &str = "maxmemory-policy";

pub(super) async fn look(arguments: &RedisArgs) -> Vec<Finding> {
    let (redis, prefix) = match arguments.connected().await {
        Ok(connected) => connected,
        Err(error) => return vec![unreachable(arguments, &error)],
    };
    let mut findings = vec![version(&redis).await, latency(&redis).await];
    findings.extend(eviction(&redis).await);
    findings.extend(rights(&redis, &prefix).await);
    findings
}

/// A host that has none starts its own, if it can.
fn unreachable(arguments: &RedisArgs, error: &anyhow::Error) -> Finding {
    let is_configured = arguments
        .source()
        .is_ok_and(|source| source.redis.url.is_some());
    match private_redis::program() {
        Some(program) if !is_configured => Finding::warning(
            "redis",
            format!(
                "no Redis is configured, and none runs on this machine: `toril serve` starts a `{program}` of its own"
            ),
            "set `redis` in toril.toml to the Redis of your producers",
        ),
        _ => Finding::error("redis", error, REACHABLE),
    }
}

async fn version(redis: &Redis) -> Finding {
    match redis.check_version().await {
        Ok(version) => Finding::ok("redis", format!("version {version}")),
        Err(error) => Finding::error("redis", &error.into(), REACHABLE),
    }
}

async fn latency(redis: &Redis) -> Finding {
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let begin = Instant::now();
        let pong: Result<String, _> = ::redis::cmd("PING").query_async(&mut redis.shared()).await;
        if let Err(error) = pong {
            return Finding::error("redis", &QueueError::from(error).into(), REACHABLE);
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let median = times[PINGS / 2];
    let what = format!("answers in {:.2} ms", median.as_secs_f64() * 1000.0);
    match median > LATENCY_MAX {
        false => Finding::ok("redis", what),
        true => Finding::warning(
            "redis",
            what,
            "run hosts in the same network as Redis; a higher `concurrency` hides some of the latency",
        ),
    }
}

async fn eviction(redis: &Redis) -> Option<Finding> {
    let policy = redis.server_info().await.ok()?.eviction_policy?;
    if policy == "noeviction" {
        return Some(Finding::ok(
            "redis",
            "refuses writes when it is full, and drops no jobs",
        ));
    }
    let found = Finding::warning(
        "redis",
        format!("`{POLICY}` is `{policy}`: Redis may drop jobs when it is full"),
        format!("`redis-cli CONFIG SET {POLICY} noeviction`, and the same in redis.conf"),
    );
    Some(found.fixed_by(Fix::NoEviction(Box::new(redis.clone()))))
}

pub(super) async fn forbid_eviction(redis: &Redis) -> anyhow::Result<String> {
    let mut set = ::redis::cmd("CONFIG");
    set.arg("SET").arg(POLICY).arg("noeviction");
    let set: Result<(), _> = set.query_async(&mut redis.shared()).await;
    set.with_context(|| format!("Redis does not let this user set `{POLICY}`"))?;
    Ok(format!(
        "`{POLICY}` is `noeviction` until Redis restarts; set it in redis.conf, too"
    ))
}

/// Tries what hosts do, on keys of its own that are gone within a second.
async fn rights(redis: &Redis, prefix: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, what) in [
        (format!("{prefix}:toril-doctor:probe"), "queues"),
        (
            format!("toril:{{{prefix}:toril-doctor}}:probe"),
            "deployments",
        ),
    ] {
        let script = "redis.call('SET', KEYS[1], 1, 'PX', 1000) return redis.call('DEL', KEYS[1])";
        let mut call = ::redis::cmd("EVAL");
        call.arg(script).arg(1).arg(&key);
        let called: Result<i64, _> = call.query_async(&mut redis.shared()).await;
        let pattern = key.split(':').next().unwrap_or_default();
        findings.extend(called.err().map(|error| {
            let repair = format!(
                "give the user of the URL the right to use scripts and the keys `{pattern}:*`: \
                 `ACL SETUSER NAME +@all -@dangerous +info ~{pattern}:*`"
            );
            let error = anyhow::anyhow!("the keys of {what} cannot be used: {error}");
            Finding::error("redis", &error, repair)
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "redis",
            format!("scripts may use the keys of `{prefix}:` and `toril:`"),
        ));
    }
    findings
}
