//! Delivers an event to a server, as a request. What the server answers decides whether the job is tried again.

use std::time::Duration;

use toril_sdk::http::{Response, StatusCode};
use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Delivery {
    url: String,
    event: Value,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    let Delivery { url, event } = job.data()?;
    let response = http::post(url)
        // An attempt may run more than once: by this the server knows an event that it has.
        .header("idempotency-key", job.id())
        .timeout(Duration::from_secs(10))
        .json(&event)
        .send()?;
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Err(Failure::RateLimited(retry_after(&response))),
        StatusCode::GONE | StatusCode::NOT_FOUND => {
            Err(Failure::unrecoverable("nobody listens there any more"))
        }
        _ => {
            let response = response.error_for_status()?;
            Ok(json!({ "status": response.status().as_u16() }))
        }
    }
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}
