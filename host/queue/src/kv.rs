//! Key-value stores in Redis, beside a queue or shared by the queues of a prefix.
//!
//! A store belongs to no job, so nothing here knows one. Values are keys of their own, so that reading one is a plain `GET`;
//! `lua/lib/kv.lua` says what stands beside them. Who may use which store is not asked here.

use redis::{Cmd, FromRedisValue, Value};

use crate::error::QueueError;
use crate::keys::hash_tag;
use crate::queue::Queue;
use crate::redis::connection::Redis;
use crate::redis::script::{Script, script};
use crate::request::Request;

/// Keys that one page of a list looks at.
const PAGE_KEYS: usize = 1000;
/// Keys that one call removes when a store is emptied.
const CLEARED_KEYS: usize = 500;
/// How often a store that is emptied is looked at again: each time takes out a thousand expired keys.
const CLEARED_ROUNDS_MAX: usize = 10_000;

/// To whom stores belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvOwner {
    /// To one queue.
    Queue,
    /// To all queues of a prefix.
    Prefix,
}

/// A store; nothing is sent to Redis before it is used.
#[derive(Clone)]
pub struct KvStore {
    redis: Redis,
    name: String,
    /// Begins the key of each value.
    values: String,
    index: String,
    /// `index:meta`, by which scripts know it.
    meta: String,
    stores: String,
}

/// What a store may have after a write, and how long what was written is kept.
#[derive(Debug, Clone, Copy)]
pub struct KvRoom {
    /// Keys.
    pub keys_max: u64,
    /// Bytes of keys and values.
    pub bytes_max: u64,
    /// For how long a value is kept after it was written, in ms.
    pub ttl_ms: Option<u64>,
}

impl KvRoom {
    /// Any room, and no end: for who has no grant.
    pub const UNBOUNDED: KvRoom = KvRoom {
        keys_max: u64::MAX,
        bytes_max: u64::MAX,
        ttl_ms: None,
    };
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KvRefusal {
    /// The store would have more keys than it may.
    #[error("the store has as many keys as it may have")]
    Keys,
    /// The store would have more bytes than it may.
    #[error("the store has as many bytes as it may have")]
    Bytes,
    /// What should be added to is no number.
    #[error("the value is not an integer")]
    NotAnInteger,
    /// The sum does not fit into 64 bits.
    #[error("the sum does not fit into 64 bits")]
    Overflow,
}

/// A value, and which write left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvVersioned {
    /// The value, if there is one.
    pub value: Option<Vec<u8>>,
    /// 0 where there is none.
    pub version: u64,
}

/// A part of the keys of a store, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPage {
    /// The keys.
    pub keys: Vec<String>,
    /// After which key the next page begins; none after the last one.
    pub next: Option<String>,
}

/// How full a store is. Keys that expired are counted until the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvUsage {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Queue {
    /// A store of this queue, or of its prefix. Names have no `:`, which ends them in keys.
    pub fn kv(&self, owner: KvOwner, name: &str) -> Result<KvStore, QueueError> {
        if name.is_empty() || name.contains(':') {
            return Err(QueueError::Invalid(format!(
                "store name `{name}` is empty or contains `:`"
            )));
        }
        let (space, word) = self.kv_space(owner);
        let index = format!("{space}:{word}-index:{name}");
        Ok(KvStore {
            redis: self.redis.clone(),
            name: name.to_owned(),
            values: format!("{space}:{word}:{name}:"),
            meta: format!("{index}:meta"),
            index,
            stores: format!("{space}:{word}-stores"),
        })
    }

    /// The names of the stores that were written to, sorted.
    pub async fn kv_stores(&self, owner: KvOwner) -> Result<Vec<String>, QueueError> {
        let (space, word) = self.kv_space(owner);
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{space}:{word}-stores"));
        let mut names: Vec<String> = command.query_async(&mut self.redis.shared()).await?;
        names.sort();
        Ok(names)
    }

    /// How the keys of stores begin. Where BullMQ's keys have a hash tag it comes first, so that a cluster keeps both together;
    /// braces around the rest let no name of a queue end it early.
    pub(crate) fn kv_space(&self, owner: KvOwner) -> (String, &'static str) {
        let (whose, word) = match owner {
            KvOwner::Queue => (self.keys.base(), "kv"),
            KvOwner::Prefix => (self.keys.prefix(), "kv-shared"),
        };
        let tag = hash_tag(whose).map(|tag| format!("{{{tag}}}"));
        (
            format!("toril:{}{{{whose}}}", tag.unwrap_or_default()),
            word,
        )
    }
}

impl KvStore {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let mut command = redis::cmd("GET");
        command.arg(self.value(key));
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }

    /// True where the key has a value.
    pub async fn exists(&self, key: &str) -> Result<bool, QueueError> {
        let mut command = redis::cmd("EXISTS");
        command.arg(self.value(key));
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }

    /// The values of keys with their versions, if they have no more bytes together.
    pub async fn read(
        &self,
        keys: &[String],
        bytes_max: usize,
    ) -> Result<Vec<KvVersioned>, QueueError> {
        let script = script!("kv_read", "kv");
        let mut call = self.call(script);
        call.arg(bytes_max).arg(keys);
        match self.redis.run(script, &call).await? {
            Value::Int(0) => Err(QueueError::TooLarge {
                what: "the values",
                bytes_max,
            }),
            Value::Array(read) => read.chunks(2).map(versioned).collect(),
            _ => Err(QueueError::Reply("kv_read")),
        }
    }

    /// Writes values, all or none. No key may be there twice.
    pub async fn set(
        &self,
        entries: &[(String, Vec<u8>)],
        room: &KvRoom,
    ) -> Result<(), QueueError> {
        let script = script!("kv_set", "kv", "kv_write");
        let mut call = self.write(script, room);
        for (key, value) in entries {
            call.arg(key).arg(&**value);
        }
        self.written(script, || Ok(call.clone())).await.map(drop)
    }

    /// Removes keys; returns how many were there.
    pub async fn delete(&self, keys: &[String]) -> Result<u64, QueueError> {
        let script = script!("kv_delete", "kv");
        let mut call = self.call(script);
        call.arg(keys);
        self.redis.run(script, &call).await
    }

    /// Adds to a number, decimal text, once however often the same request is sent; returns the sum.
    pub async fn increment(
        &self,
        key: &str,
        delta: i64,
        room: &KvRoom,
        request: &Request,
    ) -> Result<i64, QueueError> {
        let script = script!(once "kv_increment", "kv", "kv_write");
        let sum = self
            .written(script, || {
                let mut call = self.write(script, room);
                call.arg(key).arg(delta);
                request.push(&mut call, &self.index)?;
                Ok(call)
            })
            .await?;
        let sum: String = read(sum, "kv_increment")?;
        sum.parse().map_err(|_| QueueError::Reply("kv_increment"))
    }

    /// Writes a value if the one that is there is of this version, once however often the same request is sent. False: it is of
    /// another one.
    pub async fn swap(
        &self,
        key: &str,
        version: u64,
        value: &[u8],
        room: &KvRoom,
        request: &Request,
    ) -> Result<bool, QueueError> {
        let script = script!(once "kv_swap", "kv", "kv_write");
        let swapped = self
            .written(script, || {
                let mut call = self.write(script, room);
                call.arg(key).arg(version).arg(value);
                request.push(&mut call, &self.index)?;
                Ok(call)
            })
            .await?;
        Ok(swapped == Value::Int(1))
    }

    /// A part of its keys: those behind a key, or the first ones.
    pub async fn keys(&self, after: Option<&str>) -> Result<KvPage, QueueError> {
        let script = script!("kv_keys", "kv");
        let mut call = self.call(script);
        call.arg(after.unwrap_or_default()).arg(PAGE_KEYS);
        let (next, keys): (String, Vec<String>) = self.redis.run(script, &call).await?;
        let next = Some(next).filter(|next| !next.is_empty());
        Ok(KvPage { keys, next })
    }

    /// How full it is.
    pub async fn usage(&self) -> Result<KvUsage, QueueError> {
        let mut commands = redis::pipe();
        commands.cmd("HLEN").arg(format!("{}:sizes", self.index));
        let totals = format!("{}:totals", self.index);
        commands.cmd("HGET").arg(totals).arg("bytes");
        let counted = commands.query_async(&mut self.redis.shared()).await?;
        let (keys, bytes): (u64, Option<u64>) = counted;
        let bytes = bytes.unwrap_or(0);
        Ok(KvUsage { keys, bytes })
    }

    /// Removes all of it, some keys with each call, and returns how many. While others write into it, it may stay.
    pub async fn clear(&self) -> Result<u64, QueueError> {
        let mut removed = 0;
        for _ in 0..CLEARED_ROUNDS_MAX {
            removed += self.delete_all().await?;
            let script = script!("kv_drop", "kv");
            let mut call = self.call(script);
            call.arg(&self.stores).arg(&self.name);
            if self.redis.run::<i64>(script, &call).await? == 1 {
                break;
            }
        }
        Ok(removed)
    }

    async fn delete_all(&self) -> Result<u64, QueueError> {
        let (mut removed, mut after) = (0, None);
        loop {
            let page = self.keys(after.as_deref()).await?;
            for some in page.keys.chunks(CLEARED_KEYS) {
                removed += self.delete(some).await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(removed),
            }
        }
    }

    fn value(&self, key: &str) -> String {
        format!("{}{key}", self.values)
    }

    fn call(&self, script: &Script) -> Cmd {
        let mut call = script.call(&self.meta);
        call.arg(&self.values);
        call
    }

    fn write(&self, script: &Script, room: &KvRoom) -> Cmd {
        let mut call = self.call(script);
        call.arg(room.keys_max)
            .arg(room.bytes_max)
            .arg(room.ttl_ms.map(|ttl| ttl.to_string()).unwrap_or_default())
            .arg(&self.stores)
            .arg(&self.name);
        call
    }

    /// Calls a script that writes, again while so many keys have expired that one call could not take them out.
    async fn written(
        &self,
        script: &Script,
        call: impl Fn() -> Result<Cmd, QueueError>,
    ) -> Result<Value, QueueError> {
        loop {
            let reply: Value = self.redis.run(script, &call()?).await?;
            let refusal = match reply {
                Value::Int(-1) => KvRefusal::Keys,
                Value::Int(-2) => KvRefusal::Bytes,
                Value::Int(-3) => KvRefusal::NotAnInteger,
                Value::Int(-4) => KvRefusal::Overflow,
                Value::Int(-6) => continue,
                reply => return Ok(reply),
            };
            return Err(QueueError::Kv(refusal));
        }
    }
}

fn versioned(pair: &[Value]) -> Result<KvVersioned, QueueError> {
    let [version, value] = pair else {
        return Err(QueueError::Reply("kv_read"));
    };
    let version: String = read(version.clone(), "kv_read")?;
    let version = version.parse();
    Ok(KvVersioned {
        value: read(value.clone(), "kv_read")?,
        version: version.map_err(|_| QueueError::Reply("kv_read"))?,
    })
}

fn read<T: FromRedisValue>(value: Value, script: &'static str) -> Result<T, QueueError> {
    redis::from_redis_value(value).map_err(|_| QueueError::Reply(script))
}
