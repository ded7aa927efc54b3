//! `toril flow`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use toril::queue::{FlowJob, FlowNode, FlowOptions, FlowQuery, Queue, QueueName, json, parse_flow};
use toril::sandbox::regular_file::{self, LARGE_BYTES_MAX};

use super::json_argument;

/// Adds a flow, or shows one.
#[derive(Args)]
pub(super) struct Flow {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Add(Add),
    Show(Show),
}

/// Adds a tree of jobs, all or none, and prints their keys.
///
/// The file has BullMQ's `FlowJob`: name, queueName, data, opts, children; or a list of them.
#[derive(Args)]
#[command(after_help = "Example:\n  toril flow add renovation.json")]
struct Add {
    /// The tree, JSON; `-` reads standard input.
    file: PathBuf,
    /// BullMQ's `FlowOpts`: `{"queuesOptions":{"QUEUE":{"defaultJobOptions":{…}}}}`.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    opts: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

/// Draws a flow, with the state of each job.
#[derive(Args)]
struct Show {
    /// The queue of the flow's root, or of any job in it.
    queue: String,
    /// The job's id.
    id: String,
    /// How many levels to show.
    #[arg(long, default_value_t = FlowQuery::default().depth, value_name = "N")]
    depth: usize,
    /// How many children of each kind to show per job.
    #[arg(long, default_value_t = FlowQuery::default().max_children, value_name = "N")]
    max_children: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Flow {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Add(add) => add.run().await,
            Verb::Show(show) => show.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<ExitCode> {
        json_argument::ensure_one_reads_input([&self.file.to_string_lossy(), &self.opts])?;
        let text = self.text()?;
        let flows: Vec<FlowNode> = match text.trim_start().starts_with('[') {
            true => parse_flow(&text)?,
            false => vec![parse_flow(&text)?],
        };
        let options = json_argument::read("--opts", &self.opts)?;
        let options: FlowOptions =
            json::read(&options).context("`--opts` is not BullMQ's `FlowOpts`")?;
        // The nodes name their queues; any queue of the prefix can add them.
        let (redis, prefix) = self.redis.connected().await?;
        let queue = Queue::new(redis, &prefix, &QueueName::new("flow")?);
        let added = queue.flows().add(flows, &options).await?;
        if self.json {
            super::print_json(&added);
        } else {
            added.iter().for_each(|root| print_keys(root, 0));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self) -> anyhow::Result<String> {
        if self.file.as_os_str() == "-" {
            return json_argument::standard_input();
        }
        regular_file::read_text(&self.file, LARGE_BYTES_MAX)
            .with_context(|| format!("failed to read flow `{}`", self.file.display()))
    }
}

fn print_keys(job: &FlowJob, depth: usize) {
    super::print_line(format_args!(
        "{:indent$}{} {}",
        "",
        job.key,
        job.name,
        indent = depth * 2
    ));
    job.children
        .iter()
        .for_each(|child| print_keys(child, depth + 1));
}

impl Show {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.redis.queue(&self.queue).await?;
        let flows = queue.flows();
        let query = FlowQuery {
            depth: self.depth,
            max_children: self.max_children,
        };
        let Some(tree) = flows
            .get(queue.keys().queue_name(), &self.id, query)
            .await?
        else {
            bail!("queue `{}` has no job `{}`", self.queue, self.id);
        };
        if self.json {
            super::print_json(&tree);
        } else {
            super::print_lines(tree.lines());
        }
        Ok(ExitCode::SUCCESS)
    }
}
