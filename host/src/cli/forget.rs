//! `toril forget`: a queue that nobody works any more.

use std::process::ExitCode;

use clap::Args;

use super::RedisArgs;

/// Forgets a queue that no host works any more.
///
/// Removes what Toril keeps of it in Redis: what is deployed on it, its stored components and their history; `toril
/// status` lists it no more. BullMQ's own keys are never touched: the queue and its jobs stay, and other workers go on.
/// Refused while a host works the queue: stop the host, or take the queue out of its config, first. Without this command,
/// `toril status` lists such a queue for a day, and its components are kept for hosts that come back.
#[derive(Args)]
#[command(after_help = "Example:\n  toril forget paint")]
pub(super) struct Forget {
    /// The queue.
    queue: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Forget {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments = self.redis.deployments(&self.queue).await?;
        let forgotten = deployments.forget().await?;
        if self.json {
            super::print_json(&forgotten);
            return Ok(ExitCode::SUCCESS);
        }
        let queue = &self.queue;
        super::print_line(format_args!("forgot queue {queue}"));
        let deployed = forgotten.active.as_deref().unwrap_or("nothing");
        super::print_line(format_args!("  was deployed  {deployed}"));
        super::print_line(format_args!(
            "  removed       {} components of {} bytes, {} changes",
            forgotten.versions, forgotten.bytes, forgotten.changes
        ));
        super::print_line("  kept          BullMQ's keys: the queue and its jobs");
        Ok(ExitCode::SUCCESS)
    }
}
