//! Key-value stores: limits hold, expired keys free their room, and what is counted is what is there.

use std::collections::BTreeMap;

use toril_queue::{
    Caller, KvOwner, KvRefusal, KvRoom, KvStore, KvUsage, Queue, QueueError, QueueName, Redis,
    Request,
};

use crate::harness::{TestRedis, add, eventually};

const ROOM: KvRoom = KvRoom {
    keys_max: 1000,
    bytes_max: 100_000,
    ttl_ms: None,
};

fn store(queue: &Queue) -> KvStore {
    queue.kv(KvOwner::Queue, "default").unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, QueueError>) -> KvRefusal {
    match result.unwrap_err() {
        QueueError::Kv(refusal) => refusal,
        other => panic!("{other}"),
    }
}

fn request(queue: &Queue) -> (Caller, Request) {
    let mut caller = Caller::new(queue.redis().clone(), "attempt");
    let request = caller.request();
    (caller, request)
}

async fn set(store: &KvStore, room: &KvRoom, entries: &[(&str, &str)]) -> Result<(), QueueError> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    let entries: Vec<_> = entries.iter().map(owned).collect();
    store.set(&entries, room).await
}

async fn increment(queue: &Queue, key: &str, delta: i64, room: &KvRoom) -> Result<i64, QueueError> {
    let (_caller, request) = request(queue);
    store(queue).increment(key, delta, room, &request).await
}

/// What the values are in truth, by the key of each.
async fn values(redis: &TestRedis) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for name in redis.run::<Vec<String>>("KEYS toril:*:kv:default:*").await {
        let value = redis.run(&format!("GET {name}")).await;
        let key = name.split_once(":kv:default:").unwrap().1.to_owned();
        values.insert(key, value);
    }
    values
}

/// The index says what the values say.
async fn assert_true(redis: &TestRedis, store: &KvStore) {
    let values = values(redis).await;
    let bytes = values.iter().map(|(key, value)| key.len() + value.len());
    let (keys, bytes) = (values.len() as u64, bytes.sum::<usize>() as u64);
    assert_eq!(store.usage().await.unwrap(), KvUsage { keys, bytes });
    let listed = store.keys(None).await.unwrap().keys;
    assert!(values.keys().eq(&listed), "{values:?} {listed:?}");
}

#[tokio::test]
async fn counts_are_those_of_the_values_whatever_is_written() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let key = format!("k{}", random.u8(..20));
        let value = "v".repeat(random.usize(..30));
        match random.u8(..6) {
            0 | 1 => set(&store, &ROOM, &[(&key, &value), ("other", &value)])
                .await
                .unwrap(),
            2 => drop(store.delete(&[key, "nobody".into()]).await.unwrap()),
            3 => drop(increment(&queue, &key, random.i64(..), &ROOM).await),
            _ => {
                let read = store
                    .read(std::slice::from_ref(&key), 1000)
                    .await
                    .unwrap()
                    .remove(0);
                let version = if random.bool() {
                    read.version
                } else {
                    random.u64(..9)
                };
                let (_caller, request) = request(&queue);
                let swapped = store
                    .swap(&key, version, value.as_bytes(), &ROOM, &request)
                    .await;
                assert_eq!(swapped.unwrap(), version == read.version);
            }
        }
    }
    assert_true(&redis, &store).await;
    let all = store.usage().await.unwrap().keys;
    assert_eq!(store.clear().await.unwrap(), all);
    let left: Vec<String> = redis.run("KEYS *").await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    let room = KvRoom {
        keys_max: 3,
        bytes_max: 40,
        ttl_ms: None,
    };
    set(&store, &room, &[("a", "1"), ("b", "22")])
        .await
        .unwrap();
    let before = redis.dump().await;
    let two_more = set(&store, &room, &[("c", ""), ("d", "")]).await;
    assert_eq!(refusal(two_more), KvRefusal::Keys);
    let large = set(&store, &room, &[("a", &"x".repeat(40))]).await;
    assert_eq!(refusal(large), KvRefusal::Bytes);
    let (_caller, asked) = request(&queue);
    let swapped = store.swap("c", 0, &[0; 40], &room, &asked).await;
    assert_eq!(refusal(swapped), KvRefusal::Bytes);
    let no_keys = KvRoom {
        keys_max: 2,
        ..room
    };
    assert_eq!(
        refusal(increment(&queue, "n", 1, &no_keys).await),
        KvRefusal::Keys
    );
    let no_bytes = KvRoom {
        bytes_max: 6,
        ..room
    };
    assert_eq!(
        refusal(increment(&queue, "a", 99, &no_bytes).await),
        KvRefusal::Bytes
    );
    assert_eq!(redis.dump().await, before);

    // What makes the store smaller fits, however full it is.
    let none = KvRoom {
        keys_max: 0,
        bytes_max: 0,
        ttl_ms: None,
    };
    set(&store, &none, &[("b", "2")]).await.unwrap();
    assert_eq!(increment(&queue, "a", 1, &none).await.unwrap(), 2);
    assert_true(&redis, &store).await;
}

#[tokio::test]
async fn numbers_are_counted_in_64_bits_and_others_are_refused() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let sum = async |key: &str, delta| increment(&queue, key, delta, &ROOM).await;
    assert_eq!(sum("n", i64::MAX).await.unwrap(), i64::MAX);
    assert_eq!(refusal(sum("n", 1).await), KvRefusal::Overflow);
    assert_eq!(sum("n", -1).await.unwrap(), i64::MAX - 1);
    assert_eq!(sum("low", i64::MIN).await.unwrap(), i64::MIN);
    assert_eq!(refusal(sum("low", -1).await), KvRefusal::Overflow);
    for text in [
        "",
        "1.5",
        " 1",
        "+1",
        "01",
        "x",
        "99999999999999999999",
        &"9".repeat(50),
    ] {
        set(&store(&queue), &ROOM, &[("text", text)]).await.unwrap();
        let before = values(&redis).await;
        assert_eq!(
            refusal(sum("text", 1).await),
            KvRefusal::NotAnInteger,
            "{text}"
        );
        assert_eq!(values(&redis).await, before);
    }
    assert_true(&redis, &store(&queue)).await;
}

#[tokio::test]
async fn call_that_is_repeated_is_carried_out_once() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    let mut caller = Caller::new(queue.redis().clone(), "attempt");
    let count = caller.request();
    for _ in 0..3 {
        let sum = store.increment("n", 5, &ROOM, &count).await;
        assert_eq!(sum.unwrap(), 5);
    }
    let swap = caller.request();
    for _ in 0..3 {
        let swapped = store.swap("s", 0, b"x", &ROOM, &swap).await;
        assert!(swapped.unwrap(), "the repetition is told that it was done");
    }
    drop(caller);
    eventually("the notes are gone", async || {
        let notes: Vec<String> = redis.run("KEYS *toril-request*").await;
        notes.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn expired_keys_free_their_room_and_are_not_listed() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    let brief = KvRoom {
        keys_max: 2500,
        bytes_max: 1 << 20,
        ttl_ms: Some(1),
    };
    let many: Vec<(String, Vec<u8>)> = (0..2500)
        .map(|key| (format!("k{key}"), vec![0; 8]))
        .collect();
    store.set(&many, &brief).await.unwrap();
    eventually("all expired", async || {
        let page = store.keys(None).await.unwrap();
        let empty = page.keys.is_empty() && store.get("k2499").await.unwrap().is_none();
        empty.then_some(())
    })
    .await;
    let read = store.read(&["k1".into()], 100).await.unwrap();
    assert_eq!(read[0].version, 0, "as if it had never been");
    // More than one call takes out is in the way.
    let kept = KvRoom {
        ttl_ms: None,
        ..brief
    };
    let fresh: Vec<(String, Vec<u8>)> = (0..2500).map(|key| (format!("n{key}"), vec![1])).collect();
    store.set(&fresh, &kept).await.unwrap();
    assert_eq!(store.usage().await.unwrap().keys, 2500);
    let expiries: i64 = redis
        .run("EXISTS toril:{bull:paint}:kv-index:default:expiries")
        .await;
    assert_eq!(expiries, 0);

    // The last write says how long a value is kept.
    let late = KvRoom {
        ttl_ms: Some(3_600_000),
        keys_max: 3000,
        ..brief
    };
    set(&store, &late, &[("n1", "x")]).await.unwrap();
    let ttl: i64 = redis.run("PTTL toril:{bull:paint}:kv:default:n1").await;
    assert!(ttl > 3_000_000, "{ttl}");
    increment(&queue, "count", 1, &late).await.unwrap();
    let ttl: i64 = redis.run("PTTL toril:{bull:paint}:kv:default:count").await;
    assert!(ttl > 3_000_000, "{ttl}");
    set(
        &store,
        &KvRoom {
            ttl_ms: None,
            ..late
        },
        &[("n1", "x")],
    )
    .await
    .unwrap();
    let ttl: i64 = redis.run("PTTL toril:{bull:paint}:kv:default:n1").await;
    assert_eq!(ttl, -1);
}

#[tokio::test]
async fn value_that_somebody_took_away_stays_counted_until_its_next_write() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    set(&store, &ROOM, &[("a", "12345"), ("b", "1"), ("c", "1")])
        .await
        .unwrap();
    let _: i64 = redis.run("DEL toril:{bull:paint}:kv:default:a").await;
    let _: i64 = redis.run("DEL toril:{bull:paint}:kv:default:b").await;
    let _: i64 = redis.run("DEL toril:{bull:paint}:kv:default:c").await;
    assert_eq!(store.usage().await.unwrap().bytes, 10);
    set(&store, &ROOM, &[("a", "1")]).await.unwrap();
    assert_eq!(increment(&queue, "b", 7, &ROOM).await.unwrap(), 7);
    assert_eq!(store.delete(&["c".into()]).await.unwrap(), 1);
    assert_true(&redis, &store).await;
}

#[tokio::test]
async fn pages_show_each_key_once_in_order() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    let room = KvRoom {
        keys_max: 10_000,
        ..ROOM
    };
    let mut all: Vec<String> = (0..2345).map(|key| format!("{key}")).collect();
    all.extend(["ünï".into(), "{x}".into(), "a:b".into(), "\0\n".into()]);
    let entries: Vec<_> = all.iter().map(|key| (key.clone(), vec![])).collect();
    store.set(&entries, &room).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.keys(after.as_deref()).await.unwrap();
        found.extend(page.keys);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    all.sort();
    assert_eq!(found, all);
    let beyond = store.keys(Some("\u{10ffff}")).await.unwrap();
    assert_eq!((beyond.keys.len(), beyond.next), (0, None));
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let store = store(&queue);
    set(&store, &ROOM, &[("a", "12345"), ("b", "12345")])
        .await
        .unwrap();
    let keys = ["a".to_owned(), "b".to_owned(), "nobody".to_owned()];
    assert_eq!(store.read(&keys, 10).await.unwrap().len(), 3);
    let error = store.read(&keys, 9).await.unwrap_err();
    assert!(
        matches!(error, QueueError::TooLarge { bytes_max: 9, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn stores_are_apart_and_lie_where_bullmqs_keys_lie() {
    let redis = TestRedis::start().await;
    let connection = Redis::connect(redis.url()).await.unwrap();
    let queue = |prefix: &str, name: &str| {
        Queue::new(connection.clone(), prefix, &QueueName::new(name).unwrap())
    };
    let (paint, fix) = (queue("bull", "paint"), queue("bull", "fix"));
    for (queue, owner, name) in [
        (&paint, KvOwner::Queue, "a"),
        (&paint, KvOwner::Queue, "b"),
        (&fix, KvOwner::Queue, "a"),
        (&paint, KvOwner::Prefix, "a"),
        (&queue("bull:paint", "a"), KvOwner::Queue, "a"),
        (&queue("{bull}", "paint"), KvOwner::Queue, "a"),
        (&queue("{bull}", "paint"), KvOwner::Prefix, "a"),
        (&queue("{bull", "paint}"), KvOwner::Queue, "a"),
    ] {
        let store = queue.kv(owner, name).unwrap();
        assert_eq!(store.get("k").await.unwrap(), None, "{owner:?} {name}");
        let value = format!("{} {owner:?} {name}", queue.keys().base());
        set(&store, &ROOM, &[("k", &value)]).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(value.into_bytes()));
    }
    let shared = fix
        .kv(KvOwner::Prefix, "a")
        .unwrap()
        .get("k")
        .await
        .unwrap();
    assert_eq!(
        shared.unwrap(),
        b"bull:paint Prefix a",
        "both queues see it"
    );
    assert_eq!(paint.kv_stores(KvOwner::Queue).await.unwrap(), ["a", "b"]);
    assert_eq!(fix.kv_stores(KvOwner::Prefix).await.unwrap(), ["a"]);
    let keys: Vec<String> = redis.run("KEYS toril:{bull}{*").await;
    assert!(keys.len() >= 8, "{keys:?}");
    for key in keys {
        // The tag of a cluster is what the first braces enclose.
        let tag = key
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'));
        assert_eq!(tag.map(|(tag, _)| tag), Some("bull"), "{key}");
    }
    for name in ["", "a:b"] {
        assert!(paint.kv(KvOwner::Queue, name).is_err());
    }
}

#[tokio::test]
async fn keys_of_bullmq_are_as_they_were() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a1", "a2"]).await;
    let bullmqs: Vec<String> = redis.run("KEYS bull:*").await;
    let store = store(&queue);
    for key in ["1", "meta", "wait", "..:wait", "bull:paint:wait", "*"] {
        set(&store, &ROOM, &[(key, "x")]).await.unwrap();
        increment(&queue, &format!("n{key}"), 1, &ROOM)
            .await
            .unwrap();
    }
    let after: Vec<String> = redis.run("KEYS bull:*").await;
    assert_eq!(after.len(), bullmqs.len());
    store.clear().await.unwrap();
    assert_eq!(
        queue.counts().await.unwrap().len(),
        queue.counts().await.unwrap().len()
    );
    assert_eq!(redis.run::<i64>("LLEN bull:paint:wait").await, 2);
}
