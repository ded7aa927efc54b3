//! `toril forget`: a queue that no host serves any more.

use std::process::ExitCode;

use clap::Args;

use serde_json::json;
use toril::queue::{KvOwner, Queue};
use toril::served_queue::deployment::{DeployError, Forgotten, forget};

use super::RedisArgs;
use super::output::counted;

/// Forgets a queue that no host serves any more.
///
/// Removes Toril's own data of the queue from Redis: its deployment, its stored components and their history. `toril status`
/// no longer lists the queue. The command never touches BullMQ's keys: the queue and its jobs stay, and other workers go on.
/// The command fails while a host serves the queue: first stop the host, or remove the queue from its config. Without this
/// command, `toril status` lists such a queue for a day, and its components stay stored for hosts that start again.
///
/// The queue's key-value stores stay unless `--kv` is given; those that queues share stay in any case.
#[derive(Args)]
#[command(after_help = "Example:\n  toril forget paint")]
pub(super) struct Forget {
    /// The queue.
    queue: String,
    /// Removes the key-value stores of the queue, too.
    #[arg(long)]
    kv: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Forget {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.redis.queue(&self.queue).await?;
        let stores = queue.kv_stores(KvOwner::Queue).await?;
        let forgotten = match forget(&queue).await {
            // It may have nothing else.
            Err(DeployError::NothingKnown(_)) if self.kv && !stores.is_empty() => {
                Forgotten::default()
            }
            forgotten => forgotten?,
        };
        if self.kv {
            clear(&queue, &stores).await?;
        }
        match self.json {
            true => self.print_json(&forgotten, &stores),
            false => self.print_lines(&forgotten, &stores),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_json(&self, forgotten: &Forgotten, stores: &[String]) {
        let mut shown = json!(forgotten);
        let key = match self.kv {
            true => "storesRemoved",
            false => "storesKept",
        };
        shown[key] = json!(stores);
        super::print_json(&shown);
    }

    fn print_lines(&self, forgotten: &Forgotten, stores: &[String]) {
        super::print_line(format_args!("forgot queue {}", self.queue));
        let deployed = forgotten.active.as_deref().unwrap_or("nothing");
        super::print_line(format_args!("  was deployed  {deployed}"));
        super::print_line(format_args!(
            "  removed       {} of {} bytes, {}",
            counted(forgotten.versions, "component"),
            forgotten.bytes,
            counted(forgotten.changes, "change")
        ));
        if forgotten.recordings > 0 {
            let recordings = counted(forgotten.recordings, "recording");
            super::print_line(format_args!("  removed       {recordings} of attempts"));
        }
        let names = stores.join(", ");
        if self.kv && !stores.is_empty() {
            super::print_line(format_args!("  removed       key-value stores: {names}"));
        }
        super::print_line("  kept          BullMQ's keys: the queue and its jobs");
        if !self.kv && !stores.is_empty() {
            super::print_line(format_args!(
                "  kept          key-value stores: {names} (`--kv` removes them)"
            ));
        }
    }
}

async fn clear(queue: &Queue, stores: &[String]) -> anyhow::Result<()> {
    for name in stores {
        queue.kv(KvOwner::Queue, name)?.clear().await?;
    }
    Ok(())
}
