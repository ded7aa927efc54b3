//! `make demo`: real work through a real host.
//!
//! Starts a private Redis and `toril serve` with the example processors, adds jobs and flows, swaps a broken
//! processor for a working one while its job is being retried, and shows how each job ends. The exit code
//! is 0 only where all went as intended.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use toril::private_redis::PrivateRedis;
use toril::queue::{
    FlowOptions, FlowQuery, Flows, JobRecord, JobState, NewJob, Queue, QueueName, Redis, parse_flow,
};

/// Far longer than it takes: past this something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One job of the demo, and how it should end.
struct Work {
    queue: &'static str,
    name: &'static str,
    shows: &'static str,
    data: Value,
    options: Value,
    ends: JobState,
}

fn work() -> Vec<Work> {
    let job = |queue, name, shows, data, options, ends| Work {
        queue,
        name,
        shows,
        data,
        options,
        ends,
    };
    let step = |name, price| {
        job(
            "renovation",
            name,
            "a step of the renovation",
            json!({ "price": price }),
            json!({}),
            JobState::Completed,
        )
    };
    let flaky = |name, shows, failures: u32, ends| {
        let backoff = json!({ "type": "exponential", "delay": 100 });
        let options = json!({ "attempts": 4, "backoff": backoff });
        job(
            "flaky",
            name,
            shows,
            json!({ "failures": failures }),
            options,
            ends,
        )
    };
    vec![
        step("paint the ceiling", 100),
        step("paint the walls", 200),
        step("fix the floor", 300),
        job(
            "renovation",
            "inspect the rooms",
            "delayed by half a second",
            json!({ "price": 50 }),
            json!({ "delay": 500 }),
            JobState::Completed,
        ),
        job(
            "steps",
            "retried step",
            "fails in its second step, resumes there",
            json!({ "failIn": "second" }),
            json!({ "attempts": 2 }),
            JobState::Completed,
        ),
        job(
            "rests",
            "resting step",
            "delays itself between its steps",
            json!({ "restMs": 300 }),
            json!({}),
            JobState::Completed,
        ),
        flaky(
            "three failures",
            "fails three times with backoff, then completes",
            3,
            JobState::Completed,
        ),
        flaky(
            "too many failures",
            "fails until its attempts are spent",
            9,
            JobState::Failed,
        ),
        job(
            "inspection",
            "broken deploy",
            "its processor is broken; it is swapped between two attempts",
            json!({ "failures": 1000, "price": 42 }),
            json!({ "attempts": 50, "backoff": 200 }),
            JobState::Completed,
        ),
    ]
}

/// A flow of the demo, and how each of its jobs should end; `None` is removed.
struct FlowWork {
    shows: &'static str,
    tree: Value,
    queue: &'static str,
    id: &'static str,
    /// Deployed while the flow runs, once this job of the queue has failed: queue, job, example.
    deploys: Option<(&'static str, &'static str, &'static str)>,
    ends: Vec<(&'static str, &'static str, Option<JobState>)>,
}

fn flow_work() -> [FlowWork; 3] {
    let completed = Some(JobState::Completed);
    let failed = Some(JobState::Failed);
    let step = |id: &str, price: u32| json!({ "name": id, "queueName": "renovation", "data": { "price": price }, "opts": { "jobId": id } });
    let upload = |server: &str, delay: u64| {
        json!({ "name": format!("upload-to-{server}"), "queueName": "file-uploads",
            "data": { "server": server, "broken": server == "server-2" },
            "opts": { "jobId": server, "continueParentOnFailure": true, "delay": delay } })
    };
    [
        FlowWork {
            shows: "a flow: the parent sums up what its steps cost",
            tree: json!({ "name": "renovate-interior", "queueName": "renovation", "opts": { "jobId": "interior" },
                "children": [step("ceiling", 100), step("walls", 200), step("floor", 300)] }),
            queue: "renovation",
            id: "interior",
            deploys: None,
            ends: ["interior", "ceiling", "walls", "floor"]
                .map(|id| ("renovation", id, completed))
                .into(),
        },
        FlowWork {
            shows: "a flow: the plumber's processor is broken, and another one is deployed while the flow runs",
            tree: json!({ "name": "renovate-interior", "queueName": "renovation", "opts": { "jobId": "bathroom" },
                "children": [step("tiles", 250), { "name": "pipes", "queueName": "plumbing",
                    "data": { "failures": 1000, "price": 450 },
                    "opts": { "jobId": "pipes", "attempts": 50, "backoff": 200 } }] }),
            queue: "renovation",
            id: "bathroom",
            deploys: Some(("plumbing", "pipes", "renovate-interior")),
            ends: vec![
                ("renovation", "bathroom", completed),
                ("renovation", "tiles", completed),
                ("plumbing", "pipes", completed),
            ],
        },
        FlowWork {
            shows: "a flow: one upload fails, the batch cancels the third and deletes the first",
            tree: json!({ "name": "upload-batch", "queueName": "uploads", "data": { "batchId": "123" },
                "opts": { "jobId": "batch" },
                "children": [upload("server-1", 0), upload("server-2", 300), upload("server-3", 60_000)] }),
            queue: "uploads",
            id: "batch",
            deploys: None,
            ends: vec![
                ("uploads", "batch", failed),
                ("file-uploads", "server-1", completed),
                ("file-uploads", "server-2", failed),
                ("file-uploads", "server-3", None),
            ],
        },
    ]
}

/// How many jobs ended, and how many of them as intended.
#[derive(Default)]
struct Tally {
    ended: usize,
    completed: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, ended: JobState, intended: JobState) {
        self.ended += 1;
        match ended {
            _ if ended != intended => {}
            JobState::Completed => self.completed += 1,
            _ => self.failed += 1,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match demo().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> anyhow::Result<bool> {
    let dir = tempfile::tempdir()?;
    let redis = PrivateRedis::start_anywhere(&dir.path().join("redis"), false).await?;
    println!("demo: private redis at {}", redis.url());
    let host = Host::start(dir.path(), &redis.url()).await?;
    println!(
        "demo: toril serves {}",
        QUEUES.map(|(queue, _)| queue).join(", ")
    );
    let result = play(&host, &redis.url()).await;
    let Tally {
        ended,
        completed,
        failed,
    } = result.map_err(|error| error.context(format!("log of the host:\n{}", host.log())))?;
    let swaps = host.log().matches("processor was swapped").count();
    println!(
        "demo: {ended} jobs, {completed} completed, {failed} failed as intended, {swaps} swaps"
    );
    host.stop().await?;
    redis.stop().await?;
    Ok(completed + failed == ended && swaps == 2)
}

/// Adds all jobs and flows and follows them to their end.
async fn play(host: &Host, redis_url: &str) -> anyhow::Result<Tally> {
    let redis = Redis::connect(redis_url).await?;
    let (jobs, flows) = (work(), flow_work());
    let progress = progress(jobs.len() + flows.len());
    let mut tally = Tally::default();
    play_jobs(host, &redis, jobs, &progress, &mut tally).await?;
    for flow in flows {
        play_flow(host, &redis, flow, &progress, &mut tally).await?;
    }
    progress.finish_and_clear();
    Ok(tally)
}

async fn play_jobs(
    host: &Host,
    redis: &Redis,
    jobs: Vec<Work>,
    progress: &ProgressBar,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut open = Vec::new();
    for work in jobs {
        let queue = Queue::new(redis.clone(), "bull", &QueueName::new(work.queue)?);
        let Value::Object(options) = work.options.clone() else {
            bail!("options are an object")
        };
        let id = queue
            .add(&NewJob::new(work.name, &work.data.to_string(), options)?)
            .await?;
        open.push((work, queue, id));
    }
    let mut swapped = false;
    let end = Instant::now() + PATIENCE;
    while !open.is_empty() {
        ensure!(
            Instant::now() < end,
            "{} jobs did not end in {PATIENCE:?}",
            open.len()
        );
        let mut still_open = Vec::new();
        for (work, queue, id) in open {
            let state = queue.state(&id).await?;
            let record = queue.job(&id).await?.context("a job is gone")?;
            if !swapped && work.name == "broken deploy" && record.contains_key("failedReason") {
                host.swap("inspection", "renovate-interior")?;
                say(
                    progress,
                    "      swapped the broken processor of `inspection` for one that works",
                );
                swapped = true;
            }
            if matches!(state, JobState::Completed | JobState::Failed) {
                say(progress, &outcome(&work, state, &record));
                progress.inc(1);
                tally.count(state, work.ends);
            } else {
                still_open.push((work, queue, id));
            }
        }
        open = still_open;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Draws a flow while it runs: live on a terminal, at each change elsewhere.
async fn play_flow(
    host: &Host,
    redis: &Redis,
    mut work: FlowWork,
    progress: &ProgressBar,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let flows = Flows::new(redis.clone(), "bull");
    flows
        .add(
            vec![parse_flow(&work.tree.to_string())?],
            &FlowOptions::default(),
        )
        .await?;
    say(progress, &format!("      {}", work.shows));
    let (mut shown, mut root_ended) = (String::new(), false);
    let end = Instant::now() + PATIENCE;
    while !root_ended {
        ensure!(
            Instant::now() < end,
            "flow `{}` did not end in {PATIENCE:?}",
            work.id
        );
        let tree = flows
            .get(&QueueName::new(work.queue)?, work.id, FlowQuery::default())
            .await?
            .context("a flow is gone")?;
        if let Some((queue, id, example)) = work.deploys {
            let child = Queue::new(redis.clone(), "bull", &QueueName::new(queue)?)
                .job(id)
                .await?;
            if child.is_some_and(|child| child.contains_key("failedReason")) {
                let said = host.deploy(queue, example).await?;
                say(
                    progress,
                    &format!("      $ toril deploy {queue} {example}.wasm\n{said}"),
                );
                work.deploys = None;
            }
        }
        root_ended = matches!(tree.state, JobState::Completed | JobState::Failed);
        let drawn = format!("      {}", tree.lines().join("\n      "));
        if drawn != shown && (root_ended || progress.is_hidden()) {
            say(progress, &drawn);
        }
        progress.set_message(if root_ended {
            String::new()
        } else {
            format!("{drawn}\n")
        });
        shown = drawn;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (queue, id, ends) in work.ends {
        let state = Queue::new(redis.clone(), "bull", &QueueName::new(queue)?)
            .state(id)
            .await?;
        let removed = state == JobState::Unknown;
        match ends {
            Some(ends) => tally.count(state, ends),
            None => ensure!(
                removed,
                "job `{id}` of `{queue}` is {state} and should have been removed"
            ),
        }
    }
    progress.inc(1);
    Ok(())
}

/// A bar on a terminal; elsewhere nothing, the lines speak for themselves.
fn progress(jobs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}      [{bar:40}] {pos}/{len}")
        .unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(jobs as u64).with_style(style.progress_chars("=> "))
}

fn say(progress: &ProgressBar, line: &str) {
    progress.suspend(|| println!("{line}"));
}

fn outcome(work: &Work, state: JobState, record: &JobRecord) -> String {
    let field = |name| record.get(name).map_or("", String::as_str);
    let mark = if state == work.ends {
        "ok"
    } else {
        "NOT AS INTENDED"
    };
    let what = match state {
        JobState::Completed => format!("completed with {}", field("returnvalue")),
        _ => format!("failed as intended: {}", field("failedReason")),
    };
    let attempts = match field("atm") {
        "1" => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    format!(
        "{mark:>4}  {}: {} {what}, {attempts} ({})",
        work.queue, work.name, work.shows
    )
}

/// The queues, and the example that serves each.
const QUEUES: [(&str, &str); 8] = [
    ("renovation", "renovate-interior"),
    ("steps", "step-job"),
    ("rests", "delayed-step-job"),
    ("flaky", "flaky"),
    ("inspection", "flaky"),
    ("plumbing", "flaky"),
    ("uploads", "upload-batch"),
    ("file-uploads", "upload-batch"),
];

/// A running `toril serve` with copies of the processors, so that one can be exchanged.
struct Host {
    child: Child,
    dir: PathBuf,
    redis_url: String,
}

impl Host {
    async fn start(dir: &Path, redis_url: &str) -> anyhow::Result<Self> {
        let mut config = format!("redis = \"{redis_url}\"\n");
        for (queue, example) in QUEUES {
            install(example, &processor_file(dir, queue))?;
            config.push_str(&format!("[queues.{queue}]\nprocessor = \"{queue}.wasm\"\n"));
        }
        // The batch cancels uploads, which wait in another queue.
        config.push_str("[queues.uploads.grants]\nqueues = [\"file-uploads\"]\n");
        std::fs::write(dir.join("toril.toml"), config)?;
        let log = std::fs::File::create(dir.join("host.log"))?;
        let toril = release_dir()?.join("toril");
        let child = Command::new(&toril)
            .arg("serve")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "failed to run `{}`\nhint: `make demo` builds it",
                    toril.display()
                )
            })?;
        let mut host = Host {
            child,
            dir: dir.to_owned(),
            redis_url: redis_url.to_owned(),
        };
        host.wait_until_serving().await?;
        Ok(host)
    }

    async fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains("serving") {
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < end,
                "host does not serve:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("host.log")).unwrap_or_default()
    }

    /// Puts another processor in place and tells the host.
    fn swap(&self, queue: &str, example: &str) -> anyhow::Result<()> {
        install(example, &processor_file(&self.dir, queue))?;
        self.signal("HUP")
    }

    /// Deploys another processor on all hosts of the queue, and returns what the command says.
    async fn deploy(&self, queue: &str, example: &str) -> anyhow::Result<String> {
        let output = Command::new(release_dir()?.join("toril"))
            .args(["deploy", queue])
            .arg(component(example)?)
            .args(["--redis", &self.redis_url])
            .output()
            .await?;
        ensure!(output.status.success(), "deploy failed: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(format!(
            "      {}",
            said.trim_end().replace('\n', "\n      ")
        ))
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("host has ended")?.to_string();
        let status = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status()?;
        ensure!(status.success(), "failed to signal the host");
        Ok(())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = self.child.wait().await?;
        ensure!(
            status.success(),
            "host ended with {status}:\n{}",
            self.log()
        );
        Ok(())
    }
}

fn processor_file(dir: &Path, queue: &str) -> PathBuf {
    dir.join(format!("{queue}.wasm"))
}

/// The component of an example.
fn component(example: &str) -> anyhow::Result<PathBuf> {
    let name = format!("{}.wasm", example.replace('-', "_"));
    Ok(release_dir()?
        .with_file_name("wasm32-wasip2")
        .join("processor")
        .join(name))
}

fn install(example: &str, to: &Path) -> anyhow::Result<()> {
    let built = component(example)?;
    // Renamed into place: the host never reads half a component.
    let draft = to.with_extension("draft");
    std::fs::copy(&built, &draft).with_context(|| {
        format!(
            "failed to copy `{}`\nhint: `make demo` builds it",
            built.display()
        )
    })?;
    Ok(std::fs::rename(draft, to)?)
}

/// Where cargo put the host: beside this.
fn release_dir() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().context("demo is in no directory")?;
    Ok(dir.to_owned())
}
