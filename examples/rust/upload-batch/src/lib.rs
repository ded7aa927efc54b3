//! Uploads to several servers. As soon as one upload fails, the batch runs (`continueParentOnFailure`): it
//! cancels the uploads that have not begun and deletes the files of those that were done.

use std::collections::BTreeMap;

use toril_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    batch_id: String,
}

#[derive(Deserialize)]
struct Upload {
    server: String,
    #[serde(default)]
    broken: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Uploaded {
    file_url: String,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    match job.name().as_str() {
        "upload-batch" => finish_batch(job),
        _ => upload(job),
    }
}

fn finish_batch(job: Job) -> Result<Value, Failure> {
    let batch: Batch = job.data()?;
    if job.failed_children_values()?.is_empty() {
        return Ok(json!({ "status": "success", "batchId": batch.batch_id }));
    }
    let cancelled = job.remove_unprocessed_children()?;
    job.log(format!("cancelled {cancelled} uploads"))?;
    let done: BTreeMap<String, Uploaded> = job.children_values()?;
    for Uploaded { file_url } in done.values() {
        job.log(format!("deleted {file_url}"))?;
    }
    Err(Failure::new("Upload batch failed"))
}

fn upload(job: Job) -> Result<Value, Failure> {
    let Upload { server, broken } = job.data()?;
    if broken {
        return Err(Failure::new(format!("{server} does not answer")));
    }
    Ok(json!(Uploaded {
        file_url: format!("https://{server}.example/{}", job.id())
    }))
}
