//! Each script of the host goes through each fault of the [`FaultProxy`], in a real host with real guests: no job is
//! lost, none is settled twice, and all of it within a bound.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toril::queue::{JobState, Queue, Redis};

mod cancelling;
mod commands;
mod dropped;
mod guest_calls;
mod links;
mod markers;
mod renewal;
mod settling;
mod uploads;

use crate::fault_proxy::{Fault, FaultProxy, Gate};
use crate::harness::{TestHost, TestRedis, eventually, new_job, queue_section};

/// What one fault may cost: a lock that runs out, a stalled check and reconnecting, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(10);
/// Locks run out soon, so that what is only recovered by a stalled check is recovered within the bound.
const OPTIONS: &str = "concurrency = 5\nlock_duration_ms = 1000\nstalled_interval_ms = 500\n\
                       max_stalled_count = 3\ndrain_delay_ms = 1000\n\
                       grants = { queues = [\"ring\", \"other\"] }";

/// A host behind the proxy that serves `ring` with the processor of the interop scenarios and `slow` with the one
/// that misbehaves.
struct Stage {
    redis: TestRedis,
    proxy: FaultProxy,
    host: TestHost,
    ring: Queue,
    slow: Queue,
}

impl Stage {
    async fn start() -> Self {
        Self::with(OPTIONS).await
    }

    /// Both queues are served with these options.
    async fn with(options: &str) -> Self {
        let redis = TestRedis::start(false).await;
        let proxy = FaultProxy::start(&redis).await;
        let ring = queue_section("ring", "fixture-scenarios", options);
        let slow = queue_section("slow", "fixture-misbehaving", options);
        let mut host = TestHost::spawn(&format!("redis = \"{}\"\n{ring}{slow}", proxy.url()), &[]);
        host.logs("serving").await;
        let clear = Redis::connect(&proxy.clear_url()).await.unwrap();
        let queue = |name: &str| Queue::new(clear.clone(), "bull", &name.parse().unwrap());
        Stage {
            ring: queue("ring"),
            slow: queue("slow"),
            redis,
            proxy,
            host,
        }
    }

    async fn add(&self, case: &Case) -> String {
        let job = new_job(case.job, case.data.clone(), case.options.clone());
        self.ring.add(&job).await.unwrap()
    }

    /// Waits until nothing is left to do, and checks that each job was settled once.
    async fn settles(&self, what: &str, queue: &Queue, started: Instant) {
        self.settles_within(what, queue, started, BOUND).await;
    }

    async fn settles_within(&self, what: &str, queue: &Queue, started: Instant, bound: Duration) {
        self.rests(what, queue, started, bound).await;
        for (id, ends) in self.ends(queue.keys().name()).await {
            assert_eq!(ends, 1, "{what}: job {id} was settled {ends} times");
        }
        let locks: Vec<String> = self.redis.command(&["KEYS", "bull:*:lock"]).await;
        assert!(locks.is_empty(), "{what}: {locks:?} are left");
    }

    /// Waits until nothing is left to do.
    async fn rests(&self, what: &str, queue: &Queue, started: Instant, bound: Duration) {
        let name = queue.keys().name();
        let states = [
            "wait",
            "active",
            "delayed",
            "prioritized",
            "waiting-children",
        ];
        let keys = states.map(|state| format!("bull:{name}:{state}"));
        let [wait, active, delayed, prioritized, children] = &keys;
        let busy = ["EXISTS", wait, active, delayed, prioritized, children];
        // All in one command: a job may go from one to another.
        while self.redis.command::<usize>(&busy).await > 0 {
            if started.elapsed() > bound {
                let events = self.events(name).await;
                let last: Vec<_> = events.iter().rev().take(5).collect();
                panic!(
                    "{what}: jobs are left; last events: {last:?}; host:\n{}",
                    self.host.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often each job of a queue completed or failed for good, as listeners were told.
    async fn ends(&self, queue: &str) -> BTreeMap<String, usize> {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for event in self.events(queue).await {
            let times = ends.entry(event["jobId"].clone()).or_default();
            *times += usize::from(matches!(&*event["event"], "completed" | "failed"));
        }
        ends
    }

    async fn events(&self, queue: &str) -> Vec<BTreeMap<String, String>> {
        let key = format!("bull:{queue}:events");
        let entries: Vec<(String, BTreeMap<String, String>)> =
            self.redis.command(&["XRANGE", &key, "-", "+"]).await;
        let events = entries.into_iter().map(|(_, event)| event);
        events.filter(|event| event.contains_key("jobId")).collect()
    }

    /// Removes all that a case left; the host goes on.
    async fn clean(&self) {
        for pattern in ["bull:ring:*", "bull:slow:*", "bull:other:*"] {
            let keys: Vec<String> = self.redis.command(&["KEYS", pattern]).await;
            let keep = |key: &String| {
                [":meta", ":marker", ":id"]
                    .iter()
                    .any(|end| key.ends_with(end))
            };
            for key in keys.iter().filter(|key| !keep(key)) {
                let _: i64 = self.redis.command(&["DEL", key]).await;
            }
        }
    }

    async fn play(&self, script: &str, case: &Case, skip: usize, times: usize, kind: Kind) {
        let what = format!(
            "{kind:?} of `{script}` (calls {skip}..{}) while `{}` with {} runs",
            skip + times,
            case.job,
            case.options
        );
        let (fault, gate) = kind.fault();
        let mut injected = self.proxy.inject_at(script, skip, times, fault);
        let started = Instant::now();
        let id = self.add(case).await;
        if let Some(gate) = gate {
            // A case may have fewer calls than are skipped.
            let held = async {
                injected.struck(1).await;
            };
            let done = self.reaches(&id, case.state);
            tokio::select! { () = held => {}, () = done => {} }
            gate.open();
        }
        eventually(&what, async || {
            let state = self.ring.state(&id).await.ok()?;
            assert!(
                started.elapsed() < BOUND,
                "{what}: job is {state}; host:\n{}",
                self.host.log()
            );
            (state == case.state).then_some(())
        })
        .await;
        self.proxy.clear();
        self.settles(&what, &self.ring, started).await;
        self.check(&what, case, &id, kind).await;
        self.clean().await;
    }

    async fn reaches(&self, id: &str, state: JobState) {
        let started = Instant::now();
        eventually("the job is settled", async || {
            let now = self.ring.state(id).await.ok()?;
            assert!(
                started.elapsed() < BOUND,
                "job {id} is {now} and not {state}; host:\n{}",
                self.host.log()
            );
            (now == state).then_some(())
        })
        .await;
    }

    /// What the case leaves apart from its state. A call that was refused may have failed an attempt.
    async fn check(&self, what: &str, case: &Case, id: &str, kind: Kind) {
        let job = self.ring.job(id).await.unwrap().unwrap();
        let job: BTreeMap<String, String> = job.into_iter().collect();
        if !matches!(kind, Kind::Refuse(_)) {
            assert_eq!(
                job["atm"],
                case.made.to_string(),
                "{what}: attempts made of {job:?}"
            );
            let logs: Vec<String> = self
                .redis
                .command(&["LRANGE", &format!("bull:ring:{id}:logs"), "0", "-1"])
                .await;
            assert_eq!(logs, case.logs, "{what}: log");
        }
        let jobs = self.ends("ring").await.len();
        assert!(jobs <= case.jobs, "{what}: {jobs} jobs were added");
        if !matches!(kind, Kind::Refuse(_)) {
            assert_eq!(jobs, case.jobs, "{what}: jobs that were added");
        }
    }
}

/// A job of the interop scenarios and what it leaves.
struct Case {
    job: &'static str,
    data: Value,
    options: Value,
    state: JobState,
    /// Attempts made.
    made: u32,
    /// Jobs in all, with those that it adds.
    jobs: usize,
    logs: &'static [&'static str],
}

impl Case {
    fn new(job: &'static str, options: Value, state: JobState, made: u32) -> Self {
        Case {
            job,
            data: json!({ "n": 1 }),
            options,
            state,
            made,
            jobs: 1,
            logs: &[],
        }
    }

    fn completes(job: &'static str, made: u32) -> Self {
        Self::new(job, json!({ "attempts": 3 }), JobState::Completed, made)
    }

    /// A job that adds children, none of which ends before it waits for them.
    fn with_children() -> Self {
        let child = json!({ "data": { "plan": [{ "do": "return" }] }, "opts": { "delay": 200 } });
        let steps =
            json!([{ "do": "children", "children": [child.clone(), child] }, { "do": "return" }]);
        let data = json!({ "plan": steps });
        let case = Self::completes("plan", 1).with_jobs(3);
        Case { data, ..case }
    }

    fn with_jobs(self, jobs: usize) -> Self {
        Case { jobs, ..self }
    }

    fn with_logs(self, logs: &'static [&'static str]) -> Self {
        Case { logs, ..self }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    LoseRequest,
    LoseReply,
    CutReply,
    HoldRequest,
    HoldReply,
    Refuse(&'static str),
}

const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// Of a connection: no reply tells whether the call was carried out.
const CONNECTION: [Kind; 5] = [
    Kind::LoseRequest,
    Kind::LoseReply,
    Kind::CutReply,
    Kind::HoldRequest,
    Kind::HoldReply,
];

impl Kind {
    fn fault(self) -> (Fault, Option<Gate>) {
        let gate = Gate::default();
        match self {
            Kind::LoseRequest => (Fault::LoseRequest, None),
            Kind::LoseReply => (Fault::LoseReply, None),
            Kind::CutReply => (Fault::CutReply, None),
            Kind::HoldRequest => (Fault::HoldRequest(gate.clone()), Some(gate)),
            Kind::HoldReply => (Fault::HoldReply(gate.clone()), Some(gate)),
            Kind::Refuse(error) => (Fault::Refuse(error), None),
        }
    }
}
