//! What one execution costs inside the host, without a queue: from the store to the outcome.
//!
//! Criterion compares with the run before; the lines `execution...` are what `make bench` reads.

use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use toril_sandbox::attempt::{self, AttemptInput};
use toril_sandbox::{Engine, EngineOptions, LoneJob, Outcome, Policy, Processor, Reuse};

const SAMPLES: usize = 20_000;
const DATA: &str = r#"{"wall":1,"color":"eggshell white","layers":2,"room":"the one that looks out on the garden"}"#;

struct Subject {
    name: &'static str,
    engine: Arc<Engine>,
    processor: Processor,
    policy: Arc<Policy>,
}

impl Subject {
    async fn new(name: &'static str, reuse: Option<Reuse>) -> anyhow::Result<Self> {
        let options = EngineOptions {
            executions_max: 10,
            idle_max: 10,
            ..EngineOptions::default()
        };
        let engine = Arc::new(Engine::new(&options)?);
        let policy = Arc::new(Policy {
            reuse,
            ..Policy::default()
        });
        let processor = engine.load(std::fs::read(noop())?, &policy).await?;
        Ok(Subject {
            name,
            engine,
            processor,
            policy,
        })
    }

    async fn run(&self, job: LoneJob) -> Outcome {
        let input = AttemptInput::new(Box::new(job));
        let result = attempt::run(&self.engine, &self.processor, &self.policy, input).await;
        result.outcome
    }

    async fn percentiles(&self) -> [Duration; 2] {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let job = LoneJob::new("paint", DATA);
            let begin = Instant::now();
            black_box(self.run(job).await);
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        [times[SAMPLES / 2], times[SAMPLES / 100 * 99]]
    }
}

/// Executions per second, on so many threads at once.
fn per_second(subject: &Subject, threads: usize) -> anyhow::Result<f64> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let run = || -> anyhow::Result<()> {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            for _ in 0..SAMPLES {
                black_box(tokio.block_on(subject.run(LoneJob::new("paint", DATA))));
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for thread in running {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok((SAMPLES * threads) as f64 / begin.elapsed().as_secs_f64())
    })
}

fn noop() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("../../target".into(), PathBuf::from);
    target.join("wasm32-wasip2/processor/fixture_noop.wasm")
}

fn main() -> anyhow::Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reuse = Reuse {
        jobs: u32::MAX,
        age_ms: u64::MAX,
    };
    let mut criterion = Criterion::default().configure_from_args();
    for (name, reuse) in [("fresh", None), ("reuse", Some(reuse))] {
        let subject = tokio.block_on(Subject::new(name, reuse))?;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| tokio.block_on(subject.run(LoneJob::new("paint", DATA))));
        });
        let [p50, p99] = tokio.block_on(subject.percentiles());
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        writeln!(
            std::io::stdout(),
            "execution {}: p50 {:.1} us, p99 {:.1} us",
            subject.name,
            micros(p50),
            micros(p99)
        )?;
        let cores = std::thread::available_parallelism()?.get();
        for threads in [1, cores] {
            let rate = per_second(&subject, threads)?;
            writeln!(
                std::io::stdout(),
                "executions {name}, threads {threads}: {rate:.0} a second"
            )?;
        }
    }
    criterion.final_summary();
    Ok(())
}
