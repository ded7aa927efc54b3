//! Deploys to several regions. When one fails, what has not begun is cancelled and what was deployed is
//! rolled back.

use std::collections::BTreeMap;

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Deployment {
    version: String,
}

#[derive(Deserialize)]
struct Target {
    region: String,
    #[serde(default)]
    broken: bool,
}

#[derive(Serialize, Deserialize)]
struct Deployed {
    region: String,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    match job.name().as_str() {
        "deploy-global" => finish(job),
        _ => deploy(job),
    }
}

fn finish(job: Job) -> Result<Value, Failure> {
    let Deployment { version } = job.data()?;
    let failed = job.failed_children_values()?;
    if failed.is_empty() {
        return Ok(json!({ "status": "deployed", "version": version }));
    }
    job.remove_unprocessed_children()?;
    let deployed: BTreeMap<String, Deployed> = job.children_values()?;
    for Deployed { region } in deployed.values() {
        job.log(format!("rolled back {region}"))?;
    }
    let keys: Vec<String> = failed.into_keys().collect();
    Err(Failure::new(format!(
        "Deployment failed in: {}",
        keys.join(", ")
    )))
}

fn deploy(job: Job) -> Result<Value, Failure> {
    let Target { region, broken } = job.data()?;
    if broken {
        return Err(Failure::new(format!("{region} refused the deployment")));
    }
    Ok(json!(Deployed { region }))
}
