//! `toril events`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use toril::queue::QueueEvent;

/// Shows the events of a queue as they come, until it is interrupted.
#[derive(Args)]
pub(super) struct Events {
    /// The queue.
    queue: String,
    /// Begins with the oldest stored event instead of the next one.
    #[arg(long)]
    all: bool,
    /// Ends when no event has come for this many milliseconds.
    #[arg(long, value_name = "MS")]
    idle_ms: Option<u64>,
    /// Prints JSON, one object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Events {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.redis.queue(&self.queue).await?;
        let mut events = queue.events(self.all.then_some("0")).await?;
        let wait = Duration::from_millis(self.idle_ms.unwrap_or(5_000));
        loop {
            let next = events.next(wait).await?;
            if next.is_empty() && self.idle_ms.is_some() {
                return Ok(ExitCode::SUCCESS);
            }
            for event in next {
                self.print(&event)?;
            }
        }
    }

    fn print(&self, event: &QueueEvent) -> anyhow::Result<()> {
        if self.json {
            super::print_json(event);
        } else {
            let fields: String = event
                .fields
                .iter()
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            super::print_line(format_args!("{} {}{fields}", event.id, event.event));
        }
        Ok(())
    }
}
