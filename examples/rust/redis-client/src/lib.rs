//! Counts visits in a Redis of the processor's own, with the crate `redis`: its blocking client works as it is.
//!
//! Needs `[queues.NAME.grants.tcp] hosts = ["SERVER:6379"]`.

use redis::Commands as _;
use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Visit {
    /// `redis://host:port`
    redis: String,
    page: String,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    let visit: Visit = job.data()?;
    let visits = count(&visit).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json!({ "visits": visits }))
}

fn count(visit: &Visit) -> redis::RedisResult<u64> {
    let mut redis = redis::Client::open(visit.redis.as_str())?.get_connection()?;
    redis.hincr("visits", &visit.page, 1)
}
