//! `toril kv`: the key-value stores of processors.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use toril::queue::{KvOwner, KvRoom, KvStore, Queue};

use super::RedisArgs;
use super::output::{counted, note};

/// Reads and changes the key-value stores of a queue's processors.
///
/// `[queues.QUEUE.grants.kv]` grants a processor its stores. They are kept in Redis beside the queue and outlive its jobs. With
/// `--shared` the command works on the stores that the queues of the prefix share.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril kv list paint\n  toril kv list paint default\n  toril kv get paint default last-run\n  \
                  toril kv delete paint default last-run\n  toril kv list paint rates --shared"
)]
pub(super) struct Kv {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Get(Get),
    Set(Set),
    Delete(Delete),
}

/// Lists the stores of a queue with what they hold, or the keys of one store.
///
/// Keys are listed in the order of their bytes. The counts of a store include keys that have expired until the next write into it.
#[derive(Args)]
struct List {
    /// The queue.
    queue: String,
    /// The store, to list its keys.
    store: Option<String>,
    /// Lists only the keys with this prefix.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        requires = "store",
        value_name = "PREFIX"
    )]
    starting: String,
    /// Lists at most N keys.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Prints the value of a key, byte for byte. The exit code is 1 if the store does not have the key.
#[derive(Args)]
struct Get {
    #[command(flatten)]
    which: Which,
    /// Prints JSON: `key`, and `text`, or for a value that is not text `bytes`, a list of numbers.
    #[arg(long)]
    json: bool,
}

/// Writes a value that does not expire. The limits of the grant do not apply.
#[derive(Args)]
struct Set {
    #[command(flatten)]
    which: Which,
    /// The value; `-` reads standard input.
    value: String,
}

/// Removes a key, or with `--all` every key of the store. The exit code is 1 if nothing was removed.
#[derive(Args)]
struct Delete {
    /// The queue.
    queue: String,
    /// The store.
    store: String,
    /// The key.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    key: Option<String>,
    /// Removes all keys of the store.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Which {
    /// The queue.
    queue: String,
    /// The store.
    store: String,
    /// The key.
    key: String,
    #[command(flatten)]
    place: Place,
}

/// Whose stores, and in which Redis.
#[derive(Args)]
struct Place {
    /// Works on a store that the queues of the prefix share.
    #[arg(long)]
    shared: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Place {
    fn owner(&self) -> KvOwner {
        match self.shared {
            true => KvOwner::Prefix,
            false => KvOwner::Queue,
        }
    }

    async fn queue(&self, name: &str) -> anyhow::Result<Queue> {
        self.redis.queue(name).await
    }

    async fn store(&self, queue: &str, store: &str) -> anyhow::Result<KvStore> {
        Ok(self.queue(queue).await?.kv(self.owner(), store)?)
    }
}

impl Kv {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::List(list) => list.run().await,
            Verb::Get(get) => get.run().await,
            Verb::Set(set) => set.run().await,
            Verb::Delete(delete) => delete.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.place.queue(&self.queue).await?;
        match &self.store {
            Some(store) => self.keys(&queue.kv(self.place.owner(), store)?).await,
            None => self.stores(&queue).await,
        }
    }

    async fn stores(&self, queue: &Queue) -> anyhow::Result<ExitCode> {
        let owner = self.place.owner();
        let mut found = Vec::new();
        for name in queue.kv_stores(owner).await? {
            let usage = queue.kv(owner, &name)?.usage().await?;
            found.push((name, usage));
        }
        if self.json {
            let found: Vec<_> = found
                .iter()
                .map(|(name, usage)| json!({ "store": name, "keys": usage.keys, "bytes": usage.bytes }))
                .collect();
            super::print_json(&found);
            return Ok(ExitCode::SUCCESS);
        }
        if found.is_empty() {
            match owner {
                KvOwner::Queue => note(format_args!(
                    "queue `{}` has no key-value stores",
                    self.queue
                )),
                KvOwner::Prefix => note("the queues of this prefix share no key-value stores"),
            }
        }
        for (name, usage) in found {
            let (keys, bytes) = (counted(usage.keys, "key"), counted(usage.bytes, "byte"));
            super::print_line(format_args!("{name}  {keys}, {bytes}"));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn keys(&self, store: &KvStore) -> anyhow::Result<ExitCode> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.keys(after.as_deref()).await?;
            let fits = |key: &String| key.starts_with(&self.starting);
            found.extend(page.keys.into_iter().filter(fits));
            match page.next {
                Some(next) if found.len() <= self.limit => after = Some(next),
                _ => break,
            }
        }
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        if self.json {
            super::print_json(&found);
        } else {
            super::print_lines(&found);
        }
        if found.is_empty() {
            note("the store has no such key");
        }
        if more {
            note("there are more keys: see `--limit` and `--starting`");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Get {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Which {
            queue,
            store,
            key,
            place,
        } = &self.which;
        let value = place.store(queue, store).await?.get(key).await?;
        let Some(value) = value else {
            bail!("store `{store}` of queue `{queue}` has no key `{key}`");
        };
        if self.json {
            super::print_json(&match String::from_utf8(value) {
                Ok(text) => json!({ "key": key, "text": text }),
                Err(error) => json!({ "key": key, "bytes": error.as_bytes() }),
            });
            return Ok(ExitCode::SUCCESS);
        }
        print_value(value);
        Ok(ExitCode::SUCCESS)
    }
}

/// On a terminal it is shown as any line; a file or a pipe gets the bytes.
fn print_value(value: Vec<u8>) {
    if std::io::stdout().is_terminal() {
        return super::print_lines(String::from_utf8_lossy(&value).split('\n'));
    }
    super::output::print_bytes(&value);
}

impl Set {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Which {
            queue,
            store,
            key,
            place,
        } = &self.which;
        let value = match &*self.value {
            "-" => {
                let mut value = Vec::new();
                let read = std::io::stdin().read_to_end(&mut value);
                read.context("failed to read standard input")?;
                value
            }
            value => value.as_bytes().to_vec(),
        };
        let store = place.store(queue, store).await?;
        store
            .set(&[(key.clone(), value)], &KvRoom::UNBOUNDED)
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Delete {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.place.store(&self.queue, &self.store).await?;
        let removed = match self.key {
            Some(key) => store.delete(&[key]).await?,
            None => store.clear().await?,
        };
        if self.all {
            super::print_line(format_args!("removed {}", counted(removed, "key")));
        }
        Ok(match removed {
            0 => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }
}
