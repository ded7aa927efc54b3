//! Hosts, their connections and Redis fail again and again while jobs run, and each job is accounted for.
//!
//! `TORIL_ENDURANCE_SECONDS=1800` goes on for half an hour; `TORIL_ENDURANCE_SEED` replays the order of faults.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use toril::queue::{JobState, Queue};

use crate::fault_proxy::{Fault, FaultProxy, Gate, Injected};
use crate::harness::{TestHost, TestRedis, eventually, new_job, queue_section};

/// Faults strike for so long, then all jobs must end.
const ROUND: Duration = Duration::from_secs(8);
/// As many jobs wait at most.
const WAITING: usize = 400;
const HOSTS: usize = 2;
/// Scripts and commands of the worker. What guests call is struck when their connection is cut.
const CALLS: [&str; 5] = [
    "settle",
    "extend_locks",
    "recover_stalled",
    "reclaim",
    "BZPOPMIN",
];
/// Locks run out soon, and a job may stall as often as it likes.
const OPTIONS: &str = "concurrency = 20\nlock_duration_ms = 600\nstalled_interval_ms = 300\n\
                       max_stalled_count = 1000\ndrain_delay_ms = 500\n\
                       grants = { queues = [\"ring\"] }";

/// Name, data and options of a job, and how it must end.
fn kinds() -> Vec<(&'static str, Value, Value, JobState)> {
    use JobState::{Completed, Failed};
    // A cut connection may fail an attempt.
    let often = json!({ "attempts": 1000 });
    let child = json!({ "data": { "plan": [{ "do": "return" }] }, "opts": { "attempts": 1000 } });
    let family = json!({ "plan": [{ "do": "children", "children": [child.clone(), child] }, { "do": "return" }] });
    let n = json!({ "n": 1 });
    vec![
        ("return", n.clone(), often.clone(), Completed),
        ("fail-once", n.clone(), often.clone(), Completed),
        ("wait-once", n.clone(), often.clone(), Completed),
        ("delay-once", n.clone(), often.clone(), Completed),
        ("plan", family, often, Completed),
        (
            "fail",
            n.clone(),
            json!({ "attempts": 3, "backoff": 5 }),
            Failed,
        ),
        ("unrecoverable", n, json!({}), Failed),
    ]
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_accounted_for_while_everything_fails() {
    let seconds = number("TORIL_ENDURANCE_SECONDS").unwrap_or(ROUND.as_secs());
    let seed = number("TORIL_ENDURANCE_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TORIL_ENDURANCE_SEED={seed}");
    let mut stage = Stage::start(Rng::with_seed(seed)).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut total = Account::default();
    while Instant::now() < end {
        let expected = stage.round().await;
        let account = stage.account(&expected).await;
        total.add(&account);
        eprintln!("{} | in all {total}", stage.struck());
        let _: String = stage.redis.command(&["FLUSHALL"]).await;
    }
    assert!(total.jobs > 0);
    stage.stop().await;
}

/// Hosts that reach one Redis through a proxy each.
struct Stage {
    rng: Rng,
    redis: TestRedis,
    proxies: Vec<FaultProxy>,
    hosts: Vec<TestHost>,
    queue: Queue,
    faults: Vec<Injected>,
    kills: usize,
    crashes: usize,
}

impl Stage {
    async fn start(rng: Rng) -> Self {
        let redis = TestRedis::start(true).await;
        let (mut proxies, mut hosts) = (Vec::new(), Vec::new());
        for _ in 0..HOSTS {
            let proxy = FaultProxy::start(&redis).await;
            hosts.push(host_behind(&proxy));
            proxies.push(proxy);
        }
        for host in &mut hosts {
            host.logs("serving").await;
        }
        let queue = redis.queue("ring").await;
        Stage {
            rng,
            redis,
            proxies,
            hosts,
            queue,
            faults: Vec::new(),
            kills: 0,
            crashes: 0,
        }
    }

    /// Adds jobs while faults strike, then lets all of them end. Returns how each must.
    async fn round(&mut self) -> HashMap<String, JobState> {
        self.keep_what_is_written().await;
        let (kinds, mut expected) = (kinds(), HashMap::new());
        let end = Instant::now() + ROUND;
        while Instant::now() < end {
            let waiting: usize = self.redis.command(&["LLEN", "bull:ring:wait"]).await;
            if waiting < WAITING {
                let kind = |n: usize| &kinds[n % kinds.len()];
                let jobs: Vec<_> = (0..WAITING / 4)
                    .map(|n| new_job(kind(n).0, kind(n).1.clone(), kind(n).2.clone()))
                    .collect();
                let ids = self.queue.add_bulk(&jobs).await.unwrap();
                expected.extend(ids.into_iter().enumerate().map(|(n, id)| (id, kind(n).3)));
            }
            self.fail_somewhere().await;
            // What comes next strikes what this one left.
            tokio::time::sleep(Duration::from_millis(self.rng.u64(1..60))).await;
        }
        for proxy in &self.proxies {
            proxy.clear();
            proxy.throttle(0);
        }
        self.all_end().await;
        expected
    }

    /// Each answered write survives a crash of Redis, and all events are kept.
    async fn keep_what_is_written(&self) {
        let _: String = self
            .redis
            .command(&["CONFIG", "SET", "appendfsync", "always"])
            .await;
        let keep = ["HSET", "bull:ring:meta", "opts.maxLenEvents", "100000000"];
        let _: u64 = self.redis.command(&keep).await;
    }

    async fn fail_somewhere(&mut self) {
        let at = self.rng.usize(..HOSTS);
        match self.rng.u32(..1000) {
            0..10 => self.crash_redis().await,
            10..25 => self.replace_host(at, true).await,
            25..35 => self.replace_host(at, false).await,
            35..60 => self.proxies[at].throttle(self.rng.usize(20_000..200_000)),
            60..120 => self.proxies[at].throttle(0),
            _ => self.inject(at),
        }
    }

    fn inject(&mut self, at: usize) {
        let gate = Gate::default();
        let fault = match self.rng.u32(..6) {
            0 => Fault::LoseRequest,
            1 => Fault::LoseReply,
            2 => Fault::CutReply,
            3 => Fault::HoldRequest(gate.clone()),
            4 => Fault::HoldReply(gate.clone()),
            _ => Fault::Refuse("NOREPLICAS Not enough good replicas to write."),
        };
        // Some are longer than a lock.
        let held = Duration::from_millis(self.rng.u64(1..900));
        tokio::spawn(async move {
            tokio::time::sleep(held).await;
            gate.open();
        });
        let name = CALLS[self.rng.usize(..CALLS.len())];
        let (skip, times) = (self.rng.usize(..4), self.rng.usize(1..3));
        self.faults
            .push(self.proxies[at].inject_at(name, skip, times, fault));
    }

    async fn crash_redis(&mut self) {
        self.crashes += 1;
        self.redis.server.kill().await.unwrap();
        self.redis.server.restart().await.unwrap();
        self.queue = self.redis.queue("ring").await;
        self.keep_what_is_written().await;
    }

    /// Ends a host at once, or lets it give back what it has; and starts another.
    async fn replace_host(&mut self, at: usize, killed: bool) {
        self.kills += 1;
        let next = host_behind(&self.proxies[at]);
        let host = std::mem::replace(&mut self.hosts[at], next);
        if killed {
            host.kill().await;
        } else {
            host.signal("TERM");
            host.signal("TERM");
            let mut host = host;
            host.ended().await;
        }
    }

    async fn all_end(&self) {
        let states = [
            "wait",
            "active",
            "delayed",
            "prioritized",
            "waiting-children",
        ];
        let keys = states.map(|state| format!("bull:ring:{state}"));
        let busy: Vec<&str> = ["EXISTS"]
            .into_iter()
            .chain(keys.iter().map(String::as_str))
            .collect();
        eventually("all jobs end", async || {
            (self.redis.command::<usize>(&busy).await == 0).then_some(())
        })
        .await;
    }

    /// Reads what became of each job from the events, in the order in which Redis carried them out.
    async fn account(&self, expected: &HashMap<String, JobState>) -> Account {
        let entries: Vec<(String, BTreeMap<String, String>)> = self
            .redis
            .command(&["XRANGE", "bull:ring:events", "-", "+"])
            .await;
        let mut stories: HashMap<String, Story> = HashMap::new();
        for (_, event) in entries {
            if let Some(id) = event.get("jobId") {
                stories.entry(id.clone()).or_default().tell(&event["event"]);
            }
        }
        let mut account = Account::default();
        for (id, story) in &stories {
            assert_eq!(
                story.ends, 1,
                "job {id} ended {} times: {story:?}",
                story.ends
            );
            assert!(!story.started_without_reason, "job {id}: {story:?}");
            let end = expected.get(id).copied().unwrap_or(JobState::Completed);
            assert_eq!(
                self.queue.state(id).await.unwrap(),
                end,
                "job {id}: {story:?}"
            );
            account.jobs += 1;
            account.starts += story.starts;
            account.stalls += story.stalls;
        }
        for id in expected.keys() {
            assert!(stories.contains_key(id), "job {id} was lost");
        }
        let locks: Vec<String> = self.redis.command(&["KEYS", "bull:*:lock"]).await;
        assert!(locks.is_empty(), "{locks:?} are left");
        account
    }

    fn struck(&self) -> String {
        let faults: usize = self.faults.iter().map(Injected::times).sum();
        let (kills, crashes) = (self.kills, self.crashes);
        format!("{faults} faults, {kills} hosts ended, {crashes} crashes of Redis")
    }

    async fn stop(self) {
        for mut host in self.hosts {
            // It may have just been started.
            host.logs("serving").await;
            host.stop().await;
        }
    }
}

fn host_behind(proxy: &FaultProxy) -> TestHost {
    let queue = queue_section("ring", "fixture-scenarios", OPTIONS);
    TestHost::spawn(&format!("redis = \"{}\"\n{queue}", proxy.url()), &[])
}

/// What the events say of a job.
#[derive(Debug, Default)]
struct Story {
    starts: usize,
    stalls: usize,
    ends: usize,
    events: Vec<String>,
    /// It was started although nothing had taken it back since it was started before.
    started_without_reason: bool,
    runs: bool,
}

impl Story {
    fn tell(&mut self, event: &str) {
        self.events.push(event.to_owned());
        match event {
            "active" => {
                self.started_without_reason |= self.runs;
                self.starts += 1;
                self.runs = true;
            }
            "stalled" => {
                self.stalls += 1;
                self.runs = false;
            }
            "waiting" | "delayed" | "waiting-children" | "prioritized" => self.runs = false,
            "completed" | "failed" => {
                self.ends += 1;
                self.runs = false;
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Account {
    jobs: usize,
    starts: usize,
    stalls: usize,
}

impl Account {
    fn add(&mut self, other: &Account) {
        self.jobs += other.jobs;
        self.starts += other.starts;
        self.stalls += other.stalls;
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Account {
            jobs,
            starts,
            stalls,
        } = self;
        write!(
            to,
            "{jobs} jobs ended once, {starts} starts, {stalls} stalls"
        )
    }
}
