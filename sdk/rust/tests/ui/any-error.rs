use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) -> Result<u32, Failure> {
    let name = job.name();
    match name.as_str() {
        "text" => Err("a text")?,
        "borrowed" => Err(name.as_str())?,
        "owned" => Err(format!("no {name}"))?,
        "boxed" => Err(Box::<dyn std::error::Error>::from("boxed"))?,
        "special" => Err(job.move_to_wait()?),
        "wrapped" => Ok(wrapped(job)?),
        _ => Ok(name.parse()?),
    }
}

fn wrapped(job: Job) -> anyhow::Result<u32> {
    anyhow::ensure!(!job.is_cancelled(), Failure::unrecoverable("cancelled"));
    let limited = http::get("https://a.example/").send()?.status() == http::StatusCode::TOO_MANY_REQUESTS;
    if limited {
        Err(job.move_to_wait()?)?;
    }
    Ok(job.data()?)
}

fn main() {}
