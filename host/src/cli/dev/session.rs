//! What a person sees and does while `toril dev` serves.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use toril::config::Config;
use toril::language::Language;
use toril::worker::{EventReader, WorkerEvent};

use super::jobs::{AddedJob, Jobs};
use super::keys::Keys;
use super::{editor, lines, source_line};
use crate::cli::output::{print_line, print_lines, print_text, set_status};
use crate::cli::terminal;

const HELP: &str =
    "a add the last job again · e edit and add it · r retry the last failed · q quit";
/// Events that wait to be shown. What comes meanwhile waits in the host, where there is room for a bounded number.
const SHOWN_MAX: usize = 64;

/// An event of a queue, or how many were missed.
type Heard = (String, Result<WorkerEvent, u64>);

pub(super) struct Session {
    jobs: Jobs,
    /// Where sources may be.
    dirs: Vec<PathBuf>,
    keys: Option<Keys>,
    quit: Arc<Notify>,
    /// Queues whose processor was built once. The first build may take long; later ones of some languages do not.
    built: BTreeSet<String>,
    last_job: Option<AddedJob>,
    /// Queue and id.
    last_failed: Option<(String, String)>,
}

impl Session {
    pub(super) fn new(config: Config, url: &str, quit: Arc<Notify>) -> Self {
        Session {
            dirs: source_dirs(&config),
            jobs: Jobs::new(config, url),
            keys: Keys::new(),
            quit,
            built: BTreeSet::new(),
            last_job: None,
            last_failed: None,
        }
    }

    /// Goes on until the host ends, and says why it did.
    pub(super) async fn run(
        mut self,
        mut queues: mpsc::UnboundedReceiver<(String, EventReader)>,
        mut host: JoinHandle<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        if self.keys.is_some() {
            show_help();
        }
        let (tell, mut events) = mpsc::channel(SHOWN_MAX);
        let ended = loop {
            tokio::select! {
                Some((queue, reader)) = queues.recv() => {
                    tokio::spawn(forward(queue, reader, tell.clone()));
                }
                Some(heard) = events.recv() => self.show(heard),
                key = next_key(&mut self.keys) => self.act(key).await,
                ended = &mut host => break ended,
            }
        };
        while let Ok(heard) = events.try_recv() {
            self.show(heard);
        }
        set_status("");
        ended.context("the host panicked, which is a bug of toril")?
    }

    fn show(&mut self, (queue, heard): Heard) {
        let event = match heard {
            Ok(event) => event,
            Err(missed) => return print_line(format_args!("{queue}: {missed} events were missed")),
        };
        let arguments = event.json();
        self.remember(&queue, event.name, &arguments);
        if event.name == "building" && !self.takes_long(queue.clone(), &arguments) {
            return;
        }
        let mut shown = lines::of(&queue, event.name, &arguments);
        if event.name == "failed" {
            let error = &arguments["error"];
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            let text = format!("{}\n{}", part("stack"), part("message"));
            shown.extend(source_line::of(&text, &self.dirs));
        }
        if !shown.is_empty() {
            print_lines(shown);
        }
    }

    /// False for builds that end before anybody wonders.
    fn takes_long(&mut self, queue: String, building: &Value) -> bool {
        let file = building["file"].as_str().unwrap_or_default();
        let language = Language::of(file.as_ref());
        let is_slow = matches!(
            language,
            Some(Language::Rust | Language::Go | Language::Python)
        );
        self.built.insert(queue) || is_slow
    }

    fn remember(&mut self, queue: &str, event: &str, arguments: &Value) {
        match event {
            "active" => {
                if let Some(job) = AddedJob::of(queue, &arguments["job"]) {
                    self.last_job = Some(job);
                }
            }
            "failed" => {
                let id = arguments["jobId"].as_str().unwrap_or_default();
                self.last_failed = Some((queue.to_owned(), id.to_owned()));
            }
            _ => {}
        }
    }

    async fn act(&mut self, key: Option<u8>) {
        let done = match key {
            Some(b'a') => self.add_again().await,
            Some(b'e') => self.edit().await,
            Some(b'r') => self.retry().await,
            // Ctrl-D, and a terminal that is gone.
            Some(b'q' | 4) | None => {
                self.keys = None;
                set_status("");
                self.quit.notify_one();
                Ok(())
            }
            Some(_) => Ok(()),
        };
        if let Err(error) = done {
            print_text(format_args!("error: {error:#}"));
        }
    }

    async fn add_again(&mut self) -> anyhow::Result<()> {
        match &self.last_job {
            Some(job) => self.jobs.add(job).await,
            None => {
                print_line("there is no job yet to add again");
                Ok(())
            }
        }
    }

    async fn edit(&mut self) -> anyhow::Result<()> {
        let (Some(job), Some(keys)) = (&self.last_job, &self.keys) else {
            print_line("there is no job yet to edit");
            return Ok(());
        };
        set_status("");
        keys.give_back();
        let edited = editor::edit(&job.pretty_data()).await;
        keys.take_over()?;
        show_help();
        let job = job.with_data(edited?);
        self.jobs.add(&job).await
    }

    async fn retry(&mut self) -> anyhow::Result<()> {
        let Some((queue, id)) = &self.last_failed else {
            print_line("no job has failed yet");
            return Ok(());
        };
        if let Some(state) = self.jobs.retry(queue, id).await? {
            print_line(format_args!(
                "{queue}/{id} is {state} and cannot be retried"
            ));
        }
        Ok(())
    }
}

/// Keeps the keys in view, where the terminal can take a line away again.
fn show_help() {
    match terminal::redraws() {
        true => set_status(HELP),
        false => print_line(HELP),
    }
}

async fn next_key(keys: &mut Option<Keys>) -> Option<u8> {
    match keys {
        Some(keys) => keys.next().await,
        None => pending().await,
    }
}

async fn forward(queue: String, mut reader: EventReader, tell: mpsc::Sender<Heard>) {
    loop {
        let heard = match reader.recv().await {
            Ok(event) => Ok(event),
            Err(RecvError::Lagged(missed)) => Err(missed),
            Err(RecvError::Closed) => return,
        };
        if tell.send((queue.clone(), heard)).await.is_err() {
            return;
        }
    }
}

/// The directory of the project, and those of its processors.
fn source_dirs(config: &Config) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::new()];
    for queue in config.queues.values() {
        let file = queue.processor.as_deref();
        let above = file.into_iter().flat_map(Path::ancestors).skip(1);
        dirs.extend(above.map(Path::to_owned));
    }
    dirs.sort();
    dirs.dedup();
    dirs
}
