//! Connections over links that are slow, silent or cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use toril_queue::{Caller, Fetch, JobState, KeepJobs, NewJob, Queue, QueueName, Redis, Settlement};

use crate::harness::{TestRedis, add, completed, eventually, fetch, ids, new_job, take};

/// A way to the test's Redis that can be made slow.
struct Link {
    port: u16,
    /// Of each connection, towards the client; 0 is no limit, and `SILENT` lets nothing through.
    bytes_per_s: Arc<AtomicU64>,
    opened: Arc<AtomicUsize>,
}

const SILENT: u64 = u64::MAX;
const SLICE: Duration = Duration::from_millis(10);

impl Link {
    async fn to(redis: &TestRedis) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let link = Link {
            port: listener.local_addr().unwrap().port(),
            bytes_per_s: Arc::default(),
            opened: Arc::default(),
        };
        let socket = redis.url().trim_start_matches("redis+unix://").to_owned();
        let (speed, opened) = (Arc::clone(&link.bytes_per_s), Arc::clone(&link.opened));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&speed)));
            }
        });
        link
    }

    async fn queue(&self, name: &str) -> Queue {
        let redis = Redis::connect(&format!("redis://127.0.0.1:{}", self.port))
            .await
            .unwrap();
        Queue::new(redis, "bull", &QueueName::new(name).unwrap())
    }

    fn set_speed(&self, bytes_per_s: u64) {
        self.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }
}

async fn carry(client: TcpStream, server: UnixStream, speed: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let limit = match speed.load(Ordering::Relaxed) {
            0 | SILENT => buffer.len(),
            limit => (limit / 100).max(1) as usize,
        };
        let Ok(read @ 1..) = from_server.read(&mut buffer[..limit]).await else {
            break;
        };
        while speed.load(Ordering::Relaxed) == SILENT {
            tokio::time::sleep(SLICE).await;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        if limit < buffer.len() {
            tokio::time::sleep(SLICE).await;
        }
    }
    up.abort();
}

async fn add_large(redis: &TestRedis, bytes: usize) {
    let data = format!("\"{}\"", "x".repeat(bytes));
    let queue = redis.queue("q").await;
    queue
        .add(&NewJob::new("large", &data, Map::new()).unwrap())
        .await
        .unwrap();
}

/// Longer than the 15 s after which silence ends a call.
#[tokio::test]
async fn reply_that_makes_progress_is_not_cut_off() {
    let redis = TestRedis::start().await;
    add_large(&redis, 900_000).await;
    let link = Link::to(&redis).await;
    let queue = link.queue("q").await;
    link.set_speed(50_000);
    let begun = Instant::now();
    // On a busy machine the reply takes as long as a lock holds by default.
    let fetch = Fetch {
        lock_ms: 600_000,
        ..fetch(1, "t")
    };
    let jobs = queue.settle_and_fetch(&[], &fetch).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1);
    assert!(
        begun.elapsed() > Duration::from_secs(16),
        "the link was not slow"
    );
    link.set_speed(0);
    queue
        .settle_one(Settlement::new(&jobs[0], completed(KeepJobs::ALL)))
        .await
        .unwrap();
    assert_eq!(link.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn large_reply_of_one_queue_does_not_hold_up_another() {
    let redis = TestRedis::start().await;
    add_large(&redis, 500_000).await;
    let link = Link::to(&redis).await;
    let large = link.queue("q").await;
    let (slow, other) = (
        large.on_own_connection(),
        large
            .sibling(&QueueName::new("r").unwrap())
            .on_own_connection(),
    );
    add(&redis.queue("r").await, &["a"]).await;
    link.set_speed(50_000);
    let slow = tokio::spawn(async move { take(&slow, 1, "t").await.len() });
    eventually("the large job is on its way", async || {
        let active: u64 = redis.run("LLEN bull:q:active").await;
        (active == 1).then_some(())
    })
    .await;
    assert_eq!(ids(&take(&other, 1, "t").await), ["a"]);
    assert!(!slow.is_finished(), "it waited for the large reply");
    assert_eq!(slow.await.unwrap(), 1);
}

#[tokio::test]
async fn silent_server_is_noticed_and_what_comes_after_it_is_answered() {
    let redis = TestRedis::start().await;
    let link = Link::to(&redis).await;
    let queue = link.queue("q").await;
    take(&queue, 1, "before").await;
    add(&queue, &["a"]).await;
    link.set_speed(SILENT);
    let begun = Instant::now();
    let calls = (0..3).map(|_| async { queue.settle_and_fetch(&[], &fetch(1, "t")).await });
    for lost in futures_util::future::join_all(calls).await {
        assert!(lost.unwrap_err().is_transient());
    }
    let waited = begun.elapsed();
    // All notice it after the same 15 s: one after the other would take 45.
    assert!((10..40).contains(&waited.as_secs()), "{waited:?}");
    link.set_speed(0);
    let jobs = eventually("the queue is reachable again", async || {
        queue.reclaim(&fetch(1, "t")).await.ok()
    })
    .await;
    assert_eq!(ids(&jobs), ["a"]);
}

#[tokio::test]
async fn connection_is_opened_once_for_all_who_wait_for_it() {
    let redis = TestRedis::start().await;
    let link = Link::to(&redis).await;
    let queue = link.queue("q").await.on_own_connection();
    let before = link.opened.load(Ordering::Relaxed);
    let calls = (0..50).map(|_| async { queue.state("1").await });
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(link.opened.load(Ordering::Relaxed) - before, 1);
    let () = redis.run("CLIENT KILL TYPE normal SKIPME yes").await;
    eventually("it is opened again", async || queue.state("1").await.ok()).await;
    assert_eq!(link.opened.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn wrong_password_is_final_at_first_and_transient_later() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let () = redis.run("CONFIG SET requirepass secret").await;
    for url in [
        redis.url().to_owned(),
        format!("{}?pass=wrong", redis.url()),
    ] {
        let refused = Redis::connect(&url).await.map(|_| ()).unwrap_err();
        assert!(refused.is_final(), "{url}: {refused}");
    }
    let own = queue.on_own_connection();
    assert!(own.state("1").await.unwrap_err().is_transient());
    let () = redis.run("CONFIG SET requirepass ").await;
    own.state("1").await.unwrap();
}

#[tokio::test]
async fn replicas_that_are_missing_are_waited_for() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let job = take(&queue, 1, "t").await.remove(0);
    let () = redis.run("CONFIG SET min-replicas-to-write 1").await;
    let settlement = Settlement::new(&job, completed(KeepJobs::ALL));
    let refused = queue.settle_one(settlement.clone()).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let () = redis.run("CONFIG SET min-replicas-to-write 0").await;
    queue.settle_one(settlement).await.unwrap();
}

/// BullMQ sends its scripts along, which needs no right of its own.
#[tokio::test]
async fn user_who_may_not_load_scripts_can_run_them() {
    let redis = TestRedis::start().await;
    let () = redis
        .run("ACL SETUSER ada on >secret ~bull:q:* +@all -script")
        .await;
    let url = format!("{}?user=ada&pass=secret", redis.url());
    let connection = Redis::connect(&url).await.unwrap();
    let queue = Queue::new(connection, "bull", &"q".parse().unwrap());
    let id = queue.add(&new_job("n", json!({}))).await.unwrap();
    assert_eq!(queue.state(&id).await.unwrap(), JobState::Waiting);
}

/// Lets everything through but the first call of a script, then leaves the client. Returns that call, and the way to Redis.
async fn hold_script(mut client: TcpStream, mut server: UnixStream) -> (Vec<u8>, UnixStream) {
    loop {
        let (mut sent, mut replied) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        tokio::select! {
            read = client.read(&mut sent) => {
                let sent = &sent[..read.unwrap()];
                if sent.windows(7).any(|word| word == b"EVALSHA") {
                    return (sent.to_vec(), server);
                }
                server.write_all(sent).await.unwrap();
            }
            read = server.read(&mut replied) => {
                client.write_all(&replied[..read.unwrap()]).await.unwrap();
            }
        }
    }
}

/// What a broken connection still carries may reach Redis after it was sent again over the next one.
#[tokio::test]
async fn call_that_comes_late_over_a_connection_that_was_given_up_is_not_carried_out() {
    let redis = TestRedis::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let socket = redis.url().trim_start_matches("redis+unix://").to_owned();
    let (sender, held) = oneshot::channel();
    tokio::spawn(async move {
        let server = UnixStream::connect(&socket).await.unwrap();
        let (client, _) = listener.accept().await.unwrap();
        sender.send(hold_script(client, server).await).unwrap();
        let (client, _) = listener.accept().await.unwrap();
        let server = UnixStream::connect(&socket).await.unwrap();
        carry(client, server, Arc::default()).await;
    });
    let connection = Redis::connect(&url).await.unwrap();
    let queue = Queue::new(connection, "bull", &QueueName::new("q").unwrap());
    let request = Caller::new(queue.redis().clone(), "t/1").request();
    let jobs = [new_job("n", json!({}))];
    let lost = queue.add_bulk_once(&jobs, &request).await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    queue.add_bulk_once(&jobs, &request).await.unwrap();
    let (late, mut server) = held.await.unwrap();
    // Redis may have closed it already.
    let _ = server.write_all(&late).await;
    let mut reply = [0; 100];
    let read = server.read(&mut reply).await.unwrap_or_default();
    assert_eq!(read, 0, "redis carried out the late call");
    assert_eq!(redis.run::<u64>("LLEN bull:q:wait").await, 1);
}
