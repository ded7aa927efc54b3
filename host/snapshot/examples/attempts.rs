//! What an attempt of a component costs in the sandbox, without a queue: `attempts COMPONENT [COUNT]`. Times and page faults
//! of each, the median of ten rounds, fresh and reused.

use std::sync::Arc;
use std::time::Instant;

use toril_sandbox::attempt::{self, AttemptInput};
use toril_sandbox::{Engine, EngineOptions, Grants, LoneJob, Outcome, Policy, Reuse, Stub};

const DATA: &str = r#"{"wall":1,"color":"eggshell white","layers":2,"room":"the one that looks out on the garden"}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let component = std::fs::read(
        arguments
            .next()
            .ok_or("usage: attempts COMPONENT [COUNT]")?,
    )?;
    let count: u32 = arguments.next().map_or(Ok(500), |count| count.parse())?;
    let reuse = Some(Reuse {
        jobs: u32::MAX,
        age_ms: 600_000,
    });
    for (name, reuse) in [("fresh", None), ("reused", reuse)] {
        let grants = Grants {
            stub: vec![Stub::Http],
            ..Grants::default()
        };
        let policy = Arc::new(Policy {
            grants: Arc::new(grants),
            reuse,
            ..Policy::default()
        });
        let engine = Arc::new(Engine::new(&EngineOptions::default())?);
        let processor = engine.load(component.clone(), &policy).await?;
        let mut rounds = Vec::new();
        for _ in 0..10 {
            let (begin, faults) = (Instant::now(), page_faults()?);
            for _ in 0..count {
                let input = AttemptInput::new(Box::new(LoneJob::new("paint", DATA)));
                let outcome = attempt::run(&engine, &processor, &policy, input)
                    .await
                    .outcome;
                if !matches!(outcome, Outcome::Completed(_)) {
                    return Err(format!("{outcome:?}").into());
                }
            }
            let faults = f64::from(page_faults()? - faults) / f64::from(count);
            rounds.push((begin.elapsed() / count, faults));
        }
        rounds.sort_by_key(|(time, _)| *time);
        let (time, faults) = rounds[rounds.len() / 2];
        eprintln!("{name}: {time:.1?}, {faults:.1} page faults");
    }
    Ok(())
}

/// Those of this process so far that needed no disk.
fn page_faults() -> Result<u32, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    Ok(after_name
        .split_whitespace()
        .nth(7)
        .ok_or("no faults")?
        .parse()?)
}
