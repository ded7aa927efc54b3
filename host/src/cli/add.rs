//! `toril add`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use toril::queue::{NewJob, json};

use super::json_argument;

/// Adds a job to a queue, as BullMQ's `Queue.add` does, and prints its id.
#[derive(Args)]
#[command(
    after_help = "Example:\n  toril add paint walls --data '{\"price\":100}' --opts '{\"attempts\":3}'"
)]
pub(super) struct Add {
    /// The queue.
    queue: String,
    /// The job's name.
    name: String,
    /// The job's data, JSON; `@FILE` reads a file, and `-` standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// BullMQ's `JobsOptions`, such as `{"delay":1000,"attempts":3}`; `@FILE` reads a file.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    opts: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Add {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        json_argument::ensure_one_reads_input([&self.data, &self.opts])?;
        let data = json_argument::read("--data", &self.data)?;
        let options = json_argument::read("--opts", &self.opts)?;
        let Value::Object(options) = json::read(&options)? else {
            bail!("`--opts` is not a JSON object");
        };
        let job = NewJob::new(&self.name, &data, options)?;
        let id = self.redis.queue(&self.queue).await?.add(&job).await?;
        if self.json {
            super::print_json(&json!({ "id": id, "queue": self.queue, "name": self.name }));
        } else {
            super::print_line(id);
        }
        Ok(ExitCode::SUCCESS)
    }
}
